// The calls that make mass sends, of campaigns and of messages, and what became of them.
#include <algorithm>
#include <numeric>
#include <utility>

#include "common/base/check.h"
#include "common/wecom_table/requests.h"
#include "services/dispatch/core/campaign_book.h"
#include "services/dispatch/core/retry_delay.h"

namespace tidegate::dispatch {

using ::tidegate::log::v1::CAMPAIGN_INTENT_RUN;
using ::tidegate::log::v1::CAMPAIGN_PHASE_RUNNING;
using ::tidegate::log::v1::CampaignCall;
using ::tidegate::log::v1::Outcome;
using ::tidegate::log::v1::OUTCOME_CLASS_ACCEPTED;
using ::tidegate::log::v1::OUTCOME_CLASS_DOUBT;
using ::tidegate::log::v1::OUTCOME_CLASS_REFUSED;

using Phase = CampaignCallState::Phase;

namespace {

constexpr int64_t kRetryNs = 200 * kNanosPerMilli;
constexpr int64_t kRetryMaxNs = 30 * kNanosPerSecond;

int64_t Backoff(uint32_t attempts) { return RetryDelayNs(kRetryNs, kRetryMaxNs, attempts); }

// The flow of a campaign's creates.
FlowName CreatesOf(const CampaignKey& key) {
  const FlowKind kind = key.second == "@urgent"        ? FlowKind::kUrgentMessage
                        : key.second == "@interactive" ? FlowKind::kInteractiveMessage
                        : key.second == "@bulk"        ? FlowKind::kBulkMessage
                                                       : FlowKind::kCreate;
  return {.kind = kind, .corp = key.first, .campaign = key.second};
}

}  // namespace

// ---- Creates ----

void CampaignBook::ChangedCreates(const CampaignKey& key) { changed_(CreatesOf(key)); }

void CampaignBook::QueueCreate(const CampaignKey& key, uint32_t batch) {
  CampaignState& campaign = campaigns_[key];
  const CampaignCallState& call = campaign.calls[batch];
  if (call.channel == Channel::kMembers) return QueueApp({key, batch});
  if (call.not_before_raw_ns > 0) {
    campaign.to_send_later.emplace(call.not_before_raw_ns, batch);
  } else {
    campaign.to_send.emplace(call.deadline_wall_ns, batch);
  }
  ChangedCreates(key);
}

bool CampaignBook::TidyCreates(CampaignState* campaign, int64_t raw_ns) {
  auto& later = campaign->to_send_later;
  auto& ready = campaign->to_send;
  for (; !later.empty() && later.begin()->first <= raw_ns; later.erase(later.begin())) {
    const uint32_t batch = later.begin()->second;
    ready.emplace(campaign->calls[batch].deadline_wall_ns, batch);
  }
  for (; !ready.empty(); ready.erase(ready.begin())) {
    const uint32_t batch = ready.begin()->second;
    const CampaignCallState& call = campaign->calls[batch];
    if (call.phase != Phase::kPlanned || call.decided || call.held || AllEnded(call.statuses)) {
      continue;
    }
    if (call.not_before_raw_ns <= raw_ns) return true;
    later.emplace(call.not_before_raw_ns, batch);
  }
  return false;
}

WantedCall CampaignBook::CreateCall(const CampaignKey& key, uint32_t batch) {
  const CampaignState& campaign = campaigns_[key];
  CampaignCallState& call = campaigns_[key].calls[batch];
  call.decided = true;
  WantedCall wanted;
  wanted.corp = key.first;
  wanted.api = ApiOf(FlowKind::kCreate);
  wanted.call_id = call.call_id;
  wanted.attempt = call.attempts + 1;
  *wanted.target.mutable_campaign_call() = CallName(key, batch);
  wanted.marker = call.marker;
  std::vector<std::string> customers;
  customers.reserve(call.customers.size());
  for (size_t i = 0; i < call.customers.size(); ++i) {
    if (call.statuses[i] == kTouchOpen) {
      customers.push_back(campaign.RecipientOf(call, i));
    }
  }
  const ContentVariant& variant = campaign.ContentOf(call);
  wanted.body = wecom_table::AddMsgTemplateBody(
      call.sender, customers, variant.text, wecom_table::WithMarker(variant.link_url, call.marker),
      variant.link_title);
  return wanted;
}

// ---- Messages ----

void CampaignBook::AddMessageCall(const CampaignCall& name, MessageCall message_call) {
  const CampaignKey key = KeyOf(name);
  CampaignState& campaign = campaigns_[key];
  campaign.phase = CAMPAIGN_PHASE_RUNNING;
  campaign.intent = CAMPAIGN_INTENT_RUN;
  CHECK(campaign.calls.next() == name.batch());
  CampaignCallState& call = campaign.calls.Add();
  campaign.open.insert(name.batch());
  call.sender = std::move(message_call.sender);
  call.channel = message_call.channel;
  call.content = std::move(message_call.content);
  call.recipients = std::move(message_call.customers);
  call.customers.resize(call.recipients.size());
  std::iota(call.customers.begin(), call.customers.end(), 0);
  call.statuses.assign(call.customers.size(), kTouchOpen);
  call.counts = message_call.counts;
  call.call_id = CallId(key.first, key.second, name.batch());
  call.marker = Marker(call.call_id);
  call.deadline_wall_ns = message_call.deadline_wall_ns;
  QueueCreate(key, name.batch());
}

bool CampaignBook::MaySkipTouch(const CampaignCall& name) const {
  const CampaignCallState* call = FindCall(name);
  return call != nullptr && call->phase == Phase::kPlanned && !call->decided;
}

void CampaignBook::Hold(const CampaignCall& name) { MutableCall(name)->held = true; }

void CampaignBook::SkipTouch(const CampaignCall& name, uint32_t place, TouchStatus status,
                             int64_t wall_ns) {
  CampaignCallState* call = MutableCall(name);
  CHECK(call != nullptr && call->phase == Phase::kPlanned);
  call->held = false;
  EndTouch({KeyOf(name), name.batch()}, place, status, wall_ns);
  if (AllEnded(call->statuses)) {
    result_queue_.push_back({KeyOf(name), name.batch()});
    // Another call is the first of the flow now.
    if (call->channel == Channel::kMembers) {
      QueueApp({KeyOf(name), name.batch()});
    } else {
      ChangedCreates(KeyOf(name));
    }
  } else {
    QueueCreate(KeyOf(name), name.batch());
  }
}

// ---- What became of creates ----

void CampaignBook::OnCreateOutcome(const CallRef& ref, const AttemptEnd& end) {
  CampaignState& campaign = campaigns_[ref.first];
  CampaignCallState& call = campaign.calls[ref.second];
  if (call.channel == Channel::kMembers) return OnAppOutcome(ref, end);
  const Outcome& outcome = end.outcome;
  call.decided = false;
  switch (outcome.outcome_class()) {
    case OUTCOME_CLASS_ACCEPTED:
      call.phase = Phase::kAccepted;
      call.msgid = outcome.msgid();
      for (const uint32_t index : outcome.fail_list()) {
        if (index >= call.statuses.size()) continue;
        EndTouch(ref, index, kTouchFailList, outcome.completed().wall_ns());
      }
      campaign.last_accepted_wall_ns =
          std::max(campaign.last_accepted_wall_ns, outcome.completed().wall_ns());
      call.results_close_wall_ns = outcome.completed().wall_ns() + limits_->results.close_after_ns;
      if (AllEnded(call.statuses)) {
        result_queue_.push_back(ref);
      } else {
        ScheduleRead(ref, outcome.completed().raw_ns() + limits_->results.first_poll_ns);
        StartReminders(ref, outcome.completed().wall_ns());
      }
      break;
    case OUTCOME_CLASS_REFUSED:
      call.phase = Phase::kRefused;
      EndTouches(ref, kTouchRefused, outcome.completed().wall_ns());
      result_queue_.push_back(ref);
      break;
    case OUTCOME_CLASS_DOUBT:
      OpenDoubt(ref, end.attempt, outcome.completed().raw_ns());
      break;
    default:
      call.phase = Phase::kPlanned;
      // The buckets hold a call back where a limit was hit; the rest waits a little.
      call.not_before_raw_ns = outcome.completed().raw_ns() + Backoff(call.attempts);
      QueueCreate(ref.first, ref.second);
      break;
  }
  QueueProgress(ref.first);
}

}  // namespace tidegate::dispatch
