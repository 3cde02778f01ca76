#include "services/dispatch/core/harm_brake.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/hash.h"
#include "common/base/log.h"

namespace tidegate::dispatch {

using ::tidegate::log::v1::CAMPAIGN_PHASE_COMPLETED;
using ::tidegate::log::v1::Command;
using ::tidegate::log::v1::CommandsDropped;
using ::tidegate::log::v1::LedgerRecord;
using ::tidegate::log::v1::Result;
using ::tidegate::log::v1::SendingBlocked;
using ::tidegate::log::v1::SendingUnblocked;

namespace {

constexpr int64_t kDayNs = 86'400 * kNanosPerSecond;
constexpr int64_t kUsualDays = 7;
constexpr int kPositionsMax = 1000;  // in one record

// What a block holds back, and what it cannot.
std::string StillToCome(const CampaignState& campaign) {
  using Phase = CampaignCallState::Phase;
  int64_t calls = 0, reminded = 0, unconfirmed = 0;
  for (const uint32_t batch : campaign.open) {
    const CampaignCallState& call = campaign.calls[batch];
    calls += call.phase != Phase::kAccepted && call.phase != Phase::kRefused;
    if (call.phase != Phase::kAccepted || call.member_confirmed) continue;
    ++unconfirmed;
    reminded += call.reminders.next_ns != kNever;
  }
  return absl::StrFormat(
      "held back now: calls %d, reminders of tasks %d; tasks that members may still confirm: %d",
      calls, reminded, unconfirmed);
}

}  // namespace

uint64_t HarmBrake::PairOf(const std::string& corp, const std::string& member,
                           const std::string& customer) {
  return StableHash64(absl::StrCat(corp, "/", member, "/", customer));
}

void HarmBrake::Fold(uint64_t position, const Command& command) {
  removals_[position] = {.corp = command.corp(),
                         .pair = PairOf(command.corp(), command.member(), command.customer()),
                         .time_ns = command.customer_left().time_ns()};
}

// ---- Decide ----

std::optional<LedgerRecord> HarmBrake::NextCounted() {
  auto it = removals_.lower_bound(next_position_);
  if (it == removals_.end()) return std::nullopt;
  LedgerRecord record;
  CommandsDropped* counted = record.mutable_commands_dropped();
  counted->set_corp(it->second.corp);
  counted->set_reason(kCounted);
  for (; it != removals_.end() && it->second.corp == counted->corp() &&
         counted->positions_size() < kPositionsMax;
       ++it) {
    counted->add_positions(it->first);
  }
  next_position_ = counted->positions(counted->positions_size() - 1) + 1;
  return record;
}

std::optional<LedgerRecord> HarmBrake::NextBlock(const CampaignBook& campaigns,
                                                 const BlockList& blocks, const Now& now) {
  while (!to_look_at_.empty()) {
    const CampaignKey key = to_look_at_.extract(to_look_at_.begin()).value();
    const Tally& tally = tallies_[tally_of_.at(key)];
    if (tally.braked || tally.left < limits_->harm.min_deletions) continue;
    // Whoever blocked it by hand has a reason of their own.
    const SendingBlocked* block = blocks.Find(key, now.wall_ns);
    if (block != nullptr && block->campaign() == key.second) continue;
    const CampaignState* campaign = campaigns.Find(key);
    if (campaign == nullptr || campaign->phase == CAMPAIGN_PHASE_COMPLETED) continue;
    const double rate = static_cast<double>(tally.left) / static_cast<double>(tally.sent);
    const double usual = UsualRate(key.first, campaigns, now.wall_ns);
    if (rate <= limits_->harm.factor * usual) continue;
    LedgerRecord record;
    SendingBlocked* blocked = record.mutable_sending_blocked();
    blocked->set_corp(key.first);
    blocked->set_campaign(key.second);
    blocked->set_actor(kActor);
    blocked->set_reason(absl::StrFormat(
        "%d of %d touches in %d h were followed by the customer removing the member: %.2f %%, "
        "usual is %.2f %% a day, the limit %g times that; %s",
        tally.left, tally.sent, limits_->harm.window_ns / (3600 * kNanosPerSecond), 100 * rate,
        100 * usual, limits_->harm.factor, StillToCome(*campaign)));
    blocked->set_time_ns(now.wall_ns);
    return record;
  }
  return std::nullopt;
}

double HarmBrake::UsualRate(const std::string& corp, const CampaignBook& campaigns,
                            int64_t time_ns) const {
  size_t customers = 1;
  for (auto it = campaigns.campaigns().lower_bound({corp, ""});
       it != campaigns.campaigns().end() && it->first.first == corp; ++it) {
    // Those of messages have each touch once, not each customer.
    if (IsMessageCampaign(it->first.second)) continue;
    customers = std::max<size_t>(customers, it->second.AudienceSize());
  }
  const Usual& usual = usual_.at(corp);
  const int64_t today = time_ns / kDayNs;
  int64_t removals = 0;
  for (const auto& [day, count] : usual.by_day) {
    if (day > today - kUsualDays) removals += count;
  }
  const int64_t days = std::clamp<int64_t>(today - usual.first_day + 1, 1, kUsualDays);
  return std::clamp(
      static_cast<double>(removals) / static_cast<double>(days) / static_cast<double>(customers),
      kUsualLeast, kUsualMost);
}

// ---- Apply ----

uint32_t HarmBrake::TallyOf(const CampaignKey& campaign) {
  const auto [it, is_new] = tally_of_.try_emplace(campaign, static_cast<uint32_t>(tallies_.size()));
  if (is_new) tallies_.push_back({.campaign = &it->first});
  return it->second;
}

HarmBrake::Usual& HarmBrake::UsualOf(const std::string& corp, int64_t time_ns) {
  const int64_t today = time_ns / kDayNs;
  const auto [it, is_new] = usual_.try_emplace(corp);
  if (is_new) it->second.first_day = today;
  auto& by_day = it->second.by_day;
  by_day.erase(by_day.begin(), by_day.upper_bound(today - kUsualDays));
  return it->second;
}

void HarmBrake::OnCounted(const CommandsDropped& counted, int64_t time_ns) {
  Expire(time_ns);
  for (const uint64_t position : counted.positions()) {
    const auto removal = removals_.extract(position);
    if (!removal.empty()) Count(removal.mapped(), time_ns);
  }
}

void HarmBrake::Count(const Removal& removal, int64_t time_ns) {
  Usual& usual = UsualOf(removal.corp, time_ns);
  CountedRemoval counted{.counted_ns = time_ns, .time_ns = removal.time_ns};
  if (const auto found = newest_touch_.find(removal.pair); found != newest_touch_.end()) {
    Touch& touch = touches_[found->second - first_touch_];
    if (!touch.left && std::abs(removal.time_ns - touch.time_ns) < limits_->harm.window_ns) {
      Tally& tally = tallies_[touch.tally];
      touch.left = true;
      ++tally.left;
      ++tally.deletions;
      to_look_at_.insert(*tally.campaign);
      counted.touch = found->second;
      counted.tally = touch.tally;
    }
  }
  if (!counted.touch.has_value()) ++usual.by_day[time_ns / kDayNs];
  counted_[removal.pair] = counted;
  counted_by_age_.emplace_back(time_ns, removal.pair);
}

void HarmBrake::Undo(const CountedRemoval& removal, Usual* usual) {
  if (!removal.touch.has_value()) {
    --usual->by_day[removal.counted_ns / kDayNs];
    return;
  }
  --tallies_[removal.tally].deletions;
  if (*removal.touch < first_touch_) return;  // not of the window any more
  touches_[*removal.touch - first_touch_].left = false;
  --tallies_[removal.tally].left;
}

void HarmBrake::OnResult(const Result& result, const CampaignBook& campaigns, int64_t time_ns) {
  Expire(time_ns);
  const CampaignCallState* call = campaigns.FindCall(result.call());
  if (call == nullptr || call->channel == Channel::kMembers) return;
  const CampaignKey key = KeyOf(result.call());
  const CampaignState& campaign = *campaigns.Find(key);
  // When it was accepted: no touch of it was before.
  const int64_t began_ns = call->results_close_wall_ns - limits_->results.close_after_ns;
  for (size_t i = 0; i < call->customers.size(); ++i) {
    if (call->statuses[i] != kTouchSent) continue;
    const std::string& customer = campaign.RecipientOf(*call, i);
    CountSent(key, PairOf(key.first, call->sender, customer), began_ns, time_ns);
  }
}

void HarmBrake::CountSent(const CampaignKey& campaign, uint64_t pair, int64_t began_ns,
                          int64_t time_ns) {
  Usual& usual = UsualOf(campaign.first, time_ns);
  const uint32_t index = TallyOf(campaign);
  Tally& tally = tallies_[index];
  Touch touch{.time_ns = time_ns, .pair = pair, .tally = index};
  ++tally.sent;
  const uint64_t number = first_touch_ + touches_.size();
  // Results are read long after the customer may have left. WeCom tells of that in whole seconds.
  if (const auto found = counted_.find(pair);
      found != counted_.end() && found->second.time_ns + kNanosPerSecond > began_ns) {
    Undo(found->second, &usual);
    found->second.touch = number;
    found->second.tally = index;
    touch.left = true;
    ++tally.left;
    ++tally.deletions;
    to_look_at_.insert(campaign);
  }
  newest_touch_[pair] = number;
  touches_.push_back(touch);
}

void HarmBrake::Expire(int64_t time_ns) {
  const int64_t before_ns = time_ns - limits_->harm.window_ns;
  for (; !touches_.empty() && touches_.front().time_ns <= before_ns; touches_.pop_front()) {
    const Touch& touch = touches_.front();
    --tallies_[touch.tally].sent;
    tallies_[touch.tally].left -= touch.left;
    const auto newest = newest_touch_.find(touch.pair);
    if (newest != newest_touch_.end() && newest->second == first_touch_) {
      newest_touch_.erase(newest);
    }
    ++first_touch_;
  }
  for (; !counted_by_age_.empty() && counted_by_age_.front().first <= before_ns;
       counted_by_age_.pop_front()) {
    const auto& [counted_ns, pair] = counted_by_age_.front();
    const auto found = counted_.find(pair);
    if (found != counted_.end() && found->second.counted_ns == counted_ns) counted_.erase(found);
  }
}

void HarmBrake::OnBlocked(const SendingBlocked& blocked, bool live) {
  if (blocked.actor() != kActor) return;
  if (live) {
    LogEvent(
        LogLevel::kError, "harm_brake",
        {{"corp", blocked.corp()}, {"campaign", blocked.campaign()}, {"why", blocked.reason()}});
  }
  tallies_[TallyOf({blocked.corp(), blocked.campaign()})].braked = true;
}

void HarmBrake::OnUnblocked(const SendingUnblocked& unblocked) {
  const auto found = tally_of_.find({unblocked.corp(), unblocked.campaign()});
  if (found == tally_of_.end()) return;
  to_look_at_.insert(found->first);
  if (!IsMessageCampaign(unblocked.campaign())) return;
  // Those of messages never end: what was sent until now does not count against what follows.
  const int64_t deletions = tallies_[found->second].deletions;
  found->second = static_cast<uint32_t>(tallies_.size());
  tallies_.push_back({.campaign = &found->first, .deletions = deletions});
}

void HarmBrake::Rebuild() {
  next_position_ = 0;
  for (const auto& [key, index] : tally_of_) to_look_at_.insert(key);
}

int64_t HarmBrake::Deletions(const CampaignKey& campaign) const {
  const auto found = tally_of_.find(campaign);
  return found == tally_of_.end() ? 0 : tallies_[found->second].deletions;
}

void HarmBrake::AddStateTo(core::StateHash* hash) const {
  hash->Add(removals_.size());
  for (const auto& [position, removal] : removals_) {
    hash->Add(position).Add(removal.corp).Add(removal.pair).Add(removal.time_ns);
  }
  hash->Add(tally_of_.size());
  for (const auto& [key, index] : tally_of_) hash->Add(key.first).Add(key.second).Add(index);
  hash->Add(tallies_.size());
  for (const Tally& tally : tallies_) {
    hash->Add(tally.sent).Add(tally.left).Add(tally.deletions).Add(tally.braked);
  }
  hash->Add(usual_.size());
  for (const auto& [corp, usual] : usual_) {
    hash->Add(corp).Add(usual.first_day).Add(usual.by_day.size());
    for (const auto& [day, count] : usual.by_day) hash->Add(day).Add(count);
  }
  hash->Add(touches_.size()).Add(newest_touch_.size());
  for (const Touch& touch : touches_) {
    hash->Add(touch.time_ns).Add(touch.pair).Add(touch.tally).Add(touch.left);
  }
  hash->Add(counted_by_age_.size()).Add(counted_.size());
  for (const auto& [counted_ns, pair] : counted_by_age_) {
    hash->Add(counted_ns).Add(pair);
    const auto found = counted_.find(pair);
    if (found == counted_.end()) continue;
    hash->Add(found->second.time_ns).Add(found->second.touch.value_or(0)).Add(found->second.tally);
  }
}

}  // namespace tidegate::dispatch
