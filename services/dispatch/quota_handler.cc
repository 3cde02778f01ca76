#include "services/dispatch/quota_handler.h"

#include <algorithm>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/grpc/checks.h"
#include "common/grpc/errors.h"
#include "common/wecom_table/endpoints.h"
#include "services/dispatch/request_checks.h"

namespace tidegate::dispatch {

using rpc::FieldViolation;
using ::tidegate::log::v1::LedgerRecord;
using ::tidegate::log::v1::SendingBlocked;
namespace v1 = ::tidegate::dispatch::v1;

namespace {

constexpr char kEverything[] = "*";
constexpr int64_t kCallsMax = 10'000'000;
constexpr double kLatencySeconds = 0.1;

std::vector<FieldViolation> ApiFaults(const std::string& api) {
  if (wecom_table::FindEndpoint(api) != nullptr) return {};
  return {{"api", "is none that Tidegate calls; write one as in add_msg_template"}};
}

// "" in the ledger.
std::string LedgerCorp(const std::string& corp) { return corp == kEverything ? "" : corp; }

template <typename Request>
std::vector<FieldViolation> ChangeFaults(const Request& request) {
  std::vector<FieldViolation> wrong;
  CheckAct(request.actor(), request.reason(), &wrong);
  if (!request.campaign_id().empty()) {
    rpc::CheckId("campaign_id", request.campaign_id(), &wrong);
    if (request.corp() == kEverything) {
      wrong.push_back({"campaign_id", "is of one corp; write that, or leave it out"});
    }
  }
  return wrong;
}

// Whether the lane has taken the change in.
bool Shows(const BlockList& list, const LedgerRecord& record) {
  if (record.has_sending_blocked()) {
    const SendingBlocked& wanted = record.sending_blocked();
    const auto found = list.blocks().find({wanted.corp(), wanted.campaign()});
    return found != list.blocks().end() && found->second.reason() == wanted.reason() &&
           found->second.actor() == wanted.actor() && found->second.until_ns() == wanted.until_ns();
  }
  const auto& ended = record.sending_unblocked();
  return !list.blocks().contains({ended.corp(), ended.campaign()});
}

// Ends a call when all of its parts have ended; the first error wins.
class Parts {
 public:
  Parts(size_t count, grpc::ServerUnaryReactor* reactor) : left_(count), reactor_(reactor) {}
  void End(grpc::Status status) {
    std::unique_lock lock(mu_);
    if (first_.ok()) first_ = std::move(status);
    if (--left_ > 0) return;
    lock.unlock();
    reactor_->Finish(first_);
  }

 private:
  std::mutex mu_;
  size_t left_;
  grpc::Status first_;
  grpc::ServerUnaryReactor* const reactor_;
};

}  // namespace

template <typename Request, typename Response>
grpc::ServerUnaryReactor* QuotaHandler::AskLane(
    grpc::CallbackServerContext* context, const Request* request, Response* response,
    std::function<void(DispatchCore&, const Now&)> ask) {
  const std::string& corp = request->corp();
  if (edge_.Find(*context, corp) == nullptr) return rpc::Finish(context, rpc::UnknownCorp());
  if (!lanes_.Owns(corp)) {
    return edge_.replicas->Forward(context, lanes_.NumberOf(corp), request, response);
  }
  auto* reactor = context->DefaultReactor();
  Lane& lane = lanes_.Of(corp);
  DispatchCore* core = lane.core.get();
  const absl::Status posted = lane.thread->runner().PostQuery(
      [core, reactor, ask](const absl::Status& status, const Now& now) {
        if (status.ok()) ask(*core, now);
        reactor->Finish(rpc::ToGrpcStatus(status, "LANE_NOT_READY"));
      });
  if (!posted.ok()) reactor->Finish(rpc::ToGrpcStatus(posted, "LANE_NOT_READY"));
  return reactor;
}

grpc::ServerUnaryReactor* QuotaHandler::ListBuckets(grpc::CallbackServerContext* context,
                                                    const v1::ListBucketsRequest* request,
                                                    v1::ListBucketsResponse* response) {
  return AskLane(context, request, response, [=](DispatchCore& core, const Now& now) {
    for (const BucketRow& row : core.buckets().Rows(request->corp(), now.raw_ns)) {
      auto* bucket = response->add_buckets();
      bucket->set_api(row.api);
      bucket->set_scope(row.scope);
      bucket->set_window_seconds(static_cast<double>(row.window_ns) * 1e-9);
      bucket->set_capacity(row.capacity);
      bucket->set_tokens(row.tokens);
      bucket->set_configured(row.configured);
      bucket->set_cost(row.cost == wecom_table::Cost::kPersonTimes ? "person_times" : "calls");
      bucket->set_lockout_seconds(
          static_cast<double>(std::max<int64_t>(0, row.lockout_until_ns - now.raw_ns)) * 1e-9);
    }
  });
}

grpc::ServerUnaryReactor* QuotaHandler::Peek(grpc::CallbackServerContext* context,
                                             const v1::PeekRequest* request,
                                             v1::PeekResponse* response) {
  if (edge_.Find(*context, request->corp()) == nullptr) {
    return rpc::Finish(context, rpc::UnknownCorp());
  }
  if (const auto wrong = ApiFaults(request->api()); !wrong.empty()) {
    return rpc::Finish(context, rpc::InvalidArgument(wrong));
  }
  return AskLane(context, request, response, [=](DispatchCore& core, const Now& now) {
    BucketSet& buckets = core.buckets();
    const auto verdict =
        buckets.Check(buckets.RouteOf(request->corp(), request->api()), now.raw_ns);
    const bool blocked = core.blocks().Holds(request->corp(), "", now.wall_ns);
    response->set_allowed(verdict.allowed && !blocked);
    if (response->allowed()) return;
    const bool unknown = blocked || verdict.earliest_ns == kNever;
    response->set_binding(blocked ? "blocked" : verdict.binding);
    response->set_retry_seconds(
        unknown
            ? -1
            : static_cast<double>(std::max<int64_t>(0, verdict.earliest_ns - now.raw_ns)) * 1e-9);
  });
}

grpc::ServerUnaryReactor* QuotaHandler::ForecastCompletion(
    grpc::CallbackServerContext* context, const v1::ForecastCompletionRequest* request,
    v1::ForecastCompletionResponse* response) {
  if (edge_.Find(*context, request->corp()) == nullptr) {
    return rpc::Finish(context, rpc::UnknownCorp());
  }
  auto wrong = ApiFaults(request->api());
  if (request->calls() < 1 || request->calls() > kCallsMax) {
    wrong.push_back({"calls", absl::StrCat("write 1 to ", kCallsMax)});
  }
  if (!(request->latency_seconds() >= 0 && request->latency_seconds() <= 3600)) {
    wrong.push_back({"latency_seconds", "write 0 to 3600"});
  }
  if (!wrong.empty()) return rpc::Finish(context, rpc::InvalidArgument(wrong));
  const double latency =
      request->latency_seconds() > 0 ? request->latency_seconds() : kLatencySeconds;
  const Forecast forecast = ForecastCalls(*limits_, request->api(), request->calls(), latency);
  response->set_seconds(forecast.seconds);
  response->set_binding(forecast.binding);
  return rpc::Finish(context, grpc::Status::OK);
}

// ---- Blocks ----

template <typename Request, typename Response>
grpc::ServerUnaryReactor* QuotaHandler::Change(grpc::CallbackServerContext* context,
                                               const Request* request, Response* response,
                                               const LedgerRecord& record) {
  const std::string& corp = request->corp();
  const bool everything = corp == kEverything;
  std::vector<Lane*> lanes;
  bool hopped = false;
  if (grpc::Status status = edge_.replicas->CheckHop(*context, &hopped); !status.ok()) {
    return rpc::Finish(context, std::move(status));
  }
  if (everything) {
    for (Lane& lane : lanes_.owned()) lanes.push_back(&lane);
  } else if (lanes_.Owns(corp)) {
    lanes.push_back(&lanes_.Of(corp));
  } else {
    return edge_.replicas->Forward(context, lanes_.NumberOf(corp), request, response);
  }
  const size_t others = everything && !hopped ? edge_.replicas->own().count - 1 : 0;
  auto* reactor = context->DefaultReactor();
  // One more, so that it cannot end before all have begun.
  const auto parts = std::make_shared<Parts>(lanes.size() + others + 1, reactor);
  const absl::Time deadline = rpc::DeadlineOf(*context);
  for (Lane* lane : lanes) {
    PostUntil(
        lane, clock_, deadline,
        [record] {
          auto wish = std::make_unique<OperatorWish>();
          wish->record = record;
          return wish;
        },
        [core = lane->core.get(), record] {
          return Shows(core->blocks(), record) && core->blocks_told();
        },
        [parts](const absl::Status& status) {
          parts->End(rpc::ToGrpcStatus(status, "LANE_NOT_READY"));
        });
  }
  if (others > 0) {
    edge_.replicas->Scatter<Request, Response>(
        *context, *request,
        [parts](grpc::Status status, Response&) { parts->End(std::move(status)); });
  }
  parts->End(grpc::Status::OK);
  return reactor;
}

grpc::ServerUnaryReactor* QuotaHandler::Block(grpc::CallbackServerContext* context,
                                              const v1::BlockRequest* request,
                                              v1::BlockResponse* response) {
  const bool known = request->corp() == kEverything
                         ? edge_.callers->MayUse(*context, kEverything)
                         : edge_.Find(*context, request->corp()) != nullptr;
  if (!known) return rpc::Finish(context, rpc::UnknownCorp());
  auto wrong = ChangeFaults(*request);
  int64_t until_ns = 0;
  if (request->has_until()) {
    until_ns = TimeOf(request->until()).value_or(0);
    if (until_ns <= clock_->Read().wall_ns) {
      wrong.push_back({"until", "is not in the future; write a later one, or none"});
    }
  }
  if (!wrong.empty()) return rpc::Finish(context, rpc::InvalidArgument(wrong));
  LedgerRecord record;
  SendingBlocked* blocked = record.mutable_sending_blocked();
  blocked->set_corp(LedgerCorp(request->corp()));
  blocked->set_campaign(request->campaign_id());
  blocked->set_reason(request->reason());
  blocked->set_actor(request->actor());
  blocked->set_until_ns(until_ns);
  return Change(context, request, response, record);
}

grpc::ServerUnaryReactor* QuotaHandler::Unblock(grpc::CallbackServerContext* context,
                                                const v1::UnblockRequest* request,
                                                v1::UnblockResponse* response) {
  const bool known = request->corp() == kEverything
                         ? edge_.callers->MayUse(*context, kEverything)
                         : edge_.Find(*context, request->corp()) != nullptr;
  if (!known) return rpc::Finish(context, rpc::UnknownCorp());
  if (const auto wrong = ChangeFaults(*request); !wrong.empty()) {
    return rpc::Finish(context, rpc::InvalidArgument(wrong));
  }
  LedgerRecord record;
  auto* unblocked = record.mutable_sending_unblocked();
  unblocked->set_corp(LedgerCorp(request->corp()));
  unblocked->set_campaign(request->campaign_id());
  unblocked->set_reason(request->reason());
  unblocked->set_actor(request->actor());
  return Change(context, request, response, record);
}

grpc::ServerUnaryReactor* QuotaHandler::ListBlocks(grpc::CallbackServerContext* context,
                                                   const v1::ListBlocksRequest* request,
                                                   v1::ListBlocksResponse* response) {
  return AskLane(context, request, response, [=](DispatchCore& core, const Now& now) {
    for (const auto& [key, block] : core.blocks().blocks()) {
      if (!key.first.empty() && key.first != request->corp()) continue;
      if (block.until_ns() != 0 && block.until_ns() <= now.wall_ns) continue;
      v1::SendingBlock* listed = response->add_blocks();
      listed->set_corp(key.first.empty() ? kEverything : key.first);
      listed->set_campaign_id(key.second);
      listed->set_reason(block.reason());
      listed->set_actor(block.actor());
      SetTime(block.time_ns(), listed->mutable_time());
      if (block.until_ns() != 0) SetTime(block.until_ns(), listed->mutable_until());
    }
  });
}

}  // namespace tidegate::dispatch
