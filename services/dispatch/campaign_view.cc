#include "services/dispatch/campaign_view.h"

#include "services/dispatch/core/touch_events.h"
#include "services/dispatch/request_checks.h"

namespace tidegate::dispatch {

namespace v1 = ::tidegate::dispatch::v1;
using Phase = CampaignCallState::Phase;
using ::tidegate::log::v1::CAMPAIGN_INTENT_DRAFT;
using ::tidegate::log::v1::CAMPAIGN_INTENT_PAUSE;
using ::tidegate::log::v1::CAMPAIGN_PHASE_COMPLETED;
using ::tidegate::log::v1::CAMPAIGN_PHASE_FREEZING;
using ::tidegate::log::v1::CAMPAIGN_PHASE_UNSPECIFIED;

namespace {

v1::CampaignState StateOf(const ::tidegate::log::v1::Campaign& definition,
                          const CampaignState* state) {
  if (state != nullptr && state->phase == CAMPAIGN_PHASE_COMPLETED)
    return v1::CAMPAIGN_STATE_COMPLETED;
  if (definition.intent() == CAMPAIGN_INTENT_DRAFT) return v1::CAMPAIGN_STATE_DRAFT;
  if (definition.intent() == CAMPAIGN_INTENT_PAUSE) return v1::CAMPAIGN_STATE_PAUSED;
  if (state == nullptr || state->phase == CAMPAIGN_PHASE_UNSPECIFIED ||
      state->phase == CAMPAIGN_PHASE_FREEZING) {
    return v1::CAMPAIGN_STATE_FREEZING;
  }
  return v1::CAMPAIGN_STATE_RUNNING;
}

// Touches that have ended.
void CountEnded(uint8_t status, int64_t count, v1::Campaign* campaign) {
  switch (status) {
    case kTouchSent:
      campaign->set_touches_sent(campaign->touches_sent() + count);
      break;
    case kTouchUnconfirmed:
      campaign->set_touches_unconfirmed(campaign->touches_unconfirmed() + count);
      break;
    default:
      campaign->set_touches_failed(campaign->touches_failed() + count);
      (*campaign->mutable_failed_by_reason())[TouchKindOf(status).second] += count;
      break;
  }
}

void CountTouches(const CampaignCallState& call, v1::Campaign* campaign) {
  for (const uint8_t status : call.statuses) {
    if (status != kTouchOpen) {
      CountEnded(status, 1, campaign);
    } else if (call.phase == Phase::kAccepted) {
      campaign->set_touches_waiting(campaign->touches_waiting() + 1);
    }
    if (call.phase == Phase::kAccepted && status != kTouchFailList) {
      campaign->set_touches_accepted(campaign->touches_accepted() + 1);
    }
    if (call.phase == Phase::kParked) campaign->set_touches_parked(campaign->touches_parked() + 1);
  }
}

void CountSkipped(uint64_t count, const char* reason, v1::Campaign* campaign) {
  if (count == 0) return;
  const auto touches = static_cast<int64_t>(count);
  campaign->set_touches_skipped(campaign->touches_skipped() + touches);
  (*campaign->mutable_skipped_by_reason())[reason] = touches;
}

}  // namespace

v1::CampaignSpec ToSpec(const std::string& campaign_id,
                        const ::tidegate::log::v1::Campaign& definition) {
  v1::CampaignSpec spec;
  spec.set_campaign_id(campaign_id);
  spec.set_audience_expression(definition.audience_expression());
  spec.set_reminders(definition.reminders());
  for (const auto& variant : definition.variants()) {
    auto* added = spec.add_variants();
    added->set_text(variant.text());
    added->set_link_url(variant.link_url());
    added->set_link_title(variant.link_title());
  }
  return spec;
}

v1::Campaign ToCampaign(const std::string& campaign_id,
                        const ::tidegate::log::v1::Campaign& definition,
                        const CampaignState* state) {
  v1::Campaign campaign;
  *campaign.mutable_spec() = ToSpec(campaign_id, definition);
  campaign.set_state(StateOf(definition, state));
  if (state == nullptr) return campaign;
  campaign.set_audience(static_cast<int64_t>(state->AudienceSize()));
  campaign.set_calls(static_cast<int64_t>(state->calls.next()));
  const ForgottenCalls& forgotten = state->forgotten;
  auto accepted = static_cast<int64_t>(forgotten.accepted);
  auto refused = static_cast<int64_t>(forgotten.refused);
  auto reminders = static_cast<int64_t>(forgotten.reminders_sent);
  int64_t in_doubt = 0, parked = 0, planned = 0;
  campaign.set_touches_accepted(static_cast<int64_t>(forgotten.touches_accepted));
  for (uint8_t status = kTouchSent; status < forgotten.touches.size(); ++status) {
    const auto count = static_cast<int64_t>(forgotten.touches[status]);
    planned += count;
    if (count > 0) CountEnded(status, count, &campaign);
  }
  for (const auto& [batch, call] : state->calls) {
    accepted += call.phase == Phase::kAccepted;
    refused += call.phase == Phase::kRefused;
    in_doubt += call.phase == Phase::kDoubt;
    parked += call.phase == Phase::kParked;
    planned += static_cast<int64_t>(call.customers.size());
    reminders += call.reminders.sent;
    CountTouches(call, &campaign);
  }
  campaign.set_calls_accepted(accepted);
  campaign.set_calls_refused(refused);
  campaign.set_calls_in_doubt(in_doubt);
  campaign.set_calls_parked(parked);
  campaign.set_touches_planned(planned);
  campaign.set_reminders_sent(reminders);
  CountSkipped(state->skipped_no_sender, "no_sender", &campaign);
  CountSkipped(state->skipped_over_quota, "over_quota", &campaign);
  if (state->first_attempt_wall_ns != 0) {
    SetTime(state->first_attempt_wall_ns, campaign.mutable_first_attempt_time());
  }
  if (state->last_accepted_wall_ns != 0) {
    SetTime(state->last_accepted_wall_ns, campaign.mutable_last_accepted_time());
  }
  campaign.set_doubts_opened(static_cast<int64_t>(state->doubts_opened));
  campaign.set_doubts_accepted(static_cast<int64_t>(state->doubts_accepted));
  campaign.set_doubts_not_executed(static_cast<int64_t>(state->doubts_not_executed));
  return campaign;
}

v1::Campaign ToCampaign(const CampaignKey& key, const ::tidegate::log::v1::Campaign& definition,
                        const DispatchCore& core, const Now& now) {
  v1::Campaign campaign = ToCampaign(key.second, definition, core.campaigns().Find(key));
  campaign.set_deletions(core.harm().Deletions(key));
  const bool may_send = campaign.state() == v1::CAMPAIGN_STATE_FREEZING ||
                        campaign.state() == v1::CAMPAIGN_STATE_RUNNING;
  if (const auto* block = core.blocks().Find(key, now.wall_ns); block != nullptr && may_send) {
    campaign.set_state(v1::CAMPAIGN_STATE_PAUSED);
    campaign.set_blocked_reason(block->reason());
  }
  return campaign;
}

std::vector<v1::Doubt> ToDoubts(const std::string& campaign_id, const CampaignState& state,
                                const Now& now) {
  std::vector<v1::Doubt> doubts;
  for (const uint32_t batch : state.open) {
    const CampaignCallState& call = state.calls[batch];
    if (call.phase != Phase::kDoubt && call.phase != Phase::kParked) continue;
    v1::Doubt doubt;
    doubt.set_call_id(call.call_id);
    doubt.set_attempt(static_cast<int32_t>(call.attempts));
    doubt.set_campaign_id(campaign_id);
    doubt.set_touches(static_cast<int64_t>(call.customers.size()));
    const bool settling =
        call.doubt.has_value() && call.doubt->pages == 0 && !call.doubt->under_way;
    doubt.set_state(call.phase == Phase::kParked        ? "parked"
                    : call.channel == Channel::kMembers ? "repeating"
                    : settling                          ? "settling"
                                                        : "listing");
    const int64_t since_ns =
        call.doubt.has_value() ? call.doubt->opened_wall_ns : call.attempt_wall_ns;
    doubt.set_age_seconds(static_cast<double>(now.wall_ns - since_ns) * 1e-9);
    doubt.set_sender(call.sender);
    doubt.set_marker(call.marker);
    doubt.set_evidence(call.evidence);
    doubt.set_first_actor(call.first_actor);
    doubts.push_back(std::move(doubt));
  }
  return doubts;
}

}  // namespace tidegate::dispatch
