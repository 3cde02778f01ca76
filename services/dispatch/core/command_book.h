// What tagging wishes of WeCom: tags per pair, coalesced, and welcomes before their codes expire.
//
// A fold of tidegate.commands (the wishes) and of the ledger (what was done about them). Part of
// DispatchCore; one thread.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "common/base/clock.h"
#include "common/core/state_hash.h"
#include "services/dispatch/core/call_types.h"
#include "services/dispatch/core/flows.h"
#include "tidegate/log/v1/commands.pb.h"
#include "tidegate/log/v1/ledger.pb.h"

namespace tidegate::dispatch {

struct WriteBack {
  int64_t tags_wanted = 0;
  int64_t tags_written = 0;
  int64_t tags_refused = 0;
  int64_t welcomes_requested = 0;
  int64_t welcomes_sent = 0;
  int64_t welcomes_dropped = 0;
};

class CommandBook {
 public:
  explicit CommandBook(FlowChanged changed = [](FlowName) {}) : changed_(std::move(changed)) {}

  // A wish, in log order.
  void Fold(uint64_t position, const ::tidegate::log::v1::Command& command);

  // Decide. Flows of a corp: kWelcome, kMarkTag. Take() takes what it returns out of its queue;
  // Rebuild() undoes that for a void batch.
  std::optional<::tidegate::log::v1::CommandsDropped> NextExpiredWelcome(const Now& now);
  std::optional<FlowHead> HeadOf(const FlowName& flow, const Now& now);
  std::optional<WantedCall> Take(const FlowName& flow, const Now& now);
  // An hour after their end; also under way until it is applied.
  std::optional<::tidegate::log::v1::LedgerRecord> NextForgotten(const Now& now);
  // When a welcome expires; nothing = never.
  std::optional<int64_t> NextRawNs(const Now& now) const;

  // Apply.
  void OnAttempt(const ::tidegate::log::v1::Attempt& attempt);
  void OnOutcome(const AttemptEnd& end);
  // The attempt's owner is gone; its call may still take effect until end_raw_ns.
  void OnLostOwner(const ::tidegate::log::v1::Attempt& attempt, int64_t end_raw_ns);
  void OnDropped(const ::tidegate::log::v1::CommandsDropped& dropped);
  // `live`: this process decided it. In a replay nobody reads the queues before Rebuild().
  void OnForgotten(const ::tidegate::log::v1::CommandsDropped& forgotten, bool live);
  // The queues follow from the state again. `raw_restarted`: times of before mean nothing any more;
  // what had to wait then waits until `held_until_raw_ns`, as it may still take effect.
  void Rebuild(bool raw_restarted, int64_t held_until_raw_ns = 0);

  // With what was forgotten: a tag that is wished again after that counts once more.
  WriteBack Progress(const std::string& corp) const;
  void AddStateTo(core::StateHash* hash) const;
  // Whether WeCom may have taken the welcome at an earlier attempt of ours.
  bool WelcomeInDoubt(uint64_t position) const;
  size_t open() const;
  // Those that are known, with and without an end.
  size_t pairs() const { return pairs_.size(); }
  size_t welcomes() const { return welcomes_.size(); }
  // Wishes for single tags that are known; looks at all.
  size_t wishes() const;
  // Pairs and welcomes without an end, by corp; looks at all.
  std::map<std::string, size_t> OpenByCorp() const;

 private:
  enum class End { kOpen, kDone, kRefused };
  struct TagWish {
    bool add = true;
    uint64_t position = 0;
    End end = End::kOpen;
  };
  // Wishes that have ended and were not forgotten yet.
  struct Ended {
    uint64_t position = 0;  // of the newest
    int64_t since_wall_ns = 0;
  };
  struct Pair {
    std::string corp;
    std::string member;
    std::string customer;
    // The wishes of each tag, oldest first; the last one counts. A replay folds newer ones before
    // the ledger's first record, so the older ones are not known by their absence.
    std::map<std::string, std::vector<TagWish>> tags;
    std::vector<uint64_t> open_positions;
    std::optional<Ended> ended;
    bool under_way = false;  // an attempt is open, or was decided in this batch
    bool queued = false;     // among those whose time has come
    int64_t not_before_raw_ns = 0;
    uint32_t attempts = 0;  // of the call under way or next
    std::string call_id;    // of the last attempt, until the call has ended
  };
  using Pairs = std::map<std::string, Pair>;  // by corp/member/customer
  struct Welcome {
    ::tidegate::log::v1::Command command;
    End end = End::kOpen;
    bool under_way = false;
    bool in_doubt = false;
    int64_t not_before_raw_ns = 0;
    uint32_t attempts = 0;
  };
  // What waits of one corp. Stale entries are skipped when they are met.
  struct Queues {
    std::deque<Pairs::value_type*> pairs;                     // those whose time has come
    std::set<std::pair<int64_t, std::string>> pairs_waiting;  // not before, key
    std::set<std::pair<int64_t, uint64_t>> welcomes;          // expires (wall), position
    std::set<std::pair<int64_t, uint64_t>> welcomes_waiting;  // not before, position
  };
  // Moves what is due, and drops what is stale, until the first entry is good. False: nothing is.
  bool TidyPairs(Queues* queues, int64_t raw_ns);
  bool TidyWelcomes(Queues* queues, int64_t raw_ns);
  void QueuePair(Pairs::value_type* at);
  static void QueueReady(Pairs::value_type* at, Queues* queues);
  void QueueWelcome(uint64_t position);
  static void Count(const TagWish& wish, WriteBack* counts);
  static void Count(const Welcome& welcome, WriteBack* counts);
  // All wishes of the pair until `last` have ended.
  void EndWishes(Pairs::value_type* at, uint64_t last, End end, int64_t wall_ns);
  // Forgetting: command_forget.cc.
  void QueueForgetting(Pairs::value_type* at);
  void QueueForgetting(uint64_t position, const Welcome& welcome);
  // nullptr: it was forgotten, or a newer wish of its pair has ended.
  const std::string* CorpOfEnded(uint64_t position) const;
  void ForgetWishes(Pairs::value_type* at, bool live);
  void ForgetWelcome(std::map<uint64_t, Welcome>::iterator it);
  WantedCall MarkTagCall(const std::string& key, Pair* pair);
  WantedCall WelcomeCall(uint64_t position, Welcome* welcome);

  FlowChanged changed_;
  Pairs pairs_;
  absl::flat_hash_map<uint64_t, Pairs::value_type*> pair_of_;  // by open position
  std::map<uint64_t, Welcome> welcomes_;                       // by position
  std::map<std::string, Queues> queues_;                       // by corp
  std::set<std::pair<int64_t, uint64_t>> welcome_expiry_;      // expires (wall), position
  std::map<std::string, WriteBack> forgotten_;                 // by corp
  // By the newest of its wishes that have ended.
  absl::flat_hash_map<uint64_t, Pairs::value_type*> ended_pairs_;
  std::set<std::pair<int64_t, uint64_t>> forgettable_;  // from when on (wall), position
  bool forgetting_ = false;                             // decided in this batch of records
};

}  // namespace tidegate::dispatch
