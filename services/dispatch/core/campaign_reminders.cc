// Members who have not confirmed a task are asked again.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/civil_day.h"
#include "common/wecom_table/errors.h"
#include "common/wecom_table/requests.h"
#include "services/dispatch/core/campaign_book.h"

namespace tidegate::dispatch {

using ::tidegate::log::v1::CAMPAIGN_INTENT_RUN;
using ::tidegate::log::v1::Outcome;
using ::tidegate::log::v1::OUTCOME_CLASS_ACCEPTED;
using ::tidegate::log::v1::OUTCOME_CLASS_NOT_EXECUTED;
using ::tidegate::log::v1::OUTCOME_CLASS_REFUSED;
using ::tidegate::log::v1::Stamp;

using Phase = CampaignCallState::Phase;

namespace {

constexpr int64_t kHourNs = 3600 * kNanosPerSecond;
// After the task was accepted; one more on the next morning of China.
constexpr int64_t kAfterNs[kRemindersMax - 1] = {2 * kHourNs, 6 * kHourNs};
constexpr int64_t kMorningNs = 10 * kHourNs;
// Those that quiet hours have held back do not come at once.
constexpr int64_t kApartNs = 2 * kHourNs;
// Others have reminded of the task, too: WeCom counts over so long.
constexpr int64_t kTooManyNs = 24 * kHourNs;
constexpr int64_t kRetryNs = 30 * kNanosPerSecond;
constexpr int64_t kReadBeforeNs = 60 * kNanosPerSecond;

int64_t PlannedNs(const ReminderState& reminders) {
  if (reminders.used < kRemindersMax - 1) return reminders.accepted_ns + kAfterNs[reminders.used];
  const int64_t day = CivilDayOf(reminders.accepted_ns / kNanosPerSecond);
  return StartOfCivilDay(day + 1) * kNanosPerSecond + kMorningNs;
}

}  // namespace

void CampaignBook::StartReminders(const CallRef& ref, int64_t accepted_wall_ns) {
  CallAt(ref).reminders.accepted_ns = accepted_wall_ns;
  PlanReminder(ref, accepted_wall_ns);
}

void CampaignBook::PlanReminder(const CallRef& ref, int64_t not_before_wall_ns) {
  ReminderState& reminders = CallAt(ref).reminders;
  const auto definition = definitions_.find(ref.first);
  const bool all_used = definition == definitions_.end() ||
                        reminders.used >= std::min(definition->second.reminders(), kRemindersMax);
  reminders.next_ns = all_used ? kNever : std::max(PlannedNs(reminders), not_before_wall_ns);
  QueueReminder(ref);
}

void CampaignBook::QueueReminder(const CallRef& ref) {
  const int64_t next_ns = CallAt(ref).reminders.next_ns;
  if (next_ns == kNever) return;
  campaigns_[ref.first].to_remind.emplace(next_ns, ref.second);
  ChangedReminders(ref.first);
}

void CampaignBook::ChangedReminders(const CampaignKey& key) {
  changed_({.kind = FlowKind::kRemind, .corp = key.first, .campaign = key.second});
}

int64_t CampaignBook::ReadForReminderNs(const CampaignCallState& call, const Stamp& now) {
  if (call.member_confirmed || call.reminders.next_ns == kNever) return kNever;
  // Wall time; how far it is away is the same on any clock.
  const int64_t away_ns = call.reminders.next_ns - kReadBeforeNs - now.wall_ns();
  return away_ns > 0 ? now.raw_ns() + away_ns : kNever;
}

bool CampaignBook::RemindsAt(const CallRef& ref, int64_t due_wall_ns) const {
  const CampaignCallState& call = campaigns_.at(ref.first).calls[ref.second];
  return call.phase == Phase::kAccepted && !call.member_confirmed && !AllEnded(call.statuses) &&
         !call.reminders.under_way && call.reminders.next_ns == due_wall_ns;
}

std::optional<FlowHead> CampaignBook::RemindHead(const FlowName& flow, const Now& now) {
  const CampaignKey key{flow.corp, flow.campaign};
  const auto found = campaigns_.find(key);
  if (found == campaigns_.end() || found->second.intent != CAMPAIGN_INTENT_RUN) return std::nullopt;
  auto& to_remind = found->second.to_remind;
  for (; !to_remind.empty(); to_remind.erase(to_remind.begin())) {
    const auto& [due_ns, batch] = *to_remind.begin();
    if (!RemindsAt({key, batch}, due_ns) || ResultsCloseNs({key, batch}) <= now.wall_ns) continue;
    const int64_t away_ns = std::max<int64_t>(0, due_ns - now.wall_ns);
    return FlowHead{.not_before_raw_ns = now.raw_ns + away_ns};
  }
  return std::nullopt;
}

WantedCall CampaignBook::RemindCall(const CallRef& ref) {
  CampaignCallState& call = CallAt(ref);
  call.reminders.under_way = true;
  WantedCall wanted;
  wanted.corp = ref.first.first;
  wanted.api = ApiOf(FlowKind::kRemind);
  wanted.call_id = absl::StrCat(call.call_id, "/remind/", call.reminders.attempts);
  wanted.attempt = 1;
  *wanted.target.mutable_remind() = CallName(ref.first, ref.second);
  wanted.body = wecom_table::RemindGroupMsgBody(call.msgid);
  return wanted;
}

void CampaignBook::OnRemindAttempt(CampaignCallState* call) {
  call->reminders.under_way = true;
  ++call->reminders.attempts;
  ++call->reminders.used;
}

void CampaignBook::OnRemindOutcome(const CallRef& ref, const AttemptEnd& end) {
  ReminderState& reminders = CallAt(ref).reminders;
  const Outcome& outcome = end.outcome;
  const int64_t now_ns = outcome.completed().wall_ns();
  reminders.under_way = false;
  switch (outcome.outcome_class()) {
    case OUTCOME_CLASS_NOT_EXECUTED:
      --reminders.used;
      return PlanReminder(ref, now_ns + kRetryNs);
    case OUTCOME_CLASS_REFUSED:
      if (outcome.errcode() == wecom_table::kErrcodeTooManyReminders) {
        return PlanReminder(ref, now_ns + kTooManyNs);
      }
      // The task is not one to be reminded of.
      reminders.next_ns = kNever;
      return;
    case OUTCOME_CLASS_ACCEPTED:
      ++reminders.sent;
      break;
    default:
      break;  // in doubt: whether the member was reminded cannot be asked
  }
  PlanReminder(ref, now_ns + kApartNs);
}

void CampaignBook::OnRemindLost(const CallRef& ref, int64_t attempt_wall_ns) {
  CallAt(ref).reminders.under_way = false;
  PlanReminder(ref, attempt_wall_ns + kApartNs);
}

}  // namespace tidegate::dispatch
