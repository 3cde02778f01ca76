// quota list|watch|acquire|release, block set|end|list, writeback status: what dispatch has left,
// must not do, and has yet to do.
#include "services/tidegate/client/quota_verbs.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/status_macros.h"
#include "services/tidegate/client/output.h"
#include "services/tidegate/client/verbs.h"
#include "tidegate/dispatch/v1/dispatch_service.grpc.pb.h"
#include "tidegate/dispatch/v1/quota_service.grpc.pb.h"

namespace tidegate::client {
namespace {

namespace dispatch = tidegate::dispatch::v1;

std::string Seconds(double seconds) { return seconds == 0 ? "-" : absl::StrFormat("%gs", seconds); }

// Of ListBuckets and WatchUsage.
template <typename Response>
void PrintBuckets(const Client& client, const Response& response) {
  std::vector<std::vector<std::string>> rows;
  for (const dispatch::Bucket& bucket : response.buckets()) {
    rows.push_back({bucket.api(), bucket.scope(), Seconds(bucket.window_seconds()), bucket.cost(),
                    absl::StrCat(bucket.tokens()), absl::StrCat(bucket.capacity()),
                    bucket.configured() == 0 ? "-" : absl::StrCat(bucket.configured()),
                    Seconds(bucket.lockout_seconds())});
  }
  Print(
      client, ToJson(response),
      RenderTable({"API", "SCOPE", "WINDOW", "COUNTS", "LEFT", "CAPACITY", "CONFIGURED", "LOCKOUT"},
                  rows));
}

}  // namespace

absl::Status QuotaList(const Client& client, const std::string& corp) {
  const auto stub = dispatch::QuotaService::NewStub(client.connection->To("dispatch"));
  dispatch::ListBucketsRequest request;
  request.set_corp(corp);
  dispatch::ListBucketsResponse response;
  RETURN_IF_ERROR(client.connection->Call([&](grpc::ClientContext* context) {
    return stub->ListBuckets(context, request, &response);
  }));
  PrintBuckets(client, response);
  return absl::OkStatus();
}

absl::Status QuotaWatch(const Client& client, const std::string& corp) {
  const auto stub = dispatch::QuotaService::NewStub(client.connection->To("dispatch"));
  dispatch::WatchUsageRequest request;
  request.set_corp(corp);
  std::optional<Backoff> backoff;
  while (true) {
    grpc::ClientContext context;
    const auto stream = stub->WatchUsage(&context, request);
    dispatch::WatchUsageResponse usage;
    while (stream->Read(&usage)) {
      PrintBuckets(client, usage);
      client.out->flush();
      backoff.reset();
    }
    const absl::Status status = ToAbslStatus(stream->Finish());
    if (!backoff.has_value()) backoff.emplace(client.clock, client.connection->options().wait_s);
    if (!absl::IsUnavailable(status) || !backoff->Wait()) return status;
  }
}

absl::Status QuotaAcquire(const Client& client, const GrantOptions& options) {
  const auto stub = dispatch::QuotaService::NewStub(client.connection->To("dispatch"));
  dispatch::AcquireRequest request;
  request.set_corp(options.corp);
  request.set_api(options.api);
  request.set_grant(options.grant);
  request.set_calls(options.calls);
  request.set_actor(options.actor);
  request.set_lease_seconds(options.lease_s);
  dispatch::AcquireResponse response;
  RETURN_IF_ERROR(client.connection->Call(
      [&](grpc::ClientContext* context) { return stub->Acquire(context, request, &response); }));
  const absl::Time until = absl::FromUnixSeconds(response.until().seconds()) +
                           absl::Nanoseconds(response.until().nanos());
  Print(client, ToJson(response),
        absl::StrCat("no call of grant ", options.grant, " may begin after ",
                     absl::FormatTime(absl::RFC3339_full, until, absl::UTCTimeZone()), "\n"));
  return absl::OkStatus();
}

absl::Status QuotaRelease(const Client& client, const GrantOptions& options) {
  const auto stub = dispatch::QuotaService::NewStub(client.connection->To("dispatch"));
  dispatch::ReleaseRequest request;
  request.set_corp(options.corp);
  request.set_grant(options.grant);
  request.set_used(options.used);
  request.set_rate_limited(options.rate_limited);
  dispatch::ReleaseResponse response;
  RETURN_IF_ERROR(client.connection->Call(
      [&](grpc::ClientContext* context) { return stub->Release(context, request, &response); }));
  Print(client, ToJson(request), absl::StrCat("grant ", options.grant, " has ended\n"));
  return absl::OkStatus();
}

namespace {

template <typename Request>
Request ChangeOf(const BlockOptions& options) {
  Request request;
  request.set_corp(options.corp);
  request.set_campaign_id(options.campaign);
  request.set_reason(options.reason);
  request.set_actor(options.actor);
  return request;
}

std::string Scope(const BlockOptions& options) {
  if (options.corp == "*") return "everything";
  return options.campaign.empty()
             ? options.corp
             : absl::StrCat("campaign ", options.campaign, " of ", options.corp);
}

}  // namespace

absl::Status BlockSet(const Client& client, const BlockOptions& options) {
  const auto stub = dispatch::QuotaService::NewStub(client.connection->To("dispatch"));
  auto request = ChangeOf<dispatch::BlockRequest>(options);
  if (options.for_s > 0) {
    const absl::Time until = absl::Now() + absl::Seconds(options.for_s);
    request.mutable_until()->set_seconds(absl::ToUnixSeconds(until));
  }
  dispatch::BlockResponse response;
  RETURN_IF_ERROR(client.connection->Call(
      [&](grpc::ClientContext* context) { return stub->Block(context, request, &response); }));
  Print(client, ToJson(request), absl::StrCat("nothing of ", Scope(options), " leaves any more\n"));
  return absl::OkStatus();
}

absl::Status BlockEnd(const Client& client, const BlockOptions& options) {
  const auto stub = dispatch::QuotaService::NewStub(client.connection->To("dispatch"));
  const auto request = ChangeOf<dispatch::UnblockRequest>(options);
  dispatch::UnblockResponse response;
  RETURN_IF_ERROR(client.connection->Call(
      [&](grpc::ClientContext* context) { return stub->Unblock(context, request, &response); }));
  Print(client, ToJson(request), absl::StrCat(Scope(options), " may leave again\n"));
  return absl::OkStatus();
}

absl::Status BlockShow(const Client& client, const std::string& corp) {
  const auto stub = dispatch::QuotaService::NewStub(client.connection->To("dispatch"));
  dispatch::ListBlocksRequest request;
  request.set_corp(corp);
  dispatch::ListBlocksResponse response;
  RETURN_IF_ERROR(client.connection->Call(
      [&](grpc::ClientContext* context) { return stub->ListBlocks(context, request, &response); }));
  std::vector<std::vector<std::string>> rows;
  for (const dispatch::SendingBlock& block : response.blocks()) {
    const std::string until =
        block.has_until()
            ? absl::FormatTime(absl::RFC3339_sec, absl::FromUnixSeconds(block.until().seconds()),
                               absl::UTCTimeZone())
            : "-";
    rows.push_back({block.corp(), block.campaign_id().empty() ? "*" : block.campaign_id(),
                    block.actor(), until, block.reason()});
  }
  Print(client, ToJson(response),
        RenderTable({"CORP", "CAMPAIGN", "ACTOR", "UNTIL", "REASON"}, rows));
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
