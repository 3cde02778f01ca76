// The HTTP endpoint that WeCom calls: /callback/{corp}/{app}. GET verifies the URL, POST delivers
// an event; it is answered only after the log has it.
//
// Every refusal of a request that is not WeCom's looks alike: 403, one body.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "common/config/corps.h"
#include "common/definitions/definition_store.h"
#include "common/http/server.h"
#include "common/log/log.h"
#include "common/metrics/metrics.h"
#include "common/wecom/callback_crypto.h"
#include "services/ingestion/config.h"

namespace tidegate::ingestion {

// Handle(): any thread.
class CallbackEndpoint {
 public:
  struct Environment {
    log::Log* log;
    const Clock* clock;
    definitions::DefinitionStore* definitions;
    metrics::Metrics* metrics;
  };
  // Reads the apps' AES keys. Errors name the file. All of the environment outlives the endpoint.
  static absl::StatusOr<std::unique_ptr<CallbackEndpoint>> Create(const Config& config,
                                                                  const config::Corps& corps,
                                                                  const Environment& environment);

  void Handle(http::Request request, http::Responder respond);

 private:
  struct App {
    std::string corp;
    wecom::CallbackCrypto crypto;
  };
  CallbackEndpoint(const Config& config, const Environment& environment)
      : config_(config), environment_(environment) {}
  void Verify(const App& app, const http::Request& request, const http::Responder& respond);
  void Deliver(const App& app, const http::Request& request, http::Responder respond);
  void Refuse(const http::Responder& respond, const char* result);
  bool Fresh(const std::string& timestamp) const;

  const Config config_;
  const Environment environment_;
  std::map<std::string, App> apps_;  // by path
};

}  // namespace tidegate::ingestion
