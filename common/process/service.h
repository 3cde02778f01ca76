// What every service shows to the process that runs it: the steps of its life, in this order.
#pragma once

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/process/environment.h"
#include "common/runtime/partition_runner.h"

namespace tidegate::process {

// Channels to another service of the deployment: one per replica, or one within this process.
using ChannelsTo =
    std::function<std::vector<std::shared_ptr<grpc::Channel>>(const std::string& service)>;

class Service {
 public:
  virtual ~Service() = default;

  // What it answers by gRPC, with full names as in "tidegate.dispatch.v1.DispatchService".
  struct RpcHandler {
    std::string name;
    grpc::Service* service;
  };
  virtual std::vector<RpcHandler> rpc_handlers() = 0;
  // gRPC runs, nothing else does: finds the services that this one asks.
  virtual void Connect(const ChannelsTo&) {}
  // Recovers and begins to work; returns at once. See Ready().
  virtual void Start() {}
  // Whether every partition of its own is live.
  bool Ready() const {
    const auto all = runners();
    return std::all_of(all.begin(), all.end(), [](const runtime::PartitionRunner* runner) {
      return runner->state() == runtime::PartitionRunner::State::kLive;
    });
  }
  // Opens the doors that are not gRPC. What comes in by them needs the log and nothing else, so
  // that it is taken while partitions are still replayed. Error: the address, named.
  virtual absl::Status Open() { return absl::OkStatus(); }
  // The doors that are not gRPC are closed; whoever is inside is answered.
  virtual void Close() {}
  // Begins nothing new; waits up to `patience` for what is under way.
  virtual void Drain(absl::Duration /*patience*/) {}
  virtual void Stop() {}

  // Of its own partitions; for metrics and health.
  virtual std::vector<const runtime::PartitionRunner*> runners() const { return {}; }
  // Before the metrics page is written, on the admin thread.
  virtual void PublishMetrics() {}
  // Of the door that Open() opened; empty if there is none.
  virtual std::string address() const { return ""; }
};

// A service by its name (the folder under services/).
struct ServiceSpec {
  std::string name;
  std::function<absl::StatusOr<std::unique_ptr<Service>>(const Environment&)> create;
};

}  // namespace tidegate::process
