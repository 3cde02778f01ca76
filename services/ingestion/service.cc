#include "services/ingestion/service.h"

#include <utility>

#include "common/base/status_macros.h"

namespace tidegate::ingestion {

Service::Service(const Config& config, const Environment& environment)
    : config_(config),
      handler_(environment.corps, environment.definitions, environment.log, environment.clock,
               config.partitions) {}

absl::StatusOr<std::unique_ptr<Service>> Service::Create(const Config& config,
                                                         const Environment& environment) {
  std::unique_ptr<Service> service(new Service(config, environment));
  ASSIGN_OR_RETURN(service->endpoint_,
                   CallbackEndpoint::Create(config, *environment.corps,
                                            {.log = environment.log,
                                             .clock = environment.clock,
                                             .definitions = environment.definitions,
                                             .metrics = environment.metrics}));
  return service;
}

absl::Status Service::Start() {
  ASSIGN_OR_RETURN(server_,
                   http::Server::Start({.address = config_.callback_address},
                                       [this](http::Request request, http::Responder respond) {
                                         endpoint_->Handle(std::move(request), std::move(respond));
                                       }));
  return absl::OkStatus();
}

}  // namespace tidegate::ingestion
