// Wiring of ingestion: the callback server and the RPC handler. No state of its own.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/http/server.h"
#include "common/metrics/metrics.h"
#include "common/process/service.h"
#include "services/ingestion/adapters/callback_endpoint.h"
#include "services/ingestion/config.h"
#include "services/ingestion/handler.h"

namespace tidegate::ingestion {

class Service final : public process::Service {
 public:
  // Errors: a key file of an app, named.
  static absl::StatusOr<std::unique_ptr<Service>> Create(const Config& config,
                                                         const process::Environment& environment);

  // Begins to take callbacks.
  absl::Status Open() override;
  void Close() override { server_.reset(); }

  std::vector<RpcHandler> rpc_handlers() override {
    return {{::tidegate::ingestion::v1::IngestionService::service_full_name(), &handler_}};
  }
  void PublishMetrics() override;
  // With the bound port, after Open().
  std::string address() const override { return server_ == nullptr ? "" : server_->address(); }

 private:
  Service(const Config& config, const process::Environment& environment);

  const Config config_;
  Handler handler_;
  metrics::Stage stage_;
  std::unique_ptr<CallbackEndpoint> endpoint_;
  std::unique_ptr<http::Server> server_;  // destroyed first
};

// How a process makes it.
process::ServiceSpec Spec();

}  // namespace tidegate::ingestion
