#include "services/dispatch/core/campaign_book.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/check.h"
#include "common/base/log.h"
#include "common/base/partitioner.h"
#include "common/wecom_table/requests.h"
#include "services/dispatch/core/touch_events.h"

namespace tidegate::dispatch {

using ::tidegate::log::v1::Attempt;
using ::tidegate::log::v1::AudienceChunk;
using ::tidegate::log::v1::CAMPAIGN_INTENT_DRAFT;
using ::tidegate::log::v1::CAMPAIGN_INTENT_RUN;
using ::tidegate::log::v1::CAMPAIGN_PHASE_COLLECTING;
using ::tidegate::log::v1::CAMPAIGN_PHASE_COMPLETED;
using ::tidegate::log::v1::CAMPAIGN_PHASE_FREEZING;
using ::tidegate::log::v1::CAMPAIGN_PHASE_RUNNING;
using ::tidegate::log::v1::CAMPAIGN_PHASE_UNSPECIFIED;
using ::tidegate::log::v1::CampaignCall;
using ::tidegate::log::v1::CampaignProgress;
using ::tidegate::log::v1::LedgerRecord;
using ::tidegate::log::v1::Outcome;
using ::tidegate::log::v1::OUTCOME_CLASS_ACCEPTED;
using ::tidegate::log::v1::OUTCOME_CLASS_DOUBT;
using ::tidegate::log::v1::OUTCOME_CLASS_NOT_EXECUTED;
using ::tidegate::log::v1::OUTCOME_CLASS_REFUSED;
using ::tidegate::log::v1::Planned;
using ::tidegate::log::v1::Proposal;
using ::tidegate::log::v1::Result;
using ::tidegate::log::v1::Settled;
using ::tidegate::log::v1::SETTLEMENT_ACCEPTED;
using ::tidegate::log::v1::SETTLEMENT_NOT_EXECUTED;
using ::tidegate::log::v1::SETTLEMENT_PARKED;

using Phase = CampaignCallState::Phase;

namespace {

constexpr int64_t kRetryNs = 200 * kNanosPerMilli;
constexpr int64_t kRetryMaxNs = 30 * kNanosPerSecond;
// A doubt that listing cannot settle for so long is left to an operator (reliability 3.5).
constexpr int64_t kParkAfterNs = int64_t{30} * 60 * kNanosPerSecond;
// After results closed, a read that keeps failing is tried so often; then the rest is unconfirmed.
constexpr uint32_t kReadsAfterCloseMax = 5;

int64_t Backoff(uint32_t attempts) {
  return std::min(kRetryMaxNs, kRetryNs << std::min<uint32_t>(attempts, 10));
}

CampaignKey KeyOf(const CampaignCall& call) { return {call.corp(), call.campaign()}; }

CampaignCall Name(const CampaignKey& key, uint32_t batch) {
  CampaignCall call;
  call.set_corp(key.first);
  call.set_campaign(key.second);
  call.set_batch(batch);
  return call;
}

// The campaign call that a create or a read of its result is about.
const CampaignCall& CallOf(const Attempt& attempt) {
  const auto& target = attempt.target();
  if (target.has_campaign_call()) return target.campaign_call();
  if (target.has_read_task()) return target.read_task();
  if (target.has_read_result()) return target.read_result();
  return target.list().doubt();
}

bool AllEnded(const std::vector<uint8_t>& statuses) {
  return std::find(statuses.begin(), statuses.end(), kTouchOpen) == statuses.end();
}

}  // namespace

CampaignBook::CampaignBook(const wecom_table::Limits* limits, uint32_t partitions)
    : limits_(limits), partitions_(partitions) {}

const CampaignCallState* CampaignBook::FindCall(const CampaignCall& call) const {
  const auto it = campaigns_.find(KeyOf(call));
  if (it == campaigns_.end() || call.batch() >= it->second.calls.size()) return nullptr;
  return &it->second.calls[call.batch()];
}

CampaignCallState* CampaignBook::FindCall(const CampaignCall& call) {
  return const_cast<CampaignCallState*>(std::as_const(*this).FindCall(call));
}

const CampaignState* CampaignBook::Find(const CampaignKey& key) const {
  const auto it = campaigns_.find(key);
  return it == campaigns_.end() ? nullptr : &it->second;
}

bool CampaignBook::HasUndecidedCreate(const CampaignKey& key) const {
  const CampaignState* campaign = Find(key);
  if (campaign == nullptr) return false;
  return std::any_of(
      campaign->calls.begin(), campaign->calls.end(),
      [](const CampaignCallState& call) { return call.decided && call.phase == Phase::kPlanned; });
}

// ---- What is wanted, and to whom ----

void CampaignBook::FoldDefinitions(const Proposal& accepted) {
  for (const auto& definition : accepted.definitions()) {
    if (!definition.has_campaign()) continue;
    const CampaignKey key{accepted.corp(), definition.id()};
    definitions_[key] = definition.campaign();
    if (definition.campaign().intent() == CAMPAIGN_INTENT_DRAFT) continue;
    campaigns_[key].intent = definition.campaign().intent();
    QueueProgress(key);
  }
}

void CampaignBook::FoldAudience(const AudienceChunk& chunk) {
  const CampaignKey key{chunk.corp(), chunk.audience()};
  // Rounds after the planned one are ignored.
  if (const CampaignState* campaign = Find(key); campaign != nullptr && !campaign->calls.empty())
    return;
  Audience& audience = audiences_[key];
  audience.shards = chunk.shards();
  auto& chunks = audience.by_shard[chunk.shard()].rounds[chunk.round()];
  if (chunks.size() == chunk.chunk()) chunks.push_back(chunk);
  QueueProgress(key);
}

std::vector<uint32_t> CampaignBook::CompleteRounds(const CampaignKey& key) const {
  const auto it = audiences_.find(key);
  if (it == audiences_.end()) return {};
  std::vector<uint32_t> rounds;
  for (uint32_t shard = 0; shard < it->second.shards; ++shard) {
    const auto found = it->second.by_shard.find(shard);
    if (found == it->second.by_shard.end()) return {};
    std::optional<uint32_t> complete;
    for (const auto& [round, chunks] : found->second.rounds) {
      if (!chunks.back().has_manifest() || chunks.back().manifest().chunks() != chunks.size())
        continue;
      complete = round;
      break;
    }
    if (!complete.has_value()) return {};
    rounds.push_back(*complete);
  }
  return rounds;
}

std::vector<AudienceCustomer> CampaignBook::Assemble(const CampaignKey& key,
                                                     const std::vector<uint32_t>& rounds) const {
  std::vector<AudienceCustomer> customers;
  const auto audience = audiences_.find(key);
  CHECK(audience != audiences_.end());
  for (uint32_t shard = 0; shard < rounds.size(); ++shard) {
    for (const AudienceChunk& chunk :
         audience->second.by_shard.at(shard).rounds.at(rounds[shard])) {
      for (const auto& customer : chunk.customers()) {
        customers.push_back({.customer = customer.customer(), .owner = customer.owner()});
      }
    }
  }
  return customers;
}

// ---- Phases ----

void CampaignBook::QueueProgress(const CampaignKey& key) { progress_queue_.insert(key); }

bool CampaignBook::AllCallsEnded(const CampaignState& campaign) const {
  return std::all_of(campaign.calls.begin(), campaign.calls.end(),
                     [](const CampaignCallState& call) {
                       return call.phase == Phase::kAccepted || call.phase == Phase::kRefused ||
                              call.phase == Phase::kParked;
                     });
}

bool CampaignBook::AllResultsFinal(const CampaignState& campaign) const {
  return std::all_of(
      campaign.calls.begin(), campaign.calls.end(),
      [](const CampaignCallState& call) { return call.final || call.phase == Phase::kParked; });
}

std::optional<LedgerRecord> CampaignBook::PlanRecord(const CampaignKey& key,
                                                     const CampaignState&) const {
  const std::vector<uint32_t> rounds = CompleteRounds(key);
  if (rounds.empty()) return std::nullopt;
  const auto& definition = definitions_.at(key);
  const std::vector<AudienceCustomer> audience = Assemble(key, rounds);
  const Plan plan = MakePlan(key.second, audience, definition.variants_size());
  LedgerRecord record;
  Planned* planned = record.mutable_planned();
  planned->set_corp(key.first);
  planned->set_campaign(key.second);
  for (const uint32_t round : rounds) planned->add_rounds(round);
  for (const auto& variant : definition.variants()) {
    planned->add_variant_texts(variant.text());
    planned->add_variant_link_urls(variant.link_url());
    planned->add_variant_link_titles(variant.link_title());
  }
  planned->set_audience(audience.size());
  planned->set_calls(plan.calls.size());
  planned->set_skipped_no_sender(plan.skipped_no_sender.size());
  planned->set_plan_hash(plan.hash);
  return record;
}

std::optional<LedgerRecord> CampaignBook::NextProgress(const Now&) {
  while (!progress_queue_.empty()) {
    const CampaignKey key = *progress_queue_.begin();
    progress_queue_.erase(progress_queue_.begin());
    const auto it = campaigns_.find(key);
    if (it == campaigns_.end() || it->second.decided) continue;
    CampaignState& campaign = it->second;
    std::optional<LedgerRecord> record;
    const auto progress = [&](::tidegate::log::v1::CampaignPhase phase) {
      record.emplace();
      auto* change = record->mutable_campaign_progress();
      change->set_corp(key.first);
      change->set_campaign(key.second);
      change->set_phase(phase);
      return change;
    };
    switch (campaign.phase) {
      case CAMPAIGN_PHASE_UNSPECIFIED:
        progress(CAMPAIGN_PHASE_FREEZING);
        break;
      case CAMPAIGN_PHASE_FREEZING:
        if (campaign.intent == CAMPAIGN_INTENT_RUN) record = PlanRecord(key, campaign);
        break;
      case CAMPAIGN_PHASE_RUNNING:
        if (AllCallsEnded(campaign)) {
          progress(CAMPAIGN_PHASE_COLLECTING)
              ->set_results_close_ns(campaign.last_accepted_wall_ns +
                                     limits_->results.close_after_ns);
        }
        break;
      case CAMPAIGN_PHASE_COLLECTING:
        if (AllResultsFinal(campaign)) progress(CAMPAIGN_PHASE_COMPLETED);
        break;
      default:
        break;
    }
    if (!record.has_value()) continue;
    campaign.decided = true;
    return record;
  }
  return std::nullopt;
}

void CampaignBook::OnProgress(const CampaignProgress& progress) {
  const CampaignKey key{progress.corp(), progress.campaign()};
  CampaignState& campaign = campaigns_[key];
  campaign.decided = false;
  campaign.phase = progress.phase();
  if (progress.phase() == CAMPAIGN_PHASE_COLLECTING) {
    campaign.results_close_wall_ns = progress.results_close_ns();
  }
  if (progress.phase() == CAMPAIGN_PHASE_COMPLETED) campaign.to_send.clear();
  QueueProgress(key);
}

void CampaignBook::OnPlanned(const Planned& planned, std::vector<core::OutboxRecord>* outbox) {
  const CampaignKey key{planned.corp(), planned.campaign()};
  CampaignState& campaign = campaigns_[key];
  campaign.decided = false;
  campaign.phase = CAMPAIGN_PHASE_RUNNING;
  campaign.audience = Assemble(key, {planned.rounds().begin(), planned.rounds().end()});
  audiences_.erase(key);
  for (int i = 0; i < planned.variant_texts_size(); ++i) {
    campaign.variants.push_back({.text = planned.variant_texts(i),
                                 .link_url = planned.variant_link_urls(i),
                                 .link_title = planned.variant_link_titles(i)});
  }
  Plan plan = MakePlan(key.second, campaign.audience, planned.variant_texts_size());
  // The audience on the topic is not the one that was planned: nothing must be sent from it.
  CHECK(plan.hash == planned.plan_hash());
  campaign.skipped_no_sender = plan.skipped_no_sender.size();
  campaign.calls.resize(plan.calls.size());
  for (uint32_t batch = 0; batch < plan.calls.size(); ++batch) {
    CampaignCallState& call = campaign.calls[batch];
    call.sender = std::move(plan.calls[batch].sender);
    call.variant = plan.calls[batch].variant;
    call.customers = std::move(plan.calls[batch].customers);
    call.statuses.assign(call.customers.size(), kTouchOpen);
    call.call_id = CallId(key.first, key.second, batch);
    call.marker = Marker(call.call_id);
    campaign.to_send.push_back(batch);
  }
  for (const uint32_t index : plan.skipped_no_sender) {
    outbox->push_back(TouchEvent({.corp = key.first,
                                  .campaign = key.second,
                                  .customer = campaign.audience[index].customer,
                                  .kind = "touch_skipped",
                                  .reason = "no_sender",
                                  .member = "",
                                  .time_ns = 0},
                                 partitions_));
  }
  QueueProgress(key);
}

// ---- Creates ----

std::optional<WantedCall> CampaignBook::NextCreate(const Now& now, const Admit& admit) {
  for (auto& [key, campaign] : campaigns_) {
    if (campaign.intent != CAMPAIGN_INTENT_RUN || campaign.phase != CAMPAIGN_PHASE_RUNNING)
      continue;
    // A call that waits for its next try must not hold back the others: each is looked at once.
    for (size_t left = campaign.to_send.size(); left > 0; --left) {
      const uint32_t batch = campaign.to_send.front();
      CampaignCallState& call = campaign.calls[batch];
      if (call.phase != Phase::kPlanned || call.decided) {
        campaign.to_send.pop_front();
        continue;
      }
      if (call.not_before_raw_ns > now.raw_ns) {
        campaign.to_send.pop_front();
        campaign.to_send.push_back(batch);
        continue;
      }
      if (!admit(key.first, "add_msg_template")) break;
      campaign.to_send.pop_front();
      call.decided = true;
      WantedCall wanted;
      wanted.corp = key.first;
      wanted.api = "add_msg_template";
      wanted.call_id = call.call_id;
      wanted.attempt = call.attempts + 1;
      *wanted.target.mutable_campaign_call() = Name(key, batch);
      wanted.marker = call.marker;
      std::vector<std::string> customers;
      customers.reserve(call.customers.size());
      for (const uint32_t index : call.customers)
        customers.push_back(campaign.audience[index].customer);
      const ContentVariant& variant = campaign.variants[call.variant];
      wanted.body = wecom_table::AddMsgTemplateBody(
          call.sender, customers, variant.text,
          wecom_table::WithMarker(variant.link_url, call.marker), variant.link_title);
      return wanted;
    }
  }
  return std::nullopt;
}

void CampaignBook::OnCreateOutcome(const CallRef& ref, const AttemptEnd& end) {
  CampaignState& campaign = campaigns_[ref.first];
  CampaignCallState& call = campaign.calls[ref.second];
  const Outcome& outcome = end.outcome;
  call.decided = false;
  switch (outcome.outcome_class()) {
    case OUTCOME_CLASS_ACCEPTED:
      call.phase = Phase::kAccepted;
      call.msgid = outcome.msgid();
      for (const uint32_t index : outcome.fail_list()) {
        if (index < call.statuses.size()) call.statuses[index] = kTouchFailList;
      }
      campaign.last_accepted_wall_ns =
          std::max(campaign.last_accepted_wall_ns, outcome.completed().wall_ns());
      if (AllEnded(call.statuses)) {
        result_queue_.push_back(ref);
      } else {
        ScheduleRead(ref, outcome.completed().raw_ns() + limits_->results.first_poll_ns);
      }
      break;
    case OUTCOME_CLASS_REFUSED:
      call.phase = Phase::kRefused;
      std::fill(call.statuses.begin(), call.statuses.end(), kTouchRefused);
      result_queue_.push_back(ref);
      break;
    case OUTCOME_CLASS_DOUBT:
      OpenDoubt(ref, end.attempt, outcome.completed().raw_ns());
      break;
    default:
      call.phase = Phase::kPlanned;
      // The buckets hold a call back where a limit was hit; the rest waits a little.
      call.not_before_raw_ns = outcome.completed().raw_ns() + Backoff(call.attempts);
      campaign.to_send.push_back(ref.second);
      break;
  }
  QueueProgress(ref.first);
}

// ---- Doubt ----

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
  doubt.opened_raw_ns = settle_from_raw_ns;
#if TIDEGATE_MUTANT == 6
  doubt.next_raw_ns = settle_from_raw_ns;
#else
  doubt.next_raw_ns = settle_from_raw_ns + limits_->SettleWaitNs();
#endif
  // Not to be listed before its owner's end is known; parked if that does not come.
  if (doubt.waits_for_owner) doubt.next_raw_ns = settle_from_raw_ns + kParkAfterNs;
  doubt_queue_.emplace(doubt.next_raw_ns, ref);
}

void CampaignBook::OnOwnerReplaced(int64_t raw_ns) {
  for (auto& [key, campaign] : campaigns_) {
    for (uint32_t batch = 0; batch < campaign.calls.size(); ++batch) {
      CampaignCallState& call = campaign.calls[batch];
      if (call.phase != Phase::kDoubt || !call.doubt->lost_by_own_fence) continue;
      DoubtState& doubt = *call.doubt;
      doubt.lost_by_own_fence = false;
      if (TIDEGATE_MUTANT == 20) continue;
      doubt.waits_for_owner = true;
      // What was listed so far proves nothing about what may still be written.
      doubt.listing = 1;
      doubt.cursor.clear();
      doubt.matches.clear();
      ScheduleDoubt({key, batch}, std::max(raw_ns, doubt.opened_raw_ns));
    }
  }
}

void CampaignBook::OnFormerOwnersDead(int64_t raw_ns) {
  for (auto& [key, campaign] : campaigns_) {
    for (uint32_t batch = 0; batch < campaign.calls.size(); ++batch) {
      CampaignCallState& call = campaign.calls[batch];
      if (call.phase != Phase::kDoubt || !call.doubt->waits_for_owner) continue;
      call.doubt->waits_for_owner = false;
      ScheduleDoubt({key, batch}, std::max(raw_ns, call.doubt->opened_raw_ns));
    }
  }
}

std::optional<WantedCall> CampaignBook::NextListing(const Now& now, const Admit& admit) {
  std::set<std::string> blocked;  // corps whose buckets are empty
  for (auto it = doubt_queue_.begin(); it != doubt_queue_.end() && it->first <= now.raw_ns;) {
    const CallRef ref = it->second;
    CampaignCallState& call = CallAt(ref);
    if (call.phase != Phase::kDoubt || call.doubt->under_way ||
        call.doubt->next_raw_ns != it->first) {
      it = doubt_queue_.erase(it);
      continue;
    }
    if (call.doubt->listing > 2 || call.doubt->waits_for_owner) {  // to be settled or parked
      ++it;
      continue;
    }
    const std::string& corp = ref.first.first;
    if (blocked.contains(corp) || !admit(corp, "get_groupmsg_list_v2")) {
      blocked.insert(corp);
      ++it;
      continue;
    }
    doubt_queue_.erase(it);
    DoubtState& doubt = *call.doubt;
    doubt.under_way = true;
    if (doubt.cursor.empty()) doubt.end_time_s = now.wall_ns / kNanosPerSecond + 2;
    WantedCall wanted;
    wanted.corp = ref.first.first;
    wanted.api = "get_groupmsg_list_v2";
    wanted.call_id = absl::StrCat(call.call_id, "/list/", doubt.attempt, "/", doubt.pages);
    wanted.attempt = 1;
    auto* list = wanted.target.mutable_list();
    list->set_corp(wanted.corp);
    *list->mutable_doubt() = Name(ref.first, ref.second);
    list->set_listing(doubt.listing);
    list->set_start_time_s(doubt.start_time_s);
    list->set_end_time_s(doubt.end_time_s);
    list->set_cursor(doubt.cursor);
    wanted.body =
        wecom_table::GroupMsgListBody(doubt.start_time_s, doubt.end_time_s, doubt.cursor, 100);
    return wanted;
  }
  return std::nullopt;
}

void CampaignBook::OnListOutcome(const CallRef& ref, const AttemptEnd& end) {
  CampaignCallState& call = CallAt(ref);
  if (call.phase != Phase::kDoubt) return;
  DoubtState& doubt = *call.doubt;
  const Outcome& outcome = end.outcome;
  doubt.under_way = false;
  ++doubt.pages;
  const int64_t completed = outcome.completed().raw_ns();
  if (outcome.outcome_class() != OUTCOME_CLASS_ACCEPTED) {
    // An error is no evidence of absence: both listings start over.
    doubt.listing = 1;
    doubt.cursor.clear();
    doubt.matches.clear();
    doubt.next_raw_ns = completed + limits_->settle.list_gap_ns;
  } else {
    doubt.matches.insert(outcome.matches().begin(), outcome.matches().end());
    doubt.cursor = outcome.next_cursor();
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
  doubt_queue_.emplace(doubt.next_raw_ns, ref);
}

std::optional<LedgerRecord> CampaignBook::NextSettlement(const Now& now) {
  for (auto it = doubt_queue_.begin(); it != doubt_queue_.end() && it->first <= now.raw_ns; ++it) {
    const CallRef ref = it->second;
    CampaignCallState& call = CallAt(ref);
    if (call.phase != Phase::kDoubt || call.doubt->under_way) continue;
    DoubtState& doubt = *call.doubt;
    const bool clean = doubt.listing > 2;
    if (!clean && now.raw_ns < doubt.opened_raw_ns + kParkAfterNs) continue;
    doubt.under_way = true;
    LedgerRecord record;
    Settled* settled = record.mutable_settled();
    settled->set_call_id(call.call_id);
    settled->set_attempt(doubt.attempt);
    *settled->mutable_call() = Name(ref.first, ref.second);
    if (!clean) {
      settled->set_settlement(SETTLEMENT_PARKED);
    } else if (doubt.matches.empty()) {
      settled->set_settlement(SETTLEMENT_NOT_EXECUTED);
    } else {
      settled->set_settlement(SETTLEMENT_ACCEPTED);
      settled->set_msgid(*doubt.matches.begin());
      if (doubt.matches.size() > 1) {
        LogEvent(LogLevel::kError, "duplicate_detected", {{"call", call.call_id}});
      }
    }
    settled->set_evidence(absl::StrCat("pages ", doubt.pages, ", window ", doubt.start_time_s, "..",
                                       doubt.end_time_s, ", matches ",
                                       absl::StrJoin(doubt.matches, ",")));
    return record;
  }
  return std::nullopt;
}

void CampaignBook::OnSettled(const Settled& settled) {
  CampaignCallState* call = FindCall(settled.call());
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
      ScheduleRead(ref, raw_ns);
      break;
    case SETTLEMENT_NOT_EXECUTED:
      ++campaign.doubts_not_executed;
      call->phase = Phase::kPlanned;
      campaign.to_send.push_back(ref.second);
      break;
    default:
      call->phase = Phase::kParked;
      break;
  }
  QueueProgress(ref.first);
}

// ---- Results ----

void CampaignBook::ScheduleRead(const CallRef& ref, int64_t raw_ns) {
  CampaignCallState& call = CallAt(ref);
  call.next_read_raw_ns = raw_ns;
  read_queue_.emplace(raw_ns, ref);
}

std::optional<WantedCall> CampaignBook::NextRead(const Now& now, const Admit& admit) {
  std::set<std::pair<std::string, std::string>> blocked;  // corp, api whose buckets are empty
  for (auto it = read_queue_.begin(); it != read_queue_.end() && it->first <= now.raw_ns;) {
    const CallRef ref = it->second;
    CampaignState& campaign = campaigns_[ref.first];
    CampaignCallState& call = campaign.calls[ref.second];
    if (call.phase != Phase::kAccepted || call.final || call.read_under_way ||
        call.next_read_raw_ns != it->first) {
      it = read_queue_.erase(it);
      continue;
    }
    // Once results have closed, the last word is asked of the customers' list itself.
    const bool closed = campaign.phase == CAMPAIGN_PHASE_COLLECTING &&
                        now.wall_ns >= campaign.results_close_wall_ns;
    const bool result = call.member_confirmed || closed;
    const char* api = result ? "get_groupmsg_send_result" : "get_groupmsg_task";
    const std::pair<std::string, std::string> key{ref.first.first, api};
    if (blocked.contains(key) || !admit(key.first, key.second)) {
      blocked.insert(key);
      ++it;
      continue;
    }
    read_queue_.erase(it);
    call.read_under_way = true;
    WantedCall wanted;
    wanted.corp = ref.first.first;
    wanted.api = api;
    wanted.call_id = absl::StrCat(call.call_id, "/read/", call.reads);
    wanted.attempt = 1;
    if (result) {
      *wanted.target.mutable_read_result() = Name(ref.first, ref.second);
      wanted.body =
          wecom_table::GroupMsgSendResultBody(call.msgid, call.sender, call.result_cursor, 1000);
    } else {
      *wanted.target.mutable_read_task() = Name(ref.first, ref.second);
      wanted.body = wecom_table::GroupMsgTaskBody(call.msgid, "", 1000);
    }
    return wanted;
  }
  return std::nullopt;
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
  const bool closed = campaign.phase == CAMPAIGN_PHASE_COLLECTING &&
                      outcome.completed().wall_ns() >= campaign.results_close_wall_ns;
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
    TakeResultPage(outcome, &call);
    if (!call.result_cursor.empty()) next = completed;
  }
  const bool last_page =
      accepted && end.attempt.target().has_read_result() && call.result_cursor.empty();
  if (closed && (last_page || !accepted)) {
    if (last_page || ++call.reads_after_close >= kReadsAfterCloseMax) {
      std::replace(call.statuses.begin(), call.statuses.end(), static_cast<uint8_t>(kTouchOpen),
                   static_cast<uint8_t>(kTouchUnconfirmed));
    }
  }
  if (AllEnded(call.statuses)) {
    result_queue_.push_back(ref);
    return;
  }
  // The closing time is wall time; how far it is away is the same on any clock.
  if (campaign.phase == CAMPAIGN_PHASE_COLLECTING && !closed) {
    const int64_t until_close = campaign.results_close_wall_ns - outcome.completed().wall_ns();
    next = std::min(next, completed + until_close);
  }
  ScheduleRead(ref, next);
}

void CampaignBook::TakeResultPage(const Outcome& outcome, CampaignCallState* call) {
  if (call->result_cursor.empty()) call->listed.assign(call->statuses.size(), false);
  const std::string& page = outcome.statuses();
  for (size_t i = 0; i < page.size() && i < call->statuses.size(); ++i) {
    const auto status = static_cast<uint8_t>(page[i]);
    if (status == kNotOnThisPage) continue;
    call->listed[i] = true;
    if (call->statuses[i] != kTouchFailList) call->statuses[i] = status;
  }
  call->result_cursor = outcome.next_cursor();
  if (!call->result_cursor.empty() || !call->found_by_list) return;
  // Of a call that listing found, nobody read the fail_list: who is in no result was in it.
  for (size_t i = 0; i < call->statuses.size(); ++i) {
    if (!call->listed[i] && call->statuses[i] == kTouchOpen) call->statuses[i] = kTouchFailList;
  }
}

std::optional<LedgerRecord> CampaignBook::NextResult(const Now&) {
  while (!result_queue_.empty()) {
    const CallRef ref = result_queue_.front();
    result_queue_.pop_front();
    CampaignCallState& call = CallAt(ref);
    if (call.final || call.decided || !AllEnded(call.statuses)) continue;
    if (call.phase != Phase::kAccepted && call.phase != Phase::kRefused) continue;
    call.decided = true;
    LedgerRecord record;
    Result* result = record.mutable_result();
    *result->mutable_call() = Name(ref.first, ref.second);
    result->set_statuses(std::string(call.statuses.begin(), call.statuses.end()));
    result->set_final(true);
    return record;
  }
  return std::nullopt;
}

void CampaignBook::OnResult(const Result& result, std::vector<core::OutboxRecord>* outbox) {
  CampaignCallState* call = FindCall(result.call());
  if (call == nullptr) return;
  const CampaignKey key = KeyOf(result.call());
  const CampaignState& campaign = campaigns_[key];
  call->decided = false;
  call->final = result.final();
  call->statuses.assign(result.statuses().begin(), result.statuses().end());
  for (size_t i = 0; i < call->customers.size(); ++i) {
    const auto [kind, reason] = TouchKindOf(call->statuses[i]);
    outbox->push_back(TouchEvent({.corp = key.first,
                                  .campaign = key.second,
                                  .customer = campaign.audience[call->customers[i]].customer,
                                  .kind = kind,
                                  .reason = reason,
                                  .member = call->sender,
                                  .time_ns = campaign.last_accepted_wall_ns},
                                 partitions_));
  }
  QueueProgress(key);
}

// ---- Attempts ----

void CampaignBook::OnAttempt(const Attempt& attempt) {
  const CampaignCall& name = CallOf(attempt);
  CampaignCallState* call = FindCall(name);
  if (call == nullptr) return;
  if (attempt.target().has_campaign_call()) {
    CampaignState& campaign = campaigns_[KeyOf(name)];
    call->decided = false;
    call->phase = Phase::kUnderWay;
    call->attempts = attempt.attempt();
    if (campaign.first_attempt_wall_ns == 0)
      campaign.first_attempt_wall_ns = attempt.stamp().wall_ns();
  } else if (attempt.target().has_list()) {
    if (!call->doubt.has_value()) return;
    call->doubt->under_way = true;
    call->doubt->end_time_s = attempt.target().list().end_time_s();
  } else {
    call->read_under_way = true;
  }
}

void CampaignBook::OnOutcome(const AttemptEnd& end) {
  const CampaignCall& name = CallOf(end.attempt);
  if (FindCall(name) == nullptr) return;
  const CallRef ref{KeyOf(name), name.batch()};
  if (end.attempt.target().has_campaign_call()) {
    OnCreateOutcome(ref, end);
  } else if (end.attempt.target().has_list()) {
    OnListOutcome(ref, end);
  } else {
    OnReadOutcome(ref, end);
  }
}

void CampaignBook::OnLostOwner(const Attempt& attempt, int64_t settle_from_raw_ns,
                               CallOwner owner) {
  const CampaignCall& name = CallOf(attempt);
  CampaignCallState* call = FindCall(name);
  if (call == nullptr) return;
  const CallRef ref{KeyOf(name), name.batch()};
  if (attempt.target().has_campaign_call()) {
    OpenDoubt(ref, attempt, settle_from_raw_ns);
    call->doubt->lost_by_own_fence = owner == CallOwner::kOwnsOn;
    if (owner == CallOwner::kUnknown && TIDEGATE_MUTANT != 20) {
      call->doubt->waits_for_owner = true;
      ScheduleDoubt(ref, settle_from_raw_ns);
    }
  } else if (attempt.target().has_list()) {
    if (!call->doubt.has_value()) return;
    // The next call has a name of its own: a late answer to the lost one must not pass for its.
    ++call->doubt->pages;
    call->doubt->listing = 1;
    call->doubt->cursor.clear();
    call->doubt->matches.clear();
  } else {
    call->read_under_way = false;
    ++call->reads;
  }
}

void CampaignBook::Rebuild(bool raw_restarted, int64_t raw_now_ns) {
  progress_queue_.clear();
  read_queue_.clear();
  doubt_queue_.clear();
  result_queue_.clear();
  for (auto& [key, campaign] : campaigns_) {
    campaign.decided = false;
    campaign.to_send.clear();
    QueueProgress(key);
    for (uint32_t batch = 0; batch < campaign.calls.size(); ++batch) {
      CampaignCallState& call = campaign.calls[batch];
      const CallRef ref{key, batch};
      call.decided = false;
      call.read_under_way = false;
      if (raw_restarted) {
        call.not_before_raw_ns = 0;
        call.next_read_raw_ns = raw_now_ns;
        if (call.doubt.has_value()) ScheduleDoubt(ref, raw_now_ns);
      }
      switch (call.phase) {
        case Phase::kPlanned:
          campaign.to_send.push_back(batch);
          break;
        case Phase::kDoubt:
          call.doubt->under_way = false;
          doubt_queue_.emplace(call.doubt->next_raw_ns, ref);
          break;
        case Phase::kAccepted:
        case Phase::kRefused:
          if (call.final) break;
          if (AllEnded(call.statuses)) {
            result_queue_.push_back(ref);
          } else {
            read_queue_.emplace(call.next_read_raw_ns, ref);
          }
          break;
        default:
          break;
      }
    }
  }
}

// Queues, and what is decided or under way, follow from this and the core's open attempts.
void CampaignBook::AddStateTo(core::StateHash* hash) const {
  hash->Add(campaigns_.size());
  for (const auto& [key, campaign] : campaigns_) {
    hash->Add(key.first).Add(key.second);
    hash->Add(static_cast<int>(campaign.phase)).Add(static_cast<int>(campaign.intent));
    hash->Add(campaign.audience.size());
    for (const AudienceCustomer& customer : campaign.audience) {
      hash->Add(customer.customer).Add(customer.owner);
    }
    hash->Add(campaign.variants.size());
    for (const ContentVariant& variant : campaign.variants) {
      hash->Add(variant.text).Add(variant.link_url).Add(variant.link_title);
    }
    hash->Add(campaign.skipped_no_sender).Add(campaign.first_attempt_wall_ns);
    hash->Add(campaign.last_accepted_wall_ns).Add(campaign.results_close_wall_ns);
    hash->Add(campaign.doubts_opened).Add(campaign.doubts_accepted);
    hash->Add(campaign.doubts_not_executed).Add(campaign.calls.size());
    for (const CampaignCallState& call : campaign.calls) AddCallTo(hash, call);
  }
  hash->Add(definitions_.size());
  for (const auto& [key, definition] : definitions_) {
    hash->Add(key.first).Add(key.second).Add(definition);
  }
  hash->Add(audiences_.size());
  for (const auto& [key, audience] : audiences_) {
    hash->Add(key.first).Add(key.second).Add(audience.shards).Add(audience.by_shard.size());
    for (const auto& [number, shard] : audience.by_shard) {
      hash->Add(number).Add(shard.rounds.size());
      for (const auto& [round, chunks] : shard.rounds) {
        hash->Add(round).Add(chunks.size());
        for (const AudienceChunk& chunk : chunks) hash->Add(chunk);
      }
    }
  }
}

void CampaignBook::AddCallTo(core::StateHash* hash, const CampaignCallState& call) {
  hash->Add(call.sender).Add(call.variant).Add(call.customers.size());
  for (const uint32_t index : call.customers) hash->Add(index);
  hash->Add(call.call_id).Add(call.marker).Add(static_cast<int>(call.phase)).Add(call.attempts);
  hash->Add(call.msgid);
  hash->Add(
      absl::string_view(reinterpret_cast<const char*>(call.statuses.data()), call.statuses.size()));
  hash->Add(call.final).Add(call.not_before_raw_ns).Add(call.reads).Add(call.reads_after_close);
  hash->Add(call.member_confirmed).Add(call.result_cursor).Add(call.listed.size());
  for (const bool listed : call.listed) hash->Add(listed);
  hash->Add(call.found_by_list).Add(call.next_read_raw_ns).Add(call.doubt.has_value());
  if (!call.doubt.has_value()) return;
  const DoubtState& doubt = *call.doubt;
  hash->Add(doubt.attempt).Add(doubt.opened_raw_ns).Add(doubt.opened_wall_ns);
  hash->Add(doubt.start_time_s).Add(doubt.end_time_s).Add(doubt.next_raw_ns).Add(doubt.listing);
  hash->Add(doubt.pages).Add(doubt.cursor).Add(doubt.waits_for_owner);
  hash->Add(doubt.lost_by_own_fence);
  for (const auto* matches : {&doubt.matches, &doubt.matches_before}) {
    hash->Add(matches->size());
    for (const std::string& match : *matches) hash->Add(match);
  }
}

std::optional<int64_t> CampaignBook::NextRawNs(const Now& now) const {
  std::optional<int64_t> next;
  const auto consider = [&](int64_t at) {
    if (at > now.raw_ns) next = std::min(next.value_or(at), at);
  };
  // Entries that are due wait for tokens, which the buckets announce.
  if (const auto it = read_queue_.upper_bound({now.raw_ns, {}}); it != read_queue_.end()) {
    consider(it->first);
  }
  if (const auto it = doubt_queue_.upper_bound({now.raw_ns, {}}); it != doubt_queue_.end()) {
    consider(it->first);
  }
  for (const auto& [key, campaign] : campaigns_) {
    if (campaign.intent != CAMPAIGN_INTENT_RUN || campaign.phase != CAMPAIGN_PHASE_RUNNING)
      continue;
    for (const uint32_t batch : campaign.to_send) {
      const CampaignCallState& call = campaign.calls[batch];
      if (call.phase == Phase::kPlanned && call.not_before_raw_ns > now.raw_ns) {
        consider(call.not_before_raw_ns);
      }
    }
  }
  return next;
}

void CampaignBook::DescribeAnswer(const Attempt& attempt, const wecom_table::Answer& answer,
                                  Outcome* outcome) const {
  const CampaignCallState* call = FindCall(CallOf(attempt));
  if (call == nullptr) return;
  const CampaignState& campaign = campaigns_.at(KeyOf(CallOf(attempt)));
  std::map<absl::string_view, uint32_t> index_of;
  if (!answer.fail_list.empty() || !answer.sends.empty()) {
    for (uint32_t i = 0; i < call->customers.size(); ++i) {
      index_of[campaign.audience[call->customers[i]].customer] = i;
    }
  }
  outcome->set_next_cursor(answer.next_cursor);
  if (attempt.target().has_campaign_call()) {
    outcome->set_msgid(answer.msgid);
    for (const std::string& customer : answer.fail_list) {
      if (const auto it = index_of.find(customer); it != index_of.end()) {
        outcome->add_fail_list(it->second);
      }
    }
  } else if (attempt.target().has_read_task()) {
    for (const auto& task : answer.tasks) {
      if (task.userid == call->sender && task.status == 2) outcome->set_member_confirmed(true);
    }
  } else if (attempt.target().has_read_result()) {
    std::string statuses(call->customers.size(), static_cast<char>(kNotOnThisPage));
    for (const auto& send : answer.sends) {
      const auto it = index_of.find(send.external_userid);
      if (it != index_of.end() && send.status >= 0 && send.status <= kTouchOverQuota) {
        statuses[it->second] = static_cast<char>(send.status);
      }
    }
    outcome->set_statuses(std::move(statuses));
  } else if (attempt.target().has_list()) {
    for (const auto& message : answer.messages) {
      for (const std::string& url : message.link_urls) {
        if (wecom_table::MarkerOf(url) == call->marker) outcome->add_matches(message.msgid);
      }
    }
  }
}

}  // namespace tidegate::dispatch
