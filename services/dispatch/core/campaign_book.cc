#include "services/dispatch/core/campaign_book.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "common/wecom_table/requests.h"

namespace tidegate::dispatch {

using ::tidegate::log::v1::Attempt;
using ::tidegate::log::v1::CAMPAIGN_INTENT_RUN;
using ::tidegate::log::v1::CAMPAIGN_PHASE_COLLECTING;
using ::tidegate::log::v1::CAMPAIGN_PHASE_COMPLETED;
using ::tidegate::log::v1::CAMPAIGN_PHASE_RUNNING;
using ::tidegate::log::v1::CampaignCall;
using ::tidegate::log::v1::Outcome;

using Phase = CampaignCallState::Phase;

namespace {

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
  return it == campaigns_.end() ? nullptr : it->second.calls.Find(call.batch());
}

CampaignCallState* CampaignBook::MutableCall(const CampaignCall& call) {
  return const_cast<CampaignCallState*>(FindCall(call));
}

const CampaignState* CampaignBook::Find(const CampaignKey& key) const {
  const auto it = campaigns_.find(key);
  return it == campaigns_.end() ? nullptr : &it->second;
}

bool CampaignBook::HasUndecidedCreate(const CampaignKey& key) const {
  const CampaignState* campaign = Find(key);
  if (campaign == nullptr) return false;
  return std::any_of(campaign->open.begin(), campaign->open.end(), [&](uint32_t batch) {
    const CampaignCallState& call = campaign->calls[batch];
    return call.decided && call.phase == Phase::kPlanned;
  });
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
    if (IsAppMessage(flow.kind)) return AppHead(found->first, now);
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
    OpenAppDoubt(ref, attempt, attempt.stamp().raw_ns());
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

void CampaignBook::Rebuild(bool raw_restarted, int64_t raw_now_ns, int64_t held_until_raw_ns) {
  progress_queue_.clear();
  listings_.clear();
  task_reads_.clear();
  result_reads_.clear();
  settle_queue_.clear();
  too_large_.clear();
  app_doubts_.clear();
  result_queue_.clear();
  closings_.clear();
  forgettable_.clear();
  forgetting_ = false;
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
    if (campaign.phase == CAMPAIGN_PHASE_COMPLETED) QueueForgetting({key, 0});
    for (auto& [batch, call] : campaign.calls) {
      const CallRef ref{key, batch};
      if (call.final && IsMessageCampaign(key.second)) QueueForgetting(ref);
      call.decided = false;
      call.held = false;
      call.read_under_way = false;
      call.reminders.under_way = false;
      if (call.doubt.has_value()) call.doubt->under_way = false;
      if (raw_restarted) {
        call.not_before_raw_ns = 0;
        call.next_read_raw_ns = raw_now_ns;
        call.over_raw_ns = held_until_raw_ns;
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
      index_of[as_told(campaign.RecipientOf(*call, i))] = i;
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
