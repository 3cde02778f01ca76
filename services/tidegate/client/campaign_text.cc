#include "services/tidegate/client/campaign_text.h"

#include <algorithm>
#include <boost/json.hpp>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "services/tidegate/client/csv.h"
#include "services/tidegate/client/output.h"

namespace tidegate::client {
namespace {

namespace dispatch = tidegate::dispatch::v1;

absl::Status CheckKeys(const boost::json::object& object, absl::string_view where,
                       const std::vector<std::string>& known) {
  for (const auto& entry : object) {
    const std::string key(entry.key());
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return absl::InvalidArgumentError(absl::StrCat(
          where, Quoted(key), " is not a key; known are ", absl::StrJoin(known, ", ")));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> StringAt(const boost::json::object& object, absl::string_view where,
                                     absl::string_view key) {
  const boost::json::value* const value = object.if_contains(JsonText(key));
  if (value == nullptr) return absl::InvalidArgumentError(absl::StrCat(where, key, " is missing"));
  if (!value->is_string()) {
    return absl::InvalidArgumentError(absl::StrCat(where, key, " is not a string"));
  }
  return std::string(value->get_string());
}

std::string ByReason(const google::protobuf::Map<std::string, int64_t>& counts) {
  const std::map<std::string, int64_t> sorted(counts.begin(), counts.end());
  if (sorted.empty()) return "";
  return absl::StrCat(" (", absl::StrJoin(sorted, ", ", absl::PairFormatter(" ")), ")");
}

}  // namespace

absl::StatusOr<dispatch::ContentVariant> ParseVariant(absl::string_view text) {
  std::vector<std::string> parts(1);
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size() && text[i + 1] == '|') {
      parts.back().push_back(text[++i]);
    } else if (text[i] == '|') {
      parts.emplace_back();
    } else {
      parts.back().push_back(text[i]);
    }
  }
  if (parts.size() != 3) {
    return absl::InvalidArgumentError(absl::StrCat(
        "variant ", Quoted(text), " has ", parts.size(), parts.size() == 1 ? " part" : " parts",
        "; write TEXT|LINK_URL|LINK_TITLE, and \\| for a bar in the text"));
  }
  dispatch::ContentVariant variant;
  variant.set_text(parts[0]);
  variant.set_link_url(parts[1]);
  variant.set_link_title(parts[2]);
  return variant;
}

absl::StatusOr<dispatch::CampaignSpec> ParseCampaignFile(absl::string_view json) {
  boost::json::error_code error;
  const boost::json::value root = boost::json::parse(JsonText(json), error);
  if (error) return absl::InvalidArgumentError(absl::StrCat("not JSON: ", error.message()));
  if (!root.is_object()) return absl::InvalidArgumentError("not a JSON object");
  const boost::json::object& object = root.get_object();
  RETURN_IF_ERROR(CheckKeys(object, "", {"campaign_id", "audience", "variants", "reminders"}));
  dispatch::CampaignSpec spec;
  ASSIGN_OR_RETURN(*spec.mutable_campaign_id(), StringAt(object, "", "campaign_id"));
  ASSIGN_OR_RETURN(*spec.mutable_audience_expression(), StringAt(object, "", "audience"));
  const boost::json::value* const variants = object.if_contains("variants");
  if (variants == nullptr || !variants->is_array()) {
    return absl::InvalidArgumentError("variants is not a list of objects");
  }
  for (const boost::json::value& value : variants->get_array()) {
    const std::string where = absl::StrCat("variants[", spec.variants_size(), "]: ");
    if (!value.is_object()) return absl::InvalidArgumentError(absl::StrCat(where, "not an object"));
    RETURN_IF_ERROR(CheckKeys(value.get_object(), where, {"text", "link_url", "link_title"}));
    dispatch::ContentVariant* const variant = spec.add_variants();
    ASSIGN_OR_RETURN(*variant->mutable_text(), StringAt(value.get_object(), where, "text"));
    ASSIGN_OR_RETURN(*variant->mutable_link_url(), StringAt(value.get_object(), where, "link_url"));
    ASSIGN_OR_RETURN(*variant->mutable_link_title(),
                     StringAt(value.get_object(), where, "link_title"));
  }
  if (const boost::json::value* const reminders = object.if_contains("reminders")) {
    const int64_t* const number = reminders->if_int64();
    if (number == nullptr || *number < 0 || *number > UINT32_MAX) {
      return absl::InvalidArgumentError("reminders is not a whole number from 0");
    }
    spec.set_reminders(static_cast<uint32_t>(*number));
  }
  return spec;
}

std::string StateWord(const dispatch::Campaign& campaign) {
  return EnumWord("CAMPAIGN_STATE_", dispatch::CampaignState_Name(campaign.state()));
}

std::string CampaignTable(const dispatch::Campaign& campaign) {
  const auto n = [](int64_t number) { return absl::StrCat(number); };
  std::vector<std::vector<std::string>> pairs = {
      {"campaign", campaign.spec().campaign_id()},
      {"audience", campaign.spec().audience_expression()},
      {"state", StateWord(campaign)},
      {"customers", n(campaign.audience())},
      {"skipped", absl::StrCat(campaign.touches_skipped(), ByReason(campaign.skipped_by_reason()))},
      {"planned", n(campaign.touches_planned())},
      {"accepted", n(campaign.touches_accepted())},
      {"sent", n(campaign.touches_sent())},
      {"failed", absl::StrCat(campaign.touches_failed(), ByReason(campaign.failed_by_reason()))},
      {"unconfirmed", n(campaign.touches_unconfirmed())},
      {"waiting", n(campaign.touches_waiting())},
      {"parked", n(campaign.touches_parked())},
      {"calls", absl::StrCat(campaign.calls(), ": ", campaign.calls_accepted(), " accepted, ",
                             campaign.calls_refused(), " refused, ", campaign.calls_in_doubt(),
                             " in doubt, ", campaign.calls_parked(), " parked")},
      {"reminders", n(campaign.reminders_sent())},
      {"doubts", absl::StrCat(campaign.doubts_opened(), ": ", campaign.doubts_accepted(),
                              " executed, ", campaign.doubts_not_executed(), " not executed")},
  };
  if (!campaign.blocked_reason().empty()) pairs.push_back({"blocked", campaign.blocked_reason()});
  if (campaign.deletions() > 0) pairs.push_back({"removals", n(campaign.deletions())});
  return RenderPairs(pairs);
}

std::string PlanTable(const dispatch::CampaignPlan& plan) {
  int64_t skipped = 0;
  for (const auto& [reason, count] : plan.skipped_by_reason()) skipped += count;
  std::string text = RenderPairs({
      {"customers", absl::StrCat(plan.audience())},
      {"skipped", absl::StrCat(skipped, ByReason(plan.skipped_by_reason()))},
      {"senders", absl::StrCat(plan.senders())},
      {"per variant", absl::StrJoin(plan.customers_per_variant(), ", ")},
      {"calls", absl::StrCat(plan.calls())},
      {"forecast", absl::StrFormat("%.1f s", plan.forecast_seconds())},
      {"decided by", plan.binding_limit().empty() ? "no limit" : plan.binding_limit()},
  });
  if (!plan.needs().empty()) {
    std::vector<std::vector<std::string>> rows;
    for (const dispatch::BucketNeed& need : plan.needs()) {
      rows.push_back({need.bucket(), absl::StrCat(need.needed()), absl::StrCat(need.left())});
    }
    absl::StrAppend(&text, "\n", RenderTable({"BUCKET", "NEEDED", "LEFT"}, rows));
  }
  if (!plan.touches().empty()) {
    std::vector<std::vector<std::string>> rows;
    for (const dispatch::PlannedTouch& touch : plan.touches()) {
      const bool sent = touch.skipped().empty();
      rows.push_back({touch.customer(), sent ? touch.sender() : "-",
                      sent ? absl::StrCat(touch.variant()) : "-", sent ? "-" : touch.skipped()});
    }
    absl::StrAppend(&text, "\n", RenderTable({"CUSTOMER", "SENDER", "VARIANT", "SKIPPED"}, rows));
  }
  return text;
}

std::string TouchTable(const dispatch::GetCampaignTouchResponse& response) {
  const dispatch::PlannedTouch& touch = response.touch();
  std::vector<std::vector<std::string>> pairs = {
      {"customer", touch.customer()},
      {"state", EnumWord("TOUCH_STATE_", dispatch::TouchState_Name(response.state()))}};
  if (!response.reason().empty()) pairs.push_back({"reason", response.reason()});
  if (touch.skipped().empty()) {
    pairs.push_back({"sender", touch.sender()});
    pairs.push_back({"variant", absl::StrCat(touch.variant())});
    pairs.push_back({"call", response.call_id()});
  }
  return RenderPairs(pairs);
}

}  // namespace tidegate::client
