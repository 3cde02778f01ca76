// doubt list|show|resolve: calls that may or may not have taken effect.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/status_macros.h"
#include "services/tidegate/client/output.h"
#include "services/tidegate/client/verbs.h"
#include "tidegate/dispatch/v1/dispatch_service.grpc.pb.h"

namespace tidegate::client {
namespace {

namespace dispatch = tidegate::dispatch::v1;

absl::StatusOr<dispatch::DoubtResolution> ResolutionOf(const std::string& word) {
  if (word == "accepted") return dispatch::DOUBT_RESOLUTION_ACCEPTED;
  if (word == "not-executed") return dispatch::DOUBT_RESOLUTION_NOT_EXECUTED;
  if (word == "abandoned") return dispatch::DOUBT_RESOLUTION_ABANDONED;
  return absl::InvalidArgumentError(
      absl::StrCat("--as ", word, ": write accepted, not-executed or abandoned"));
}

}  // namespace

absl::Status DoubtList(const Client& client, const std::string& corp) {
  const auto stub = dispatch::DispatchService::NewStub(client.connection->To("dispatch"));
  dispatch::ListDoubtsRequest request;
  request.set_corp(corp);
  dispatch::ListDoubtsResponse response;
  RETURN_IF_ERROR(client.connection->Call(
      [&](grpc::ClientContext* context) { return stub->ListDoubts(context, request, &response); }));
  std::vector<std::vector<std::string>> rows;
  for (const dispatch::Doubt& doubt : response.doubts()) {
    rows.push_back({doubt.call_id(), absl::StrCat(doubt.attempt()), doubt.campaign_id(),
                    absl::StrCat(doubt.touches()), doubt.state(),
                    absl::StrFormat("%.1fs", doubt.age_seconds())});
  }
  Print(client, ToJson(response),
        RenderTable({"CALL", "ATTEMPT", "CAMPAIGN", "TOUCHES", "STATE", "AGE"}, rows));
  return absl::OkStatus();
}

absl::Status DoubtShow(const Client& client, const DoubtOptions& options) {
  const auto stub = dispatch::DispatchService::NewStub(client.connection->To("dispatch"));
  dispatch::GetDoubtRequest request;
  request.set_corp(options.corp);
  request.set_call_id(options.call_id);
  dispatch::GetDoubtResponse response;
  RETURN_IF_ERROR(client.connection->Call(
      [&](grpc::ClientContext* context) { return stub->GetDoubt(context, request, &response); }));
  const dispatch::Doubt& doubt = response.doubt();
  const auto or_none = [](const std::string& text) { return text.empty() ? "-" : text; };
  Print(client, ToJson(doubt),
        RenderPairs({{"call", doubt.call_id()},
                     {"campaign", doubt.campaign_id()},
                     {"sender", doubt.sender()},
                     {"touches", absl::StrCat(doubt.touches())},
                     {"attempt", absl::StrCat(doubt.attempt())},
                     {"state", doubt.state()},
                     {"age", absl::StrFormat("%.1fs", doubt.age_seconds())},
                     {"marker", absl::StrCat("tg=", doubt.marker(), " in the link of the task")},
                     {"evidence", or_none(doubt.evidence())},
                     {"not executed, says", or_none(doubt.first_actor())}}));
  return absl::OkStatus();
}

absl::Status DoubtResolve(const Client& client, const DoubtOptions& options) {
  const auto stub = dispatch::DispatchService::NewStub(client.connection->To("dispatch"));
  dispatch::ResolveDoubtRequest request;
  ASSIGN_OR_RETURN(const dispatch::DoubtResolution resolution, ResolutionOf(options.as));
  request.set_corp(options.corp);
  request.set_call_id(options.call_id);
  request.set_attempt(options.attempt);
  request.set_resolution(resolution);
  request.set_msgid(options.msgid);
  request.set_actor(options.actor);
  request.set_reason(options.reason);
  dispatch::ResolveDoubtResponse response;
  RETURN_IF_ERROR(client.connection->Call([&](grpc::ClientContext* context) {
    return stub->ResolveDoubt(context, request, &response);
  }));
  Print(client, ToJson(response),
        absl::StrCat("call ", options.call_id,
                     response.needs_second_actor()
                         ? " is sent again when a second person says the same\n"
                         : absl::StrCat(" is resolved: ", options.as, "\n")));
  return absl::OkStatus();
}

}  // namespace tidegate::client
