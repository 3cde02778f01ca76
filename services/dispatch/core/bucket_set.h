// All token buckets of one egress lane: per (corp, api) and (address, api) windows and calls in
// flight, and lockouts. A call takes all of its tokens or none.
//
// A fold of the ledger: Take and its ends are called in apply, Check and Reserve in decide.
// Times are CLOCK_MONOTONIC_RAW in nanoseconds. Not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/core/state_hash.h"
#include "common/wecom_table/limits.h"
#include "services/dispatch/core/token_bucket.h"

namespace tidegate::dispatch {

struct BucketRow {
  std::string api;
  std::string scope;      // "corp", "ip", "in_flight"
  int64_t window_ns = 0;  // 0 for in_flight
  int64_t capacity = 0;
  int64_t tokens = 0;
  int64_t lockout_until_ns = 0;
};

class BucketSet {
 public:
  // `limits` outlives the set.
  BucketSet(const wecom_table::Limits* limits, std::string address);

  struct Verdict {
    bool allowed = false;
    bool near_limit = false;  // with it less than a fifth of a window is left
    int64_t earliest_ns = 0;  // when to ask again; kNever: after the next answer
    std::string binding;      // as in "add_msg_template corp 60/5s"
  };
  // Whether one more call may leave now, counting what is reserved. Changes nothing.
  Verdict Check(const std::string& corp, const std::string& api, int64_t now_ns);

  // A call that was decided and is not applied yet.
  void Reserve(const std::string& corp, const std::string& api);
  void ClearReserved();

  void Take(const std::string& corp, const std::string& api);
  // `rate_limited`: it was answered 45009.
  void Complete(const std::string& corp, const std::string& api, int64_t completed_ns,
                bool rate_limited);
  void HoldUntil(const std::string& corp, const std::string& api, int64_t until_ns);
  void ReturnUnused(const std::string& corp, const std::string& api);

  // Nothing of (corp, api) leaves until then; afterwards one call, and the rest when one that ended
  // after the lockout went well.
  void Lockout(const std::string& corp, const std::string& api, int64_t until_ns);
  // How long a 45009 locks: as the longest window that is over 95 % used, else as the shortest.
  int64_t ChooseLockout(const std::string& corp, const std::string& api, int64_t now_ns);
  // 45033 answered a call that has just completed.
  void LowerCeiling(const std::string& corp, const std::string& api);

  // Another boot, as TokenBucket::Rebase.
  void Rebase(int64_t now_ns, int64_t held_until_ns = 0);
  // Only of buckets that are not as new: a look makes one, too.
  void AddStateTo(core::StateHash* hash, int64_t at_ns) const;
  // Of one corp (its share of the address's buckets included), by api, scope, window.
  std::vector<BucketRow> Rows(const std::string& corp, int64_t now_ns);

 private:
  struct Buckets {
    std::string api;
    wecom_table::Scope scope;
    std::vector<wecom_table::WindowLimit> limits;
    std::vector<TokenBucket> windows;
    InFlight in_flight;
    int64_t reserved = 0;
    int64_t lockout_until_ns = 0;
    bool canary = false;  // one call at a time until one went well
  };
  using Key = std::pair<std::string, std::string>;  // corp or "", api

  Buckets& Find(const std::string& corp, const std::string& api, wecom_table::Scope scope);

  const wecom_table::Limits* const limits_;
  const std::string address_;
  std::map<Key, Buckets> by_corp_;
  std::map<std::string, Buckets> by_address_;
};

struct Forecast {
  double seconds = 0;
  std::string binding;  // empty if no window binds
};
// When the last of `calls` calls could leave at the earliest, from full buckets (dispatch.md 2: the
// greedy recurrence), or as calls in flight allow at the given latency, if that is later.
Forecast ForecastCalls(const wecom_table::Limits& limits, const std::string& api, int64_t calls,
                       double latency_seconds);

}  // namespace tidegate::dispatch
