// quota list, doubt list, writeback status: what dispatch has left, is unsure of, and has yet to
// do.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/status_macros.h"
#include "services/tidegate/client/output.h"
#include "services/tidegate/client/verbs.h"
#include "tidegate/dispatch/v1/dispatch_service.grpc.pb.h"

namespace tidegate::client {
namespace {

namespace dispatch = tidegate::dispatch::v1;

std::string Seconds(double seconds) { return seconds == 0 ? "-" : absl::StrFormat("%gs", seconds); }

}  // namespace

absl::Status QuotaList(const Client& client, const std::string& corp) {
  const auto stub = dispatch::DispatchService::NewStub(client.connection->To("dispatch"));
  dispatch::ListBucketsRequest request;
  request.set_corp(corp);
  dispatch::ListBucketsResponse response;
  RETURN_IF_ERROR(client.connection->Call([&](grpc::ClientContext* context) {
    return stub->ListBuckets(context, request, &response);
  }));
  std::vector<std::vector<std::string>> rows;
  for (const dispatch::Bucket& bucket : response.buckets()) {
    rows.push_back({bucket.api(), bucket.scope(), Seconds(bucket.window_seconds()),
                    absl::StrCat(bucket.tokens()), absl::StrCat(bucket.capacity()),
                    Seconds(bucket.lockout_seconds())});
  }
  Print(client, ToJson(response),
        RenderTable({"API", "SCOPE", "WINDOW", "LEFT", "CAPACITY", "LOCKOUT"}, rows));
  return absl::OkStatus();
}

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

absl::Status WritebackStatus(const Client& client, const std::string& corp) {
  const auto stub = dispatch::DispatchService::NewStub(client.connection->To("dispatch"));
  dispatch::GetWriteBackRequest request;
  request.set_corp(corp);
  dispatch::GetWriteBackResponse response;
  RETURN_IF_ERROR(client.connection->Call([&](grpc::ClientContext* context) {
    return stub->GetWriteBack(context, request, &response);
  }));
  const auto n = [](int64_t number) { return absl::StrCat(number); };
  Print(client, ToJson(response),
        RenderTable({"", "WANTED", "DONE", "ENDED WITHOUT"},
                    {{"tags", n(response.tags_wanted()), n(response.tags_written()),
                      n(response.tags_refused())},
                     {"welcomes", n(response.welcomes_requested()), n(response.welcomes_sent()),
                      n(response.welcomes_dropped())}}));
  return absl::OkStatus();
}

}  // namespace tidegate::client
