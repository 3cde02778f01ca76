// Calls that nobody needs any more are forgotten, so that a lane which runs for months does not
// grow.
#include <algorithm>

#include "services/dispatch/core/campaign_book.h"
#include "services/dispatch/core/forgotten.h"

namespace tidegate::dispatch {

using ::tidegate::log::v1::CallsForgotten;
using ::tidegate::log::v1::CAMPAIGN_PHASE_COMPLETED;
using ::tidegate::log::v1::LedgerRecord;

using Phase = CampaignCallState::Phase;

namespace {

// What may go waits so long for more, so that one record is for many.
constexpr int64_t kTogetherNs = int64_t{3600} * kNanosPerSecond;

void AddBatch(uint32_t batch, CallsForgotten* forgotten) {
  const int last = forgotten->firsts_size() - 1;
  if (last >= 0 && forgotten->firsts(last) + forgotten->counts(last) == batch) {
    forgotten->set_counts(last, forgotten->counts(last) + 1);
    return;
  }
  forgotten->add_firsts(batch);
  forgotten->add_counts(1);
}

// Nothing waits for an answer about it.
bool IsIdle(const CampaignCallState& call) {
  return call.final && !call.decided && !call.read_under_way && !call.reminders.under_way;
}

}  // namespace

int64_t CampaignBook::ForgetWallNs(const CallRef& ref) const {
  const CampaignState& campaign = campaigns_.at(ref.first);
  // Of a campaign that WeCom refused whole, results close before they began.
  const int64_t since_ns =
      IsMessageCampaign(ref.first.second)
          ? campaign.calls[ref.second].final_wall_ns
          : std::max(campaign.results_close_wall_ns, campaign.last_end_wall_ns);
  return since_ns + limits_->results.keep_after_ns;
}

void CampaignBook::QueueForgetting(const CallRef& ref) {
  forgettable_.emplace(ForgetWallNs(ref), ref);
}

bool CampaignBook::MayForget(const CampaignKey& key, const CampaignState& campaign) const {
  const bool over = campaign.forgotten.time_ns != 0 && campaign.calls.kept() == 0;
  return !IsMessageCampaign(key.second) && campaign.phase == CAMPAIGN_PHASE_COMPLETED && !over &&
         campaign.open.empty();  // one that is parked waits for its operator
}

std::optional<LedgerRecord> CampaignBook::NextForgotten(Needed needed, const Now& now) {
  if (forgetting_ || forgettable_.empty() ||
      forgettable_.begin()->first + kTogetherNs > now.wall_ns) {
    return std::nullopt;
  }
  LedgerRecord record;
  CallsForgotten* forgotten = record.mutable_calls_forgotten();
  std::optional<CampaignKey> chosen;
  int calls = 0;
  std::vector<CallRef> again;
  auto it = forgettable_.begin();
  for (int looks = 0; looks < kForgetLooksMax && calls < kForgottenMax &&
                      it != forgettable_.end() && it->first <= now.wall_ns;
       ++looks) {
    const CallRef ref = it->second;
    const auto& [key, batch] = ref;
    const CampaignState& campaign = campaigns_.at(key);
    if (IsMessageCampaign(key.second)) {
      const CampaignCallState* call = campaign.calls.Find(batch);
      if (call == nullptr) {
        it = forgettable_.erase(it);
      } else if (chosen.has_value() && *chosen != key) {
        ++it;
      } else if (!IsIdle(*call) || needed(CallName(key, batch))) {
        again.push_back(ref);
        it = forgettable_.erase(it);
      } else {
        chosen = key;
        AddBatch(batch, forgotten);
        ++calls;
        ++it;
      }
    } else if (!MayForget(key, campaign) || ForgetWallNs(ref) > now.wall_ns) {
      // It is queued when it has completed again, or was.
      it = forgettable_.erase(it);
    } else if (chosen.has_value()) {
      ++it;
    } else {
      chosen = key;
      for (const auto& [number, call] : campaign.calls) {
        if (calls == kForgottenMax || !IsIdle(call)) break;
        AddBatch(number, forgotten);
        ++calls;
      }
      if (calls > 0 || campaign.calls.kept() == 0) break;
      chosen.reset();
      again.push_back(ref);
      it = forgettable_.erase(it);
    }
  }
  for (const CallRef& ref : again) forgettable_.emplace(now.wall_ns, ref);
  if (!chosen.has_value()) return std::nullopt;
  forgotten->set_corp(chosen->first);
  forgotten->set_campaign(chosen->second);
  forgotten->set_time_ns(now.wall_ns);
  forgetting_ = true;
  return record;
}

void CampaignBook::ForgetCall(uint32_t batch, CampaignState* campaign) {
  const CampaignCallState* call = campaign->calls.Find(batch);
  if (call == nullptr) return;
  ForgottenCalls& forgotten = campaign->forgotten;
  const bool accepted = call->phase == Phase::kAccepted;
  forgotten.accepted += accepted;
  forgotten.refused += call->phase == Phase::kRefused;
  forgotten.reminders_sent += call->reminders.sent;
  for (const uint8_t status : call->statuses) {
    ++forgotten.touches.at(status);
    forgotten.touches_accepted += accepted && status != kTouchFailList;
  }
  campaign->calls.Forget(batch);
}

void CampaignBook::OnForgotten(const CallsForgotten& record, bool live) {
  forgetting_ = false;
  const CampaignKey key{record.corp(), record.campaign()};
  CampaignState& campaign = campaigns_[key];
  campaign.forgotten.time_ns = record.time_ns();
  for (int i = 0; i < record.firsts_size(); ++i) {
    for (uint32_t n = 0; n < record.counts(i); ++n) ForgetCall(record.firsts(i) + n, &campaign);
  }
  if (!IsMessageCampaign(key.second) && campaign.calls.kept() == 0) {
    campaign.forgotten.audience += campaign.audience.size();
    std::vector<AudienceCustomer>().swap(campaign.audience);
    std::vector<ContentVariant>().swap(campaign.variants);
  }
  // A replay takes nothing out of them, so they are long.
  if (live) DropForgotten(key);
}

// Entries of queues that would be met only when their time comes.
void CampaignBook::DropForgotten(const CampaignKey& key) {
  CampaignState& campaign = campaigns_[key];
  const auto is_gone = [&](const CallRef& ref) {
    return ref.first == key && campaign.calls.Find(ref.second) == nullptr;
  };
  for (auto* queue : {&campaign.to_send, &campaign.to_send_later, &campaign.to_remind,
                      &campaign.app_to_send, &campaign.app_to_send_later}) {
    std::erase_if(*queue,
                  [&](const auto& entry) { return campaign.calls.Find(entry.second) == nullptr; });
  }
  for (CallQueue* queue : {&listings_[key.first], &task_reads_[key.first],
                           &result_reads_[key.first], &settle_queue_, &app_doubts_}) {
    std::erase_if(*queue, [&](const auto& entry) { return is_gone(entry.second); });
  }
  std::erase_if(result_queue_, is_gone);
  std::erase_if(too_large_, is_gone);
}

}  // namespace tidegate::dispatch
