// What became of each touch of an accepted call: its results are read until all have ended.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/wecom_table/requests.h"
#include "services/dispatch/core/campaign_book.h"
#include "services/dispatch/core/touch_events.h"

namespace tidegate::dispatch {

using ::tidegate::log::v1::CAMPAIGN_PHASE_COLLECTING;
using ::tidegate::log::v1::LedgerRecord;
using ::tidegate::log::v1::Outcome;
using ::tidegate::log::v1::OUTCOME_CLASS_ACCEPTED;
using ::tidegate::log::v1::Result;

using Phase = CampaignCallState::Phase;

namespace {

// After results closed, a read that keeps failing is tried so often; then the rest is unconfirmed.
constexpr uint32_t kReadsAfterCloseMax = 5;

}  // namespace

bool AllEnded(const std::vector<uint8_t>& statuses) {
  return std::find(statuses.begin(), statuses.end(), kTouchOpen) == statuses.end();
}

void CampaignBook::ScheduleRead(const CallRef& ref, int64_t raw_ns) {
  CallAt(ref).next_read_raw_ns = raw_ns;
  QueueRead(ref);
}

void CampaignBook::QueueRead(const CallRef& ref) {
  const CampaignCallState& call = CallAt(ref);
  const std::string& corp = ref.first.first;
  const bool result = call.member_confirmed;
  (result ? result_reads_ : task_reads_)[corp].emplace(call.next_read_raw_ns, ref);
  changed_(
      {.kind = result ? FlowKind::kReadResult : FlowKind::kReadTask, .corp = corp, .campaign = ""});
}

void CampaignBook::CloseResults(const Now& now) {
  while (!closings_.empty() && closings_.begin()->first <= now.wall_ns) {
    const CampaignKey key = closings_.extract(closings_.begin()).value().second;
    CallQueue& tasks = task_reads_[key.first];
    for (auto it = tasks.begin(); it != tasks.end();) {
      if (it->second.first == key) {
        result_reads_[key.first].insert(tasks.extract(it++));
      } else {
        ++it;
      }
    }
    for (const FlowKind kind : {FlowKind::kReadTask, FlowKind::kReadResult}) {
      changed_({.kind = kind, .corp = key.first, .campaign = ""});
    }
  }
}

int64_t CampaignBook::ResultsCloseNs(const CallRef& ref) const {
  const CampaignState& campaign = campaigns_.at(ref.first);
  if (IsMessageCampaign(ref.first.second)) return campaign.calls[ref.second].results_close_wall_ns;
  return campaign.phase == CAMPAIGN_PHASE_COLLECTING ? campaign.results_close_wall_ns : kNever;
}

bool CampaignBook::ReadsAt(const CallRef& ref, int64_t raw_ns) {
  const CampaignCallState& call = CallAt(ref);
  return call.phase == Phase::kAccepted && !call.final && !call.read_under_way &&
         call.next_read_raw_ns == raw_ns;
}

CampaignBook::CallQueue* CampaignBook::TidyReads(FlowKind kind, const std::string& corp,
                                                 const Now& now) {
  CallQueue& queue = (kind == FlowKind::kReadTask ? task_reads_ : result_reads_)[corp];
  for (; !queue.empty(); queue.erase(queue.begin())) {
    const auto& [raw_ns, ref] = *queue.begin();
    if (!ReadsAt(ref, raw_ns)) continue;
    // Once results have closed, the last word is asked of the customers' list itself.
    const bool closed = now.wall_ns >= ResultsCloseNs(ref);
    if (kind == FlowKind::kReadResult || !closed) return &queue;
    result_reads_[corp].emplace(raw_ns, ref);
    changed_({.kind = FlowKind::kReadResult, .corp = corp, .campaign = ""});
  }
  return nullptr;
}

WantedCall CampaignBook::ReadCall(const CallRef& ref, FlowKind kind) {
  CampaignCallState& call = CallAt(ref);
  call.read_under_way = true;
  WantedCall wanted;
  wanted.corp = ref.first.first;
  wanted.api = ApiOf(kind);
  wanted.call_id = absl::StrCat(call.call_id, "/read/", call.reads);
  wanted.attempt = 1;
  if (kind == FlowKind::kReadResult) {
    *wanted.target.mutable_read_result() = CallName(ref.first, ref.second);
    wanted.body =
        wecom_table::GroupMsgSendResultBody(call.msgid, call.sender, call.result_cursor, 1000);
  } else {
    *wanted.target.mutable_read_task() = CallName(ref.first, ref.second);
    wanted.body = wecom_table::GroupMsgTaskBody(call.msgid, "", 1000);
  }
  return wanted;
}

void CampaignBook::OnReadOutcome(const CallRef& ref, const AttemptEnd& end) {
  CampaignState& campaign = campaigns_[ref.first];
  CampaignCallState& call = campaign.calls[ref.second];
  const Outcome& outcome = end.outcome;
  call.read_under_way = false;
  ++call.reads;
  if (call.final) return;
  const bool accepted = outcome.outcome_class() == OUTCOME_CLASS_ACCEPTED;
  const int64_t completed = outcome.completed().raw_ns();
  const int64_t close_ns = ResultsCloseNs(ref);
  const bool closed = outcome.completed().wall_ns() >= close_ns;
  int64_t next = completed + limits_->results.poll_ns;
  if (!accepted) {
    next = completed + limits_->results.first_poll_ns;
    call.result_cursor.clear();
  } else if (end.attempt.target().has_read_task()) {
    if (outcome.member_confirmed()) {
      call.member_confirmed = true;
      next = completed;
    }
  } else {
    TakeResultPage(ref, outcome);
    if (!call.result_cursor.empty()) next = completed;
  }
  const bool last_page =
      accepted && end.attempt.target().has_read_result() && call.result_cursor.empty();
  if (closed && (last_page || !accepted)) {
    if (last_page || ++call.reads_after_close >= kReadsAfterCloseMax) {
      EndTouches(ref, kTouchUnconfirmed, outcome.completed().wall_ns());
    }
  }
  if (AllEnded(call.statuses)) {
    result_queue_.push_back(ref);
    return;
  }
  // The closing time is wall time; how far it is away is the same on any clock.
  if (close_ns != kNever && !closed) {
    next = std::min(next, completed + (close_ns - outcome.completed().wall_ns()));
  }
  ScheduleRead(ref, std::min(next, ReadForReminderNs(call, outcome.completed())));
}

void CampaignBook::EndTouch(const CallRef& ref, size_t place, uint8_t status, int64_t wall_ns) {
  CampaignState& campaign = campaigns_[ref.first];
  CampaignCallState& call = campaign.calls[ref.second];
  if (status == kTouchOpen || call.statuses[place] != kTouchOpen) return;
  call.statuses[place] = status;
  if (!call.counts) return;
  const UnitEnd end = status == kTouchSent        ? UnitEnd::kUsed
                      : status == kTouchOverQuota ? UnitEnd::kFull
                                                  : UnitEnd::kFree;
  quotas_->End(ref.first.first, campaign.RecipientOf(call, place), end, wall_ns);
}

void CampaignBook::EndTouches(const CallRef& ref, uint8_t status, int64_t wall_ns) {
  const size_t count = CallAt(ref).statuses.size();
  for (size_t place = 0; place < count; ++place) EndTouch(ref, place, status, wall_ns);
}

void CampaignBook::TakeResultPage(const CallRef& ref, const Outcome& outcome) {
  CampaignCallState* call = &CallAt(ref);
  const int64_t wall_ns = outcome.completed().wall_ns();
  if (call->result_cursor.empty()) call->listed.assign(call->statuses.size(), false);
  const std::string& page = outcome.statuses();
  for (size_t i = 0; i < page.size() && i < call->statuses.size(); ++i) {
    const auto status = static_cast<uint8_t>(page[i]);
    if (status == kNotOnThisPage) continue;
    call->listed[i] = true;
    EndTouch(ref, i, status, wall_ns);
  }
  call->result_cursor = outcome.next_cursor();
  if (!call->result_cursor.empty() || !call->found_by_list) return;
  // Of a call that listing found, nobody read the fail_list: who is in no result was in it.
  for (size_t i = 0; i < call->statuses.size(); ++i) {
    if (!call->listed[i]) EndTouch(ref, i, kTouchFailList, wall_ns);
  }
}

std::optional<LedgerRecord> CampaignBook::NextResult() {
  while (!result_queue_.empty()) {
    const CallRef ref = result_queue_.front();
    result_queue_.pop_front();
    CampaignCallState& call = CallAt(ref);
    if (call.final || call.decided || !AllEnded(call.statuses)) continue;
    const bool tried = call.phase == Phase::kAccepted || call.phase == Phase::kRefused;
    if (!tried && call.phase != Phase::kPlanned) continue;
    call.decided = true;
    LedgerRecord record;
    Result* result = record.mutable_result();
    *result->mutable_call() = CallName(ref.first, ref.second);
    result->set_statuses(std::string(call.statuses.begin(), call.statuses.end()));
    result->set_final(true);
    return record;
  }
  return std::nullopt;
}

void CampaignBook::OnResult(const Result& result, int64_t time_ns,
                            std::vector<core::OutboxRecord>* outbox) {
  CampaignCallState* call = MutableCall(result.call());
  if (call == nullptr) return;
  const CampaignKey key = KeyOf(result.call());
  CampaignState& campaign = campaigns_[key];
  call->decided = false;
  call->final = result.final();
  call->statuses.assign(result.statuses().begin(), result.statuses().end());
  if (call->final) {
    call->final_wall_ns = time_ns;
    campaign.last_end_wall_ns = std::max(campaign.last_end_wall_ns, time_ns);
    campaign.open.erase(result.call().batch());
    if (IsMessageCampaign(key.second)) QueueForgetting({key, result.call().batch()});
  }
  int64_t accepted_ns = campaign.last_accepted_wall_ns;
  if (IsMessageCampaign(key.second)) {
    accepted_ns = call->results_close_wall_ns == kNever
                      ? 0
                      : call->results_close_wall_ns - limits_->results.close_after_ns;
  }
  // Tagging knows of customers only.
  const size_t told = call->channel == Channel::kMembers ? 0 : call->customers.size();
  for (size_t i = 0; i < told; ++i) {
    const auto [kind, reason] = TouchKindOf(call->statuses[i]);
    const std::string& customer = campaign.RecipientOf(*call, i);
    // A campaign has a customer once.
    const std::string scope = IsMessageCampaign(key.second)
                                  ? absl::StrCat(key.second, "/", result.call().batch())
                                  : key.second;
    outbox->push_back(TouchEvent({.corp = key.first,
                                  .campaign = key.second,
                                  .id = absl::StrCat(scope, "/", customer),
                                  .customer = customer,
                                  .kind = kind,
                                  .reason = reason,
                                  .member = call->sender,
                                  .time_ns = accepted_ns},
                                 partitions_));
  }
  QueueProgress(key);
}

}  // namespace tidegate::dispatch
