// Calls to the server: deadlines, and repeats of UNAVAILABLE within the user's patience. The caller
// makes sure that a repeat is safe (request ids, event ids). Not for streams.
//
//   Connection connection({{"", channel}}, {.timeout_s = 30, .wait_s = 5}, &clock);
//   absl::Status s = connection.Call([&](grpc::ClientContext* c) { return stub->GetX(c, request,
//   &x); });
#pragma once

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/tidegate/client/client_clock.h"

namespace tidegate::client {

// By service: "ingestion", "tagging", "segmentation", "dispatch"; "" = every other one.
using Channels = std::map<std::string, std::shared_ptr<grpc::Channel>>;
using ConnectTo = std::function<std::shared_ptr<grpc::Channel>(const std::string& target)>;

// Where the services are: "HOST:PORT" of one process that has them all, or
// "ingestion=HOST:PORT,dispatch=HOST:PORT,dispatch=HOST:PORT,..."; several replicas of a service
// are tried in turn, and need numeric IPv4 addresses. INVALID_ARGUMENT: what is wrong.
absl::StatusOr<Channels> MakeChannels(const std::string& servers, const ConnectTo& connect);

// The same code and message, but UNAVAILABLE for a call that the server cancelled; the rich details
// travel as a payload (see error_report.h).
absl::Status ToAbslStatus(const grpc::Status& status);

// Sets the deadline of a call that begins now.
void SetTimeout(grpc::ClientContext* context, double timeout_s);

// Waits between repeats: 50 ms, doubled up to 1 s, until `patience_s` have passed since
// construction. Not thread-safe.
class Backoff {
 public:
  Backoff(ClientClock* clock, double patience_s);
  // Sleeps and returns true, or returns false at once when the patience is used up.
  bool Wait();

 private:
  ClientClock* const clock_;
  const int64_t give_up_raw_ns_;
  int64_t delay_ms_ = 50;
};

struct ConnectionOptions {
  // Deadline of each call, seconds.
  double timeout_s = 30;
  // How long UNAVAILABLE is repeated, seconds.
  double wait_s = 0;
};

// Thread-safe.
class Connection {
 public:
  using Rpc = std::function<grpc::Status(grpc::ClientContext*)>;
  // Told of every answer or its absence, before a repeat.
  using AfterAttempt = std::function<void(const grpc::Status&)>;

  Connection(Channels channels, const ConnectionOptions& options, ClientClock* clock);

  // Runs a unary call, again while it is UNAVAILABLE and the wait lasts. Returns the last status.
  absl::Status Call(const Rpc& rpc, const AfterAttempt& after_attempt = {}) const;

  // To a service by its name. Without an address for it, calls end UNAVAILABLE.
  std::shared_ptr<grpc::Channel> To(const std::string& service) const;
  const ConnectionOptions& options() const { return options_; }
  ClientClock* clock() const { return clock_; }

 private:
  const Channels channels_;
  const ConnectionOptions options_;
  ClientClock* const clock_;
};

}  // namespace tidegate::client
