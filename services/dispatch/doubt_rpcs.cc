// The calls of the handler that are about doubts.
#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/grpc/errors.h"
#include "services/dispatch/campaign_view.h"
#include "services/dispatch/doubt_checks.h"
#include "services/dispatch/handler.h"

namespace tidegate::dispatch {

using ::tidegate::log::v1::CampaignCall;
using ::tidegate::log::v1::DoubtResolved;
using ::tidegate::log::v1::LedgerRecord;
using ::tidegate::log::v1::SETTLEMENT_ABANDONED;
using ::tidegate::log::v1::SETTLEMENT_ACCEPTED;
using ::tidegate::log::v1::SETTLEMENT_NOT_EXECUTED;
namespace v1 = ::tidegate::dispatch::v1;

namespace {

absl::Status NoDoubt() {
  return absl::NotFoundError("the corp has no call in doubt of this id; ListDoubts tells them");
}

// Of the corp, oldest first.
std::vector<v1::Doubt> DoubtsOf(const DispatchCore& core, const std::string& corp, const Now& now) {
  std::vector<v1::Doubt> doubts;
  for (const auto& [key, campaign] : core.campaigns().campaigns()) {
    if (key.first != corp) continue;
    for (v1::Doubt& doubt : ToDoubts(key.second, campaign, now)) doubts.push_back(std::move(doubt));
  }
  std::sort(doubts.begin(), doubts.end(), [](const v1::Doubt& a, const v1::Doubt& b) {
    return a.age_seconds() > b.age_seconds();
  });
  return doubts;
}

std::optional<CampaignCall> FindByCallId(const CampaignBook& book, const std::string& corp,
                                         const std::string& call_id) {
  for (const auto& [key, campaign] : book.campaigns()) {
    if (key.first != corp) continue;
    for (const auto& [batch, call] : campaign.calls) {
      if (call.call_id == call_id) return CallName(key, batch);
    }
  }
  return std::nullopt;
}

}  // namespace

grpc::ServerUnaryReactor* Handler::ListDoubts(grpc::CallbackServerContext* context,
                                              const v1::ListDoubtsRequest* request,
                                              v1::ListDoubtsResponse* response) {
  return AskFolded(context, request, response, [=](DispatchCore& core, const Now& now) {
    for (v1::Doubt& doubt : DoubtsOf(core, request->corp(), now)) {
      *response->add_doubts() = std::move(doubt);
    }
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* Handler::GetDoubt(grpc::CallbackServerContext* context,
                                            const v1::GetDoubtRequest* request,
                                            v1::GetDoubtResponse* response) {
  return AskFolded(context, request, response, [=](DispatchCore& core, const Now& now) {
    for (v1::Doubt& doubt : DoubtsOf(core, request->corp(), now)) {
      if (doubt.call_id() != request->call_id()) continue;
      *response->mutable_doubt() = std::move(doubt);
      return absl::OkStatus();
    }
    return NoDoubt();
  });
}

grpc::ServerUnaryReactor* Handler::ResolveDoubt(grpc::CallbackServerContext* context,
                                                const v1::ResolveDoubtRequest* request,
                                                v1::ResolveDoubtResponse* response) {
  const std::string& corp = request->corp();
  if (edge_.Find(*context, corp) == nullptr) return rpc::Finish(context, rpc::UnknownCorp());
  if (const auto wrong = DoubtFaults(*request); !wrong.empty()) {
    return rpc::Finish(context, rpc::InvalidArgument(wrong));
  }
  if (!lanes_.Owns(corp)) {
    return edge_.replicas->Forward(context, lanes_.NumberOf(corp), request, response);
  }
  LedgerRecord record;
  DoubtResolved* resolved = record.mutable_doubt_resolved();
  resolved->set_attempt(static_cast<uint32_t>(request->attempt()));
  resolved->set_settlement(
      request->resolution() == v1::DOUBT_RESOLUTION_ACCEPTED       ? SETTLEMENT_ACCEPTED
      : request->resolution() == v1::DOUBT_RESOLUTION_NOT_EXECUTED ? SETTLEMENT_NOT_EXECUTED
                                                                   : SETTLEMENT_ABANDONED);
  resolved->set_msgid(request->msgid());
  resolved->set_actor(absl::StrCat(edge_.replicas->CallerOf(*context), "/", request->actor()));
  resolved->set_reason(request->reason());
  auto* reactor = context->DefaultReactor();
  Lane* lane = &lanes_.Of(corp);
  const absl::Time deadline = rpc::DeadlineOf(*context);
  const Clock* const clock = clock_;
  const auto finish = [reactor](const absl::Status& status) {
    reactor->Finish(rpc::ToGrpcStatus(
        status, absl::IsNotFound(status) ? "DOUBT_NOT_FOUND" : "DOUBT_NOT_RESOLVED"));
  };
  const auto resolve = [=](const CampaignBook& book, LedgerRecord wish) {
    const CampaignCall name = wish.doubt_resolved().call();
    const std::string actor = wish.doubt_resolved().actor();
    const auto waits = [&book, name] { return book.FindCall(name)->first_actor; };
    PostUntil(
        lane, clock, deadline,
        [wish] {
          auto input = std::make_unique<OperatorWish>();
          input->record = wish;
          return input;
        },
        [&book, name, actor, waits] {
          const CampaignCallState& call = *book.FindCall(name);
          return call.phase != CampaignCallState::Phase::kParked || waits() == actor;
        },
        [&book, name, response, actor, waits, finish](const absl::Status& status) {
          response->set_needs_second_actor(status.ok() && waits() == actor);
          if (!status.ok() || book.FindCall(name)->resolved_by == actor) return finish(status);
          finish(absl::FailedPreconditionError(
              "another operator has resolved it meanwhile; GetDoubt and the campaign tell how"));
        });
  };
  door_.WhenFolded(
      corp, deadline,
      [=](DispatchCore& core, const Now&) -> absl::Status {
        const auto name = FindByCallId(core.campaigns(), corp, request->call_id());
        if (!name.has_value()) return NoDoubt();
        RETURN_IF_ERROR(MayResolve(*core.campaigns().FindCall(*name), *request,
                                   record.doubt_resolved().actor()));
        LedgerRecord wish = record;
        *wish.mutable_doubt_resolved()->mutable_call() = *name;
        resolve(core.campaigns(), std::move(wish));
        return absl::OkStatus();
      },
      [finish](const absl::Status& status) {
        if (!status.ok()) finish(status);
      });
  return reactor;
}

}  // namespace tidegate::dispatch
