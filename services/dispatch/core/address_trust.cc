#include "services/dispatch/core/address_trust.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/wecom_table/errors.h"
#include "common/wecom_table/requests.h"
#include "services/dispatch/core/retry_delay.h"

namespace tidegate::dispatch {

using ::tidegate::log::v1::Attempt;
using ::tidegate::log::v1::Outcome;
using ::tidegate::log::v1::OUTCOME_CLASS_ACCEPTED;
using ::tidegate::log::v1::OUTCOME_CLASS_REFUSED;

namespace {

constexpr int64_t kProbeGapNs = kNanosPerSecond;
constexpr int64_t kProbeGapMaxNs = 60 * kNanosPerSecond;
constexpr int64_t kListedS = 60;

int64_t ProbeGap(uint32_t failures) { return RetryDelayNs(kProbeGapNs, kProbeGapMaxNs, failures); }

// WeCom has looked further than at the address.
bool ShowsTrust(const Outcome& outcome) {
  return outcome.outcome_class() == OUTCOME_CLASS_ACCEPTED ||
         outcome.outcome_class() == OUTCOME_CLASS_REFUSED;
}

}  // namespace

bool AddressTrust::MayCall(const std::string& corp) const {
  const auto found = corps_.find(corp);
  const State state = found == corps_.end() ? State::kUnknown : found->second.state;
  return state == State::kTrusted || (state == State::kUnknown && !ask_first_.contains(corp));
}

std::optional<FlowHead> AddressTrust::HeadOf(const std::string& corp) const {
  if (MayCall(corp)) return std::nullopt;
  const auto found = corps_.find(corp);
  if (found == corps_.end()) return FlowHead{};
  if (found->second.under_way) return std::nullopt;
  return FlowHead{.not_before_raw_ns = found->second.next_probe_raw_ns};
}

std::optional<WantedCall> AddressTrust::Take(const std::string& corp, const Now& now) {
  const auto head = HeadOf(corp);
  if (!head.has_value() || head->not_before_raw_ns > now.raw_ns) return std::nullopt;
  Corp& asked = corps_[corp];
  asked.under_way = true;
  WantedCall call;
  call.corp = corp;
  call.api = ApiOf(FlowKind::kProbe);
  call.call_id = absl::StrCat("probe/", corp, "/", asked.probes + 1);
  call.attempt = 1;
  call.target.mutable_probe()->set_corp(corp);
  const int64_t now_s = now.wall_ns / kNanosPerSecond;
  call.body = wecom_table::GroupMsgListBody(now_s - kListedS, now_s, "", 1);
  return call;
}

void AddressTrust::OnAttempt(const std::string& corp, const Attempt& attempt) {
  Corp& called = corps_[corp];
  if (!attempt.target().has_probe()) return called.NoteCall(attempt.stamp().wall_ns());
  called.under_way = true;
  ++called.probes;
}

AddressTrust::Change AddressTrust::OnOutcome(const std::string& corp, const AttemptEnd& end) {
  Corp& called = corps_[corp];
  const Outcome& outcome = end.outcome;
  const State before = called.state;
  const bool is_probe = end.attempt.target().has_probe();
  // Without an answer WeCom may still count it.
  const int64_t held_ns = end.over_raw_ns - outcome.completed().raw_ns();
  if (!is_probe) called.NoteCall(outcome.completed().wall_ns() + held_ns);
  const bool refused = outcome.errcode() == wecom_table::kErrcodeAddressNotTrusted;
  if (is_probe) called.under_way = false;
  if (refused) called.state = State::kNotTrusted;
  if (is_probe && ShowsTrust(outcome)) {
    called.state = State::kTrusted;
    called.failures = 0;
  } else if (is_probe || (refused && before != State::kNotTrusted)) {
    called.next_probe_raw_ns = outcome.completed().raw_ns() + ProbeGap(called.failures++);
  }
  if (is_probe || called.state != before) Changed(corp);
  if (called.state == before) return Change::kNone;
  return called.state == State::kTrusted ? Change::kTrusted : Change::kNotTrusted;
}

void AddressTrust::OnLostOwner(const std::string& corp, const Attempt& attempt, int64_t wall_ns) {
  if (!attempt.target().has_probe()) corps_[corp].NoteCall(wall_ns);
}

void AddressTrust::Rebuild(int64_t raw_now_ns) {
  for (auto& [corp, called] : corps_) {
    called.under_way = false;
    called.next_probe_raw_ns = raw_now_ns;
    if (called.state == State::kTrusted) called.state = State::kUnknown;
    if (called.state == State::kNotTrusted) Changed(corp);
  }
  for (const std::string& corp : ask_first_) Changed(corp);
}

size_t AddressTrust::not_trusted() const {
  return static_cast<size_t>(std::count_if(corps_.begin(), corps_.end(), [](const auto& corp) {
    return corp.second.state == State::kNotTrusted;
  }));
}

int64_t AddressTrust::LastCallWallNs(absl::string_view corp) const {
  const auto found = corps_.find(corp);
  return found == corps_.end() ? 0 : found->second.last_call_wall_ns;
}

void AddressTrust::AddStateTo(core::StateHash* hash) const {
  for (const auto& [corp, called] : corps_) {
    if (called.last_call_wall_ns == 0 && called.probes == 0) continue;  // only looked at
    hash->Add(corp).Add(called.state == State::kNotTrusted).Add(called.probes);
    hash->Add(called.failures).Add(called.last_call_wall_ns);
  }
}

}  // namespace tidegate::dispatch
