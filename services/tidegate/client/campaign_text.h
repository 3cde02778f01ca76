// A campaign as people and files write it: the two ways to give one to `campaign create`, and the
// tables that show one. Pure.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tidegate/dispatch/v1/dispatch_service.pb.h"

namespace tidegate::client {

// "TEXT|LINK_URL|LINK_TITLE"; a literal "|" in it is "\|". INVALID_ARGUMENT with what is missing.
absl::StatusOr<tidegate::dispatch::v1::ContentVariant> ParseVariant(absl::string_view text);

// {"campaign_id", "audience", "variants": [{"text", "link_url", "link_title"}], "reminders"}, the
// last of which may be left out. INVALID_ARGUMENT names the wrong, missing or unknown key.
absl::StatusOr<tidegate::dispatch::v1::CampaignSpec> ParseCampaignFile(absl::string_view json);

std::string CampaignTable(const tidegate::dispatch::v1::Campaign& campaign);
// With what it takes of each bucket, and the customers who were asked about.
std::string PlanTable(const tidegate::dispatch::v1::CampaignPlan& plan);
std::string TouchTable(const tidegate::dispatch::v1::GetCampaignTouchResponse& touch);
// "running".
std::string StateWord(const tidegate::dispatch::v1::Campaign& campaign);

}  // namespace tidegate::client
