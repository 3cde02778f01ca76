#include "services/dispatch/quota_handler.h"

#include <algorithm>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/grpc/checks.h"
#include "common/grpc/errors.h"
#include "common/grpc/stream_reader.h"
#include "common/wecom_table/limit_changes.h"
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
constexpr int kLimitsMax = 200;  // of each kind that a corp may have of its own
constexpr size_t kWatchesMax = 1000;

std::vector<FieldViolation> ApiFaults(const std::string& api) {
  std::vector<FieldViolation> wrong;
  CheckApi(api, &wrong);
  return wrong;
}

void FillBuckets(DispatchCore& core, const std::string& corp, const Now& now,
                 google::protobuf::RepeatedPtrField<v1::Bucket>* buckets) {
  for (const BucketRow& row : core.buckets().Rows(corp, now.raw_ns)) {
    v1::Bucket* bucket = buckets->Add();
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
    FillBuckets(core, request->corp(), now, response->mutable_buckets());
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
  return AskLane(context, request, response, [=](DispatchCore& core, const Now&) {
    const Forecast forecast = ForecastCalls(core.corp_limits().Of(request->corp()), request->api(),
                                            request->calls(), latency);
    response->set_seconds(forecast.seconds);
    response->set_binding(forecast.binding);
  });
}

grpc::ServerWriteReactor<v1::WatchUsageResponse>* QuotaHandler::WatchUsage(
    grpc::CallbackServerContext* context, const v1::WatchUsageRequest* request) {
  const size_t before = watches_.fetch_add(1);
  const auto reactor = QuotaWatch::Make([this] { watches_.fetch_sub(1); });
  const std::string& corp = request->corp();
  if (edge_.Find(*context, corp) == nullptr) {
    reactor->End(rpc::UnknownCorp());
  } else if (before >= kWatchesMax) {
    reactor->End(rpc::ToGrpcStatus(
        absl::ResourceExhaustedError("too many watchers; use ListBuckets"), "TOO_MANY"));
  } else if (!lanes_.Owns(corp)) {
    WatchElsewhere(*context, *request, reactor);
  } else {
    Lane& lane = lanes_.Of(corp);
    reactor->Follow([runner = &lane.thread->runner(), core = lane.core.get(),
                     corp](const std::shared_ptr<QuotaWatch>& watch) {
      return runner->PostQuery([watch, core, corp](const absl::Status& status, const Now& now) {
        if (!status.ok()) return watch->End(rpc::ToGrpcStatus(status, "LANE_NOT_READY"));
        v1::WatchUsageResponse response;
        FillBuckets(*core, corp, now, response.mutable_buckets());
        watch->Push(std::move(response));
      });
    });
  }
  return reactor.get();
}

void QuotaHandler::WatchElsewhere(const grpc::CallbackServerContext& context,
                                  const v1::WatchUsageRequest& request,
                                  const std::shared_ptr<QuotaWatch>& reactor) {
  const rpc::Replicas* replicas = edge_.replicas;
  if (grpc::Status status = replicas->MayPassOn(context); !status.ok()) {
    return reactor->End(std::move(status));
  }
  const uint32_t owner = replicas->own().OwnerOf(lanes_.NumberOf(request.corp()));
  const auto stub =
      std::shared_ptr<v1::QuotaService::Stub>(v1::QuotaService::NewStub(replicas->channel(owner)));
  auto* reader = new rpc::StreamReader<v1::WatchUsageResponse>(
      replicas->HopContext(context, owner),
      [reactor](v1::WatchUsageResponse&& usage) { reactor->Push(std::move(usage)); },
      [replicas, reactor, owner, stub](const grpc::Status& ended) {
        reactor->End(replicas->Explain(ended, owner));
      });
  reader->Start([&](grpc::ClientContext* client, auto* read) {
    stub->async()->WatchUsage(client, &request, read);
  });
}

// ---- Limits of a corp ----

grpc::ServerUnaryReactor* QuotaHandler::SetLimits(grpc::CallbackServerContext* context,
                                                  const v1::SetLimitsRequest* request,
                                                  v1::SetLimitsResponse* response) {
  const std::string& corp = request->corp();
  if (edge_.Find(*context, corp) == nullptr) return rpc::Finish(context, rpc::UnknownCorp());
  std::vector<FieldViolation> wrong;
  CheckAct(request->actor(), request->reason(), &wrong);
  for (const auto& [field, count] : {std::pair{"windows", request->limits().windows_size()},
                                     {"in_flight", request->limits().in_flight_size()}}) {
    if (count > kLimitsMax) {
      wrong.push_back({absl::StrCat("limits.", field),
                       absl::StrCat("has ", count, " entries; send at most ", kLimitsMax)});
    }
  }
  for (auto& fault : wecom_table::CheckCorpLimits(request->limits())) {
    wrong.push_back({"limits." + fault.field, std::move(fault.remedy)});
  }
  if (!wrong.empty()) return rpc::Finish(context, rpc::InvalidArgument(wrong));
  if (!lanes_.Owns(corp)) {
    return edge_.replicas->Forward(context, lanes_.NumberOf(corp), request, response);
  }
  LedgerRecord record;
  auto* set = record.mutable_limits_set();
  set->set_corp(corp);
  *set->mutable_limits() = request->limits();
  // Fields that this version does not know can be of any size.
  set->mutable_limits()->DiscardUnknownFields();
  set->set_reason(request->reason());
  set->set_actor(request->actor());
  auto* reactor = context->DefaultReactor();
  Lane& lane = lanes_.Of(corp);
  PostUntil(
      &lane, clock_, rpc::DeadlineOf(*context),
      [record] {
        auto wish = std::make_unique<OperatorWish>();
        wish->record = record;
        return wish;
      },
      [core = lane.core.get(), wanted = record.limits_set()]() mutable {
        const auto* shown = core->corp_limits().Find(wanted.corp());
        if (shown == nullptr) return false;
        // Decided since.
        wanted.set_time_ns(shown->time_ns());
        *wanted.mutable_stamp() = shown->stamp();
        return shown->SerializeAsString() == wanted.SerializeAsString();
      },
      [reactor](const absl::Status& status) {
        reactor->Finish(rpc::ToGrpcStatus(status, "LANE_NOT_READY"));
      });
  return reactor;
}

grpc::ServerUnaryReactor* QuotaHandler::GetLimits(grpc::CallbackServerContext* context,
                                                  const v1::GetLimitsRequest* request,
                                                  v1::GetLimitsResponse* response) {
  return AskLane(context, request, response, [=](DispatchCore& core, const Now&) {
    response->mutable_limits();
    const auto* set = core.corp_limits().Find(request->corp());
    if (set == nullptr) return;
    *response->mutable_limits() = set->limits();
    response->set_reason(set->reason());
    response->set_actor(set->actor());
    SetTime(set->time_ns(), response->mutable_time());
  });
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
