// The campaigns of one lane in numbers, for its metrics.
#pragma once

#include <map>
#include <string>

#include "services/dispatch/core/block_list.h"
#include "services/dispatch/core/campaign_book.h"
#include "services/dispatch/core/corp_limits.h"

namespace tidegate::dispatch {

struct LaneSummary {
  double doubts_open = 0;
  double doubt_oldest_seconds = 0;
  double doubts_parked = 0;                 // calls
  std::map<std::string, double> campaigns;  // launched ones, by state; every state is there
  // Of campaigns that are not completed, by status; every status is there.
  std::map<std::string, double> touches;
  // Until the last create that is planned can leave, of the corp that needs longest: from full
  // buckets, so a little too early.
  double forecast_seconds = 0;
};

// Of all campaigns that were launched; those that are blocked, or run in the quiet hours of their
// corp, count as paused. Pure.
LaneSummary Summarize(const std::map<CampaignKey, CampaignState>& campaigns,
                      const BlockList& blocks, const CorpLimits& limits, const Now& now);

}  // namespace tidegate::dispatch
