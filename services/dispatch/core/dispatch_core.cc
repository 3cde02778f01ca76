#include "services/dispatch/core/dispatch_core.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/crash_point.h"
#include "common/base/log.h"
#include "common/wecom_table/errors.h"
#include "services/dispatch/core/forgotten.h"
#include "tidegate/log/v1/audiences.pb.h"
#include "tidegate/log/v1/commands.pb.h"
#include "tidegate/log/v1/definitions.pb.h"

namespace tidegate::dispatch {

using ::tidegate::log::v1::CallTarget;
using ::tidegate::log::v1::CampaignCall;
using ::tidegate::log::v1::LedgerRecord;
using ::tidegate::log::v1::SETTLEMENT_NOT_EXECUTED;

namespace {

// Whom to ask before the first call: those of a lane with an address of its own.
std::set<std::string> AskFirst(const DispatchOptions& options) {
  std::set<std::string> corps;
  if (options.source.empty()) return corps;
  for (const auto& [corp, agent_id] : options.agent_ids) corps.insert(corp);
  return corps;
}

}  // namespace

DispatchCore::DispatchCore(DispatchOptions options, const wecom_table::Limits* limits)
    : options_(std::move(options)),
      limits_(limits),
      corp_limits_(limits),
      quotas_(&corp_limits_),
      buckets_(limits, &corp_limits_),
      campaigns_(limits, options_.partitions, &quotas_,
                 [this](FlowName name) { NoteChanged(name); }),
      commands_([this](FlowName name) { NoteChanged(name); }),
      messages_(limits, &quotas_),
      trust_(AskFirst(options_), [this](FlowName name) { NoteChanged(name); }),
      grants_(HoldBound(0)),
      harm_(limits),
      ghosts_(limits, [this](FlowName name) { NoteChanged(name); }),
      scheduler_(MakeScheduler()) {
  campaigns_.UseApps(&options_.agent_ids, &corp_limits_);
  messages_.UseCorpLimits(&corp_limits_);
}

// ---- Folding ----

void DispatchCore::Fold(log::TopicPartition from, const log::StoredRecord& record,
                        const ::tidegate::log::v1::RecordHeader& header) {
  const std::string& value = record.record.value;
  switch (from.topic) {
    case log::Topic::kDefinitions: {
      ::tidegate::log::v1::Proposal proposal;
      if (!proposal.ParseFromString(value)) return Skip(from, record.offset, "not a Proposal");
      if (definitions_.Apply(proposal) == definitions::DefinitionsFold::Verdict::kAccepted) {
        campaigns_.FoldDefinitions(proposal);
      }
      return;
    }
    case log::Topic::kAudiences: {
      ::tidegate::log::v1::AudienceChunk chunk;
      if (!header.has_source()) return Skip(from, record.offset, "no source");
      if (!chunk.ParseFromString(value)) return Skip(from, record.offset, "not an AudienceChunk");
      TellStray(from, record.offset, chunk.corp());
      return campaigns_.FoldAudience(chunk);
    }
    case log::Topic::kCommands: {
      ::tidegate::log::v1::Command command;
      if (!command.ParseFromString(value)) return Skip(from, record.offset, "not a Command");
      TellStray(from, record.offset, command.corp());
      if (command.has_message_batch()) {
        return messages_.Fold(record.offset, command.corp(),
                              std::move(*command.mutable_message_batch()));
      }
      if (!header.has_source()) return Skip(from, record.offset, "no source");
      if (command.has_customer_left()) return harm_.Fold(record.offset, command);
      return commands_.Fold(record.offset, command);
    }
    default:
      CHECK(false);
  }
}

// The lane goes on: whoever wrote it was none of ours, so nobody waits for its effect.
void DispatchCore::Skip(log::TopicPartition from, uint64_t offset, const char* why) {
  ++counters_.skipped;
  LogEvent(LogLevel::kError, "record_skipped",
           {{"input", log::Name(from)}, {"offset", absl::StrCat(offset)}, {"why", why}});
}

// Tells each corp once: a service that has another corps file sends on.
void DispatchCore::TellStray(log::TopicPartition from, uint64_t offset, const std::string& corp) {
  const auto other = options_.elsewhere.find(corp);
  if (!recovered_ || other == options_.elsewhere.end()) return;
  ++counters_.strays;
  if (!strays_told_.insert(corp).second) return;
  LogEvent(LogLevel::kError, "corp_of_another_lane",
           {{"input", log::Name(from)},
            {"offset", absl::StrCat(offset)},
            {"corp", corp},
            {"lane", absl::StrCat(options_.lane)},
            {"lane_of_corp", absl::StrCat(other->second)},
            {"next",
             "it is kept and not sent from here: give all services the same corps file, "
             "with the corp in this lane until it is drained"}});
}

void DispatchCore::TellTrust(const std::string& corp, AddressTrust::Change change) const {
  const std::string source = options_.source.empty() ? "any" : options_.source;
  if (change == AddressTrust::Change::kTrusted) {
    LogEvent(LogLevel::kInfo, "address_trusted",
             {{"corp", corp}, {"lane", absl::StrCat(options_.lane)}, {"source", source}});
  } else if (change == AddressTrust::Change::kNotTrusted) {
    LogEvent(LogLevel::kError, "address_not_trusted",
             {{"corp", corp},
              {"lane", absl::StrCat(options_.lane)},
              {"source", source},
              {"errcode", absl::StrCat(wecom_table::kErrcodeAddressNotTrusted)},
              {"next",
               "enter the lane's address among the trusted addresses of the corp's app in "
               "WeCom's admin console; until then nothing is sent, and WeCom is asked again "
               "at least once a minute"}});
  }
}

// ---- Decisions ----

core::Decision DispatchCore::Encode(const LedgerRecord& record) {
  return {.key = "", .value = record.SerializeAsString()};
}

std::optional<core::Decision> DispatchCore::Decide(const core::Input& input, const Now& now) {
  if (!left_work_.empty()) return std::nullopt;
  buckets_.Look(now.raw_ns, now.wall_ns);
  quotas_.BeginDecision(now.wall_ns);
  if (input.local != nullptr) {
    if (const auto* ended = dynamic_cast<const FormerOwnerEnded*>(input.local)) {
      return DecideOwnerEnded(*ended, now);
    }
    if (const auto* wish = dynamic_cast<const OperatorWish*>(input.local)) {
      return DecideWish(*wish, now);
    }
    if (const auto* wish = dynamic_cast<const AcquireTokens*>(input.local)) {
      return DecideAcquire(*wish, now);
    }
    if (const auto* wish = dynamic_cast<const ReleaseTokens*>(input.local)) {
      return DecideRelease(*wish, now);
    }
    if (const auto* cancel = dynamic_cast<const CancelMessage*>(input.local)) {
      const auto record = messages_.DecideCancel(
          {.position = cancel->position, .index = cancel->index}, &campaigns_, now);
      if (!record.has_value()) return std::nullopt;
      return Encode(*record);
    }
    const auto* answer = dynamic_cast<const CallAnswer*>(input.local);
    CHECK(answer != nullptr);
    return DecideAnswer(*answer, now);
  }
  return DecideTick(now);
}

std::optional<core::Decision> DispatchCore::DecideOwnerEnded(const FormerOwnerEnded& ended,
                                                             const Now& now) {
  if (!former_owners_.contains(ended.owner)) return std::nullopt;
  LedgerRecord record;
  record.mutable_former_owner_dead()->set_owner(ended.owner);
  SetStamp(now, record.mutable_former_owner_dead()->mutable_stamp());
  return Encode(record);
}

std::optional<core::Decision> DispatchCore::DecideWish(const OperatorWish& wish, const Now& now) {
  LedgerRecord record = wish.record;
  switch (record.body_case()) {
    case LedgerRecord::kDoubtResolved: {
      record.mutable_doubt_resolved()->set_time_ns(now.wall_ns);
      const auto decided = campaigns_.DecideResolved(record.doubt_resolved());
      if (!decided.has_value()) return std::nullopt;
      return Encode(*decided);
    }
    case LedgerRecord::kLimitsSet:
      record.mutable_limits_set()->set_time_ns(now.wall_ns);
      SetStamp(now, record.mutable_limits_set()->mutable_stamp());
      return Encode(record);
    case LedgerRecord::kSendingBlocked:
      record.mutable_sending_blocked()->set_time_ns(now.wall_ns);
      return Encode(record);
    case LedgerRecord::kSendingUnblocked:
      record.mutable_sending_unblocked()->set_time_ns(now.wall_ns);
      return Encode(record);
    default:
      CHECK(false);
  }
  return std::nullopt;
}

std::optional<core::Decision> DispatchCore::DecideTick(const Now& now) {
  campaigns_.CloseResults(now);
  // Welcomes have seconds; the rest follows in the order in which it frees others.
  if (auto dropped = commands_.NextExpiredWelcome(now)) {
    LedgerRecord record;
    *record.mutable_commands_dropped() = *std::move(dropped);
    return Encode(record);
  }
  if (auto record = harm_.NextCounted()) return Encode(*record);
  if (auto record = harm_.NextBlock(campaigns_, blocks_, now)) return Encode(*record);
  if (auto record = messages_.NextExpired(&campaigns_, now)) return Encode(*record);
  // What a plan reserves is known once it is applied.
  if (!quotas_.plan_undecided()) {
    if (auto record = messages_.NextPacked(&campaigns_, now)) return Encode(*record);
    if (auto record = campaigns_.NextProgress(now)) return Encode(*record);
  }
  if (auto record = campaigns_.NextSettlement(now)) return Encode(*record);
  if (auto record = ghosts_.NextFound(now)) return Encode(*record);
  if (auto record = campaigns_.NextResult()) return Encode(*record);
  if (auto record = messages_.NextForgotten(now)) return Encode(*record);
  if (auto record = commands_.NextForgotten(now)) return Encode(*record);
  const auto needed = [this](const CampaignCall& call) { return messages_.Needs(call); };
  if (auto record = campaigns_.NextForgotten(needed, now)) return Encode(*record);
  if (auto over = grants_.NextOver(now)) return EncodeReleased(*std::move(over));
  if (draining_ || held_ || (limit_refused_ && TIDEGATE_MUTANT != 27)) return std::nullopt;

  if (auto call = NextCall(now)) return DecideAttempt(*std::move(call), now);
  // Looking for a call has found these.
  if (auto record = messages_.NextTakenApart(&campaigns_, now)) return Encode(*record);
  return std::nullopt;
}

// ---- Applying ----

void DispatchCore::Apply(absl::string_view, absl::string_view value,
                         const core::ApplyContext& context,
                         std::vector<core::OutboxRecord>* outbox) {
  LedgerRecord record;
  CHECK(record.ParseFromArray(value.data(), static_cast<int>(value.size())));
  quotas_.Advance(context.decided_time_ns);
  switch (record.body_case()) {
    case LedgerRecord::kPlanned:
      campaigns_.OnPlanned(record.planned(), outbox);
      break;
    case LedgerRecord::kAttempt:
      ApplyAttempt(std::move(*record.mutable_attempt()), context);
      break;
    case LedgerRecord::kOutcome:
      ApplyOutcome(record.outcome(), context);
      break;
    case LedgerRecord::kSettled:
      ghosts_.OnSettled(record.settled(), campaigns_);
      campaigns_.OnSettled(record.settled());
      TellMessages(record.settled().call(), context.decided_time_ns);
      TIDEGATE_CRASH_POINT_IF(
          context.live && record.settled().settlement() == SETTLEMENT_NOT_EXECUTED, "R5");
      break;
    case LedgerRecord::kResult:
      campaigns_.OnResult(record.result(), context.decided_time_ns, outbox);
      harm_.OnResult(record.result(), campaigns_, context.decided_time_ns);
      TellMessages(record.result().call(), context.decided_time_ns);
      break;
    case LedgerRecord::kCommandsDropped:
      if (record.commands_dropped().reason() == HarmBrake::kCounted) {
        harm_.OnCounted(record.commands_dropped(), context.decided_time_ns);
        break;
      }
      if (record.commands_dropped().reason() == kForgotten) {
        messages_.OnForgotten(record.commands_dropped());
        commands_.OnForgotten(record.commands_dropped(), context.live);
        break;
      }
      commands_.OnDropped(record.commands_dropped());
      break;
    case LedgerRecord::kCampaignProgress:
      campaigns_.OnProgress(record.campaign_progress());
      break;
    case LedgerRecord::kFormerOwnerDead:
      former_owners_.erase(record.former_owner_dead().owner());
      if (former_owners_.empty()) {
        campaigns_.OnFormerOwnersDead(record.former_owner_dead().stamp().raw_ns());
      }
      break;
    case LedgerRecord::kDoubtResolved:
      campaigns_.OnResolved(record.doubt_resolved());
      TellMessages(record.doubt_resolved().call(), record.doubt_resolved().time_ns());
      break;
    case LedgerRecord::kSendingBlocked:
      blocks_.Apply(record.sending_blocked());
      harm_.OnBlocked(record.sending_blocked(), context.live);
      blocks_changed_ = true;
      ReconsiderAll();
      break;
    case LedgerRecord::kSendingUnblocked:
      blocks_.Apply(record.sending_unblocked());
      harm_.OnUnblocked(record.sending_unblocked());
      blocks_changed_ = true;
      ReconsiderAll();
      break;
    case LedgerRecord::kLimitsSet:
      corp_limits_.Set(record.limits_set());
      buckets_.See(record.limits_set().stamp().raw_ns(), record.limits_set().stamp().wall_ns());
      buckets_.ChangeLimits(record.limits_set().corp(), record.limits_set().stamp().raw_ns());
      for (const auto route : buckets_.RoutesOf(record.limits_set().corp())) scheduler_.Wake(route);
      SetWeights(record.limits_set().corp());
      ReconsiderAll();
      break;
    case LedgerRecord::kTokensAcquired:
      ApplyAcquired(record.tokens_acquired());
      break;
    case LedgerRecord::kTokensReleased:
      ApplyReleased(record.tokens_released());
      break;
    case LedgerRecord::kGhostFound:
      ghosts_.OnFound(record.ghost_found(), context.live);
      break;
    case LedgerRecord::kMessagesPacked:
      messages_.OnPacked(record.messages_packed(), &campaigns_);
      break;
    case LedgerRecord::kMessagesSkipped:
      messages_.OnSkipped(record.messages_skipped(), &campaigns_, options_.partitions, outbox);
      break;
    case LedgerRecord::kMessagesForgotten:
      messages_.OnForgotten(record.messages_forgotten());
      break;
    case LedgerRecord::kCallsForgotten:
      messages_.OnCallsForgotten(record.calls_forgotten());
      campaigns_.OnForgotten(record.calls_forgotten(), context.live);
      break;
    case LedgerRecord::BODY_NOT_SET:
      break;
  }
}

void DispatchCore::ApplyFence(const ::tidegate::log::v1::Fence& fence, uint64_t) {
  const bool raw_restarted = !boot_id_.empty() && boot_id_ != fence.boot_id();
  const bool replaced = !owner_.empty() && owner_ != fence.owner();
  if (replaced) {
    former_owners_[owner_] = boot_id_;
    campaigns_.OnOwnerReplaced(fence.raw_time_ns());
  }
  if (fence.predecessor_dead()) {
    former_owners_.clear();
    campaigns_.OnFormerOwnersDead(fence.raw_time_ns());
  }
  const CallOwner call_owner = !replaced                ? CallOwner::kOwnsOn
                               : former_owners_.empty() ? CallOwner::kDead
                                                        : CallOwner::kUnknown;
  owner_ = fence.owner();
  boot_id_ = fence.boot_id();
  const int64_t held_until = HoldBound(fence.raw_time_ns());
  if (raw_restarted) {
    buckets_.Rebase(fence.raw_time_ns(), fence.wall_time_ns(), held_until);
    grants_.Rebase(fence.raw_time_ns());
    urgent_calls_.Rebase(fence.raw_time_ns());
  }
  buckets_.See(fence.raw_time_ns(), fence.wall_time_ns());
  // Nobody takes an answer to these any more. They may still take effect until their socket is
  // gone.
  std::map<std::string, OpenAttempt> lost;
  lost.swap(open_attempts_);
  for (const auto& [call_id, open] : lost) {
    const int64_t last_byte = raw_restarted
                                  ? fence.raw_time_ns()
                                  : open.attempt.stamp().raw_ns() + 2 * limits_->http_deadline_ns;
    const int64_t closed = std::max(fence.raw_time_ns(), last_byte);
    buckets_.HoldUntil(buckets_.RouteOf(open.corp, open.attempt.api()), HoldBound(closed),
                       CostOf(open.attempt), IsPressing(open.attempt));
    trust_.OnLostOwner(open.corp, open.attempt,
                       fence.wall_time_ns() + HoldBound(closed) - fence.raw_time_ns());
    if (IsCommand(open.attempt)) {
      commands_.OnLostOwner(open.attempt, HoldBound(closed));
    } else if (GhostBook::IsOurs(open.attempt)) {
      ghosts_.OnLostOwner(open.attempt);
    } else if (!open.attempt.target().has_probe()) {
      campaigns_.OnLostOwner(open.attempt, closed, call_owner);
      TellMessages(open.attempt.target(), fence.wall_time_ns());
    }
  }
#if TIDEGATE_MUTANT == 22
  std::destroy_at(&buckets_);
  std::construct_at(&buckets_, limits_, &corp_limits_);
#endif
  decided_calls_.clear();
  calls_to_make_.clear();
  scheduler_ = MakeScheduler();
  flow_of_.clear();
  flows_.clear();
  changed_flows_.clear();
  campaigns_.Rebuild(raw_restarted, fence.raw_time_ns(), held_until);
  commands_.Rebuild(raw_restarted, held_until);
  if (raw_restarted) messages_.Rebase(held_until);
  messages_.Rebuild();
  harm_.Rebuild();
  ghosts_.Rebuild(raw_restarted);
  trust_.Rebuild(fence.raw_time_ns());
}

void DispatchCore::TellMessages(const CallTarget& target, int64_t time_ns) {
  if (target.has_campaign_call()) return TellMessages(target.campaign_call(), time_ns);
  if (target.has_read_result()) return TellMessages(target.read_result(), time_ns);
}

void DispatchCore::TellMessages(const CampaignCall& name, int64_t time_ns) {
  if (!IsMessageCampaign(name.campaign())) return;
  if (const CampaignCallState* call = campaigns_.FindCall(name)) {
    messages_.OnCall(name, *call, time_ns);
  }
}

const CampaignCallState* DispatchCore::CallOf(const MessageBook::Ref& ref) const {
  const auto name = messages_.CallOf(ref);
  return name.has_value() ? campaigns_.FindCall(*name) : nullptr;
}

void DispatchCore::AddStateTo(core::StateHash* hash, int64_t at_raw_ns) const {
  definitions_.AddStateTo(hash);
  buckets_.AddStateTo(hash, at_raw_ns);
  urgent_calls_.AddStateTo(hash);
  campaigns_.AddStateTo(hash);
  commands_.AddStateTo(hash);
  messages_.AddStateTo(hash);
  blocks_.AddStateTo(hash);
  harm_.AddStateTo(hash);
  ghosts_.AddStateTo(hash);
  corp_limits_.AddStateTo(hash);
  grants_.AddStateTo(hash);
  quotas_.AddStateTo(hash);
  trust_.AddStateTo(hash);
  hash->Add(open_attempts_.size());
  for (const auto& [call_id, open] : open_attempts_) {
    hash->Add(call_id).Add(open.corp).Add(open.attempt).Add(open.epoch);
  }
  hash->Add(counters_.attempts).Add(counters_.outcomes).Add(counters_.skipped);
  hash->Add(counters_.last_call_ns).Add(counters_.calls.size());
  for (const auto& [label, total] : counters_.calls) {
    hash->Add(label.first).Add(label.second).Add(total);
  }
  hash->Add(counters_.delayed.size());
  for (const auto& [cause, total] : counters_.delayed) hash->Add(cause).Add(total);
}

void DispatchCore::EndBatch() {
  buckets_.ClearReserved();
  grants_.EndBatch();
  quotas_.EndBatch();
  decided_calls_.clear();
  limit_refused_ = false;
}

void DispatchCore::Release(const Now& now) {
  if (!std::exchange(recovered_, true)) {
    left_work_ = FindLeftWork(
        {campaigns_, commands_, messages_, trust_, blocks_, grants_, corp_limits_, buckets_},
        options_.elsewhere, now);
  }
  if (on_blocks_ && std::exchange(blocks_changed_, false)) on_blocks_(blocks_);
  if (calls_to_make_.empty() || !on_calls_) return;
  std::vector<CallToMake> calls;
  calls.swap(calls_to_make_);
  on_calls_(std::move(calls));
}

std::optional<int64_t> DispatchCore::NextTickRawNs(const Now& now) {
  int64_t next = draining_ || held_ ? kNever : scheduler_.NextNs();
  for (const auto at :
       {campaigns_.NextRawNs(now), commands_.NextRawNs(now), messages_.NextRawNs(now)}) {
    if (at.has_value()) next = std::min(next, *at);
  }
  next = std::min(next, grants_.NextRawNs());
  if (const int64_t end = blocks_.NextEndNs(now.wall_ns); end != kNever && !draining_) {
    next = std::min(next, now.raw_ns + (end - now.wall_ns));
  }
  if (next == kNever) return std::nullopt;
  return next;
}

}  // namespace tidegate::dispatch
