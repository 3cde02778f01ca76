// campaign create|plan|explain|launch|pause|resume|report|list. Watching is in campaign_watch.cc.
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/tidegate/client/campaign_text.h"
#include "services/tidegate/client/mutation.h"
#include "services/tidegate/client/output.h"
#include "services/tidegate/client/paging.h"
#include "services/tidegate/client/text_file.h"
#include "services/tidegate/client/verbs.h"
#include "tidegate/dispatch/v1/dispatch_service.grpc.pb.h"

namespace tidegate::client {
namespace {

namespace dispatch = tidegate::dispatch::v1;

constexpr size_t kFileBytesMax = 1 << 20;

absl::StatusOr<dispatch::CampaignSpec> ReadCampaignFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kFileBytesMax));
  absl::StatusOr<dispatch::CampaignSpec> spec = ParseCampaignFile(text);
  if (spec.ok()) return spec;
  return absl::Status(spec.status().code(), absl::StrCat(path, ": ", spec.status().message()));
}

absl::StatusOr<dispatch::CampaignSpec> SpecOf(const CampaignCreateOptions& options) {
  if (!options.file.empty()) return ReadCampaignFile(options.file);
  dispatch::CampaignSpec spec;
  spec.set_campaign_id(options.id);
  spec.set_audience_expression(options.audience);
  spec.set_reminders(options.reminders);
  for (const std::string& text : options.variants) {
    ASSIGN_OR_RETURN(*spec.add_variants(), ParseVariant(text));
  }
  return spec;
}

// Launch, pause and resume look alike but for the type of their messages.
template <typename Request, typename Response, typename Rpc>
absl::Status Change(const Client& client, const CampaignOptions& options, Request request,
                    absl::string_view op, absl::string_view done, const Rpc& rpc) {
  const auto stub = dispatch::DispatchService::NewStub(client.connection->To("dispatch"));
  request.set_corp(options.corp);
  request.set_campaign_id(options.id);
  request.set_request_id(RequestIdOr(options.request_id));
  Response response;
  RETURN_IF_ERROR(Mutate(
      client, op, request.request_id(), options.id,
      [&](grpc::ClientContext* context) { return rpc(*stub, context, request, &response); }));
  Print(client,
        boost::json::object{{"campaign_id", options.id},
                            {"corp_revision", response.corp_revision()},
                            {"request_id", request.request_id()}},
        absl::StrCat("campaign ", options.id, " is ", done, "\n"));
  return absl::OkStatus();
}

}  // namespace

absl::Status CampaignCreate(const Client& client, const CampaignCreateOptions& options) {
  const auto stub = dispatch::DispatchService::NewStub(client.connection->To("dispatch"));
  dispatch::CreateCampaignRequest request;
  ASSIGN_OR_RETURN(*request.mutable_campaign(), SpecOf(options));
  request.set_corp(options.corp);
  request.set_validate_only(options.validate_only);
  request.set_request_id(RequestIdOr(options.request_id));
  dispatch::CreateCampaignResponse response;
  const auto rpc = [&](grpc::ClientContext* context) {
    return stub->CreateCampaign(context, request, &response);
  };
  const std::string& id = request.campaign().campaign_id();
  if (options.validate_only) {
    RETURN_IF_ERROR(client.connection->Call(rpc));
  } else {
    RETURN_IF_ERROR(Mutate(client, "create_campaign", request.request_id(), id, rpc));
  }
  boost::json::object json = ToJson(response).as_object();
  json["request_id"] = request.request_id();
  std::string table = response.has_plan() ? PlanTable(response.plan()) : "";
  absl::StrAppend(&table, "campaign ", id,
                  options.validate_only ? " is valid; nothing was stored\n"
                                        : " is a draft; launch it to send\n");
  Print(client, json, table);
  return absl::OkStatus();
}

absl::Status CampaignPlan(const Client& client, const CampaignCreateOptions& options) {
  const auto stub = dispatch::DispatchService::NewStub(client.connection->To("dispatch"));
  dispatch::CreateCampaignRequest request;
  ASSIGN_OR_RETURN(*request.mutable_campaign(), SpecOf(options));
  request.set_corp(options.corp);
  request.set_validate_only(true);
  request.mutable_explain_customers()->Assign(options.explain.begin(), options.explain.end());
  dispatch::CreateCampaignResponse response;
  RETURN_IF_ERROR(client.connection->Call([&](grpc::ClientContext* context) {
    return stub->CreateCampaign(context, request, &response);
  }));
  Print(client, ToJson(response.plan()), PlanTable(response.plan()));
  return absl::OkStatus();
}

absl::Status CampaignExplain(const Client& client, const CampaignOptions& options) {
  const auto stub = dispatch::DispatchService::NewStub(client.connection->To("dispatch"));
  dispatch::GetCampaignTouchRequest request;
  request.set_corp(options.corp);
  request.set_campaign_id(options.id);
  request.set_customer(options.customer);
  dispatch::GetCampaignTouchResponse response;
  RETURN_IF_ERROR(client.connection->Call([&](grpc::ClientContext* context) {
    return stub->GetCampaignTouch(context, request, &response);
  }));
  Print(client, ToJson(response), TouchTable(response));
  return absl::OkStatus();
}

absl::Status CampaignLaunch(const Client& client, const CampaignOptions& options) {
  return Change<dispatch::LaunchCampaignRequest, dispatch::LaunchCampaignResponse>(
      client, options, {}, "launch_campaign", "launched",
      [](auto& stub, auto... arguments) { return stub.LaunchCampaign(arguments...); });
}

absl::Status CampaignPause(const Client& client, const CampaignOptions& options) {
  dispatch::PauseCampaignRequest request;
  request.set_reason(options.reason);
  return Change<dispatch::PauseCampaignRequest, dispatch::PauseCampaignResponse>(
      client, options, std::move(request), "pause_campaign", "paused",
      [](auto& stub, auto... arguments) { return stub.PauseCampaign(arguments...); });
}

absl::Status CampaignResume(const Client& client, const CampaignOptions& options) {
  dispatch::ResumeCampaignRequest request;
  request.set_reason(options.reason);
  return Change<dispatch::ResumeCampaignRequest, dispatch::ResumeCampaignResponse>(
      client, options, std::move(request), "resume_campaign", "resumed",
      [](auto& stub, auto... arguments) { return stub.ResumeCampaign(arguments...); });
}

absl::Status CampaignReport(const Client& client, const CampaignOptions& options) {
  const auto stub = dispatch::DispatchService::NewStub(client.connection->To("dispatch"));
  dispatch::GetCampaignRequest request;
  request.set_corp(options.corp);
  request.set_campaign_id(options.id);
  dispatch::GetCampaignResponse response;
  RETURN_IF_ERROR(client.connection->Call([&](grpc::ClientContext* context) {
    return stub->GetCampaign(context, request, &response);
  }));
  Print(client, ToJson(response.campaign()), CampaignTable(response.campaign()));
  return absl::OkStatus();
}

absl::Status CampaignList(const Client& client, const std::string& corp) {
  const auto stub = dispatch::DispatchService::NewStub(client.connection->To("dispatch"));
  boost::json::array json;
  std::vector<std::vector<std::string>> rows;
  RETURN_IF_ERROR((ForEachPage<dispatch::ListCampaignsRequest, dispatch::ListCampaignsResponse>(
      *client.connection, corp,
      [&](auto... arguments) { return stub->ListCampaigns(arguments...); },
      [&](const dispatch::ListCampaignsResponse& page) {
        for (const dispatch::Campaign& campaign : page.campaigns()) {
          json.push_back(ToJson(campaign));
          rows.push_back(
              {campaign.spec().campaign_id(), StateWord(campaign),
               absl::StrCat(campaign.touches_planned()), absl::StrCat(campaign.touches_accepted()),
               absl::StrCat(campaign.touches_sent()), absl::StrCat(campaign.touches_failed()),
               campaign.spec().audience_expression()});
        }
      })));
  Print(client, boost::json::object{{"campaigns", std::move(json)}},
        RenderTable({"CAMPAIGN", "STATE", "PLANNED", "ACCEPTED", "SENT", "FAILED", "AUDIENCE"},
                    rows));
  return absl::OkStatus();
}

}  // namespace tidegate::client
