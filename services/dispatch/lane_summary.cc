#include "services/dispatch/lane_summary.h"

#include <algorithm>

#include "common/wecom_table/quiet_hours.h"
#include "services/dispatch/core/bucket_set.h"

namespace tidegate::dispatch {
namespace {

using Phase = CampaignCallState::Phase;
using ::tidegate::log::v1::CAMPAIGN_INTENT_PAUSE;
using ::tidegate::log::v1::CAMPAIGN_PHASE_COLLECTING;
using ::tidegate::log::v1::CAMPAIGN_PHASE_COMPLETED;
using ::tidegate::log::v1::CAMPAIGN_PHASE_RUNNING;

// What a create takes when nothing else is known.
constexpr double kLatencySeconds = 0.1;

const char* StateOf(const CampaignState& campaign, bool blocked, bool quiet) {
  if (campaign.phase == CAMPAIGN_PHASE_COMPLETED) return "completed";
  if (campaign.intent == CAMPAIGN_INTENT_PAUSE) return "paused";
  if (campaign.phase == CAMPAIGN_PHASE_COLLECTING) return "collecting";
  if (blocked) return "paused";
  if (campaign.phase != CAMPAIGN_PHASE_RUNNING) return "freezing";
  return quiet ? "paused" : "running";
}

const char* StatusOf(const CampaignCallState& call, uint8_t touch) {
  if (call.phase == Phase::kParked) return "parked";
  switch (touch) {
    case kTouchOpen:
      return "open";
    case kTouchSent:
      return "sent";
    case kTouchUnconfirmed:
      return "unconfirmed";
    default:
      return "failed";
  }
}

}  // namespace

LaneSummary Summarize(const std::map<CampaignKey, CampaignState>& campaigns,
                      const BlockList& blocks, const CorpLimits& limits, const Now& now) {
  LaneSummary summary;
  for (const char* state : {"freezing", "running", "paused", "collecting", "completed"}) {
    summary.campaigns[state] = 0;
  }
  for (const char* status : {"open", "sent", "failed", "unconfirmed", "skipped", "parked"}) {
    summary.touches[status] = 0;
  }
  std::map<std::string, int64_t> creates_left;  // by corp
  for (const auto& [key, campaign] : campaigns) {
    // Those of messages are endless, and no campaigns.
    if (!IsMessageCampaign(key.second)) {
      const bool blocked = blocks.Find(key, now.wall_ns) != nullptr;
      const auto& hours = limits.Of(key.first).quiet_hours;
      const bool quiet = wecom_table::QuietUntilNs(hours, now.wall_ns, /*ahead_ns=*/0).has_value();
      ++summary.campaigns[StateOf(campaign, blocked, quiet)];
    }
    const bool completed = campaign.phase == CAMPAIGN_PHASE_COMPLETED;
    if (!completed) {
      summary.touches["skipped"] +=
          static_cast<double>(campaign.skipped_no_sender + campaign.skipped_over_quota);
    }
    for (const uint32_t batch : campaign.open) {
      const CampaignCallState& call = campaign.calls[batch];
      summary.doubts_parked += call.phase == Phase::kParked;
      if (call.phase == Phase::kDoubt) {
        ++summary.doubts_open;
        summary.doubt_oldest_seconds =
            std::max(summary.doubt_oldest_seconds,
                     static_cast<double>(now.wall_ns - call.doubt->opened_wall_ns) * 1e-9);
      }
      creates_left[key.first] += !completed && call.phase == Phase::kPlanned;
    }
    if (completed) continue;
    const auto count = [&](const CampaignCallState& call) {
      for (const uint8_t touch : call.statuses) ++summary.touches[StatusOf(call, touch)];
    };
    if (IsMessageCampaign(key.second)) {
      for (const uint32_t batch : campaign.open) count(campaign.calls[batch]);
    } else {
      for (const auto& [batch, call] : campaign.calls) count(call);
    }
  }
  for (const auto& [corp, calls] : creates_left) {
    if (calls == 0) continue;
    const Forecast forecast =
        ForecastCalls(limits.Of(corp), "add_msg_template", calls, kLatencySeconds);
    summary.forecast_seconds = std::max(summary.forecast_seconds, forecast.seconds);
  }
  return summary;
}

}  // namespace tidegate::dispatch
