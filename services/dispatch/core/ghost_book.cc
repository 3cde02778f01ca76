#include "services/dispatch/core/ghost_book.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/log.h"
#include "common/wecom_table/errors.h"
#include "common/wecom_table/requests.h"
#include "services/dispatch/core/retry_delay.h"

namespace tidegate::dispatch {

using ::tidegate::log::v1::Attempt;
using ::tidegate::log::v1::GhostFound;
using ::tidegate::log::v1::LedgerRecord;
using ::tidegate::log::v1::ListedTask;
using ::tidegate::log::v1::Outcome;
using ::tidegate::log::v1::OUTCOME_CLASS_ACCEPTED;
using ::tidegate::log::v1::OUTCOME_CLASS_REFUSED;
using ::tidegate::log::v1::Settled;
using ::tidegate::log::v1::SETTLEMENT_ACCEPTED;

using Phase = CampaignCallState::Phase;

namespace {

// WeCom lists at most a month at once.
constexpr int64_t kAuditSeconds = int64_t{31} * 86'400;
// An audit whose page fails so often in a row is given up until the next one.
constexpr uint32_t kPageTriesMax = 8;
constexpr int64_t kPageRetryNs = 10 * kNanosPerSecond;
// A ghost that cannot be taken back so often stays: the log tells.
constexpr uint32_t kTriesMax = 50;
constexpr int64_t kRetryNs = kNanosPerSecond;
constexpr int64_t kRetryMaxNs = 300 * kNanosPerSecond;

// The corp's calls that have one of these markers.
absl::flat_hash_map<std::string, std::pair<CampaignKey, uint32_t>> CallsOf(
    const CampaignBook& campaigns, const std::string& corp,
    const std::vector<absl::string_view>& markers) {
  absl::flat_hash_map<std::string, std::pair<CampaignKey, uint32_t>> calls;
  if (markers.empty()) return calls;
  absl::flat_hash_map<absl::string_view, bool> wanted;
  for (const absl::string_view marker : markers) wanted[marker] = true;
  for (auto it = campaigns.campaigns().lower_bound({corp, ""});
       it != campaigns.campaigns().end() && it->first.first == corp; ++it) {
    for (const auto& [batch, call] : it->second.calls) {
      if (wanted.contains(call.marker)) calls[call.marker] = {it->first, batch};
    }
  }
  return calls;
}

// Whether a task with the marker of this call is one too many. Only of a call whose word does not
// change any more: of another one this may yet turn out to be the task that fulfils it.
bool IsGhost(const CampaignCallState& call, const std::string& msgid) {
  return call.phase == Phase::kRefused || (call.phase == Phase::kAccepted && call.msgid != msgid);
}

}  // namespace

// ---- Found ----

void GhostBook::Add(GhostFound found) {
  const Key key{found.corp(), found.msgid()};
  ghosts_.try_emplace(key, Ghost{.found = std::move(found)});
}

void GhostBook::OnSettled(const Settled& settled, const CampaignBook& campaigns) {
  if (settled.settlement() != SETTLEMENT_ACCEPTED) return;
  const CampaignCallState* call = campaigns.FindCall(settled.call());
  if (call == nullptr || !call->doubt.has_value()) return;
  for (const auto& [msgid, created_s] : call->doubt->matches) {
    if (msgid == settled.msgid()) continue;
    GhostFound found;
    found.set_corp(settled.call().corp());
    *found.mutable_call() = settled.call();
    found.set_msgid(msgid);
    found.set_created_s(created_s);
    found.set_how("listing");
    Add(std::move(found));
  }
}

std::optional<LedgerRecord> GhostBook::NextFound(const Now& now) {
  for (auto& [key, ghost] : ghosts_) {
    if (ghost.phase != Ghost::Phase::kNew || ghost.decided) continue;
    ghost.decided = true;
    LedgerRecord record;
    *record.mutable_ghost_found() = ghost.found;
    record.mutable_ghost_found()->set_time_ns(now.wall_ns);
    return record;
  }
  return std::nullopt;
}

void GhostBook::OnFound(const GhostFound& found, bool live) {
  if (live) {
    LogEvent(LogLevel::kError, "ghost_found",
             {{"corp", found.corp()},
              {"campaign", found.call().campaign()},
              {"batch", absl::StrCat(found.call().batch())},
              {"msgid", found.msgid()},
              {"how", found.how()}});
  }
  Ghost& ghost = ghosts_[{found.corp(), found.msgid()}];
  ghost.found = found;
  ghost.decided = false;
  ++found_;
  ghost.phase = Ghost::Phase::kTakeBack;
  Changed(FlowKind::kCancel, found.corp());
}

// ---- Flows ----

std::optional<FlowHead> GhostBook::HeadOf(const FlowName& flow, const Now& now) {
  if (flow.kind == FlowKind::kCancel) {
    std::optional<FlowHead> head;
    for (auto it = ghosts_.lower_bound({flow.corp, ""});
         it != ghosts_.end() && it->first.first == flow.corp; ++it) {
      const Ghost& ghost = it->second;
      if (ghost.phase != Ghost::Phase::kTakeBack || ghost.decided) continue;
      if (!head.has_value() || ghost.not_before_raw_ns < head->not_before_raw_ns) {
        head = FlowHead{.not_before_raw_ns = ghost.not_before_raw_ns};
      }
    }
    return head;
  }
  const auto found = audits_.find(flow.corp);
  if (found == audits_.end() || found->second.under_way) return std::nullopt;
  const Audit& audit = found->second;
  if (audit.end_time_s != 0) return FlowHead{.not_before_raw_ns = audit.not_before_raw_ns};
  const int64_t due_wall_ns = std::max(audit.due_wall_ns, now.wall_ns);
  if (due_wall_ns > audit.last_create_wall_ns + kAuditSeconds * kNanosPerSecond) {
    return std::nullopt;
  }
  // Wall time; how far it is away is the same on any clock.
  return FlowHead{.not_before_raw_ns = now.raw_ns + (due_wall_ns - now.wall_ns)};
}

std::optional<WantedCall> GhostBook::Take(const FlowName& flow, const Now& now) {
  const auto head = HeadOf(flow, now);
  if (!head.has_value() || head->not_before_raw_ns > now.raw_ns) return std::nullopt;
  WantedCall wanted;
  wanted.corp = flow.corp;
  wanted.api = ApiOf(flow.kind);
  if (flow.kind == FlowKind::kCancel) {
    auto it = ghosts_.lower_bound({flow.corp, ""});
    while (it->second.phase != Ghost::Phase::kTakeBack || it->second.decided ||
           it->second.not_before_raw_ns > now.raw_ns) {
      ++it;
    }
    Ghost& ghost = it->second;
    ghost.decided = true;
    wanted.call_id = absl::StrCat("cancel/", flow.corp, "/", it->first.second);
    wanted.attempt = ghost.tries + 1;
    wanted.target.mutable_cancel()->set_corp(flow.corp);
    wanted.target.mutable_cancel()->set_msgid(it->first.second);
    wanted.body = wecom_table::CancelGroupMsgSendBody(it->first.second);
    return wanted;
  }
  Audit& audit = audits_[flow.corp];
  audit.under_way = true;
  const bool begins = audit.end_time_s == 0;
  const int64_t end_time_s = begins ? now.wall_ns / kNanosPerSecond : audit.end_time_s;
  const int64_t start_time_s = begins ? end_time_s - kAuditSeconds : audit.start_time_s;
  wanted.call_id = absl::StrCat("audit/", flow.corp, "/", audit.pages);
  wanted.attempt = 1;
  auto* target = wanted.target.mutable_audit();
  target->set_corp(flow.corp);
  target->set_start_time_s(start_time_s);
  target->set_end_time_s(end_time_s);
  target->set_cursor(audit.cursor);
  wanted.body = wecom_table::GroupMsgListBody(start_time_s, end_time_s, audit.cursor, 100);
  return wanted;
}

// ---- Audit ----

void GhostBook::OnCreate(const std::string& corp, int64_t wall_ns) {
  const auto [it, is_new] = audits_.try_emplace(corp);
  Audit& audit = it->second;
  audit.last_create_wall_ns = std::max(audit.last_create_wall_ns, wall_ns);
  if (is_new) audit.due_wall_ns = wall_ns + limits_->audit.every_ns;
  // After a month without creates it slept.
  Changed(FlowKind::kAudit, corp);
}

void GhostBook::DescribeAnswer(const Attempt& attempt, const wecom_table::Answer& answer,
                               const CampaignBook& campaigns, Outcome* outcome) {
  if (!attempt.target().has_audit()) return;
  outcome->set_next_cursor(answer.next_cursor);
  std::vector<std::string> markers;
  for (const auto& message : answer.messages) {
    std::string& marker = markers.emplace_back();
    for (const std::string& url : message.link_urls) {
      if (marker.empty()) marker = wecom_table::MarkerOf(url);
    }
  }
  const auto calls =
      CallsOf(campaigns, attempt.target().audit().corp(), {markers.begin(), markers.end()});
  for (size_t i = 0; i < markers.size(); ++i) {
    const auto found = calls.find(markers[i]);
    if (markers[i].empty() || found == calls.end()) continue;
    const auto& [key, batch] = found->second;
    if (!IsGhost(campaigns.Find(key)->calls[batch], answer.messages[i].msgid)) continue;
    ListedTask* listed = outcome->add_listed();
    listed->set_msgid(answer.messages[i].msgid);
    listed->set_created_s(answer.messages[i].create_time_s);
    listed->set_marker(markers[i]);
  }
}

void GhostBook::OnPage(const AttemptEnd& end, const CampaignBook& campaigns, bool live) {
  const std::string& corp = end.attempt.target().audit().corp();
  Audit& audit = audits_[corp];
  const Outcome& outcome = end.outcome;
  audit.under_way = false;
  ++audit.pages;
  if (outcome.outcome_class() != OUTCOME_CLASS_ACCEPTED) {
    audit.not_before_raw_ns = outcome.completed().raw_ns() + kPageRetryNs;
    if (outcome.errcode() == wecom_table::kErrcodeBadCursor || ++audit.errors >= kPageTriesMax) {
      if (live) {
        LogEvent(LogLevel::kError, "audit_failed",
                 {{"corp", corp}, {"errcode", absl::StrCat(outcome.errcode())}});
      }
      EndAudit(corp, outcome.completed().wall_ns());
    }
  } else {
    std::vector<absl::string_view> markers;
    for (const ListedTask& task : outcome.listed()) markers.push_back(task.marker());
    const auto calls = CallsOf(campaigns, corp, markers);
    for (const ListedTask& task : outcome.listed()) {
      const auto found_call = calls.find(task.marker());
      if (found_call == calls.end()) continue;
      GhostFound found;
      found.set_corp(corp);
      *found.mutable_call() = CallName(found_call->second.first, found_call->second.second);
      found.set_msgid(task.msgid());
      found.set_created_s(task.created_s());
      found.set_how("audit");
      Add(std::move(found));
    }
    audit.errors = 0;
    audit.not_before_raw_ns = 0;
    audit.cursor = outcome.next_cursor();
    if (audit.cursor.empty()) EndAudit(corp, outcome.completed().wall_ns());
  }
  Changed(FlowKind::kAudit, corp);
}

void GhostBook::EndAudit(const std::string& corp, int64_t wall_ns) {
  Audit& audit = audits_[corp];
  audit.end_time_s = 0;
  audit.cursor.clear();
  audit.errors = 0;
  audit.due_wall_ns = wall_ns + limits_->audit.every_ns;
}

// ---- Attempts ----

void GhostBook::OnAttempt(const Attempt& attempt) {
  if (attempt.target().has_audit()) {
    const auto& target = attempt.target().audit();
    Audit& audit = audits_[target.corp()];
    audit.under_way = true;
    audit.start_time_s = target.start_time_s();
    audit.end_time_s = target.end_time_s();
    return;
  }
  Ghost& ghost = ghosts_[{attempt.target().cancel().corp(), attempt.target().cancel().msgid()}];
  ghost.decided = true;
  ghost.tries = attempt.attempt();
}

void GhostBook::OnOutcome(const AttemptEnd& end, const CampaignBook& campaigns, bool live) {
  if (end.attempt.target().has_audit()) return OnPage(end, campaigns, live);
  const auto& target = end.attempt.target().cancel();
  Ghost& ghost = ghosts_[{target.corp(), target.msgid()}];
  const Outcome& outcome = end.outcome;
  ghost.decided = false;
  const bool over = outcome.outcome_class() == OUTCOME_CLASS_ACCEPTED ||
                    outcome.errcode() == wecom_table::kErrcodeAlreadyCancelled;
  if (over || outcome.outcome_class() == OUTCOME_CLASS_REFUSED || ghost.tries >= kTriesMax) {
    ghost.phase = Ghost::Phase::kOver;
    if (!over && live) {
      LogEvent(LogLevel::kError, "ghost_not_taken_back",
               {{"corp", target.corp()},
                {"msgid", target.msgid()},
                {"errcode", absl::StrCat(outcome.errcode())}});
    }
  } else {
    ghost.not_before_raw_ns =
        outcome.completed().raw_ns() + RetryDelayNs(kRetryNs, kRetryMaxNs, ghost.tries);
  }
  Changed(FlowKind::kCancel, target.corp());
}

void GhostBook::OnLostOwner(const Attempt& attempt) {
  if (attempt.target().has_audit()) {
    ++audits_[attempt.target().audit().corp()].pages;
  } else {
    Ghost& ghost = ghosts_[{attempt.target().cancel().corp(), attempt.target().cancel().msgid()}];
    ghost.decided = false;
  }
}

void GhostBook::Rebuild(bool raw_restarted) {
  for (auto& [key, ghost] : ghosts_) {
    ghost.decided = false;
    if (raw_restarted) ghost.not_before_raw_ns = 0;
    if (ghost.phase == Ghost::Phase::kTakeBack) Changed(FlowKind::kCancel, key.first);
  }
  for (auto& [corp, audit] : audits_) {
    audit.under_way = false;
    if (raw_restarted) audit.not_before_raw_ns = 0;
    Changed(FlowKind::kAudit, corp);
  }
}

void GhostBook::AddStateTo(core::StateHash* hash) const {
  hash->Add(found_).Add(ghosts_.size());
  for (const auto& [key, ghost] : ghosts_) {
    hash->Add(key.first).Add(key.second).Add(ghost.found).Add(static_cast<int>(ghost.phase));
    hash->Add(ghost.tries).Add(ghost.not_before_raw_ns);
  }
  hash->Add(audits_.size());
  for (const auto& [corp, audit] : audits_) {
    hash->Add(corp).Add(audit.last_create_wall_ns).Add(audit.due_wall_ns);
    hash->Add(audit.start_time_s).Add(audit.end_time_s).Add(audit.cursor).Add(audit.errors);
    hash->Add(audit.pages).Add(audit.not_before_raw_ns);
  }
}

}  // namespace tidegate::dispatch
