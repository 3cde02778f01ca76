// All token buckets of one egress lane: per (corp, api) and (address, api) windows and calls in
// flight, and lockouts. A call takes all of its tokens or none.
//
// A fold of the ledger: Take and its ends are called in apply, Check and Reserve in decide.
// Times are CLOCK_MONOTONIC_RAW in nanoseconds. Not thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "common/core/state_hash.h"
#include "common/wecom_table/limits.h"
#include "services/dispatch/core/token_buckets.h"

namespace tidegate::dispatch {

struct BucketRow {
  std::string api;
  std::string scope;  // "corp", "ip", "in_flight"
  std::string name;   // of a window, as Verdict::binding
  wecom_table::Cost cost = wecom_table::Cost::kCalls;
  int64_t window_ns = 0;  // 0 for in_flight
  int64_t capacity = 0;
  int64_t tokens = 0;
  int64_t lockout_until_ns = 0;
};

class BucketSet {
 public:
  // `limits` outlives the set.
  explicit BucketSet(const wecom_table::Limits* limits) : limits_(limits) {}

  // Calls of one corp to one api: which buckets they take tokens of.
  using Route = uint32_t;
  Route RouteOf(absl::string_view corp, absl::string_view api);
  // Number of the route's api, from 0 on.
  uint32_t ApiOf(Route route) const { return routes_[route].api; }
  const std::string& ApiName(Route route) const { return apis_[ApiOf(route)].name; }

  // When one more call may leave by the corp's buckets and by the address's, counting what is
  // reserved: now or before = now; kNever = after an answer.
  struct Wait {
    int64_t corp_ns = 0;
    int64_t address_ns = 0;
  };
  Wait WaitOf(Route route, int64_t now_ns);
  struct Verdict {
    bool allowed = false;
    bool near_limit = false;  // with it less than a fifth of a window is left
    int64_t earliest_ns = 0;  // when to ask again; kNever: after the next answer
    std::string binding;      // as in "add_msg_template corp 60/5s"
  };
  // The same with reasons. Changes nothing.
  Verdict Check(Route route, int64_t now_ns);

  // A call that was decided and is not applied yet.
  void Reserve(Route route);
  void ClearReserved();

  void Take(Route route);
  // `rate_limited`: it was answered 45009.
  void Complete(Route route, int64_t completed_ns, bool rate_limited);
  void HoldUntil(Route route, int64_t until_ns);
  void ReturnUnused(Route route);

  // Nothing of the route leaves until then; afterwards one call, and the rest when one that ended
  // after the lockout went well.
  void Lockout(Route route, int64_t until_ns);
  // How long a 45009 locks: as the longest window that is over 95 % used, else as the shortest; and
  // as the next longer one where it answered the call that went first after a lockout.
  int64_t ChooseLockout(Route route, int64_t now_ns);
  // 45033 answered a call that has just completed.
  void LowerCeiling(Route route);

  // Another boot, as TokenBuckets::Rebase.
  void Rebase(int64_t now_ns, int64_t held_until_ns = 0);
  // Only of buckets that are not as new: a look makes one, too.
  void AddStateTo(core::StateHash* hash, int64_t at_ns) const;
  // Of one corp (its share of the address's buckets included), by api, scope, window.
  std::vector<BucketRow> Rows(const std::string& corp, int64_t now_ns);

 private:
  // One scope's buckets of one api: `count` of them, since one has two windows.
  struct Kind {
    std::vector<wecom_table::WindowLimit> windows;
    uint16_t first_limits = 0;
    uint32_t count = 0;
  };
  struct Api {
    std::string name;
    Kind corp;
    Kind address;
    TokenBuckets::Id address_first = 0;
    int64_t longest_lockout_ns = 0;
  };
  struct RouteBuckets {
    TokenBuckets::Id corp_first = 0;
    uint32_t api = 0;
  };
  struct Corp {
    std::string name;
    std::vector<std::pair<uint32_t, Route>> routes;  // by api, in the order of their making
  };

  uint32_t FindApi(absl::string_view name);
  Kind MakeKind(const std::string& api, wecom_table::Scope scope);
  TokenBuckets::Id MakeBuckets(const Kind& kind);
  // visit(bucket, kind, place in the kind) for each bucket of the route, the corp's first.
  template <typename Visit>
  void ForEach(Route route, Visit visit);
  // Corps, and a corp's routes, by name.
  std::vector<const Corp*> SortedCorps() const;
  std::vector<std::pair<const Api*, Route>> SortedRoutes(const Corp& corp) const;

  const wecom_table::Limits* const limits_;
  TokenBuckets buckets_;
  std::vector<Api> apis_;
  std::vector<RouteBuckets> routes_;
  absl::flat_hash_map<std::string, uint32_t> api_of_;
  absl::flat_hash_map<std::string, Corp> corps_;
  std::vector<Route> reserved_;
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
