// Whether a call whose answer is missing was executed: two listings must agree.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/crash_point.h"
#include "common/wecom_table/errors.h"
#include "common/wecom_table/requests.h"
#include "services/dispatch/core/campaign_book.h"

namespace tidegate::dispatch {

using ::tidegate::log::v1::Attempt;
using ::tidegate::log::v1::CAMPAIGN_PHASE_RUNNING;
using ::tidegate::log::v1::DoubtResolved;
using ::tidegate::log::v1::LedgerRecord;
using ::tidegate::log::v1::Outcome;
using ::tidegate::log::v1::OUTCOME_CLASS_ACCEPTED;
using ::tidegate::log::v1::Settled;
using ::tidegate::log::v1::SETTLEMENT_ACCEPTED;
using ::tidegate::log::v1::SETTLEMENT_NOT_EXECUTED;
using ::tidegate::log::v1::SETTLEMENT_PARKED;

using Phase = CampaignCallState::Phase;

namespace {

// A page that cannot be read is tried so often in a row; then the listings begin anew, in case its
// cursor has grown old.
constexpr uint32_t kPageTriesMax = 8;
constexpr int64_t kPageRetryNs = kNanosPerSecond;

// All of both listings again; their window stays.
void ListAnew(DoubtState* doubt) {
  doubt->listing = 1;
  doubt->page_errors = 0;
  doubt->cursor.clear();
  doubt->matches.clear();
}

}  // namespace

void CampaignBook::OpenDoubt(const CallRef& ref, const Attempt& attempt,
                             int64_t settle_from_raw_ns) {
  CampaignState& campaign = campaigns_[ref.first];
  CampaignCallState& call = campaign.calls[ref.second];
  call.phase = Phase::kDoubt;
  call.decided = false;
  ++campaign.doubts_opened;
  DoubtState doubt;
  doubt.attempt = attempt.attempt();
  doubt.opened_wall_ns = attempt.stamp().wall_ns();
  // create_time is in whole seconds: a narrower window misses a task and makes a duplicate.
  doubt.start_time_s = (attempt.stamp().wall_ns() - limits_->settle.skew_ns) / kNanosPerSecond - 1;
  doubt.listing = 1;
  call.doubt = doubt;
  ScheduleDoubt(ref, settle_from_raw_ns);
}

void CampaignBook::ScheduleDoubt(const CallRef& ref, int64_t settle_from_raw_ns) {
  DoubtState& doubt = *CallAt(ref).doubt;
  if (CallAt(ref).channel == Channel::kMembers) {
    // Asked for after another boot only, whose clock says nothing about the first attempt.
    doubt.opened_boot_ns = kNever;
    doubt.next_raw_ns = settle_from_raw_ns;
    return QueueApp(ref);
  }
  doubt.opened_raw_ns = settle_from_raw_ns;
#if TIDEGATE_MUTANT == 6
  doubt.next_raw_ns = settle_from_raw_ns;
#else
  doubt.next_raw_ns = settle_from_raw_ns + limits_->SettleWaitNs();
#endif
  // Not to be listed before its owner's end is known; parked if that does not come.
  if (doubt.waits_for_owner) doubt.next_raw_ns = settle_from_raw_ns + limits_->settle.park_after_ns;
  QueueDoubt(ref);
}

int64_t CampaignBook::SettleRawNs(const DoubtState& doubt) const {
  return doubt.listing > 2 ? doubt.next_raw_ns
                           : doubt.opened_raw_ns + limits_->settle.park_after_ns;
}

void CampaignBook::QueueDoubt(const CallRef& ref) {
  if (CallAt(ref).channel == Channel::kMembers) return QueueApp(ref);
  const DoubtState& doubt = *CallAt(ref).doubt;
  settle_queue_.emplace(SettleRawNs(doubt), ref);
  const std::string& corp = ref.first.first;
  listings_[corp].emplace(doubt.next_raw_ns, ref);
  changed_({.kind = FlowKind::kListing, .corp = corp, .campaign = ""});
}

bool CampaignBook::ListsAt(const CallRef& ref, int64_t raw_ns) {
  const CampaignCallState& call = CallAt(ref);
  if (call.phase != Phase::kDoubt) return false;
  const DoubtState& doubt = *call.doubt;
  return !doubt.under_way && doubt.listing <= 2 && !doubt.waits_for_owner &&
         doubt.next_raw_ns == raw_ns;
}

CampaignBook::CallQueue* CampaignBook::TidyListings(const std::string& corp) {
  CallQueue& queue = listings_[corp];
  while (!queue.empty() && !ListsAt(queue.begin()->second, queue.begin()->first)) {
    queue.erase(queue.begin());
  }
  return queue.empty() ? nullptr : &queue;
}

void CampaignBook::OnOwnerReplaced(int64_t raw_ns) {
  for (auto& [key, campaign] : campaigns_) {
    for (const uint32_t batch : campaign.open) {
      CampaignCallState& call = campaign.calls[batch];
      if (call.phase != Phase::kDoubt || !call.doubt->lost_by_own_fence) continue;
      DoubtState& doubt = *call.doubt;
      doubt.lost_by_own_fence = false;
      if (TIDEGATE_MUTANT == 20) continue;
      doubt.waits_for_owner = true;
      // What was listed so far proves nothing about what may still be written.
      ListAnew(&doubt);
      doubt.end_time_s = 0;
      ScheduleDoubt({key, batch}, std::max(raw_ns, doubt.opened_raw_ns));
    }
  }
}

void CampaignBook::OnFormerOwnersDead(int64_t raw_ns) {
  for (auto& [key, campaign] : campaigns_) {
    for (const uint32_t batch : campaign.open) {
      CampaignCallState& call = campaign.calls[batch];
      if (call.phase != Phase::kDoubt || !call.doubt->waits_for_owner) continue;
      call.doubt->waits_for_owner = false;
      ScheduleDoubt({key, batch}, std::max(raw_ns, call.doubt->opened_raw_ns));
    }
  }
}

WantedCall CampaignBook::ListingCall(const CallRef& ref, const Now& now) {
  CampaignCallState& call = CallAt(ref);
  DoubtState& doubt = *call.doubt;
  TIDEGATE_CRASH_POINT_IF(!doubt.cursor.empty() || doubt.listing == 2, "R2");
  doubt.under_way = true;
  // The settle wait has passed: what is executed later is none of this call. The window must not
  // grow with every error, or busy corps would have ever more pages to read without one.
  const int64_t end_time_s =
      doubt.end_time_s == 0 ? now.wall_ns / kNanosPerSecond + 2 : doubt.end_time_s;
  WantedCall wanted;
  wanted.corp = ref.first.first;
  wanted.api = ApiOf(FlowKind::kListing);
  wanted.call_id = absl::StrCat(call.call_id, "/list/", doubt.attempt, "/", doubt.pages);
  wanted.attempt = 1;
  auto* list = wanted.target.mutable_list();
  list->set_corp(wanted.corp);
  *list->mutable_doubt() = CallName(ref.first, ref.second);
  list->set_listing(doubt.listing);
  list->set_start_time_s(doubt.start_time_s);
  list->set_end_time_s(end_time_s);
  list->set_cursor(doubt.cursor);
  wanted.body = wecom_table::GroupMsgListBody(doubt.start_time_s, end_time_s, doubt.cursor, 100);
  return wanted;
}

void CampaignBook::OnListOutcome(const CallRef& ref, const AttemptEnd& end) {
  CampaignCallState& call = CallAt(ref);
  if (call.phase != Phase::kDoubt) return;
  DoubtState& doubt = *call.doubt;
  const Outcome& outcome = end.outcome;
  doubt.under_way = false;
  ++doubt.pages;
  const int64_t completed = outcome.completed().raw_ns();
  if (outcome.outcome_class() != OUTCOME_CLASS_ACCEPTED && TIDEGATE_MUTANT != 8) {
    // An error is no evidence of absence: the same page is read again. A cursor that WeCom does not
    // know any more ends both listings.
    if (outcome.errcode() == wecom_table::kErrcodeBadCursor ||
        ++doubt.page_errors >= kPageTriesMax) {
      ListAnew(&doubt);
    }
    doubt.next_raw_ns = completed + std::min(kPageRetryNs, limits_->settle.list_gap_ns);
  } else {
    doubt.page_errors = 0;
    for (const std::string& msgid : outcome.matches()) doubt.matches.try_emplace(msgid, 0);
    for (const auto& task : outcome.listed()) doubt.matches[task.msgid()] = task.created_s();
    if (TIDEGATE_MUTANT != 7) doubt.cursor = outcome.next_cursor();
    doubt.next_raw_ns = completed;
    if (doubt.cursor.empty()) {
      if (doubt.listing == 2 && doubt.matches != doubt.matches_before) {
        // The list still moves; the newest reading is the first of a new pair.
        doubt.matches_before = std::move(doubt.matches);
        doubt.next_raw_ns = completed + limits_->settle.list_gap_ns;
      } else if (doubt.listing == 1) {
        doubt.matches_before = std::move(doubt.matches);
        doubt.listing = 2;
        doubt.next_raw_ns = completed + limits_->settle.list_gap_ns;
      } else {
        doubt.listing = 3;
      }
      if (doubt.listing == 2) doubt.matches.clear();
    }
  }
  QueueDoubt(ref);
}

std::optional<LedgerRecord> CampaignBook::NextSettlement(const Now& now) {
  if (auto parked = NextAppParked(now)) return parked;
  for (auto it = settle_queue_.begin(); it != settle_queue_.end() && it->first <= now.raw_ns;) {
    const CallRef ref = it->second;
    CampaignCallState& call = CallAt(ref);
    if (call.phase != Phase::kDoubt || SettleRawNs(*call.doubt) != it->first) {
      it = settle_queue_.erase(it);
      continue;
    }
    DoubtState& doubt = *call.doubt;
    if (doubt.under_way) {  // its answer queues it again
      ++it;
      continue;
    }
    const bool clean = doubt.listing > 2;
    doubt.under_way = true;
    LedgerRecord record;
    Settled* settled = record.mutable_settled();
    settled->set_call_id(call.call_id);
    settled->set_attempt(doubt.attempt);
    *settled->mutable_call() = CallName(ref.first, ref.second);
    if (!clean) {
      settled->set_settlement(SETTLEMENT_PARKED);
    } else if (doubt.matches.empty()) {
      settled->set_settlement(SETTLEMENT_NOT_EXECUTED);
    } else {
      settled->set_settlement(SETTLEMENT_ACCEPTED);
      // The others are taken back: see GhostBook.
      settled->set_msgid(std::min_element(doubt.matches.begin(), doubt.matches.end(),
                                          [](const auto& a, const auto& b) {
                                            return std::pair(a.second, a.first) <
                                                   std::pair(b.second, b.first);
                                          })
                             ->first);
    }
    settled->set_evidence(
        absl::StrCat("pages ", doubt.pages, ", window ", doubt.start_time_s, "..", doubt.end_time_s,
                     ", matches ", absl::StrJoin(doubt.matches, ",", absl::PairFormatter(" at "))));
    TIDEGATE_CRASH_POINT_IF(settled->settlement() == SETTLEMENT_ACCEPTED, "R3");
    TIDEGATE_CRASH_POINT_IF(settled->settlement() == SETTLEMENT_NOT_EXECUTED, "R4");
    return record;
  }
  return std::nullopt;
}

void CampaignBook::OnSettled(const Settled& settled) {
  CampaignCallState* call = MutableCall(settled.call());
  if (call == nullptr || call->phase != Phase::kDoubt) return;
  const CallRef ref{KeyOf(settled.call()), settled.call().batch()};
  CampaignState& campaign = campaigns_[ref.first];
  const int64_t raw_ns = call->doubt->next_raw_ns;
  const int64_t wall_ns = call->doubt->opened_wall_ns;
  call->doubt.reset();
  switch (settled.settlement()) {
    case SETTLEMENT_ACCEPTED:
      ++campaign.doubts_accepted;
      call->phase = Phase::kAccepted;
      call->msgid = settled.msgid();
      call->found_by_list = true;
      campaign.last_accepted_wall_ns = std::max(campaign.last_accepted_wall_ns, wall_ns);
      call->results_close_wall_ns = wall_ns + limits_->results.close_after_ns;
      ScheduleRead(ref, raw_ns);
      StartReminders(ref, wall_ns);
      break;
    case SETTLEMENT_NOT_EXECUTED:
      ++campaign.doubts_not_executed;
      call->phase = Phase::kPlanned;
      QueueCreate(ref.first, ref.second);
      break;
    default:
      call->phase = Phase::kParked;
      call->evidence = settled.evidence();
      call->attempt_wall_ns = wall_ns;
      break;
  }
  QueueProgress(ref.first);
}

// ---- The operator's word ----

std::optional<LedgerRecord> CampaignBook::DecideResolved(const DoubtResolved& resolved) {
  CampaignCallState* call = MutableCall(resolved.call());
  if (call == nullptr || call->phase != Phase::kParked || call->decided) return std::nullopt;
  CampaignState& campaign = campaigns_[KeyOf(resolved.call())];
  // Its progress is decided on what stands now, and must not pass this by.
  if (campaign.decided || call->attempts != resolved.attempt() ||
      call->first_actor == resolved.actor()) {
    return std::nullopt;
  }
  campaign.decided = true;
  call->decided = true;
  LedgerRecord record;
  *record.mutable_doubt_resolved() = resolved;
  return record;
}

void CampaignBook::OnResolved(const DoubtResolved& resolved) {
  CampaignCallState* call = MutableCall(resolved.call());
  if (call == nullptr || call->phase != Phase::kParked) return;
  const CallRef ref{KeyOf(resolved.call()), resolved.call().batch()};
  CampaignState& campaign = campaigns_[ref.first];
  call->decided = false;
  call->resolved_by = resolved.actor();
  campaign.decided = false;
  QueueProgress(ref.first);
  switch (resolved.settlement()) {
    case SETTLEMENT_ACCEPTED:
      ++campaign.doubts_accepted;
      call->phase = Phase::kAccepted;
      call->msgid = resolved.msgid();
      call->found_by_list = true;
      campaign.last_accepted_wall_ns =
          std::max(campaign.last_accepted_wall_ns, call->attempt_wall_ns);
      call->results_close_wall_ns = resolved.time_ns() + limits_->results.close_after_ns;
      if (call->channel == Channel::kMembers) {
        EndApp(ref, kTouchSent);
      } else {
        ScheduleRead(ref, 0);
        StartReminders(ref, resolved.time_ns());
      }
      break;
    case SETTLEMENT_NOT_EXECUTED:
      if (call->first_actor.empty()) {
        call->first_actor = resolved.actor();
        return;
      }
      ++campaign.doubts_not_executed;
      call->phase = Phase::kPlanned;
      call->first_actor.clear();
      call->not_before_raw_ns = 0;
      QueueCreate(ref.first, ref.second);
      break;
    default:
      call->phase = Phase::kRefused;
      EndTouches(ref, kTouchAbandoned, resolved.time_ns());
      result_queue_.push_back(ref);
      break;
  }
  // It has work to do again.
  campaign.phase = CAMPAIGN_PHASE_RUNNING;
  ChangedCreates(ref.first);
}

}  // namespace tidegate::dispatch
