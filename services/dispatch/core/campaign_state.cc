// The state of campaigns as a hash: what a replay must arrive at again.
#include "services/dispatch/core/campaign_book.h"

namespace tidegate::dispatch {

using ::tidegate::log::v1::AudienceChunk;

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
    hash->Add(campaign.first_attempt_wall_ns).Add(campaign.last_end_wall_ns);
    hash->Add(campaign.last_accepted_wall_ns).Add(campaign.results_close_wall_ns);
    hash->Add(campaign.doubts_opened).Add(campaign.doubts_accepted);
    hash->Add(campaign.doubts_not_executed).Add(campaign.calls.next());
    hash->Add(campaign.calls.kept()).Add(campaign.open.size());
    for (const auto& [batch, call] : campaign.calls) {
      hash->Add(batch);
      AddCallTo(hash, call);
    }
    const ForgottenCalls& forgotten = campaign.forgotten;
    hash->Add(forgotten.time_ns).Add(forgotten.audience).Add(forgotten.accepted);
    hash->Add(forgotten.refused).Add(forgotten.reminders_sent).Add(forgotten.touches_accepted);
    for (const uint64_t touches : forgotten.touches) hash->Add(touches);
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
  hash->Add(call.recipients.size());
  for (const std::string& recipient : call.recipients) hash->Add(recipient);
  hash->Add(call.content.text).Add(call.content.link_url).Add(call.content.link_title);
  hash->Add(call.final_wall_ns);
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

}  // namespace tidegate::dispatch
