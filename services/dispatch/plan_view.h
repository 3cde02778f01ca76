// What a campaign would do, and does, with its customers, as callers see it.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "services/dispatch/core/dispatch_core.h"
#include "tidegate/dispatch/v1/dispatch_service.pb.h"

namespace tidegate::dispatch {

// The plan that a launch would make now. `request`: of CreateCampaign, checked. Changes nothing.
::tidegate::dispatch::v1::CampaignPlan ToPlan(
    const ::tidegate::dispatch::v1::CreateCampaignRequest& request,
    const std::vector<AudienceCustomer>& audience, DispatchCore* core, const Now& now);

// One customer of a launched campaign. NOT_FOUND: not in its audience; FAILED_PRECONDITION: it is
// not planned.
absl::Status FindCampaignTouch(const CampaignState* campaign, const std::string& customer,
                               ::tidegate::dispatch::v1::GetCampaignTouchResponse* response);

}  // namespace tidegate::dispatch
