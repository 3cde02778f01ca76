#include "services/ingestion/service.h"

#include <utility>

#include "common/base/status_macros.h"

namespace tidegate::ingestion {

process::ServiceSpec Spec() {
  return {"ingestion",
          [](const process::Environment& environment)
              -> absl::StatusOr<std::unique_ptr<process::Service>> {
            const auto& listen = environment.settings->listen;
            return Service::Create(Config{.partitions = environment.partitions(),
                                          .callback_address = listen.callback,
                                          .cert_file = listen.callback_tls.cert_file,
                                          .key_file = listen.callback_tls.key_file,
                                          .ca_file = listen.callback_tls.ca_file},
                                   environment);
          }};
}

Service::Service(const Config& config, const process::Environment& environment)
    : config_(config),
      handler_(environment.edge(), environment.log, environment.clock, config.partitions),
      stage_(environment.metrics->MakeStage("ingestion", 0)) {}

absl::StatusOr<std::unique_ptr<Service>> Service::Create(const Config& config,
                                                         const process::Environment& environment) {
  std::unique_ptr<Service> service(new Service(config, environment));
  ASSIGN_OR_RETURN(service->endpoint_,
                   CallbackEndpoint::Create(config, *environment.corps,
                                            {.log = environment.log,
                                             .clock = environment.clock,
                                             .definitions = environment.definitions,
                                             .metrics = environment.metrics}));
  return service;
}

absl::Status Service::Open() {
  ASSIGN_OR_RETURN(server_,
                   http::Server::Start({.address = config_.callback_address,
                                        .cert_file = config_.cert_file,
                                        .key_file = config_.key_file,
                                        .ca_file = config_.ca_file},
                                       [this](http::Request request, http::Responder respond) {
                                         endpoint_->Handle(std::move(request), std::move(respond));
                                       }));
  return absl::OkStatus();
}

void Service::PublishMetrics() {
  const uint64_t refused = handler_.events_refused();
  stage_.Set(handler_.events_in(), handler_.events_in() - refused, refused, 0);
}

}  // namespace tidegate::ingestion
