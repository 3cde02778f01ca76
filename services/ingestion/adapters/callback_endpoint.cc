#include "services/ingestion/adapters/callback_endpoint.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/partitioner.h"
#include "common/base/status_macros.h"
#include "common/wecom/callback_xml.h"
#include "services/ingestion/core/event_builder.h"

namespace tidegate::ingestion {

namespace {

// WeCom waits 5 s for the answer to a callback.
constexpr int64_t kStorePatienceMs = 4'000;

}  // namespace

absl::StatusOr<std::unique_ptr<CallbackEndpoint>> CallbackEndpoint::Create(
    const Config& config, const config::Corps& corps, const Environment& environment) {
  std::unique_ptr<CallbackEndpoint> endpoint(new CallbackEndpoint(config, environment));
  for (const config::Corp& corp : corps.corps) {
    for (const config::App& app : corp.apps) {
      ASSIGN_OR_RETURN(const std::string key, config::ReadSecretFile(app.aes_key_file));
      auto crypto = wecom::CallbackCrypto::Create(app.token, key, corp.corp_id);
      if (!crypto.ok()) {
        return absl::InvalidArgumentError(
            absl::StrCat(app.aes_key_file, ": ", crypto.status().message()));
      }
      endpoint->apps_.emplace(absl::StrCat("/callback/", corp.corp_id, "/", app.agent_id),
                              App{.corp = corp.corp_id, .crypto = *std::move(crypto)});
    }
  }
  // All results show from the start, so that a rate of nothing is zero and not missing.
  for (const char* result : {"taken", "verified", "refused", "stale", "malformed", "unknown_path",
                             "bad_method", "log_failed"}) {
    environment.metrics->Callbacks(result);
  }
  return endpoint;
}

void CallbackEndpoint::Refuse(const http::Responder& respond, const char* result) {
  environment_.metrics->Callbacks(result).Increment();
  respond({.status = 403, .body = "refused"});
}

bool CallbackEndpoint::Fresh(const std::string& timestamp) const {
  int64_t seconds = 0;
  if (!absl::SimpleAtoi(timestamp, &seconds)) return false;
  const int64_t now = environment_.clock->Read().wall_ns / kNanosPerSecond;
  return seconds >= now - config_.timestamp_tolerance_s &&
         seconds <= now + config_.timestamp_tolerance_s;
}

void CallbackEndpoint::Handle(http::Request request, http::Responder respond) {
  const auto it = apps_.find(http::Path(request.target));
  if (it == apps_.end()) return Refuse(respond, "unknown_path");
  if (request.method == "GET") return Verify(it->second, request, respond);
  if (request.method == "POST") return Deliver(it->second, request, std::move(respond));
  environment_.metrics->Callbacks("bad_method").Increment();
  respond({.status = 405, .body = "GET verifies the address, POST delivers an event"});
}

void CallbackEndpoint::Verify(const App& app, const http::Request& request,
                              const http::Responder& respond) {
  const auto echo = app.crypto.Open(http::QueryValue(request.target, "msg_signature"),
                                    http::QueryValue(request.target, "timestamp"),
                                    http::QueryValue(request.target, "nonce"),
                                    http::QueryValue(request.target, "echostr"));
  if (!echo.ok()) return Refuse(respond, "refused");
  environment_.metrics->Callbacks("verified").Increment();
  respond({.status = 200, .body = *echo});
}

void CallbackEndpoint::Deliver(const App& app, const http::Request& request,
                               http::Responder respond) {
  const std::string timestamp = http::QueryValue(request.target, "timestamp");
  if (!Fresh(timestamp)) return Refuse(respond, "stale");
  const auto envelope = wecom::ParseEnvelope(request.body);
  if (!envelope.ok()) return Refuse(respond, "malformed");
  const auto decrypted =
      app.crypto.Open(http::QueryValue(request.target, "msg_signature"), timestamp,
                      http::QueryValue(request.target, "nonce"), envelope->encrypt);
  if (!decrypted.ok()) return Refuse(respond, "refused");

  const Now now = environment_.clock->Read();
  auto event = FromCallback(app.corp, *decrypted, wecom::ParseEvent(*decrypted), now);
#if TIDEGATE_MUTANT == 9
  event.set_event_id(http::QueryValue(request.target, "nonce"));
#endif
  event.set_corp_revision(environment_.definitions->Corp(app.corp)->revision);
  const std::string key = CustomerKey(app.corp, event.customer());
  const log::TopicPartition at{log::Topic::kEvents, PartitionOf(key, config_.partitions)};
  std::vector<log::Record> records;
  records.push_back({.key = key, .header = "", .value = event.SerializeAsString()});
#if TIDEGATE_MUTANT == 14
  respond({.status = 200, .body = ""});
  respond = [](const http::Response&) {};
#endif
  environment_.log->AppendWithin(at, std::move(records), kStorePatienceMs,
                                 [taken = &environment_.metrics->Callbacks("taken"),
                                  failed = &environment_.metrics->Callbacks("log_failed"),
                                  respond = std::move(respond)](absl::Status status) {
                                   if (status.ok()) {
                                     taken->Increment();
                                     respond({.status = 200, .body = ""});
                                   } else {
                                     // WeCom delivers again.
                                     failed->Increment();
                                     respond({.status = 503, .body = "not stored; deliver again"});
                                   }
                                 });
}

}  // namespace tidegate::ingestion
