// The gRPC server of a process: one port, health, reflection, limits, ordered stop. TLS comes from
// common/grpc/credentials.h.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/metrics/metrics.h"

namespace tidegate::rpc {

class ServerRunner {
 public:
  // `services` outlive the runner. Health answers NOT_SERVING until SetServing(true).
  // UNAVAILABLE: the address is taken or not ours; its text names the address.
  // With `metrics`, which outlives the runner, every RPC is counted and timed; those of
  // `service_names` are shown from the start, see MakeServerMetrics.
  static absl::StatusOr<std::unique_ptr<ServerRunner>> Start(
      const std::string& address, const std::vector<grpc::Service*>& services,
      std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials(),
      metrics::Metrics* metrics = nullptr, const std::vector<std::string>& service_names = {});
  // Stops if Stop() was not called.
  ~ServerRunner();

  // "127.0.0.1:34567", with the bound port.
  const std::string& address() const { return address_; }
  // A channel to this server that does not leave the process.
  std::shared_ptr<grpc::Channel> InProcessChannel();
  void SetServing(bool serving);
  // Health NOT_SERVING, no new calls, waits for running ones up to `patience`, then cancels them.
  void Stop(absl::Duration patience);

 private:
  ServerRunner(std::unique_ptr<grpc::Server> server, std::string address)
      : server_(std::move(server)), address_(std::move(address)) {}

  std::unique_ptr<grpc::Server> server_;
  const std::string address_;
};

}  // namespace tidegate::rpc
