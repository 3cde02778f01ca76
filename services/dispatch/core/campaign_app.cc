// Messages of a corp's app to its members: an accepted call is their end. WeCom drops a repeat of
// the same bytes for a time, so a call in doubt is repeated byte by
// byte, and is left to an operator when that time is about to end.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/wecom_table/requests.h"
#include "services/dispatch/core/campaign_book.h"
#include "services/dispatch/core/retry_delay.h"

namespace tidegate::dispatch {

using ::tidegate::log::v1::Attempt;
using ::tidegate::log::v1::CampaignCall;
using ::tidegate::log::v1::LedgerRecord;
using ::tidegate::log::v1::OUTCOME_CLASS_ACCEPTED;
using ::tidegate::log::v1::OUTCOME_CLASS_DOUBT;
using ::tidegate::log::v1::OUTCOME_CLASS_REFUSED;
using ::tidegate::log::v1::Settled;
using ::tidegate::log::v1::SETTLEMENT_PARKED;

using Phase = CampaignCallState::Phase;

namespace {

constexpr int64_t kRepeatNs = 200 * kNanosPerMilli;
constexpr int64_t kRepeatMaxNs = 30 * kNanosPerSecond;

int64_t Backoff(uint32_t attempts) { return RetryDelayNs(kRepeatNs, kRepeatMaxNs, attempts); }

FlowName AppFlowOf(const CampaignKey& key) {
  const FlowKind kind = key.second == "@urgent"        ? FlowKind::kUrgentAppMessage
                        : key.second == "@interactive" ? FlowKind::kInteractiveAppMessage
                                                       : FlowKind::kBulkAppMessage;
  return {.kind = kind, .corp = key.first, .campaign = key.second};
}

// How old the first attempt in doubt is, by the clock that says most: a clock that jumps must not
// make it younger.
int64_t AgeNs(const DoubtState& doubt, const Now& now) {
  const int64_t by_wall = now.wall_ns - doubt.opened_wall_ns;
  if (doubt.opened_boot_ns != kNever) {
    return std::max(by_wall, now.boot_ns - doubt.opened_boot_ns);
  }
  // After another boot there is the wall clock alone; if it went back it tells nothing.
  return by_wall >= 0 ? by_wall : kNever;
}

// Members to whom the call goes.
uint32_t OpenOf(const CampaignCallState& call) {
  return static_cast<uint32_t>(
      std::count(call.statuses.begin(), call.statuses.end(), static_cast<uint8_t>(kTouchOpen)));
}

// Whether an entry of the doubts is about this one.
bool WaitsAs(const CampaignCallState& call, int64_t opened_wall_ns) {
  return call.phase == Phase::kDoubt &&
         (!call.doubt->unrepeatable.empty() || call.doubt->opened_wall_ns == opened_wall_ns);
}

}  // namespace

// ---- Which call leaves next ----

void CampaignBook::QueueApp(const CallRef& ref) {
  CampaignState& campaign = campaigns_[ref.first];
  const CampaignCallState& call = campaign.calls[ref.second];
  if (call.phase == Phase::kDoubt) {
    campaign.app_to_send_later.emplace(call.doubt->next_raw_ns, ref.second);
    app_doubts_.emplace(call.doubt->opened_wall_ns, ref);
  } else {
    campaign.app_to_send_later.emplace(call.not_before_raw_ns, ref.second);
  }
  changed_(AppFlowOf(ref.first));
}

bool CampaignBook::MayRepeat(const DoubtState& doubt, const Now& now) const {
  const auto& app = limits_->app_messages;
  return doubt.unrepeatable.empty() &&
         AgeNs(doubt, now) < app.duplicate_check_ns - app.repeat_margin_ns;
}

void CampaignBook::Unrepeatable(const CallRef& ref, const char* why) {
  CallAt(ref).doubt->unrepeatable = why;
  app_doubts_.emplace(0, ref);
}

bool CampaignBook::IsTooLarge(const std::string& corp, const CampaignCallState& call) const {
  if (corp_limits_ == nullptr) return false;
  return OpenOf(call) > corp_limits_->PeopleMax(corp, ApiOf(FlowKind::kBulkAppMessage));
}

bool CampaignBook::TidyApp(const CampaignKey& key, const Now& now) {
  CampaignState* campaign = &campaigns_.at(key);
  auto& later = campaign->app_to_send_later;
  auto& ready = campaign->app_to_send;
  for (; !later.empty() && later.begin()->first <= now.raw_ns; later.erase(later.begin())) {
    const uint32_t batch = later.begin()->second;
    ready.emplace(campaign->calls[batch].deadline_wall_ns, batch);
  }
  for (; !ready.empty(); ready.erase(ready.begin())) {
    const uint32_t batch = ready.begin()->second;
    const CampaignCallState& call = campaign->calls[batch];
    const bool first = call.phase == Phase::kPlanned && !call.held && !AllEnded(call.statuses);
    // One that may not be repeated any more is parked.
    const bool again = call.phase == Phase::kDoubt && !call.doubt->under_way &&
                       MayRepeat(*call.doubt, now) && now.wall_ns < call.deadline_wall_ns;
    if (call.decided || !(first || again)) continue;
    if (IsTooLarge(key.first, call)) {
      if (first) {
        too_large_.insert({key, batch});
      } else {
        Unrepeatable({key, batch}, "it is for more people than the limits let through at once");
      }
      continue;
    }
    const int64_t from = first ? call.not_before_raw_ns : call.doubt->next_raw_ns;
    if (from <= now.raw_ns) return true;
    later.emplace(from, batch);
  }
  return false;
}

std::optional<CampaignCall> CampaignBook::NextTooLarge() {
  while (!too_large_.empty()) {
    const CallRef ref = too_large_.extract(too_large_.begin()).value();
    const CampaignCallState& call = CallAt(ref);
    if (call.phase != Phase::kPlanned || call.decided || call.held || AllEnded(call.statuses)) {
      continue;
    }
    if (IsTooLarge(ref.first.first, call)) return CallName(ref.first, ref.second);
    QueueApp(ref);
  }
  return std::nullopt;
}

std::optional<FlowHead> CampaignBook::AppHead(const CampaignKey& key, const Now& now) {
  const CampaignState* campaign = &campaigns_.at(key);
  if (TidyApp(key, now)) {
    const auto& [deadline_ns, batch] = *campaign->app_to_send.begin();
    return FlowHead{.deadline_ns = deadline_ns, .person_times = OpenOf(campaign->calls[batch])};
  }
  if (campaign->app_to_send_later.empty()) return std::nullopt;
  const auto& [not_before, batch] = *campaign->app_to_send_later.begin();
  const CampaignCallState& call = campaign->calls[batch];
  return FlowHead{.not_before_raw_ns = not_before,
                  .deadline_ns = call.deadline_wall_ns,
                  // Not held back for people it can never have: its turn finds out.
                  .person_times = IsTooLarge(key.first, call) ? 0 : OpenOf(call)};
}

std::optional<WantedCall> CampaignBook::AppCall(const CampaignKey& key, const Now&) {
  CampaignState& campaign = campaigns_[key];
  const uint32_t batch = campaign.app_to_send.extract(campaign.app_to_send.begin()).value().second;
  CampaignCallState& call = campaign.calls[batch];
  CHECK(agent_ids_ != nullptr);
  std::vector<std::string> members;
  members.reserve(call.customers.size());
  for (size_t i = 0; i < call.customers.size(); ++i) {
    if (call.statuses[i] == kTouchOpen) {
      members.push_back(campaign.RecipientOf(call, i));
    }
  }
  const ContentVariant& said = campaign.ContentOf(call);
  WantedCall wanted;
  wanted.corp = key.first;
  wanted.api = ApiOf(FlowKind::kBulkAppMessage);
  wanted.call_id = call.call_id;
  wanted.attempt = call.attempts + 1;
  *wanted.target.mutable_campaign_call() = CallName(key, batch);
  wanted.marker = call.marker;
  wanted.person_times = OpenOf(call);
  wanted.body = wecom_table::AppMessageBody(
      agent_ids_->at(key.first), members, said.text, said.link_url, said.link_title, call.marker,
      limits_->app_messages.duplicate_check_ns / kNanosPerSecond);
#if TIDEGATE_MUTANT == 23
  if (call.doubt.has_value()) wanted.body.insert(1, " ");
#else
  if (call.doubt.has_value() && Sha256(wanted.body) != call.doubt->request_sha256) {
    // Made by another version or with other settings: WeCom would send it once more.
    Unrepeatable({key, batch}, "the same bytes cannot be made again");
    return std::nullopt;
  }
#endif
  call.decided = true;
  return wanted;
}

// ---- What became of it ----

void CampaignBook::OpenAppDoubt(const CallRef& ref, const Attempt& attempt, int64_t ended_raw_ns) {
  CampaignState& campaign = campaigns_[ref.first];
  CampaignCallState& call = campaign.calls[ref.second];
  call.decided = false;
  if (!call.doubt.has_value()) {
    ++campaign.doubts_opened;
    call.phase = Phase::kDoubt;
    DoubtState& doubt = call.doubt.emplace();
    doubt.opened_raw_ns = attempt.stamp().raw_ns();
    doubt.opened_wall_ns = attempt.stamp().wall_ns();
    doubt.opened_boot_ns = attempt.stamp().boot_ns();
    doubt.request_sha256 = attempt.request_sha256();
  }
  DoubtState& doubt = *call.doubt;
  doubt.attempt = attempt.attempt();
  doubt.under_way = false;
  doubt.next_raw_ns = ended_raw_ns + Backoff(call.attempts);
  QueueApp(ref);
}

void CampaignBook::EndApp(const CallRef& ref, TouchStatus status) {
  std::vector<uint8_t>& statuses = CallAt(ref).statuses;
  std::replace(statuses.begin(), statuses.end(), static_cast<uint8_t>(kTouchOpen),
               static_cast<uint8_t>(status));
  result_queue_.push_back(ref);
}

void CampaignBook::OnAppOutcome(const CallRef& ref, const AttemptEnd& end) {
  CampaignState& campaign = campaigns_[ref.first];
  CampaignCallState& call = campaign.calls[ref.second];
  const auto& outcome = end.outcome;
  call.decided = false;
  call.over_raw_ns = std::max(call.over_raw_ns, end.over_raw_ns);
  switch (outcome.outcome_class()) {
    case OUTCOME_CLASS_ACCEPTED:
      campaign.doubts_accepted += call.doubt.has_value();
      call.doubt.reset();
      call.phase = Phase::kAccepted;
      call.msgid = outcome.msgid();
      for (const uint32_t index : outcome.fail_list()) {
        if (index < call.statuses.size()) call.statuses[index] = kTouchFailList;
      }
      campaign.last_accepted_wall_ns =
          std::max(campaign.last_accepted_wall_ns, outcome.completed().wall_ns());
      EndApp(ref, kTouchSent);
      break;
    case OUTCOME_CLASS_REFUSED:
      call.phase = Phase::kRefused;
      EndApp(ref, kTouchRefused);
      break;
    case OUTCOME_CLASS_DOUBT:
      OpenAppDoubt(ref, end.attempt, outcome.completed().raw_ns());
      break;
    default:
      // What an earlier attempt did is as unknown as before.
      if (call.doubt.has_value()) {
        return OpenAppDoubt(ref, end.attempt, outcome.completed().raw_ns());
      }
      call.phase = Phase::kPlanned;
      call.not_before_raw_ns = outcome.completed().raw_ns() + Backoff(call.attempts);
      QueueApp(ref);
      break;
  }
}

bool CampaignBook::RepeatsInDoubt(const Attempt& attempt) const {
  if (!attempt.target().has_campaign_call()) return false;
  const CampaignCallState* call = FindCall(attempt.target().campaign_call());
  return call != nullptr && call->channel == Channel::kMembers && call->doubt.has_value();
}

// ---- When repeating ends ----

std::optional<LedgerRecord> CampaignBook::NextAppParked(const Now& now) {
  for (auto it = app_doubts_.begin(); it != app_doubts_.end();) {
    const CallRef ref = it->second;
    CampaignCallState& call = CallAt(ref);
    if (!WaitsAs(call, it->first)) {
      it = app_doubts_.erase(it);
      continue;
    }
    DoubtState& doubt = *call.doubt;
    // The others are younger.
    if (MayRepeat(doubt, now)) return std::nullopt;
    if (doubt.under_way || call.decided) {  // its answer queues it again
      ++it;
      continue;
    }
    doubt.under_way = true;
    LedgerRecord record;
    Settled* settled = record.mutable_settled();
    settled->set_call_id(call.call_id);
    settled->set_attempt(call.attempts);
    *settled->mutable_call() = CallName(ref.first, ref.second);
    settled->set_settlement(SETTLEMENT_PARKED);
    settled->set_evidence(absl::StrCat(doubt.unrepeatable.empty()
                                           ? "WeCom's check for duplicates is about to end"
                                           : doubt.unrepeatable,
                                       ", attempts ", call.attempts, ", first in doubt at ",
                                       doubt.opened_wall_ns / kNanosPerSecond));
    return record;
  }
  return std::nullopt;
}

std::optional<int64_t> CampaignBook::NextAppParkedRawNs(const Now& now) const {
  for (const auto& [opened_ns, ref] : app_doubts_) {
    const auto& call = campaigns_.at(ref.first).calls[ref.second];
    if (!WaitsAs(call, opened_ns) || call.doubt->under_way) continue;
    if (!MayRepeat(*call.doubt, now)) return now.raw_ns;
    const auto& app = limits_->app_messages;
    return now.raw_ns + app.duplicate_check_ns - app.repeat_margin_ns - AgeNs(*call.doubt, now);
  }
  return std::nullopt;
}

}  // namespace tidegate::dispatch
