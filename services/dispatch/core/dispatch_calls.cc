// Attempts and their outcomes: decided, and applied to the buckets and to the book that the call is
// of.
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/crash_point.h"
#include "common/base/hash.h"
#include "common/wecom_table/answers.h"
#include "common/wecom_table/endpoints.h"
#include "common/wecom_table/errors.h"
#include "services/dispatch/core/dispatch_core.h"

namespace tidegate::dispatch {

using ::tidegate::log::v1::Attempt;
using ::tidegate::log::v1::CallTarget;
using ::tidegate::log::v1::LedgerRecord;
using ::tidegate::log::v1::Outcome;
using ::tidegate::log::v1::OUTCOME_CLASS_ACCEPTED;
using ::tidegate::log::v1::OUTCOME_CLASS_DOUBT;
using ::tidegate::log::v1::OUTCOME_CLASS_NOT_EXECUTED;
using ::tidegate::log::v1::OUTCOME_CLASS_REFUSED;
using ::tidegate::log::v1::OutcomeClass;

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

}  // namespace

// ---- Deciding ----

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

bool DispatchCore::IsPressing(const Attempt& attempt) { return attempt.target().has_welcome(); }

CallCost DispatchCore::CostOf(const Attempt& attempt) {
  return {.calls = 1, .person_times = attempt.person_times()};
}

int64_t DispatchCore::HoldBound(int64_t closed_raw_ns) const {
  return closed_raw_ns + limits_->settle.user_timeout_ns + limits_->settle.hold_ns +
         limits_->settle.skew_ns;
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
    buckets_.HoldUntil(route, over, cost, IsPressing(attempt));
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
    ghosts_.OnOutcome(end, campaigns_, context.live);
  } else if (!attempt.target().has_probe()) {
    campaigns_.OnOutcome(end);
    TellMessages(attempt.target(), outcome.completed().wall_ns());
  }
  TIDEGATE_CRASH_POINT_IF(context.live && attempt.target().has_campaign_call(), "S13");
  TIDEGATE_CRASH_POINT_IF(context.live && attempt.target().has_campaign_call() &&
                              outcome.outcome_class() == OUTCOME_CLASS_DOUBT,
                          "R1");
}

}  // namespace tidegate::dispatch
