#include "services/dispatch/handler.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/hash.h"
#include "common/expression/expression.h"
#include "common/grpc/checks.h"
#include "common/grpc/errors.h"
#include "common/grpc/stream_reader.h"
#include "services/dispatch/campaign_view.h"
#include "services/dispatch/message_checks.h"
#include "services/dispatch/plan_view.h"

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
constexpr size_t kWatchersMax = 1000;
constexpr int64_t kWatchGapNs = 200 * kNanosPerMilli;
constexpr int kExplainedMax = 100;

absl::Status NoCampaign() { return absl::NotFoundError("the corp has no campaign of this id"); }

void CheckSpec(const v1::CampaignSpec& spec, std::vector<FieldViolation>* wrong) {
  rpc::CheckId("campaign.campaign_id", spec.campaign_id(), wrong);
  if (spec.reminders() > kRemindersMax) {
    wrong->push_back({"campaign.reminders", absl::StrCat("write 0 to ", kRemindersMax)});
  }
  if (spec.variants().empty() || spec.variants_size() > kVariantsMax) {
    wrong->push_back({"campaign.variants", absl::StrCat("has ", spec.variants_size(),
                                                        " entries; write 1 to ", kVariantsMax)});
    return;
  }
  for (int i = 0; i < spec.variants_size(); ++i) {
    CheckContent(absl::StrCat("campaign.variants[", i, "]."), spec.variants(i), wrong);
  }
}

::tidegate::log::v1::Campaign ToDefinition(const v1::CampaignSpec& spec,
                                           const std::string& canonical) {
  ::tidegate::log::v1::Campaign definition;
  definition.set_audience_expression(canonical);
  definition.set_intent(CAMPAIGN_INTENT_DRAFT);
  definition.set_reminders(spec.reminders());
  for (const v1::ContentVariant& variant : spec.variants()) {
    auto* added = definition.add_variants();
    added->set_text(variant.text());
    added->set_link_url(variant.link_url());
    added->set_link_title(variant.link_title());
  }
  return definition;
}

}  // namespace

template <typename Request, typename Response>
grpc::ServerUnaryReactor* Handler::AskLane(grpc::CallbackServerContext* context,
                                           const Request* request, Response* response, Ask ask) {
  const std::string& corp = request->corp();
  if (edge_.Find(*context, corp) == nullptr) return rpc::Finish(context, rpc::UnknownCorp());
  if (!lanes_.Owns(corp))
    return edge_.replicas->Forward(context, lanes_.NumberOf(corp), request, response);
  auto* reactor = context->DefaultReactor();
  edge_.definitions->WhenCurrent([this, reactor, corp, ask](const absl::Status& current) {
    if (!current.ok()) return reactor->Finish(rpc::ToGrpcStatus(current, "DEFINITIONS_NOT_READ"));
    Lane& lane = lanes_.Of(corp);
    DispatchCore* core = lane.core.get();
    const auto definitions = edge_.definitions->Corp(corp);
    const absl::Status posted = lane.thread->runner().PostQuery(
        [core, definitions, reactor, ask](absl::Status status, const Now& now) {
          if (status.ok()) status = ask(*definitions, *core, now);
          reactor->Finish(rpc::ToGrpcStatus(status, absl::IsNotFound(status) ? "CAMPAIGN_NOT_FOUND"
                                                    : absl::IsFailedPrecondition(status)
                                                        ? "CAMPAIGN_NOT_PLANNED"
                                                        : "LANE_NOT_READY"));
        });
    if (!posted.ok()) reactor->Finish(rpc::ToGrpcStatus(posted, "LANE_NOT_READY"));
  });
  return reactor;
}

// ---- Wishes ----

grpc::ServerUnaryReactor* Handler::CreateCampaign(grpc::CallbackServerContext* context,
                                                  const v1::CreateCampaignRequest* request,
                                                  v1::CreateCampaignResponse* response) {
  if (edge_.Find(*context, request->corp()) == nullptr)
    return rpc::Finish(context, rpc::UnknownCorp());
  std::vector<FieldViolation> wrong;
  if (!request->validate_only()) rpc::CheckRequestId(request->request_id(), &wrong);
  CheckSpec(request->campaign(), &wrong);
  if (request->explain_customers_size() > kExplainedMax) {
    wrong.push_back({"explain_customers", absl::StrCat("has ", request->explain_customers_size(),
                                                       " entries; write at most ", kExplainedMax)});
  } else if (!request->validate_only() && request->explain_customers_size() > 0) {
    wrong.push_back({"explain_customers", "set validate_only, or leave it out"});
  }
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

  if (request->validate_only()) {
    // The lane knows what its customers may still receive.
    if (!lanes_.Owns(request->corp())) {
      return edge_.replicas->Forward(context, lanes_.NumberOf(request->corp()), request, response);
    }
    auto* reactor = context->DefaultReactor();
    const auto corp = edge_.definitions->Corp(request->corp());
    if (absl::Status status = check_new(*corp, definition.id()); !status.ok()) {
      reactor->Finish(rpc::ToGrpcStatus(status, "CAMPAIGN_EXISTS"));
      return reactor;
    }
    Preview(context, request, response, reactor, definition);
    return reactor;
  }

  auto* reactor = context->DefaultReactor();
  edge_.definitions->Propose(
      edge_.ProposalOf(*context, *request, ""),
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

void Handler::Preview(grpc::CallbackServerContext* context,
                      const v1::CreateCampaignRequest* request,
                      v1::CreateCampaignResponse* response, grpc::ServerUnaryReactor* reactor,
                      const Definition& definition) {
  AudiencePreview* const preview = preview_.load();
  if (preview == nullptr) {
    return reactor->Finish(rpc::ToGrpcStatus(absl::UnavailableError("the service starts; repeat"),
                                             "SEGMENTATION_UNAVAILABLE"));
  }
  preview->Ask(
      request->corp(), definition.campaign().audience_expression(), rpc::DeadlineOf(*context),
      [this, request, response, reactor, definition](grpc::Status status,
                                                     std::vector<AudienceCustomer> audience) {
        if (!status.ok()) {
          return reactor->Finish(rpc::Explain(status, "segmentation", "SEGMENTATION_UNAVAILABLE"));
        }
        Lane& lane = lanes_.Of(request->corp());
        DispatchCore* core = lane.core.get();
        const absl::Status posted = lane.thread->runner().PostQuery(
            [request, response, reactor, definition, core, audience = std::move(audience)](
                absl::Status ready, const Now& now) {
              if (ready.ok()) {
                *response->mutable_campaign() =
                    ToCampaign(definition.id(), definition.campaign(), nullptr);
                *response->mutable_plan() = ToPlan(*request, audience, core, now);
              }
              reactor->Finish(rpc::ToGrpcStatus(ready, "LANE_NOT_READY"));
            });
        if (!posted.ok()) reactor->Finish(rpc::ToGrpcStatus(posted, "LANE_NOT_READY"));
      });
}

void Handler::ReplyWhenTaken(const std::string& corp, const std::string& campaign,
                             uint64_t revision, absl::Time deadline,
                             std::function<void(absl::Status)> done) {
  Lane& lane = lanes_.Of(corp);
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
  if (edge_.Find(*context, request.corp()) == nullptr)
    return rpc::Finish(context, rpc::UnknownCorp());
  std::vector<FieldViolation> wrong;
  rpc::CheckRequestId(request.request_id(), &wrong);
  rpc::CheckId("campaign_id", request.campaign_id(), &wrong);
  if (from != CAMPAIGN_INTENT_DRAFT) rpc::CheckText("reason", reason, 1000, &wrong);
  if (!wrong.empty()) return rpc::Finish(context, rpc::InvalidArgument(wrong));
  if (!lanes_.Owns(request.corp())) {
    return edge_.replicas->Forward(context, lanes_.NumberOf(request.corp()), &request, response);
  }
  auto* reactor = context->DefaultReactor();
  const std::string id = request.campaign_id();
  const std::string corp_id = request.corp();
  const absl::Time deadline = rpc::DeadlineOf(*context);
  const auto proposal = edge_.ProposalOf(*context, request, reason);
  const auto propose = [=, this](bool over) {
    edge_.definitions->Propose(
        proposal,
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
  Lane& lane = lanes_.Of(corp_id);
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
  return AskLane(
      context, request, response,
      [=](const CorpDefinitions& corp, DispatchCore& core, const Now& now) {
        const std::string& id = request->campaign_id();
        const auto found = corp.campaigns.find(id);
        if (found == corp.campaigns.end()) return NoCampaign();
        *response->mutable_campaign() = ToCampaign({request->corp(), id}, found->second, core, now);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* Handler::GetCampaignTouch(grpc::CallbackServerContext* context,
                                                    const v1::GetCampaignTouchRequest* request,
                                                    v1::GetCampaignTouchResponse* response) {
  return AskLane(context, request, response,
                 [=](const CorpDefinitions& corp, DispatchCore& core, const Now&) {
                   const std::string& id = request->campaign_id();
                   if (!corp.campaigns.contains(id)) return NoCampaign();
                   return FindCampaignTouch(core.campaigns().Find({request->corp(), id}),
                                            request->customer(), response);
                 });
}

grpc::ServerUnaryReactor* Handler::ListCampaigns(grpc::CallbackServerContext* context,
                                                 const v1::ListCampaignsRequest* request,
                                                 v1::ListCampaignsResponse* response) {
  return AskLane(
      context, request, response,
      [=](const CorpDefinitions& corp, DispatchCore& core, const Now& now) {
        for (const auto& [id, definition] :
             rpc::Page(corp.campaigns, request->page_size(), request->page_token(),
                       response->mutable_next_page_token())) {
          *response->add_campaigns() = ToCampaign({request->corp(), id}, definition, core, now);
        }
        return absl::OkStatus();
      });
}

grpc::ServerWriteReactor<v1::WatchCampaignResponse>* Handler::WatchCampaign(
    grpc::CallbackServerContext* context, const v1::WatchCampaignRequest* request) {
  const auto reactor = CampaignWatch::Make();
  const std::string corp = request->corp();
  if (edge_.Find(*context, corp) == nullptr) {
    reactor->End(rpc::UnknownCorp());
  } else if (!lanes_.Owns(corp)) {
    WatchElsewhere(*context, *request, reactor);
  } else {
    edge_.definitions->WhenCurrent(
        [this, reactor, corp, id = request->campaign_id()](const absl::Status& current) {
          if (!current.ok()) {
            return reactor->End(rpc::ToGrpcStatus(current, "DEFINITIONS_NOT_READ"));
          }
          if (!edge_.definitions->Corp(corp)->campaigns.contains(id)) {
            return reactor->End(rpc::ToGrpcStatus(NoCampaign(), "CAMPAIGN_NOT_FOUND"));
          }
          WatchLane(corp, id, reactor);
        });
  }
  return reactor.get();
}

void Handler::WatchLane(const std::string& corp, const std::string& id,
                        const std::shared_ptr<CampaignWatch>& reactor) {
  Lane& lane = lanes_.Of(corp);
  DispatchCore* core = lane.core.get();
  auto* watchers = lane.watchers.get();
  // On the lane's thread, after each turn: tells a change at most five times a second.
  auto watch = [this, weak = std::weak_ptr<CampaignWatch>(reactor), core, corp, id,
                next_raw_ns = int64_t{0}, last = std::string()](const Now& now) mutable {
    const auto strong = weak.lock();
    if (strong == nullptr || !strong->alive()) return false;
    if (now.raw_ns < next_raw_ns) return true;
    next_raw_ns = now.raw_ns + kWatchGapNs;
    v1::Campaign campaign =
        ToCampaign({corp, id}, edge_.definitions->Corp(corp)->campaigns.at(id), *core, now);
    std::string text = campaign.SerializeAsString();
    if (text == last) return true;
    last = std::move(text);
    const bool over = campaign.state() == v1::CAMPAIGN_STATE_COMPLETED;
    strong->Push(std::move(campaign));
    if (over) strong->End(grpc::Status::OK);
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
}

// Passes on what the owner of the lane tells.
void Handler::WatchElsewhere(const grpc::CallbackServerContext& context,
                             const v1::WatchCampaignRequest& request,
                             const std::shared_ptr<CampaignWatch>& reactor) {
  const rpc::Replicas* replicas = edge_.replicas;
  if (grpc::Status status = replicas->MayPassOn(context); !status.ok()) {
    return reactor->End(std::move(status));
  }
  const uint32_t owner = replicas->own().OwnerOf(lanes_.NumberOf(request.corp()));
  const auto stub = std::shared_ptr<v1::DispatchService::Stub>(
      v1::DispatchService::NewStub(replicas->channel(owner)));
  auto* reader = new rpc::StreamReader<v1::WatchCampaignResponse>(
      replicas->HopContext(context, owner),
      [reactor](v1::WatchCampaignResponse&& message) {
        reactor->Push(std::move(*message.mutable_campaign()));
      },
      [replicas, reactor, owner, stub](const grpc::Status& ended) {
        reactor->End(replicas->Explain(ended, owner));
      });
  reader->Start([&](grpc::ClientContext* client, auto* read) {
    stub->async()->WatchCampaign(client, &request, read);
  });
}

grpc::ServerUnaryReactor* Handler::GetWriteBack(grpc::CallbackServerContext* context,
                                                const v1::GetWriteBackRequest* request,
                                                v1::GetWriteBackResponse* response) {
  return AskLane(context, request, response,
                 [=](const CorpDefinitions&, DispatchCore& core, const Now&) {
                   const WriteBack progress = core.commands().Progress(request->corp());
                   response->set_tags_wanted(progress.tags_wanted);
                   response->set_tags_written(progress.tags_written);
                   response->set_tags_refused(progress.tags_refused);
                   response->set_welcomes_requested(progress.welcomes_requested);
                   response->set_welcomes_sent(progress.welcomes_sent);
                   response->set_welcomes_dropped(progress.welcomes_dropped);
                   return absl::OkStatus();
                 });
}

}  // namespace tidegate::dispatch
