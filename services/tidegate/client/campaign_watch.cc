// campaign watch: follows the stream until the campaign is over, across restarts of the server.
#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "services/tidegate/client/campaign_text.h"
#include "services/tidegate/client/output.h"
#include "services/tidegate/client/progress.h"
#include "services/tidegate/client/verbs.h"
#include "tidegate/dispatch/v1/dispatch_service.grpc.pb.h"

namespace tidegate::client {
namespace {

namespace dispatch = tidegate::dispatch::v1;

int64_t Ended(const dispatch::Campaign& campaign) {
  return campaign.touches_sent() + campaign.touches_failed() + campaign.touches_unconfirmed() +
         campaign.touches_parked();
}

std::string Note(const dispatch::Campaign& campaign) {
  return absl::StrCat(StateWord(campaign), ", accepted ", campaign.touches_accepted(), ", sent ",
                      campaign.touches_sent());
}

}  // namespace

absl::Status CampaignWatch(const Client& client, const CampaignOptions& options) {
  const auto stub = dispatch::DispatchService::NewStub(client.connection->To("dispatch"));
  dispatch::WatchCampaignRequest request;
  request.set_corp(options.corp);
  request.set_campaign_id(options.id);
  Progress progress(client.err, client.clock,
                    {.label = options.id,
                     .unit = "touches ended",
                     .terminal = client.err_is_terminal,
                     .quiet = client.quiet});
  std::optional<Backoff> backoff;
  while (true) {
    // The stream lasts as long as the campaign: the user ends it, not a deadline.
    grpc::ClientContext context;
    const auto stream = stub->WatchCampaign(&context, request);
    dispatch::WatchCampaignResponse update;
    dispatch::Campaign last;
    while (stream->Read(&update)) {
      last.Swap(update.mutable_campaign());
      progress.Update(Ended(last), last.touches_planned(), Note(last));
      // Patience is per outage.
      backoff.reset();
    }
    absl::Status status = ToAbslStatus(stream->Finish());
    if (status.ok() && last.state() == dispatch::CAMPAIGN_STATE_COMPLETED) {
      progress.Finish();
      Print(client, ToJson(last), CampaignTable(last));
      return absl::OkStatus();
    }
    if (status.ok()) status = absl::UnavailableError("the watch ended before the campaign did");
    if (!backoff.has_value()) backoff.emplace(client.clock, client.connection->options().wait_s);
    if (!absl::IsUnavailable(status) || !backoff->Wait()) {
      progress.Finish();
      return status;
    }
  }
}

}  // namespace tidegate::client
