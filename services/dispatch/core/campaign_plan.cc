// What is wanted of a campaign and to whom, its plan, and its phases.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "services/dispatch/core/campaign_book.h"
#include "services/dispatch/core/touch_events.h"

namespace tidegate::dispatch {

using ::tidegate::log::v1::AudienceChunk;
using ::tidegate::log::v1::CAMPAIGN_INTENT_DRAFT;
using ::tidegate::log::v1::CAMPAIGN_INTENT_RUN;
using ::tidegate::log::v1::CAMPAIGN_PHASE_COLLECTING;
using ::tidegate::log::v1::CAMPAIGN_PHASE_COMPLETED;
using ::tidegate::log::v1::CAMPAIGN_PHASE_FREEZING;
using ::tidegate::log::v1::CAMPAIGN_PHASE_RUNNING;
using ::tidegate::log::v1::CAMPAIGN_PHASE_UNSPECIFIED;
using ::tidegate::log::v1::CampaignProgress;
using ::tidegate::log::v1::LedgerRecord;
using ::tidegate::log::v1::Planned;
using ::tidegate::log::v1::Proposal;

using Phase = CampaignCallState::Phase;

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
  return std::all_of(campaign.open.begin(), campaign.open.end(), [&](uint32_t batch) {
    const Phase phase = campaign.calls[batch].phase;
    return phase == Phase::kAccepted || phase == Phase::kRefused || phase == Phase::kParked;
  });
}

bool CampaignBook::AllResultsFinal(const CampaignState& campaign) const {
  return std::all_of(campaign.open.begin(), campaign.open.end(),
                     [&](uint32_t batch) { return campaign.calls[batch].phase == Phase::kParked; });
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
    QueueForgetting({key, 0});
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
  campaign.last_end_wall_ns = planned.time_ns();
  campaign.skipped_no_sender = plan.skipped_no_sender.size();
  campaign.skipped_over_quota = plan.skipped_over_quota.size();
  for (uint32_t batch = 0; batch < plan.calls.size(); ++batch) {
    CampaignCallState& call = campaign.calls.Add();
    campaign.open.insert(batch);
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

}  // namespace tidegate::dispatch
