#include "services/dispatch/plan_view.h"

#include <algorithm>
#include <map>
#include <set>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "services/dispatch/message_view.h"

namespace tidegate::dispatch {

namespace v1 = ::tidegate::dispatch::v1;
using ::tidegate::log::v1::CAMPAIGN_PHASE_FREEZING;
using ::tidegate::log::v1::CAMPAIGN_PHASE_UNSPECIFIED;

namespace {

constexpr char kCreate[] = "add_msg_template";
// For the forecast: what a create takes where nothing was measured yet.
constexpr double kForecastLatencySeconds = 0.1;

void CountSkipped(const std::vector<uint32_t>& skipped, const char* reason,
                  v1::CampaignPlan* plan) {
  if (skipped.empty()) return;
  (*plan->mutable_skipped_by_reason())[reason] = static_cast<int64_t>(skipped.size());
}

void AddNeeds(const std::string& corp, int64_t touches, const Now& now, DispatchCore* core,
              v1::CampaignPlan* plan) {
  core->buckets().RouteOf(corp, kCreate);
  for (const BucketRow& row : core->buckets().Rows(corp, now.raw_ns)) {
    if (row.api != kCreate || row.name.empty()) continue;
    v1::BucketNeed* need = plan->add_needs();
    need->set_bucket(row.name);
    need->set_needed(row.cost == wecom_table::Cost::kPersonTimes ? touches : plan->calls());
    need->set_left(row.tokens);
  }
}

// Those that were asked about, in the order of the question.
void AddTouches(const v1::CreateCampaignRequest& request,
                const std::vector<AudienceCustomer>& audience, const Plan& plan,
                v1::CampaignPlan* proto) {
  if (request.explain_customers().empty()) return;
  absl::flat_hash_map<absl::string_view, const AudienceCustomer*> asked;
  for (const std::string& customer : request.explain_customers()) asked.emplace(customer, nullptr);
  for (const AudienceCustomer& customer : audience) {
    const auto found = asked.find(customer.customer);
    if (found != asked.end()) found->second = &customer;
  }
  const auto variants = static_cast<uint32_t>(request.campaign().variants_size());
  for (const std::string& customer : request.explain_customers()) {
    v1::PlannedTouch* touch = proto->add_touches();
    touch->set_customer(customer);
    const AudienceCustomer* known = asked.at(customer);
    if (known == nullptr) {
      touch->set_skipped("not_in_audience");
      continue;
    }
    const auto index = static_cast<uint32_t>(known - audience.data());
    if (known->owner.empty()) {
      touch->set_skipped("no_sender");
    } else if (std::binary_search(plan.skipped_over_quota.begin(), plan.skipped_over_quota.end(),
                                  index)) {
      touch->set_skipped("over_quota");
    } else {
      touch->set_sender(known->owner);
      touch->set_variant(VariantOf(request.campaign().campaign_id(), customer, variants));
    }
  }
}

}  // namespace

v1::CampaignPlan ToPlan(const v1::CreateCampaignRequest& request,
                        const std::vector<AudienceCustomer>& audience, DispatchCore* core,
                        const Now& now) {
  const std::string& corp = request.corp();
  const auto variants = static_cast<uint32_t>(request.campaign().variants_size());
  const ReceiveQuotas& quotas = core->quotas();
  const Plan plan = MakePlan(request.campaign().campaign_id(), audience, variants,
                             quotas.OverQuota(corp, quotas.ModeOf(corp), audience, now.wall_ns));
  v1::CampaignPlan proto;
  proto.set_audience(static_cast<int64_t>(audience.size()));
  CountSkipped(plan.skipped_no_sender, "no_sender", &proto);
  CountSkipped(plan.skipped_over_quota, "over_quota", &proto);
  proto.set_calls(static_cast<int64_t>(plan.calls.size()));
  const Forecast forecast =
      ForecastCalls(core->corp_limits().Of(corp), kCreate, proto.calls(), kForecastLatencySeconds);
  proto.set_forecast_seconds(forecast.seconds);
  proto.set_binding_limit(forecast.binding);
  std::set<std::string> senders;
  std::vector<int64_t> per_variant(variants);
  int64_t touches = 0;
  for (const PlannedBatch& call : plan.calls) {
    senders.insert(call.sender);
    const auto customers = static_cast<int64_t>(call.customers.size());
    per_variant[call.variant] += customers;
    touches += customers;
  }
  proto.set_senders(static_cast<int64_t>(senders.size()));
  for (const int64_t count : per_variant) proto.add_customers_per_variant(count);
  AddNeeds(corp, touches, now, core, &proto);
  AddTouches(request, audience, plan, &proto);
  return proto;
}

absl::Status FindCampaignTouch(const CampaignState* campaign, const std::string& customer,
                               v1::GetCampaignTouchResponse* response) {
  if (campaign == nullptr || campaign->phase == CAMPAIGN_PHASE_UNSPECIFIED ||
      campaign->phase == CAMPAIGN_PHASE_FREEZING) {
    return absl::FailedPreconditionError(
        "the campaign is not planned yet; launch it, or ask CreateCampaign with validate_only");
  }
  if (const int64_t at_ns = campaign->forgotten.time_ns; at_ns != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("the campaign's customers were forgotten at ",
                     absl::FormatTime(absl::FromUnixNanos(at_ns), absl::UTCTimeZone()),
                     " (results.keep_after_ms); GetCampaign has its counts, and the exported "
                     "journal each call"));
  }
  const auto found =
      std::find_if(campaign->audience.begin(), campaign->audience.end(),
                   [&](const AudienceCustomer& each) { return each.customer == customer; });
  if (found == campaign->audience.end()) {
    return absl::NotFoundError("the customer is not in the campaign's audience");
  }
  const auto index = static_cast<uint32_t>(found - campaign->audience.begin());
  v1::PlannedTouch* touch = response->mutable_touch();
  touch->set_customer(customer);
  for (const auto& [batch, call] : campaign->calls) {
    const auto place = std::lower_bound(call.customers.begin(), call.customers.end(), index);
    if (place == call.customers.end() || *place != index) continue;
    const uint8_t status = call.statuses[static_cast<size_t>(place - call.customers.begin())];
    const auto [state, reason] = ToTouchState(StateOfTouch(call, status));
    touch->set_sender(call.sender);
    touch->set_variant(call.variant);
    response->set_state(state);
    response->set_reason(reason);
    response->set_call_id(call.call_id);
    return absl::OkStatus();
  }
  touch->set_skipped(found->owner.empty() ? "no_sender" : "over_quota");
  response->set_state(v1::TOUCH_STATE_SKIPPED);
  response->set_reason(touch->skipped());
  return absl::OkStatus();
}

}  // namespace tidegate::dispatch
