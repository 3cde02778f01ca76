#include "services/dispatch/core/dispatch_core.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/crash_point.h"
#include "common/base/hash.h"
#include "common/base/log.h"
#include "common/wecom_table/answers.h"
#include "common/wecom_table/endpoints.h"
#include "common/wecom_table/errors.h"
#include "common/wecom_table/quiet_hours.h"
#include "tidegate/log/v1/audiences.pb.h"
#include "tidegate/log/v1/commands.pb.h"
#include "tidegate/log/v1/definitions.pb.h"

namespace tidegate::dispatch {

using ::tidegate::log::v1::Attempt;
using ::tidegate::log::v1::CallTarget;
using ::tidegate::log::v1::CampaignCall;
using ::tidegate::log::v1::LedgerRecord;
using ::tidegate::log::v1::Outcome;
using ::tidegate::log::v1::OUTCOME_CLASS_ACCEPTED;
using ::tidegate::log::v1::OUTCOME_CLASS_DOUBT;
using ::tidegate::log::v1::OUTCOME_CLASS_NOT_EXECUTED;
using ::tidegate::log::v1::OUTCOME_CLASS_REFUSED;
using ::tidegate::log::v1::OutcomeClass;
using ::tidegate::log::v1::SETTLEMENT_NOT_EXECUTED;

namespace {

OutcomeClass ToOutcomeClass(wecom_table::AnswerClass answer_class) {
  switch (answer_class) {
    case wecom_table::AnswerClass::kAccepted:
      return OUTCOME_CLASS_ACCEPTED;
    case wecom_table::AnswerClass::kRefused:
      return OUTCOME_CLASS_REFUSED;
    case wecom_table::AnswerClass::kNotExecuted:
      return OUTCOME_CLASS_NOT_EXECUTED;
    case wecom_table::AnswerClass::kDoubt:
      return OUTCOME_CLASS_DOUBT;
  }
  return OUTCOME_CLASS_DOUBT;
}

CallCost CostOf(const Attempt& attempt) {
  return {.calls = 1, .person_times = attempt.person_times()};
}

// The label of the calls metric: a fixed set.
std::string ErrcodeLabel(const Outcome& outcome) {
  if (outcome.why() != "answer") return outcome.why();
  switch (outcome.errcode()) {
    case 0:
    case -1:
    case 40014:
    case 41063:
    case 42001:
    case 45009:
    case 45033:
    case 48002:
    case 60020:
      return absl::StrCat(outcome.errcode());
    default:
      return "other";
  }
}

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
  campaigns_.UseApps(&options_.agent_ids);
  messages_.UseCorpLimits(&corp_limits_);
}

Scheduler DispatchCore::MakeScheduler() {
  return Scheduler(
      &buckets_,
      [this](BucketSet::Route route) { ++counters_.over_limit[buckets_.ApiName(route)]; },
      &urgent_calls_);
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

void DispatchCore::ReconsiderAll() {
  for (Scheduler::Flow flow = 0; flow < flows_.size(); ++flow) changed_flows_.insert(flow);
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
  if (auto record = campaigns_.NextResult(now)) return Encode(*record);
  if (auto record = messages_.NextForgotten(now)) return Encode(*record);
  if (auto over = grants_.NextOver(now)) return EncodeReleased(*std::move(over));
  if (draining_ || held_ || (limit_refused_ && TIDEGATE_MUTANT != 27)) return std::nullopt;

  if (auto call = NextCall(now)) return DecideAttempt(*std::move(call), now);
  return std::nullopt;
}

void DispatchCore::SetWeights(const std::string& corp) {
  for (Scheduler::Flow flow = 0; flow < flows_.size(); ++flow) {
    if (flows_[flow]->corp != corp) continue;
    scheduler_.SetWeight(scheduler_.route_of(flow), corp_limits_.Of(corp).weight);
  }
}

void DispatchCore::NoteChanged(const FlowName& name) {
  // An unknown corp waits for its configuration.
  if (!options_.agent_ids.contains(name.corp)) return;
  auto found = flow_of_.find(name);
  if (found == flow_of_.end()) {
    const auto route = buckets_.RouteOf(name.corp, ApiOf(name.kind));
    found = flow_of_.emplace(name, scheduler_.AddFlow(route, ClassOf(name.kind))).first;
    flows_.push_back(&found->first);
    scheduler_.SetWeight(route, corp_limits_.Of(name.corp).weight);
  }
  changed_flows_.insert(found->second);
}

std::optional<int64_t> DispatchCore::QuietUntilNs(const FlowName& name, const Now& now) const {
  if (!KeepsQuiet(name.kind)) return std::nullopt;
  // What is decided may still take effect so much later.
  const int64_t ahead_ns = HoldBound(2 * limits_->http_deadline_ns);
  return wecom_table::QuietUntilNs(corp_limits_.Of(name.corp).quiet_hours, now.wall_ns, ahead_ns);
}

std::optional<FlowHead> DispatchCore::HeadOf(const FlowName& name, const Now& now) {
  if (name.kind == FlowKind::kProbe) return trust_.HeadOf(name.corp);
  if (!trust_.MayCall(name.corp)) return std::nullopt;
  if (GhostBook::IsOurs(name.kind)) return ghosts_.HeadOf(name, now);
  return IsCommand(name.kind) ? commands_.HeadOf(name, now) : campaigns_.HeadOf(name, now);
}

std::optional<WantedCall> DispatchCore::Take(const FlowName& name, const Now& now) {
  if (name.kind == FlowKind::kProbe) return trust_.Take(name.corp, now);
  if (GhostBook::IsOurs(name.kind)) return ghosts_.Take(name, now);
  return IsCommand(name.kind) ? commands_.Take(name, now) : campaigns_.Take(name, now);
}

void DispatchCore::OfferChanged(const Now& now) {
  // A book may name another flow while it is asked.
  while (!changed_flows_.empty()) {
    const Scheduler::Flow flow = changed_flows_.extract(changed_flows_.begin()).value();
    const FlowName& name = *flows_[flow];
    const auto head = HeadOf(name, now);
    if (head.has_value() && !blocks_.Holds(name.corp, name.campaign, now.wall_ns)) {
      int64_t not_before_ns = head->not_before_raw_ns;
      if (const auto until_ns = QuietUntilNs(name, now)) {
        not_before_ns = std::max(not_before_ns, now.raw_ns + (*until_ns - now.wall_ns));
      }
      scheduler_.Offer(flow, not_before_ns, head->deadline_ns, head->waiting, head->person_times);
    } else {
      scheduler_.Withdraw(flow);
    }
  }
}

std::optional<WantedCall> DispatchCore::NextCall(const Now& now) {
  if (now.wall_ns >= blocks_.NextEndNs(blocks_seen_wall_ns_)) ReconsiderAll();
  blocks_seen_wall_ns_ = now.wall_ns;
  OfferChanged(now);
  while (const auto flow = scheduler_.Next(now.raw_ns)) {
    const FlowName& name = *flows_[*flow];
    changed_flows_.insert(*flow);
    // It was offered before quiet hours began, and waited for tokens.
    if (QuietUntilNs(name, now).has_value()) {
      OfferChanged(now);
      continue;
    }
    // Another call of the flow is first now, for more or fewer people than there is room for.
    if (IsAppMessage(name.kind)) {
      const auto head = HeadOf(name, now);
      if (!head.has_value() || head->person_times != scheduler_.person_times_of(*flow)) {
        OfferChanged(now);
        continue;
      }
    }
    auto call = Take(name, now);
    if (call.has_value()) {
      const BucketSet::Route route = scheduler_.route_of(*flow);
      const CallCost cost{.calls = 1, .person_times = call->person_times};
      counters_.near_limit[call->api] += buckets_.Check(route, now.raw_ns, cost).near_limit;
      buckets_.Reserve(route, cost);
      return call;
    }
    // What it offered is gone meanwhile.
    OfferChanged(now);
  }
  return std::nullopt;
}

core::Decision DispatchCore::DecideAttempt(WantedCall call, const Now& now) {
#if TIDEGATE_MUTANT == 18
  const int64_t send_deadline_boot_ns = now.wall_ns + limits_->http_deadline_ns;
#else
  const int64_t send_deadline_boot_ns = now.boot_ns + limits_->http_deadline_ns;
#endif
  LedgerRecord record;
  Attempt* attempt = record.mutable_attempt();
  attempt->set_call_id(call.call_id);
  attempt->set_attempt(call.attempt);
  attempt->set_api(call.api);
  *attempt->mutable_target() = std::move(call.target);
  attempt->set_request_sha256(Sha256(call.body));
  attempt->set_marker(call.marker);
  attempt->set_person_times(call.person_times);
  attempt->set_send_deadline_boot_ns(send_deadline_boot_ns);
  SetStamp(now, attempt->mutable_stamp());
  attempt->set_agent_id(options_.agent_ids.at(call.corp));
  const CallTarget& target = attempt->target();
  CallToMake to_make{.corp = call.corp,
                     .agent_id = attempt->agent_id(),
                     .api = call.api,
                     .call_id = call.call_id,
                     .attempt = call.attempt,
                     .body = std::move(call.body),
                     .send_deadline_boot_ns = send_deadline_boot_ns,
                     .campaign = target.has_remind() ? target.remind().campaign()
                                                     : target.campaign_call().campaign()};
  TIDEGATE_CRASH_POINT_IF(attempt->target().has_campaign_call(), "S5");
#if TIDEGATE_MUTANT == 2
  calls_to_make_.push_back(std::move(to_make));
#else
  decided_calls_[call.call_id] = std::move(to_make);
#endif
  return Encode(record);
}

std::optional<core::Decision> DispatchCore::DecideAnswer(const CallAnswer& answer, const Now&) {
  const auto it = open_attempts_.find(answer.call_id);
  // A fence has turned it into a doubt meanwhile; the listing will tell.
  if (it == open_attempts_.end() || it->second.attempt.attempt() != answer.attempt)
    return std::nullopt;
  const Attempt& attempt = it->second.attempt;
  const auto* endpoint = wecom_table::FindEndpoint(attempt.api());
  CHECK(endpoint != nullptr);

  LedgerRecord record;
  Outcome* outcome = record.mutable_outcome();
  outcome->set_call_id(answer.call_id);
  outcome->set_attempt(answer.attempt);
  outcome->set_attempt_epoch(it->second.epoch);
  outcome->set_bytes_written(answer.bytes_written);
  SetStamp(answer.completed, outcome->mutable_completed());

  wecom_table::AnswerFacts facts;
  facts.bytes_written = answer.bytes_written;
  facts.answered = answer.answered;
  facts.http_status = answer.http_status;
  facts.errcode = answer.token_errcode;
  wecom_table::Answer parsed;
  if (answer.answered) {
    auto body = wecom_table::ParseAnswer(attempt.api(), answer.body);
    facts.body_parsed = body.ok();
    if (body.ok()) {
      parsed = *std::move(body);
      facts.errcode = parsed.errcode;
      facts.has_result_id = !parsed.msgid.empty();
    }
  }
  const bool welcome_in_doubt = attempt.target().has_welcome() &&
                                commands_.WelcomeInDoubt(attempt.target().welcome().positions(0));
  const auto verdict = wecom_table::Classify(
      *endpoint, facts, welcome_in_doubt || campaigns_.RepeatsInDoubt(attempt));
  outcome->set_errcode(facts.errcode);
  outcome->set_why(!answer.bytes_written ? "not_written"
                   : !answer.answered    ? "no_answer"
                   : !facts.body_parsed  ? "bad_answer"
                                         : "answer");
  outcome->set_outcome_class(ToOutcomeClass(verdict.answer_class));
  limit_refused_ |= facts.errcode == wecom_table::kErrcodeRateLimited ||
                    facts.errcode == wecom_table::kErrcodeTooManyAtOnce ||
                    facts.errcode == wecom_table::kErrcodeAddressNotTrusted;
  if (facts.errcode == wecom_table::kErrcodeRateLimited) {
    // Which tokens are back depends on when one looks, so it is decided here.
    const auto route = buckets_.RouteOf(it->second.corp, attempt.api());
    outcome->set_lockout_ns(buckets_.ChooseLockout(route, answer.completed.raw_ns));
    // A token that was refused says nothing of the api.
    const auto learnt =
        facts.body_parsed ? buckets_.ChooseLearnt(route, answer.completed.raw_ns) : std::nullopt;
    if (learnt.has_value()) {
      outcome->mutable_learnt()->set_scope(learnt->scope == wecom_table::Scope::kIp ? "ip"
                                                                                    : "corp");
      outcome->mutable_learnt()->set_window_ns(learnt->window_ns);
      outcome->mutable_learnt()->set_amount(learnt->amount);
    }
  }
#if TIDEGATE_MUTANT == 4
  if (verdict.answer_class == wecom_table::AnswerClass::kDoubt) {
    outcome->set_outcome_class(OUTCOME_CLASS_NOT_EXECUTED);
  }
#endif
  if (verdict.answer_class == wecom_table::AnswerClass::kAccepted &&
      !attempt.target().has_probe()) {
    campaigns_.DescribeAnswer(attempt, parsed, outcome);
    ghosts_.DescribeAnswer(attempt, parsed, campaigns_, outcome);
  }
  return Encode(record);
}

// ---- Applying ----

std::string DispatchCore::CorpOf(const CallTarget& target) {
  switch (target.target_case()) {
    case CallTarget::kCampaignCall:
      return target.campaign_call().corp();
    case CallTarget::kMarkTag:
      return target.mark_tag().corp();
    case CallTarget::kWelcome:
      return target.welcome().corp();
    case CallTarget::kReadTask:
      return target.read_task().corp();
    case CallTarget::kReadResult:
      return target.read_result().corp();
    case CallTarget::kList:
      return target.list().corp();
    case CallTarget::kRemind:
      return target.remind().corp();
    case CallTarget::kCancel:
      return target.cancel().corp();
    case CallTarget::kAudit:
      return target.audit().corp();
    case CallTarget::kProbe:
      return target.probe().corp();
    case CallTarget::TARGET_NOT_SET:
      break;
  }
  CHECK(false);
  return "";
}

bool DispatchCore::IsCommand(const Attempt& attempt) {
  return attempt.target().has_mark_tag() || attempt.target().has_welcome();
}

bool DispatchCore::IsCommand(FlowKind kind) {
  return kind == FlowKind::kMarkTag || kind == FlowKind::kWelcome;
}

int64_t DispatchCore::HoldBound(int64_t closed_raw_ns) const {
  return closed_raw_ns + limits_->settle.user_timeout_ns + limits_->settle.hold_ns +
         limits_->settle.skew_ns;
}

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
      campaigns_.OnResult(record.result(), outbox);
      harm_.OnResult(record.result(), campaigns_, context.decided_time_ns);
      TellMessages(record.result().call(), context.decided_time_ns);
      break;
    case LedgerRecord::kCommandsDropped:
      if (record.commands_dropped().reason() == HarmBrake::kCounted) {
        harm_.OnCounted(record.commands_dropped(), context.decided_time_ns);
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
      harm_.OnBlocked(record.sending_blocked());
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
      ghosts_.OnFound(record.ghost_found());
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
    case LedgerRecord::BODY_NOT_SET:
      break;
  }
}

void DispatchCore::ApplyAttempt(Attempt&& attempt, const core::ApplyContext& context) {
  const std::string corp = CorpOf(attempt.target());
  buckets_.See(attempt.stamp().raw_ns(), attempt.stamp().wall_ns());
  const BucketSet::Route route = buckets_.RouteOf(corp, attempt.api());
  buckets_.Take(route, CostOf(attempt));
  if (UrgentCalls::Counts(attempt.target())) {
    urgent_calls_.Add(route, buckets_.ApiOf(route), corp, attempt.api(), attempt.stamp().raw_ns());
  }
  ++counters_.attempts;
  trust_.OnAttempt(corp, attempt);
  if (IsCommand(attempt)) {
    commands_.OnAttempt(attempt);
  } else if (GhostBook::IsOurs(attempt)) {
    ghosts_.OnAttempt(attempt);
  } else if (!attempt.target().has_probe()) {
    if (attempt.api() == ApiOf(FlowKind::kCreate)) {
      ghosts_.OnCreate(corp, attempt.stamp().wall_ns());
    }
    campaigns_.OnAttempt(attempt);
    TellMessages(attempt.target(), attempt.stamp().wall_ns());
  }
  OpenAttempt& open = open_attempts_[attempt.call_id()];
  open.corp = corp;
  open.attempt = std::move(attempt);
  open.epoch = context.epoch;
  if (!context.live) return;
  const auto it = decided_calls_.find(open.attempt.call_id());
  if (it == decided_calls_.end()) return;
  calls_to_make_.push_back(std::move(it->second));
  decided_calls_.erase(it);
}

void DispatchCore::ApplyOutcome(const Outcome& outcome, const core::ApplyContext& context) {
  const auto it = open_attempts_.find(outcome.call_id());
  if (it == open_attempts_.end() || it->second.attempt.attempt() != outcome.attempt()) return;
  const auto taken_out = open_attempts_.extract(it);
  const OpenAttempt& open = taken_out.mapped();
  const Attempt& attempt = open.attempt;
  TIDEGATE_CRASH_POINT_IF(context.live && attempt.target().has_campaign_call(), "S12");
  const int64_t completed = outcome.completed().raw_ns();
  ++counters_.calls[{attempt.api(), ErrcodeLabel(outcome)}];
  ++counters_.outcomes;
  counters_.last_call_ns = completed - attempt.stamp().raw_ns();

  const BucketSet::Route route = buckets_.RouteOf(open.corp, attempt.api());
  const CallCost cost = CostOf(attempt);
  buckets_.See(completed, outcome.completed().wall_ns());
  const bool unanswered = outcome.bytes_written() && outcome.why() == "no_answer";
  const int64_t over = unanswered ? HoldBound(completed) : completed;
  if (!outcome.bytes_written()) {
    buckets_.ReturnUnused(route, cost);
  } else if (unanswered) {
    buckets_.HoldUntil(route, over, cost);
  } else {
    // Whatever limit it names, the refused call counts itself (Q5).
    const bool limited = outcome.errcode() == wecom_table::kErrcodeRateLimited;
    const bool too_many = outcome.errcode() == wecom_table::kErrcodeTooManyAtOnce;
    if (too_many) {
      buckets_.LowerCeiling(route, attempt.stamp().raw_ns(), completed);
      ++counters_.delayed["concurrency"];
    }
    buckets_.Complete(route, completed, limited || too_many, cost);
    if (outcome.has_learnt()) {
      buckets_.Learn(route,
                     {.scope = outcome.learnt().scope() == "ip" ? wecom_table::Scope::kIp
                                                                : wecom_table::Scope::kCorp,
                      .window_ns = outcome.learnt().window_ns(),
                      .amount = outcome.learnt().amount()},
                     completed);
    }
    if (limited) {
      buckets_.Lockout(route, completed + outcome.lockout_ns());
      ++counters_.delayed["window"];
    }
  }
  scheduler_.Wake(route);
  const AttemptEnd end{.attempt = attempt, .outcome = outcome, .over_raw_ns = over};
  const AddressTrust::Change change = trust_.OnOutcome(open.corp, end);
  if (change != AddressTrust::Change::kNone) {
    ReconsiderAll();
    if (context.live) TellTrust(open.corp, change);
  }
  if (IsCommand(attempt)) {
    commands_.OnOutcome(end);
  } else if (GhostBook::IsOurs(attempt)) {
    ghosts_.OnOutcome(end, campaigns_);
  } else if (!attempt.target().has_probe()) {
    campaigns_.OnOutcome(end);
    TellMessages(attempt.target(), outcome.completed().wall_ns());
  }
  TIDEGATE_CRASH_POINT_IF(context.live && attempt.target().has_campaign_call(), "S13");
  TIDEGATE_CRASH_POINT_IF(context.live && attempt.target().has_campaign_call() &&
                              outcome.outcome_class() == OUTCOME_CLASS_DOUBT,
                          "R1");
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
    buckets_.Rebase(fence.raw_time_ns(), held_until);
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
                       CostOf(open.attempt));
    trust_.OnLostOwner(open.corp, open.attempt, fence.wall_time_ns());
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
  campaigns_.Rebuild(raw_restarted, fence.raw_time_ns());
  commands_.Rebuild(raw_restarted, held_until);
  if (raw_restarted) messages_.Rebase(fence.raw_time_ns());
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
    left_work_ =
        FindLeftWork({campaigns_, commands_, messages_, trust_}, *limits_, options_.elsewhere, now);
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
