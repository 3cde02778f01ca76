// A campaign as callers see it: counts from the lane's state. Pure.
#pragma once

#include <string>
#include <vector>

#include "services/dispatch/core/campaign_book.h"
#include "services/dispatch/core/dispatch_core.h"
#include "tidegate/dispatch/v1/dispatch_service.pb.h"
#include "tidegate/log/v1/definitions.pb.h"

namespace tidegate::dispatch {

::tidegate::dispatch::v1::CampaignSpec ToSpec(const std::string& campaign_id,
                                              const ::tidegate::log::v1::Campaign& definition);

// `state` is nullptr for a campaign that was never launched.
::tidegate::dispatch::v1::Campaign ToCampaign(const std::string& campaign_id,
                                              const ::tidegate::log::v1::Campaign& definition,
                                              const CampaignState* state);

// As the lane has it: with what blocks it, and who left after its touches.
::tidegate::dispatch::v1::Campaign ToCampaign(const CampaignKey& key,
                                              const ::tidegate::log::v1::Campaign& definition,
                                              const DispatchCore& core, const Now& now);

// Doubts of a campaign, open and parked.
std::vector<::tidegate::dispatch::v1::Doubt> ToDoubts(const std::string& campaign_id,
                                                      const CampaignState& state, const Now& now);

}  // namespace tidegate::dispatch
