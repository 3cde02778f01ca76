#include "services/dispatch/core/campaign_book.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/wecom_table/requests.h"
#include "services/dispatch/core/retry_delay.h"
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
using ::tidegate::log::v1::OUTCOME_CLASS_REFUSED;
using ::tidegate::log::v1::Planned;
using ::tidegate::log::v1::Proposal;

using Phase = CampaignCallState::Phase;

namespace {

constexpr int64_t kRetryNs = 200 * kNanosPerMilli;
constexpr int64_t kRetryMaxNs = 30 * kNanosPerSecond;

int64_t Backoff(uint32_t attempts) { return RetryDelayNs(kRetryNs, kRetryMaxNs, attempts); }

// The campaign call that a create, a reminder or a read of its result is about.
const CampaignCall& CallOf(const Attempt& attempt) {
  const auto& target = attempt.target();
  if (target.has_campaign_call()) return target.campaign_call();
  if (target.has_read_task()) return target.read_task();
  if (target.has_read_result()) return target.read_result();
  if (target.has_remind()) return target.remind();
  return target.list().doubt();
}

}  // namespace

CampaignKey KeyOf(const CampaignCall& call) { return {call.corp(), call.campaign()}; }

CampaignCall CallName(const CampaignKey& key, uint32_t batch) {
  CampaignCall call;
  call.set_corp(key.first);
  call.set_campaign(key.second);
  call.set_batch(batch);
  return call;
}

CampaignBook::CampaignBook(const wecom_table::Limits* limits, uint32_t partitions,
                           ReceiveQuotas* quotas, FlowChanged changed)
    : limits_(limits), partitions_(partitions), quotas_(quotas), changed_(std::move(changed)) {}

const CampaignCallState* CampaignBook::FindCall(const CampaignCall& call) const {
  const auto it = campaigns_.find(KeyOf(call));
  if (it == campaigns_.end() || call.batch() >= it->second.calls.size()) return nullptr;
  return &it->second.calls[call.batch()];
}

CampaignCallState* CampaignBook::MutableCall(const CampaignCall& call) {
  return const_cast<CampaignCallState*>(FindCall(call));
}

// The flow of a campaign's creates.
FlowName CreatesOf(const CampaignKey& key) {
  const FlowKind kind = key.second == "@urgent"        ? FlowKind::kUrgentMessage
                        : key.second == "@interactive" ? FlowKind::kInteractiveMessage
                        : key.second == "@bulk"        ? FlowKind::kBulkMessage
                                                       : FlowKind::kCreate;
  return {.kind = kind, .corp = key.first, .campaign = key.second};
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

// ---- Flows ----

std::optional<FlowHead> CampaignBook::HeadOf(const FlowName& flow, const Now& now) {
  if (flow.kind == FlowKind::kRemind) return RemindHead(flow, now);
  if (!flow.campaign.empty()) {
    const auto found = campaigns_.find({flow.corp, flow.campaign});
    if (found == campaigns_.end()) return std::nullopt;
    CampaignState& campaign = found->second;
    if (campaign.intent != CAMPAIGN_INTENT_RUN || campaign.phase != CAMPAIGN_PHASE_RUNNING) {
      return std::nullopt;
    }
    if (IsAppMessage(flow.kind)) return AppHead(&campaign, now);
    const bool ready = TidyCreates(&campaign, now.raw_ns);
    const auto waiting =
        static_cast<int64_t>(campaign.to_send.size() + campaign.to_send_later.size());
    if (ready) {
      return FlowHead{.deadline_ns = campaign.to_send.begin()->first, .waiting = waiting};
    }
    if (campaign.to_send_later.empty()) return std::nullopt;
    const auto& [not_before, batch] = *campaign.to_send_later.begin();
    return FlowHead{.not_before_raw_ns = not_before,
                    .deadline_ns = campaign.calls[batch].deadline_wall_ns,
                    .waiting = waiting};
  }
  const CallQueue* queue = flow.kind == FlowKind::kListing ? TidyListings(flow.corp)
                                                           : TidyReads(flow.kind, flow.corp, now);
  if (queue == nullptr) return std::nullopt;
  return FlowHead{.not_before_raw_ns = queue->begin()->first,
                  .waiting = static_cast<int64_t>(queue->size())};
}

std::optional<WantedCall> CampaignBook::Take(const FlowName& flow, const Now& now) {
  const auto head = HeadOf(flow, now);
  if (!head.has_value() || head->not_before_raw_ns > now.raw_ns) return std::nullopt;
  if (!flow.campaign.empty()) {
    const CampaignKey key{flow.corp, flow.campaign};
    if (flow.kind == FlowKind::kRemind) {
      auto& to_remind = campaigns_[key].to_remind;
      return RemindCall({key, to_remind.extract(to_remind.begin()).value().second});
    }
    if (IsAppMessage(flow.kind)) return AppCall(key, now);
    auto& to_send = campaigns_[key].to_send;
    return CreateCall(key, to_send.extract(to_send.begin()).value().second);
  }
  const bool listing = flow.kind == FlowKind::kListing;
  CallQueue* queue = listing ? TidyListings(flow.corp) : TidyReads(flow.kind, flow.corp, now);
  const CallRef ref = queue->extract(queue->begin()).value().second;
  return listing ? ListingCall(ref, now) : ReadCall(ref, flow.kind);
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
    ChangedCreates(key);
    ChangedReminders(key);
  }
}

void CampaignBook::FoldAudience(const AudienceChunk& chunk) {
  const CampaignKey key{chunk.corp(), chunk.audience()};
  // Rounds after the planned one are ignored.
  const CampaignState* campaign = Find(key);
  if (campaign != nullptr && campaign->phase > CAMPAIGN_PHASE_FREEZING) return;
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

std::optional<LedgerRecord> CampaignBook::PlanRecord(const CampaignKey& key, const Now& now) const {
  const std::vector<uint32_t> rounds = CompleteRounds(key);
  if (rounds.empty()) return std::nullopt;
  const auto& definition = definitions_.at(key);
  const std::vector<AudienceCustomer> audience = Assemble(key, rounds);
  const auto mode = quotas_->ModeOf(key.first);
  const Plan plan = MakePlan(key.second, audience, definition.variants_size(),
                             quotas_->OverQuota(key.first, mode, audience, now.wall_ns));
  quotas_->NotePlan();
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
  planned->set_skipped_over_quota(plan.skipped_over_quota.size());
  planned->set_plan_hash(plan.hash);
  planned->set_time_ns(now.wall_ns);
  planned->set_receive_quota(mode);
  return record;
}

std::optional<LedgerRecord> CampaignBook::NextProgress(const Now& now) {
  while (!progress_queue_.empty()) {
    const CampaignKey key = *progress_queue_.begin();
    progress_queue_.erase(progress_queue_.begin());
    const auto it = campaigns_.find(key);
    if (it == campaigns_.end() || it->second.decided || IsMessageCampaign(key.second)) continue;
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
        if (campaign.intent == CAMPAIGN_INTENT_RUN) record = PlanRecord(key, now);
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
    closings_.emplace(campaign.results_close_wall_ns, key);
  }
  if (progress.phase() == CAMPAIGN_PHASE_COMPLETED) {
    campaign.to_send.clear();
    campaign.to_send_later.clear();
  }
  QueueProgress(key);
  ChangedCreates(key);
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
  Plan plan = MakePlan(key.second, campaign.audience, planned.variant_texts_size(),
                       quotas_->ReservePlanned(key.first, planned.receive_quota(),
                                               campaign.audience, planned.time_ns()));
  // The audience on the topic is not the one that was planned: nothing must be sent from it.
  CHECK(plan.hash == planned.plan_hash());
  campaign.skipped_no_sender = plan.skipped_no_sender.size();
  campaign.skipped_over_quota = plan.skipped_over_quota.size();
  campaign.calls.resize(plan.calls.size());
  for (uint32_t batch = 0; batch < plan.calls.size(); ++batch) {
    CampaignCallState& call = campaign.calls[batch];
    call.sender = std::move(plan.calls[batch].sender);
    call.variant = plan.calls[batch].variant;
    call.customers = std::move(plan.calls[batch].customers);
    call.statuses.assign(call.customers.size(), kTouchOpen);
    call.counts = ReceiveQuotas::Counts(planned.receive_quota());
    call.call_id = CallId(key.first, key.second, batch);
    call.marker = Marker(call.call_id);
    QueueCreate(key, batch);
  }
  const auto skip = [&](const std::vector<uint32_t>& indices, const char* reason) {
    for (const uint32_t index : indices) {
      outbox->push_back(
          TouchEvent({.corp = key.first,
                      .campaign = key.second,
                      .id = absl::StrCat(key.second, "/", campaign.audience[index].customer),
                      .customer = campaign.audience[index].customer,
                      .kind = "touch_skipped",
                      .reason = reason,
                      .member = "",
                      .time_ns = planned.time_ns()},
                     partitions_));
    }
  };
  skip(plan.skipped_no_sender, "no_sender");
  skip(plan.skipped_over_quota, "over_quota");
  QueueProgress(key);
}

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
      customers.push_back(campaign.audience[call.customers[i]].customer);
    }
  }
  const ContentVariant& variant = campaign.variants[call.variant];
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
  CHECK(campaign.calls.size() == name.batch());
  CampaignCallState& call = campaign.calls.emplace_back();
  call.sender = std::move(message_call.sender);
  call.channel = message_call.channel;
  call.variant = static_cast<uint32_t>(campaign.variants.size());
  campaign.variants.push_back(std::move(message_call.content));
  for (std::string& customer : message_call.customers) {
    call.customers.push_back(static_cast<uint32_t>(campaign.audience.size()));
    campaign.audience.push_back({.customer = std::move(customer), .owner = ""});
  }
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

// ---- Attempts ----

void CampaignBook::OnAttempt(const Attempt& attempt) {
  const CampaignCall& name = CallOf(attempt);
  CampaignCallState* call = MutableCall(name);
  if (call == nullptr) return;
  if (attempt.target().has_campaign_call()) {
    CampaignState& campaign = campaigns_[KeyOf(name)];
    call->decided = false;
    if (call->doubt.has_value()) {
      call->doubt->under_way = true;  // it stays in doubt while it is repeated
    } else {
      call->phase = Phase::kUnderWay;
    }
    call->attempts = attempt.attempt();
    if (campaign.first_attempt_wall_ns == 0)
      campaign.first_attempt_wall_ns = attempt.stamp().wall_ns();
  } else if (attempt.target().has_list()) {
    if (!call->doubt.has_value()) return;
    call->doubt->under_way = true;
    call->doubt->end_time_s = attempt.target().list().end_time_s();
  } else if (attempt.target().has_remind()) {
    OnRemindAttempt(call);
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
  } else if (end.attempt.target().has_remind()) {
    OnRemindOutcome(ref, end);
  } else {
    OnReadOutcome(ref, end);
  }
}

void CampaignBook::OnLostOwner(const Attempt& attempt, int64_t settle_from_raw_ns,
                               CallOwner owner) {
  const CampaignCall& name = CallOf(attempt);
  CampaignCallState* call = MutableCall(name);
  if (call == nullptr) return;
  const CallRef ref{KeyOf(name), name.batch()};
  if (attempt.target().has_campaign_call() && call->channel == Channel::kMembers) {
    call->over_raw_ns = settle_from_raw_ns + limits_->SettleWaitNs();
    OpenAppDoubt(ref, attempt);
  } else if (attempt.target().has_campaign_call()) {
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
    call->doubt->page_errors = 0;
    call->doubt->cursor.clear();
    call->doubt->matches.clear();
  } else if (attempt.target().has_remind()) {
    OnRemindLost(ref, attempt.stamp().wall_ns());
  } else {
    call->read_under_way = false;
    ++call->reads;
  }
}

void CampaignBook::Rebuild(bool raw_restarted, int64_t raw_now_ns) {
  progress_queue_.clear();
  listings_.clear();
  task_reads_.clear();
  result_reads_.clear();
  settle_queue_.clear();
  app_doubts_.clear();
  result_queue_.clear();
  closings_.clear();
  for (auto& [key, campaign] : campaigns_) {
    campaign.decided = false;
    if (campaign.phase == CAMPAIGN_PHASE_COLLECTING) {
      closings_.emplace(campaign.results_close_wall_ns, key);
    }
    campaign.to_send.clear();
    campaign.to_send_later.clear();
    campaign.to_remind.clear();
    campaign.app_to_send.clear();
    campaign.app_to_send_later.clear();
    QueueProgress(key);
    for (uint32_t batch = 0; batch < campaign.calls.size(); ++batch) {
      CampaignCallState& call = campaign.calls[batch];
      const CallRef ref{key, batch};
      call.decided = false;
      call.held = false;
      call.read_under_way = false;
      call.reminders.under_way = false;
      if (call.doubt.has_value()) call.doubt->under_way = false;
      if (raw_restarted) {
        call.not_before_raw_ns = 0;
        call.next_read_raw_ns = raw_now_ns;
        call.over_raw_ns = raw_now_ns;
        if (call.doubt.has_value()) ScheduleDoubt(ref, raw_now_ns);
      }
      switch (call.phase) {
        case Phase::kPlanned:
          if (!AllEnded(call.statuses)) {
            QueueCreate(key, batch);
          } else if (!call.final) {
            result_queue_.push_back(ref);
          }
          break;
        case Phase::kDoubt:
          QueueDoubt(ref);
          break;
        case Phase::kAccepted:
        case Phase::kRefused:
          if (call.final) break;
          if (AllEnded(call.statuses)) {
            result_queue_.push_back(ref);
          } else {
            QueueRead(ref);
            QueueReminder(ref);
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
    hash->Add(campaign.skipped_no_sender).Add(campaign.skipped_over_quota);
    hash->Add(campaign.first_attempt_wall_ns);
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
  hash->Add(call.sender).Add(static_cast<int>(call.channel)).Add(call.over_raw_ns);
  hash->Add(call.variant).Add(call.customers.size());
  for (const uint32_t index : call.customers) hash->Add(index);
  hash->Add(call.call_id).Add(call.marker).Add(static_cast<int>(call.phase)).Add(call.attempts);
  hash->Add(call.msgid);
  hash->Add(
      absl::string_view(reinterpret_cast<const char*>(call.statuses.data()), call.statuses.size()));
  hash->Add(call.counts)
      .Add(call.final)
      .Add(call.not_before_raw_ns)
      .Add(call.reads)
      .Add(call.reads_after_close);
  hash->Add(call.member_confirmed).Add(call.result_cursor).Add(call.listed.size());
  for (const bool listed : call.listed) hash->Add(listed);
  hash->Add(call.found_by_list).Add(call.next_read_raw_ns).Add(call.deadline_wall_ns);
  hash->Add(call.results_close_wall_ns).Add(call.evidence).Add(call.attempt_wall_ns);
  hash->Add(call.first_actor).Add(call.resolved_by).Add(call.reminders.accepted_ns);
  hash->Add(call.reminders.next_ns).Add(call.reminders.attempts).Add(call.reminders.used);
  hash->Add(call.reminders.sent).Add(call.doubt.has_value());
  if (!call.doubt.has_value()) return;
  const DoubtState& doubt = *call.doubt;
  hash->Add(doubt.attempt).Add(doubt.opened_raw_ns).Add(doubt.opened_wall_ns);
  hash->Add(doubt.start_time_s).Add(doubt.end_time_s).Add(doubt.next_raw_ns).Add(doubt.listing);
  hash->Add(doubt.pages).Add(doubt.page_errors).Add(doubt.cursor).Add(doubt.waits_for_owner);
  hash->Add(doubt.lost_by_own_fence).Add(doubt.opened_boot_ns).Add(doubt.request_sha256);
  for (const auto* matches : {&doubt.matches, &doubt.matches_before}) {
    hash->Add(matches->size());
    for (const auto& [msgid, created_s] : *matches) hash->Add(msgid).Add(created_s);
  }
}

std::optional<int64_t> CampaignBook::NextRawNs(const Now& now) const {
  int64_t next = kNever;
  const auto it = settle_queue_.upper_bound({now.raw_ns, {}});
  if (it != settle_queue_.end()) next = it->first;
  if (const auto parked = NextAppParkedRawNs(now)) next = std::min(next, *parked);
  // Wall time; how far it is away is the same on any clock.
  if (!closings_.empty()) {
    next =
        std::min(next, now.raw_ns + std::max<int64_t>(0, closings_.begin()->first - now.wall_ns));
  }
  if (next == kNever) return std::nullopt;
  return next;
}

void CampaignBook::DescribeAnswer(const Attempt& attempt, const wecom_table::Answer& answer,
                                  Outcome* outcome) const {
  const CampaignCallState* call = FindCall(CallOf(attempt));
  if (call == nullptr) return;
  const CampaignState& campaign = campaigns_.at(KeyOf(CallOf(attempt)));
  // WeCom tells members in lower case.
  const bool members = call->channel == Channel::kMembers;
  const auto as_told = [members](absl::string_view id) {
    return members ? absl::AsciiStrToLower(id) : std::string(id);
  };
  std::map<std::string, uint32_t> index_of;
  if (!answer.fail_list.empty() || !answer.sends.empty()) {
    for (uint32_t i = 0; i < call->customers.size(); ++i) {
      index_of[as_told(campaign.audience[call->customers[i]].customer)] = i;
    }
  }
  outcome->set_next_cursor(answer.next_cursor);
  if (attempt.target().has_campaign_call()) {
    outcome->set_msgid(answer.msgid);
    for (const std::string& customer : answer.fail_list) {
      if (TIDEGATE_MUTANT == 15) break;
      if (const auto it = index_of.find(as_told(customer)); it != index_of.end()) {
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
        if (wecom_table::MarkerOf(url) != call->marker) continue;
        outcome->add_matches(message.msgid);
        auto* listed = outcome->add_listed();
        listed->set_msgid(message.msgid);
        listed->set_created_s(message.create_time_s);
        listed->set_marker(call->marker);
      }
    }
  }
}

}  // namespace tidegate::dispatch
