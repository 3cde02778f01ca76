#include "services/dispatch/handler.h"

#include <algorithm>
#include <deque>
#include <mutex>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/hash.h"
#include "common/base/partitioner.h"
#include "common/expression/expression.h"
#include "common/grpc/checks.h"
#include "common/grpc/errors.h"
#include "services/dispatch/campaign_view.h"

namespace tidegate::dispatch {

using definitions::CorpDefinitions;
using rpc::FieldViolation;
using ::tidegate::log::v1::CAMPAIGN_INTENT_DRAFT;
using ::tidegate::log::v1::CAMPAIGN_INTENT_PAUSE;
using ::tidegate::log::v1::CAMPAIGN_INTENT_RUN;
using ::tidegate::log::v1::CAMPAIGN_PHASE_COMPLETED;
using ::tidegate::log::v1::CampaignIntent;
using ::tidegate::log::v1::Definition;
namespace v1 = ::tidegate::dispatch::v1;

namespace {

constexpr int kVariantsMax = 20;
constexpr size_t kTextBytesMax = 4000;     // M5 of WeCom's limits
constexpr size_t kLinkUrlBytesMax = 2000;  // WeCom takes 2,048; the marker needs the rest
constexpr size_t kLinkTitleBytesMax = 128;
constexpr size_t kWatchersMax = 1000;
constexpr int64_t kWatchGapNs = 200 * kNanosPerMilli;
// For the forecast: what a create takes where nothing was measured yet.
constexpr double kForecastLatencySeconds = 0.1;

absl::Status NoCampaign() { return absl::NotFoundError("the corp has no campaign of this id"); }

void CheckSpec(const v1::CampaignSpec& spec, std::vector<FieldViolation>* wrong) {
  rpc::CheckId("campaign.campaign_id", spec.campaign_id(), wrong);
  if (spec.variants().empty() || spec.variants_size() > kVariantsMax) {
    wrong->push_back({"campaign.variants", absl::StrCat("has ", spec.variants_size(),
                                                        " entries; write 1 to ", kVariantsMax)});
    return;
  }
  for (int i = 0; i < spec.variants_size(); ++i) {
    const v1::ContentVariant& variant = spec.variants(i);
    const std::string field = absl::StrCat("campaign.variants[", i, "].");
    rpc::CheckText(field + "text", variant.text(), kTextBytesMax, wrong);
    rpc::CheckText(field + "link_title", variant.link_title(), kLinkTitleBytesMax, wrong);
    rpc::CheckText(field + "link_url", variant.link_url(), kLinkUrlBytesMax, wrong);
    if (!variant.link_url().empty() && !absl::StartsWith(variant.link_url(), "https://") &&
        !absl::StartsWith(variant.link_url(), "http://")) {
      wrong->push_back({field + "link_url", "write an http:// or https:// address"});
    }
  }
}

::tidegate::log::v1::Campaign ToDefinition(const v1::CampaignSpec& spec,
                                           const std::string& canonical) {
  ::tidegate::log::v1::Campaign definition;
  definition.set_audience_expression(canonical);
  definition.set_intent(CAMPAIGN_INTENT_DRAFT);
  for (const v1::ContentVariant& variant : spec.variants()) {
    auto* added = definition.add_variants();
    added->set_text(variant.text());
    added->set_link_url(variant.link_url());
    added->set_link_title(variant.link_title());
  }
  return definition;
}

v1::CampaignPlan ToPlan(const std::string& campaign_id,
                        const std::vector<AudienceCustomer>& audience, uint32_t variants,
                        const wecom_table::Limits& limits) {
  const Plan plan = MakePlan(campaign_id, audience, variants);
  v1::CampaignPlan proto;
  proto.set_audience(static_cast<int64_t>(audience.size()));
  if (!plan.skipped_no_sender.empty()) {
    (*proto.mutable_skipped_by_reason())["no_sender"] =
        static_cast<int64_t>(plan.skipped_no_sender.size());
  }
  proto.set_calls(static_cast<int64_t>(plan.calls.size()));
  const Forecast forecast =
      ForecastCalls(limits, "add_msg_template", proto.calls(), kForecastLatencySeconds);
  proto.set_forecast_seconds(forecast.seconds);
  proto.set_binding_limit(forecast.binding);
  std::set<std::string> senders;
  std::vector<int64_t> per_variant(variants);
  for (const PlannedBatch& call : plan.calls) {
    senders.insert(call.sender);
    per_variant[call.variant] += static_cast<int64_t>(call.customers.size());
  }
  proto.set_senders(static_cast<int64_t>(senders.size()));
  for (const int64_t count : per_variant) proto.add_customers_per_variant(count);
  return proto;
}

// Streams the newest state; slower readers skip states, never the last one.
class WatchReactor : public grpc::ServerWriteReactor<v1::WatchCampaignResponse> {
 public:
  explicit WatchReactor(std::shared_ptr<std::atomic<bool>> alive) : alive_(std::move(alive)) {}

  void Push(v1::Campaign campaign, bool last) {
    std::lock_guard lock(mu_);
    if (finished_) return;
    next_ = std::move(campaign);
    has_next_ = true;
    last_ = last;
    Pump();
  }
  void End(grpc::Status status) {
    std::lock_guard lock(mu_);
    FinishOnce(std::move(status));
  }
  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mu_);
    writing_ = false;
    if (!ok) return FinishOnce(grpc::Status(grpc::StatusCode::CANCELLED, "the caller went away"));
    if (sent_last_) return FinishOnce(grpc::Status::OK);
    Pump();
  }
  void OnCancel() override {
    std::lock_guard lock(mu_);
    FinishOnce(grpc::Status(grpc::StatusCode::CANCELLED, "the caller went away"));
  }
  void OnDone() override {
    alive_->store(false);
    // The lane's watcher may hold the lock for a last, refused push.
    { std::lock_guard lock(mu_); }
    keep_.reset();
  }
  void KeepAlive(std::shared_ptr<WatchReactor> self) { keep_ = std::move(self); }

 private:
  void Pump() {
    if (writing_ || !has_next_ || finished_) return;
    response_.Clear();
    *response_.mutable_campaign() = std::move(next_);
    has_next_ = false;
    sent_last_ = last_;
    writing_ = true;
    StartWrite(&response_);
  }
  void FinishOnce(grpc::Status status) {
    if (finished_) return;
    finished_ = true;
    Finish(std::move(status));
  }

  const std::shared_ptr<std::atomic<bool>> alive_;
  std::mutex mu_;
  v1::WatchCampaignResponse response_;
  v1::Campaign next_;
  bool has_next_ = false;
  bool last_ = false;
  bool sent_last_ = false;
  bool writing_ = false;
  bool finished_ = false;
  std::shared_ptr<WatchReactor> keep_;
};

}  // namespace

Lane& Handler::LaneOf(const std::string& corp) {
  return (*lanes_)[PartitionOf(corp, static_cast<uint32_t>(lanes_->size()))];
}

grpc::ServerUnaryReactor* Handler::AskLane(grpc::CallbackServerContext* context,
                                           const std::string& corp, Ask ask) {
  if (corps_->Find(corp) == nullptr) return rpc::Finish(context, rpc::UnknownCorp());
  Lane& lane = LaneOf(corp);
  DispatchCore* core = lane.core.get();
  auto* reactor = context->DefaultReactor();
  const absl::Status posted = lane.thread->runner().PostQuery(
      [core, reactor, ask = std::move(ask)](absl::Status status, const Now& now) {
        if (status.ok()) ask(*core, now);
        reactor->Finish(rpc::ToGrpcStatus(status, "LANE_NOT_READY"));
      });
  if (!posted.ok()) reactor->Finish(rpc::ToGrpcStatus(posted, "LANE_NOT_READY"));
  return reactor;
}

// ---- Wishes ----

grpc::ServerUnaryReactor* Handler::CreateCampaign(grpc::CallbackServerContext* context,
                                                  const v1::CreateCampaignRequest* request,
                                                  v1::CreateCampaignResponse* response) {
  if (corps_->Find(request->corp()) == nullptr) return rpc::Finish(context, rpc::UnknownCorp());
  std::vector<FieldViolation> wrong;
  if (!request->validate_only()) rpc::CheckRequestId(request->request_id(), &wrong);
  CheckSpec(request->campaign(), &wrong);
  if (!wrong.empty()) return rpc::Finish(context, rpc::InvalidArgument(wrong));
  const std::string& text = request->campaign().audience_expression();
  std::vector<expression::Violation> violations;
  const auto parsed = expression::Expression::Parse(text, {}, &violations);
  if (!parsed.ok()) {
    return rpc::Finish(context,
                       rpc::InvalidExpression("campaign.audience_expression", text, violations));
  }
  Definition definition;
  definition.set_id(request->campaign().campaign_id());
  *definition.mutable_campaign() = ToDefinition(request->campaign(), parsed->canonical_text());
  const auto check_new = [](const CorpDefinitions& corp, const std::string& id) -> absl::Status {
    if (corp.campaigns.contains(id) || corp.audiences.contains(id)) {
      return absl::AlreadyExistsError(
          "a campaign or audience of this id exists; choose another campaign_id");
    }
    return absl::OkStatus();
  };
  auto* reactor = context->DefaultReactor();

  if (request->validate_only()) {
    const auto corp = store_->Corp(request->corp());
    if (absl::Status status = check_new(*corp, definition.id()); !status.ok()) {
      reactor->Finish(rpc::ToGrpcStatus(status, "CAMPAIGN_EXISTS"));
      return reactor;
    }
    preview_->Ask(
        request->corp(), definition.campaign().audience_expression(), rpc::DeadlineOf(*context),
        [this, reactor, response, definition](grpc::Status status,
                                              std::vector<AudienceCustomer> audience) {
          if (status.ok()) {
            *response->mutable_campaign() =
                ToCampaign(definition.id(), definition.campaign(), nullptr);
            *response->mutable_plan() =
                ToPlan(definition.id(), audience,
                       static_cast<uint32_t>(definition.campaign().variants_size()), *limits_);
          }
          reactor->Finish(std::move(status));
        });
    return reactor;
  }

  store_->Propose(
      definitions::ProposalOf(*request, ""),
      [definition,
       check_new](const CorpDefinitions& corp) -> absl::StatusOr<std::vector<Definition>> {
        if (absl::Status status = check_new(corp, definition.id()); !status.ok()) return status;
        return std::vector<Definition>{definition};
      },
      [reactor, response](absl::StatusOr<definitions::AcceptedRequest> accepted) {
        if (accepted.ok()) {
          const Definition& stored = accepted->proposal.definitions(0);
          *response->mutable_campaign() = ToCampaign(stored.id(), stored.campaign(), nullptr);
        }
        reactor->Finish(rpc::ToGrpcStatus(accepted.status(), "CAMPAIGN_NOT_STORED"));
      });
  return reactor;
}

void Handler::ReplyWhenTaken(const std::string& corp, const std::string& campaign,
                             uint64_t revision, absl::Time deadline,
                             std::function<void(absl::Status)> done) {
  Lane& lane = LaneOf(corp);
  const DispatchCore* core = lane.core.get();
  runtime::WaitList* waiting = lane.waiting.get();
  const int64_t deadline_raw_ns =
      clock_->Read().raw_ns + absl::ToInt64Nanoseconds(deadline - absl::Now());
  const absl::Status posted =
      lane.thread->runner().PostQuery([=](absl::Status status, const Now& now) {
        if (!status.ok()) return done(std::move(status));
        waiting->Add(
            now, deadline_raw_ns,
            [=] {
              return core->revision(corp) >= revision &&
                     !core->campaigns().HasUndecidedCreate({corp, campaign});
            },
            [done](absl::Status waited, const Now&) { done(std::move(waited)); });
      });
  if (!posted.ok()) done(posted);
}

template <typename Request, typename Response>
grpc::ServerUnaryReactor* Handler::ChangeIntent(grpc::CallbackServerContext* context,
                                                const Request& request, Response* response,
                                                CampaignIntent from, CampaignIntent to,
                                                const std::string& reason,
                                                const std::string& needed) {
  if (corps_->Find(request.corp()) == nullptr) return rpc::Finish(context, rpc::UnknownCorp());
  std::vector<FieldViolation> wrong;
  rpc::CheckRequestId(request.request_id(), &wrong);
  rpc::CheckId("campaign_id", request.campaign_id(), &wrong);
  if (from != CAMPAIGN_INTENT_DRAFT) rpc::CheckText("reason", reason, 1000, &wrong);
  if (!wrong.empty()) return rpc::Finish(context, rpc::InvalidArgument(wrong));
  auto* reactor = context->DefaultReactor();
  const std::string id = request.campaign_id();
  const std::string corp_id = request.corp();
  const absl::Time deadline = rpc::DeadlineOf(*context);
  const auto propose = [=, this](bool over) {
    store_->Propose(
        definitions::ProposalOf(request, reason),
        [=](const CorpDefinitions& corp) -> absl::StatusOr<std::vector<Definition>> {
          const auto it = corp.campaigns.find(id);
          if (it == corp.campaigns.end()) return NoCampaign();
          if (it->second.intent() != from) return absl::FailedPreconditionError(needed);
          if (over) return absl::FailedPreconditionError("the campaign is over");
          std::vector<Definition> definitions(1);
          definitions[0].set_id(id);
          *definitions[0].mutable_campaign() = it->second;
          definitions[0].mutable_campaign()->set_intent(to);
          if (from == CAMPAIGN_INTENT_DRAFT) {
            Definition& audience = definitions.emplace_back();
            audience.set_id(id);
            audience.mutable_audience()->set_expression(it->second.audience_expression());
            audience.mutable_audience()->set_campaign(id);
          }
          return definitions;
        },
        [=, this](absl::StatusOr<definitions::AcceptedRequest> accepted) {
          if (!accepted.ok())
            return reactor->Finish(rpc::ToGrpcStatus(accepted.status(), "CAMPAIGN_NOT_CHANGED"));
          response->set_corp_revision(accepted->revision);
          ReplyWhenTaken(corp_id, id, accepted->revision, deadline, [reactor](absl::Status status) {
            reactor->Finish(rpc::ToGrpcStatus(status, "LANE_NOT_READY"));
          });
        });
  };
  // What was never launched cannot be over. Asked before the proposal and judged inside it, where a
  // repeated request id still gets its first result.
  if (from == CAMPAIGN_INTENT_DRAFT) {
    propose(false);
    return reactor;
  }
  Lane& lane = LaneOf(corp_id);
  const DispatchCore* core = lane.core.get();
  const absl::Status posted = lane.thread->runner().PostQuery([=](absl::Status status, const Now&) {
    if (!status.ok()) return reactor->Finish(rpc::ToGrpcStatus(status, "LANE_NOT_READY"));
    const CampaignState* state = core->campaigns().Find({corp_id, id});
    propose(state != nullptr && state->phase == CAMPAIGN_PHASE_COMPLETED);
  });
  if (!posted.ok()) reactor->Finish(rpc::ToGrpcStatus(posted, "LANE_NOT_READY"));
  return reactor;
}

grpc::ServerUnaryReactor* Handler::LaunchCampaign(grpc::CallbackServerContext* context,
                                                  const v1::LaunchCampaignRequest* request,
                                                  v1::LaunchCampaignResponse* response) {
  return ChangeIntent(context, *request, response, CAMPAIGN_INTENT_DRAFT, CAMPAIGN_INTENT_RUN, "",
                      "only a DRAFT can be launched; this campaign was launched before");
}

grpc::ServerUnaryReactor* Handler::PauseCampaign(grpc::CallbackServerContext* context,
                                                 const v1::PauseCampaignRequest* request,
                                                 v1::PauseCampaignResponse* response) {
  return ChangeIntent(context, *request, response, CAMPAIGN_INTENT_RUN, CAMPAIGN_INTENT_PAUSE,
                      request->reason(), "only a launched campaign can be paused");
}

grpc::ServerUnaryReactor* Handler::ResumeCampaign(grpc::CallbackServerContext* context,
                                                  const v1::ResumeCampaignRequest* request,
                                                  v1::ResumeCampaignResponse* response) {
  return ChangeIntent(context, *request, response, CAMPAIGN_INTENT_PAUSE, CAMPAIGN_INTENT_RUN,
                      request->reason(), "only a PAUSED campaign can be resumed");
}

// ---- Readings ----

grpc::ServerUnaryReactor* Handler::GetCampaign(grpc::CallbackServerContext* context,
                                               const v1::GetCampaignRequest* request,
                                               v1::GetCampaignResponse* response) {
  const auto corp = store_->Corp(request->corp());
  const auto it = corp->campaigns.find(request->campaign_id());
  if (corps_->Find(request->corp()) != nullptr && it == corp->campaigns.end()) {
    return rpc::Finish(context, rpc::ToGrpcStatus(NoCampaign(), "CAMPAIGN_NOT_FOUND"));
  }
  return AskLane(
      context, request->corp(), [corp, request, response](DispatchCore& core, const Now&) {
        const std::string& id = request->campaign_id();
        *response->mutable_campaign() =
            ToCampaign(id, corp->campaigns.at(id), core.campaigns().Find({request->corp(), id}));
      });
}

grpc::ServerUnaryReactor* Handler::ListCampaigns(grpc::CallbackServerContext* context,
                                                 const v1::ListCampaignsRequest* request,
                                                 v1::ListCampaignsResponse* response) {
  const auto corp = store_->Corp(request->corp());
  return AskLane(context, request->corp(),
                 [corp, request, response](DispatchCore& core, const Now&) {
                   for (const auto& [id, definition] :
                        rpc::Page(corp->campaigns, request->page_size(), request->page_token(),
                                  response->mutable_next_page_token())) {
                     *response->add_campaigns() =
                         ToCampaign(id, definition, core.campaigns().Find({request->corp(), id}));
                   }
                 });
}

grpc::ServerWriteReactor<v1::WatchCampaignResponse>* Handler::WatchCampaign(
    grpc::CallbackServerContext*, const v1::WatchCampaignRequest* request) {
  auto alive = std::make_shared<std::atomic<bool>>(true);
  auto reactor = std::make_shared<WatchReactor>(alive);
  reactor->KeepAlive(reactor);
  const std::string corp = request->corp();
  const std::string id = request->campaign_id();
  if (corps_->Find(corp) == nullptr) {
    reactor->End(rpc::UnknownCorp());
    return reactor.get();
  }
  if (!store_->Corp(corp)->campaigns.contains(id)) {
    reactor->End(rpc::ToGrpcStatus(NoCampaign(), "CAMPAIGN_NOT_FOUND"));
    return reactor.get();
  }
  Lane& lane = LaneOf(corp);
  DispatchCore* core = lane.core.get();
  auto* watchers = lane.watchers.get();
  // On the lane's thread, after each turn: tells a change at most five times a second.
  auto watch = [this, alive, weak = std::weak_ptr<WatchReactor>(reactor), core, corp, id,
                next_raw_ns = int64_t{0}, last = std::string()](const Now& now) mutable {
    const auto strong = weak.lock();
    if (strong == nullptr || !alive->load()) return false;
    if (now.raw_ns < next_raw_ns) return true;
    next_raw_ns = now.raw_ns + kWatchGapNs;
    v1::Campaign campaign =
        ToCampaign(id, store_->Corp(corp)->campaigns.at(id), core->campaigns().Find({corp, id}));
    std::string text = campaign.SerializeAsString();
    if (text == last) return true;
    last = std::move(text);
    const bool over = campaign.state() == v1::CAMPAIGN_STATE_COMPLETED;
    strong->Push(std::move(campaign), over);
    return !over;
  };
  const absl::Status posted = lane.thread->runner().PostQuery(
      [reactor, watchers, watch = std::move(watch)](absl::Status status, const Now& now) mutable {
        if (!status.ok()) return reactor->End(rpc::ToGrpcStatus(status, "LANE_NOT_READY"));
        if (watchers->size() >= kWatchersMax) {
          return reactor->End(rpc::ToGrpcStatus(
              absl::ResourceExhaustedError("too many watchers; use GetCampaign"), "TOO_MANY"));
        }
        if (watch(now)) watchers->push_back(std::move(watch));
      });
  if (!posted.ok()) reactor->End(rpc::ToGrpcStatus(posted, "LANE_NOT_READY"));
  return reactor.get();
}

grpc::ServerUnaryReactor* Handler::ListBuckets(grpc::CallbackServerContext* context,
                                               const v1::ListBucketsRequest* request,
                                               v1::ListBucketsResponse* response) {
  return AskLane(context, request->corp(), [request, response](DispatchCore& core, const Now& now) {
    for (const BucketRow& row : core.buckets().Rows(request->corp(), now.raw_ns)) {
      auto* bucket = response->add_buckets();
      bucket->set_api(row.api);
      bucket->set_scope(row.scope);
      bucket->set_window_seconds(static_cast<double>(row.window_ns) * 1e-9);
      bucket->set_capacity(row.capacity);
      bucket->set_tokens(row.tokens);
      bucket->set_lockout_seconds(
          static_cast<double>(std::max<int64_t>(0, row.lockout_until_ns - now.raw_ns)) * 1e-9);
    }
  });
}

grpc::ServerUnaryReactor* Handler::ListDoubts(grpc::CallbackServerContext* context,
                                              const v1::ListDoubtsRequest* request,
                                              v1::ListDoubtsResponse* response) {
  return AskLane(context, request->corp(), [request, response](DispatchCore& core, const Now& now) {
    std::vector<v1::Doubt> doubts;
    for (const auto& [key, campaign] : core.campaigns().campaigns()) {
      if (key.first != request->corp()) continue;
      for (v1::Doubt& doubt : ToDoubts(key.second, campaign, now))
        doubts.push_back(std::move(doubt));
    }
    std::sort(doubts.begin(), doubts.end(), [](const v1::Doubt& a, const v1::Doubt& b) {
      return a.age_seconds() > b.age_seconds();
    });
    for (v1::Doubt& doubt : doubts) *response->add_doubts() = std::move(doubt);
  });
}

grpc::ServerUnaryReactor* Handler::GetWriteBack(grpc::CallbackServerContext* context,
                                                const v1::GetWriteBackRequest* request,
                                                v1::GetWriteBackResponse* response) {
  return AskLane(context, request->corp(), [request, response](DispatchCore& core, const Now&) {
    const WriteBack progress = core.commands().Progress(request->corp());
    response->set_tags_wanted(progress.tags_wanted);
    response->set_tags_written(progress.tags_written);
    response->set_tags_refused(progress.tags_refused);
    response->set_welcomes_requested(progress.welcomes_requested);
    response->set_welcomes_sent(progress.welcomes_sent);
    response->set_welcomes_dropped(progress.welcomes_dropped);
  });
}

}  // namespace tidegate::dispatch
