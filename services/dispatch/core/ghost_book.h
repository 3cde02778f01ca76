// Mass sends that are one too many: of one call two were made, or one that nobody counts on.
//
// A listing that settles a doubt may find several: the earliest is kept. And once a day (setting)
// all mass sends of a corp of the last 31 days are listed, and those with the marker of a call that
// another one fulfils, or that was refused or given up, are ghosts. That happens only where WeCom
// broke a promise that settling relies on (a create that took effect after the settle wait, a list
// that left one out, a refusal that was none). Each ghost is recorded and counted, and taken back:
// members who have not confirmed it never will. A call that is planned, in doubt or parked may
// still be fulfilled by the task, so none of its tasks is a ghost before that is decided.
//
// A fold of the ledger. Part of DispatchCore; one thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/core/state_hash.h"
#include "common/wecom_table/answers.h"
#include "common/wecom_table/limits.h"
#include "services/dispatch/core/call_types.h"
#include "services/dispatch/core/campaign_book.h"
#include "services/dispatch/core/flows.h"
#include "tidegate/log/v1/ledger.pb.h"

namespace tidegate::dispatch {

class GhostBook {
 public:
  // `limits` outlives the book.
  GhostBook(const wecom_table::Limits* limits, FlowChanged changed)
      : limits_(limits), changed_(std::move(changed)) {}

  static bool IsOurs(FlowKind kind) {
    return kind == FlowKind::kCancel || kind == FlowKind::kAudit;
  }
  static bool IsOurs(const ::tidegate::log::v1::Attempt& attempt) {
    return attempt.target().has_cancel() || attempt.target().has_audit();
  }

  // Decide. What is returned is under way until it is applied; Rebuild() undoes a void batch.
  std::optional<::tidegate::log::v1::LedgerRecord> NextFound(const Now& now);
  // Flows: kCancel and kAudit of a corp.
  std::optional<FlowHead> HeadOf(const FlowName& flow, const Now& now);
  std::optional<WantedCall> Take(const FlowName& flow, const Now& now);
  // Of audit: the tasks of the page that are ghosts, as the calls stand now.
  static void DescribeAnswer(const ::tidegate::log::v1::Attempt& attempt,
                             const wecom_table::Answer& answer, const CampaignBook& campaigns,
                             ::tidegate::log::v1::Outcome* outcome);

  // Apply.
  // A create is attempted: the corp is audited from now on.
  void OnCreate(const std::string& corp, int64_t wall_ns);
  // Before the campaigns apply it.
  void OnSettled(const ::tidegate::log::v1::Settled& settled, const CampaignBook& campaigns);
  // `live`: no replay; only then it is told to the log.
  void OnFound(const ::tidegate::log::v1::GhostFound& found, bool live);
  void OnAttempt(const ::tidegate::log::v1::Attempt& attempt);
  // `live`: as of OnFound.
  void OnOutcome(const AttemptEnd& end, const CampaignBook& campaigns, bool live);
  void OnLostOwner(const ::tidegate::log::v1::Attempt& attempt);
  void Rebuild(bool raw_restarted);

  // Found since the journal began.
  uint64_t found() const { return found_; }
  void AddStateTo(core::StateHash* hash) const;

 private:
  using Key = std::pair<std::string, std::string>;  // corp, msgid
  struct Ghost {
    ::tidegate::log::v1::GhostFound found;
    enum class Phase { kNew, kTakeBack, kOver } phase = Phase::kNew;
    bool decided = false;  // in this batch, or a call is under way
    uint32_t tries = 0;
    int64_t not_before_raw_ns = 0;
  };
  struct Audit {
    int64_t last_create_wall_ns = 0;
    int64_t due_wall_ns = 0;  // of the next one, or since when the present one runs
    int64_t start_time_s = 0;
    int64_t end_time_s = 0;  // 0: none runs
    std::string cursor;
    uint32_t errors = 0;  // in a row
    uint64_t pages = 0;   // ever: names the calls
    int64_t not_before_raw_ns = 0;
    bool under_way = false;
  };

  void Add(::tidegate::log::v1::GhostFound found);
  void OnPage(const AttemptEnd& end, const CampaignBook& campaigns, bool live);
  void EndAudit(const std::string& corp, int64_t wall_ns);
  void Changed(FlowKind kind, const std::string& corp) {
    changed_({.kind = kind, .corp = corp, .campaign = ""});
  }

  const wecom_table::Limits* const limits_;
  const FlowChanged changed_;
  std::map<Key, Ghost> ghosts_;
  std::map<std::string, Audit> audits_;  // by corp
  uint64_t found_ = 0;
};

}  // namespace tidegate::dispatch
