#include "services/dispatch/adapters/wecom_caller.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/crash_point.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/wecom_table/answers.h"
#include "common/wecom_table/endpoints.h"
#include "common/wecom_table/errors.h"
#include "services/dispatch/core/flows.h"

namespace tidegate::dispatch {
namespace {

// Calls in flight are bounded by the buckets; this bounds sockets, of welcomes and of the rest.
constexpr size_t kConnectionsMax = 64;
constexpr int64_t kTellGapNs = 60 * kNanosPerSecond;

}  // namespace

absl::StatusOr<std::unique_ptr<WecomCaller>> WecomCaller::Create(const Route& route,
                                                                 const config::Corps* corps,
                                                                 const wecom_table::Limits* limits,
                                                                 const Clock* clock,
                                                                 OnAnswer on_answer) {
  std::unique_ptr<WecomCaller> caller(
      new WecomCaller(route, corps, limits, clock, std::move(on_answer)));
  const http::ClientOptions options{
      .base_url = route.base_url,
      .connections_max = kConnectionsMax,
      .user_timeout = absl::Nanoseconds(limits->settle.user_timeout_ns),
      .source_address = route.source_address,
      .proxy = route.proxy,
      .proxy_credentials = route.proxy_credentials};
  ASSIGN_OR_RETURN(caller->client_, http::Client::Create(options));
  ASSIGN_OR_RETURN(caller->urgent_client_, http::Client::Create(options));
  return caller;
}

WecomCaller::WecomCaller(const Route& route, const config::Corps* corps,
                         const wecom_table::Limits* limits, const Clock* clock, OnAnswer on_answer)
    : corps_(corps),
      limits_(limits),
      clock_(clock),
      on_answer_(std::move(on_answer)),
      way_(!route.proxy.empty()            ? "http://" + route.proxy
           : !route.source_address.empty() ? route.source_address
                                           : "any") {
  tokens_ = std::make_unique<wecom::TokenCache>(
      [this](const wecom::AppKey& app, std::function<void(wecom::TokenAnswer)> done) {
        FetchToken(app, std::move(done));
      },
      clock);
}

WecomCaller::~WecomCaller() = default;

http::Client* WecomCaller::ClientOf(const CallToMake& call) {
  return call.api == ApiOf(FlowKind::kWelcome) ? urgent_client_.get() : client_.get();
}

void WecomCaller::FetchToken(const wecom::AppKey& app,
                             std::function<void(wecom::TokenAnswer)> done) {
  const config::Corp* corp = corps_->Find(app.corp);
  CHECK(corp != nullptr);
  std::string secret_file;
  for (const config::App& candidate : corp->apps) {
    if (candidate.agent_id == app.agent_id) secret_file = candidate.secret_file;
  }
  auto secret = config::ReadSecretFile(secret_file);
  if (!secret.ok()) {
    wecom::TokenAnswer answer;
    answer.status = secret.status();
    return done(std::move(answer));
  }
  http::HttpCall call;
  call.method = "GET";
  call.target = absl::StrCat("/cgi-bin/gettoken?corpid=", wecom::PercentEncode(app.corp),
                             "&corpsecret=", wecom::PercentEncode(*secret));
  call.deadline = absl::Nanoseconds(limits_->http_deadline_ns);
  urgent_client_->Send(std::move(call), [this, done = std::move(done)](http::HttpResult result) {
    TellWay(result);
    done(wecom::ParseTokenAnswer(result.status, result.body));
  });
}

void WecomCaller::TellWay(const http::HttpResult& result) {
  // A call that waited for one of our own connections until its end says nothing about the way.
  const bool not_reached = absl::IsUnavailable(result.status) || result.connect_timed_out;
  if (!result.bytes_written && not_reached) {
    const int64_t now_ns = clock_->Read().raw_ns;
    int64_t told_ns = told_raw_ns_.load();
    if (told_ns != 0 && now_ns - told_ns < kTellGapNs) return;
    if (!told_raw_ns_.compare_exchange_strong(told_ns, now_ns)) return;
    blocked_ = true;
    LogEvent(LogLevel::kWarning, "wecom_not_reached",
             {{"source", way_},
              {"why", std::string(result.status.message())},
              {"next", "nothing was sent and nothing is lost: calls are tried again"}});
  } else if (result.bytes_written && blocked_.exchange(false)) {
    LogEvent(LogLevel::kInfo, "wecom_reached", {{"source", way_}});
  }
}

void WecomCaller::SetBlocks(const BlockList& blocks) {
  std::lock_guard lock(blocks_mu_);
  blocks_ = blocks;
}

void WecomCaller::Make(CallToMake call) {
  const wecom::AppKey app{.corp = call.corp, .agent_id = call.agent_id};
  tokens_->Get(
      app, [this, call = std::move(call)](absl::StatusOr<std::string> token, int errcode) mutable {
        if (token.ok()) return Send(std::move(call), *token);
        auto answer = std::make_unique<CallAnswer>();
        answer->call_id = call.call_id;
        answer->attempt = call.attempt;
        answer->token_errcode = errcode;
        answer->completed = clock_->Read();
        on_answer_(std::move(answer));
      });
}

void WecomCaller::Send(CallToMake call, const std::string& token) {
  const wecom_table::Endpoint* endpoint = wecom_table::FindEndpoint(call.api);
  CHECK(endpoint != nullptr);
  [[maybe_unused]] const bool creates = endpoint->idempotency == wecom_table::Idempotency::kCreates;
  TIDEGATE_CRASH_POINT_IF(creates, "S6");
  http::HttpCall request;
  request.method = std::string(endpoint->method);
  request.target = absl::StrCat(endpoint->path, "?access_token=", wecom::PercentEncode(token));
  request.content_type = "application/json";
  request.body = std::move(call.body);
  request.deadline = absl::Nanoseconds(limits_->http_deadline_ns);
  // A create travels alone on a connection of its own: no older answer can be taken for its.
  request.reusable_connection = !creates;
  request.may_write = [this, deadline = call.send_deadline_boot_ns, corp = call.corp,
                       campaign = call.campaign, creates] {
    TIDEGATE_CRASH_POINT_IF(creates, "S7");
    const Now now = clock_->Read();
    if (now.boot_ns > deadline) return false;
    std::lock_guard lock(blocks_mu_);
    return !blocks_.Holds(corp, campaign, now.wall_ns);
  };
  const wecom::AppKey app{.corp = call.corp, .agent_id = call.agent_id};
  ClientOf(call)->Send(std::move(request),
                       [this, app, token, call_id = call.call_id, attempt = call.attempt,
                        api = call.api, creates](http::HttpResult result) {
                         TellWay(result);
                         auto answer = std::make_unique<CallAnswer>();
                         answer->call_id = call_id;
                         answer->attempt = attempt;
                         answer->bytes_written = result.bytes_written;
                         answer->answered = result.status.ok();
                         answer->http_status = result.http_status;
                         answer->completed = clock_->Read();
                         if (result.completed_raw_ns != 0) {
                           // The moment the answer was read, whenever this callback runs.
                           const int64_t since = answer->completed.raw_ns - result.completed_raw_ns;
                           answer->completed.raw_ns -= since;
                           answer->completed.boot_ns -= since;
                           answer->completed.wall_ns -= since;
                         }
                         if (answer->answered) {
                           const auto parsed = wecom_table::ParseAnswer(api, result.body);
                           if (parsed.ok() && wecom_table::IsTokenError(parsed->errcode))
                             tokens_->Invalidate(app, token);
                         }
                         answer->body = std::move(result.body);
                         TIDEGATE_CRASH_POINT_IF(creates && answer->answered, "S11");
                         on_answer_(std::move(answer));
                       });
}

}  // namespace tidegate::dispatch
