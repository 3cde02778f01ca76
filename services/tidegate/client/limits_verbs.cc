// quota limits set|show: limits that a corp has of its own.
#include <google/protobuf/util/json_util.h>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/status_macros.h"
#include "services/tidegate/client/output.h"
#include "services/tidegate/client/quota_verbs.h"
#include "services/tidegate/client/text_file.h"
#include "tidegate/dispatch/v1/quota_service.grpc.pb.h"

namespace tidegate::client {
namespace {

namespace dispatch = tidegate::dispatch::v1;

constexpr size_t kFileBytesMax = 1 << 20;

std::string WindowOf(const common::v1::WindowLimit& window) {
  return window.calendar().empty()
             ? absl::StrCat(static_cast<double>(window.window_ms()) / 1000, "s")
             : window.calendar();
}

std::string LimitsTable(const dispatch::GetLimitsResponse& response) {
  const common::v1::CorpLimits& limits = response.limits();
  if (!response.has_time()) return "nothing was set; the deployment's limits hold\n";
  std::vector<std::vector<std::string>> rows;
  for (const auto& window : limits.windows()) {
    rows.push_back({window.api(), window.scope().empty() ? "corp" : window.scope(),
                    WindowOf(window), absl::StrCat(window.amount()),
                    window.cost().empty() ? "calls" : window.cost()});
  }
  for (const auto& limit : limits.in_flight()) {
    rows.push_back({limit.api(), "in_flight", "-", absl::StrCat(limit.amount()), "calls"});
  }
  std::vector<std::vector<std::string>> pairs;
  if (limits.receive_quota() != common::v1::RECEIVE_QUOTA_UNSPECIFIED) {
    pairs.push_back({"receive quota", EnumWord("RECEIVE_QUOTA_", common::v1::ReceiveQuota_Name(
                                                                     limits.receive_quota()))});
  }
  if (limits.has_quiet_hours()) {
    pairs.push_back({"quiet hours",
                     absl::StrCat(limits.quiet_hours().from(), " to ", limits.quiet_hours().to())});
  }
  if (limits.weight() > 0) pairs.push_back({"weight", absl::StrCat(limits.weight())});
  pairs.push_back({"set by", response.actor()});
  pairs.push_back({"reason", response.reason()});
  pairs.push_back(
      {"time", absl::FormatTime(absl::RFC3339_sec, absl::FromUnixSeconds(response.time().seconds()),
                                absl::UTCTimeZone())});
  const std::string table =
      rows.empty() ? "" : RenderTable({"API", "SCOPE", "WINDOW", "AMOUNT", "COUNTS"}, rows);
  return absl::StrCat(table, RenderPairs(pairs));
}

}  // namespace

absl::Status LimitsSet(const Client& client, const LimitsOptions& options) {
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(options.file, kFileBytesMax));
  dispatch::SetLimitsRequest request;
  const auto parsed = google::protobuf::util::JsonStringToMessage(text, request.mutable_limits());
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.file, ": ", std::string(parsed.message())));
  }
  request.set_corp(options.corp);
  request.set_reason(options.reason);
  request.set_actor(options.actor);
  const auto stub = dispatch::QuotaService::NewStub(client.connection->To("dispatch"));
  dispatch::SetLimitsResponse response;
  RETURN_IF_ERROR(client.connection->Call(
      [&](grpc::ClientContext* context) { return stub->SetLimits(context, request, &response); }));
  Print(client, ToJson(request), absl::StrCat("the limits of ", options.corp, " are set\n"));
  return absl::OkStatus();
}

absl::Status LimitsShow(const Client& client, const std::string& corp) {
  const auto stub = dispatch::QuotaService::NewStub(client.connection->To("dispatch"));
  dispatch::GetLimitsRequest request;
  request.set_corp(corp);
  dispatch::GetLimitsResponse response;
  RETURN_IF_ERROR(client.connection->Call(
      [&](grpc::ClientContext* context) { return stub->GetLimits(context, request, &response); }));
  Print(client, ToJson(response), LimitsTable(response));
  return absl::OkStatus();
}

}  // namespace tidegate::client
