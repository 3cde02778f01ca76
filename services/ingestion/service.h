// Wiring of ingestion: the callback server and the RPC handler. No state of its own.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "common/config/corps.h"
#include "common/definitions/definition_store.h"
#include "common/http/server.h"
#include "common/log/log.h"
#include "common/metrics/metrics.h"
#include "services/ingestion/adapters/callback_endpoint.h"
#include "services/ingestion/config.h"
#include "services/ingestion/handler.h"

namespace tidegate::ingestion {

class Service {
 public:
  // What the process hands in; all outlive the service.
  struct Environment {
    log::Log* log;
    const Clock* clock;
    const config::Corps* corps;
    definitions::DefinitionStore* definitions;
    metrics::Metrics* metrics;
  };
  // Errors: a key file, or the callback address (its text names the file or address).
  static absl::StatusOr<std::unique_ptr<Service>> Create(const Config& config,
                                                         const Environment& environment);

  // Begins to take callbacks.
  absl::Status Start();
  // No new callbacks; those under way are answered.
  void Stop() { server_.reset(); }

  grpc::Service* handler() { return &handler_; }
  uint64_t events_in() const { return handler_.events_in(); }
  uint64_t events_refused() const { return handler_.events_refused(); }
  // With the bound port, after Start().
  std::string callback_address() const { return server_->address(); }

 private:
  Service(const Config& config, const Environment& environment);

  const Config config_;
  Handler handler_;
  std::unique_ptr<CallbackEndpoint> endpoint_;
  std::unique_ptr<http::Server> server_;  // destroyed first
};

}  // namespace tidegate::ingestion
