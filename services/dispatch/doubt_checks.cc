#include "services/dispatch/doubt_checks.h"

#include "common/grpc/checks.h"
#include "services/dispatch/request_checks.h"

namespace tidegate::dispatch {

using rpc::FieldViolation;
namespace v1 = ::tidegate::dispatch::v1;

namespace {

constexpr size_t kMsgidBytesMax = 128;

}  // namespace

std::vector<FieldViolation> DoubtFaults(const v1::ResolveDoubtRequest& request) {
  std::vector<FieldViolation> wrong;
  rpc::CheckText("call_id", request.call_id(), kMsgidBytesMax, &wrong);
  CheckAct(request.actor(), request.reason(), &wrong);
  if (request.attempt() < 1) wrong.push_back({"attempt", "write that of the doubt, from 1 on"});
  if (request.resolution() < v1::DOUBT_RESOLUTION_ACCEPTED ||
      request.resolution() > v1::DOUBT_RESOLUTION_ABANDONED) {
    wrong.push_back({"resolution", "write ACCEPTED, NOT_EXECUTED or ABANDONED"});
  }
  if (request.msgid().empty()) return wrong;
  if (request.resolution() == v1::DOUBT_RESOLUTION_ACCEPTED) {
    rpc::CheckText("msgid", request.msgid(), kMsgidBytesMax, &wrong);
  } else {
    wrong.push_back({"msgid", "is of ACCEPTED only; leave it out"});
  }
  return wrong;
}

absl::Status MayResolve(const CampaignCallState& call, const v1::ResolveDoubtRequest& request,
                        const std::string& actor) {
  if (call.phase != CampaignCallState::Phase::kParked ||
      call.attempts != static_cast<uint32_t>(request.attempt())) {
    return absl::FailedPreconditionError(
        "the call is not parked at this attempt; GetDoubt tells where it stands");
  }
  if (call.first_actor == actor) {
    return absl::FailedPreconditionError(
        "this actor has said so before; a second person must say the same");
  }
  // By it the results are read; those of a message to members are not.
  if (request.resolution() == v1::DOUBT_RESOLUTION_ACCEPTED && request.msgid().empty() &&
      call.channel == Channel::kCustomers) {
    return absl::InvalidArgumentError(
        "msgid: write the id of the task at WeCom; only of a message to members it is left out");
  }
  return absl::OkStatus();
}

}  // namespace tidegate::dispatch
