// All token buckets of one egress lane: per (corp, api) and (address, api) windows, days and
// months, calls in flight, and lockouts. A call takes all of its tokens or none.
//
// A fold of the ledger: Take and its ends are called in apply, Check and Reserve in decide.
// Times are CLOCK_MONOTONIC_RAW in nanoseconds. Not thread-safe.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "common/core/state_hash.h"
#include "common/wecom_table/limits.h"
#include "services/dispatch/core/calendar_windows.h"
#include "services/dispatch/core/corp_limits.h"
#include "services/dispatch/core/token_buckets.h"

namespace tidegate::dispatch {

// What a call takes: of windows that count calls, and of those that count people.
struct CallCost {
  int64_t calls = 1;
  int64_t person_times = 0;
  int64_t Of(wecom_table::Cost cost) const {
    return cost == wecom_table::Cost::kCalls ? calls : person_times;
  }
};

struct BucketRow {
  std::string api;
  std::string scope;      // "corp", "ip", "in_flight"
  std::string name;       // of a window, as Verdict::binding
  int64_t window_ns = 0;  // 0 for in_flight; of a calendar: of this day or month
  int64_t capacity = 0;
  int64_t tokens = 0;
  int64_t lockout_until_ns = 0;
  wecom_table::Cost cost = wecom_table::Cost::kCalls;
  int64_t configured = 0;  // where less was learnt; 0: as configured
};

class BucketSet {
 public:
  // Limits of addresses are those of `limits`; those of a corp are told by `corps`, if there are
  // any. Both outlive the set.
  explicit BucketSet(const wecom_table::Limits* limits, const CorpLimits* corps = nullptr)
      : limits_(limits), corps_limits_(corps), clock_(limits->settle.skew_ns) {}

  // Calls of one corp to one api: which buckets they take tokens of.
  using Route = uint32_t;
  Route RouteOf(absl::string_view corp, absl::string_view api);
  // Those that were asked for of a corp.
  std::vector<Route> RoutesOf(absl::string_view corp) const;
  // What CorpLimits tells of the corp is new, since that wall time: what was used stays used, and a
  // limit below it means waiting. A window that is longer than every one before it begins with what
  // the longest of them remembers; one that counts other things than those before, with what is
  // under way.
  void ChangeLimits(absl::string_view corp, int64_t raw_ns);
  // What a record says of the clocks. Before what else the record does.
  void See(int64_t raw_ns, int64_t wall_ns) { clock_.See(raw_ns, wall_ns); }
  // What they say where something is decided or asked.
  void Look(int64_t raw_ns, int64_t wall_ns) { clock_.Look(raw_ns, wall_ns); }
  // Number of the route's api, from 0 on.
  uint32_t ApiOf(Route route) const { return routes_[route].api; }
  const std::string& ApiName(Route route) const { return apis_[ApiOf(route)].name; }

  // When one more call may leave by the corp's buckets and by the address's, counting what is
  // reserved: now or before = now; kNever = after an answer.
  struct Wait {
    int64_t corp_ns = 0;
    int64_t address_ns = 0;
  };
  Wait WaitOf(Route route, int64_t now_ns, const CallCost& cost = {});
  // The same of a bulk call, which leaves tokens for urgent and interactive ones (reserve.h): calls
  // of each window that counts calls.
  struct Beside {
    // Urgent and interactive calls expected, of the corp and of all; 0: none.
    double corp_per_hour = 0;
    double address_per_hour = 0;
    // Bulk calls that wait, this one too.
    int64_t corp_waiting = 0;
    int64_t address_waiting = 0;
  };
  Wait BulkWaitOf(Route route, const Beside& beside, int64_t now_ns, const CallCost& cost = {});
  // Whether it can leave at all, when everything is back.
  bool Fits(Route route, const CallCost& cost);
  // The most calls at once that full buckets have tokens for.
  int64_t CallsMax(Route route);
  // The shortest of the windows of calls of the corp, or of the address; without a limit if there
  // is none.
  BucketLimits::Window ShortestWindow(Route route, wecom_table::Scope scope);
  // Nothing of the route, or one call, leaves because of a lockout.
  bool LockedOut(Route route) const {
    return buckets_.lockout_until_ns(CorpBucket(routes_[route], 0)) > 0;
  }
  // The latest of the corp's lockouts; 0: there is none, or it was over and a call went well.
  int64_t LockoutUntilNs(absl::string_view corp) const;
  struct Verdict {
    bool allowed = false;
    bool near_limit = false;  // with it less than a fifth of a window is left
    int64_t earliest_ns = 0;  // when to ask again; kNever: after the next answer
    std::string binding;      // as in "add_msg_template corp 60/5s"
  };
  // The same with reasons. Changes nothing.
  Verdict Check(Route route, int64_t now_ns, const CallCost& cost = {});

  // A call that was decided and is not applied yet.
  void Reserve(Route route, const CallCost& cost = {});
  void ClearReserved();

  // Each call ends with the cost that it took.
  void Take(Route route, const CallCost& cost = {});
  // `proves_nothing`: it was answered 45009 or 45033, or nobody saw the answer. `granted`: a
  // grant's calls, which tell nothing of how many are served at once.
  void Complete(Route route, int64_t completed_ns, bool proves_nothing, const CallCost& cost = {},
                bool granted = false);
  void HoldUntil(Route route, int64_t until_ns, const CallCost& cost = {}, bool pressing = false);
  void ReturnUnused(Route route, const CallCost& cost = {});

  // Nothing of the route leaves until then; afterwards one call, and the rest when one that ended
  // after the lockout went well.
  void Lockout(Route route, int64_t until_ns);
  // How long a 45009 locks: as the longest window that is over 95 % used, else as the shortest; and
  // as the next longer one where it answered the call that went first after a lockout.
  int64_t ChooseLockout(Route route, int64_t now_ns);
  // What a 45009 tells of the limits: the window of calls that was nearest to its limit lets fewer
  // through than WeCom can have seen, yet not less than half of what is configured. Nothing, if
  // even that window was not half full: then something else was refused.
  struct Learnt {
    wecom_table::Scope scope = wecom_table::Scope::kCorp;
    int64_t window_ns = 0;
    int64_t amount = 0;
  };
  std::optional<Learnt> ChooseLearnt(Route route, int64_t now_ns);
  // It holds from now on, and is forgotten by and by: see TokenBuckets::Learn.
  void Learn(Route route, const Learnt& learnt, int64_t now_ns);
  // 45033 answers a call that was sent then: before its Complete().
  void LowerCeiling(Route route, int64_t sent_ns, int64_t completed_ns);

  // Another boot, as TokenBuckets::Rebase; a lockout goes on at least until its end by the wall
  // clock, which shows `wall_ns`. Before the first See() of that boot.
  void Rebase(int64_t now_ns, int64_t wall_ns, int64_t held_until_ns = 0);
  // Only of buckets that are not as new: a look makes one, too.
  void AddStateTo(core::StateHash* hash, int64_t at_ns) const;
  // Of one corp (its share of the address's buckets included), by api, scope, window.
  std::vector<BucketRow> Rows(const std::string& corp, int64_t now_ns);

 private:
  // Windows that one bucket stands for: up to two, of one cost.
  struct Place {
    wecom_table::Cost cost = wecom_table::Cost::kCalls;
    uint32_t first = 0;  // in Kind::windows
    uint32_t count = 0;
  };
  // One scope's limits of one api. The first place counts calls, also those in flight.
  struct Kind {
    std::vector<wecom_table::WindowLimit> windows;    // those that count calls first
    std::vector<wecom_table::WindowLimit> calendars;  // days and months
    std::vector<Place> places;
    std::vector<BucketLimits> limits;  // by place
  };
  struct Api {
    std::string name;
    Kind corp;
    Kind address;
    uint32_t corp_limits = 0;  // number of those of its first place
    TokenBuckets::Id address_first = 0;
    std::vector<CalendarWindow> address_calendars;
    int64_t longest_lockout_ns = 0;
  };
  static constexpr uint32_t kNotOwn = std::numeric_limits<uint32_t>::max();
  struct RouteBuckets {
    TokenBuckets::Id corp_first = 0;
    uint32_t api = 0;
    uint32_t own = kNotOwn;
  };
  // Of a route whose limits are not those of all corps, or which has a calendar.
  struct Own {
    Kind kind;
    std::vector<TokenBuckets::Id> ids;  // by place
    std::vector<uint32_t> limits;       // numbers, by place
    std::vector<CalendarWindow> calendars;
    // Buckets, with limits, that no place needs now.
    std::vector<std::pair<TokenBuckets::Id, uint32_t>> spare;
  };
  struct Corp {
    std::string name;
    std::vector<std::pair<uint32_t, Route>> routes;  // by api, in the order of their making
  };

  uint32_t FindApi(absl::string_view name);
  TokenBuckets::Id MakeBuckets(uint32_t limits, const Kind& kind);
  const wecom_table::Limits& LimitsOf(absl::string_view corp) const;
  // `people`: they are counted even if no window does.
  Kind MakeKind(const wecom_table::Limits& limits, const std::string& api, wecom_table::Scope scope,
                bool people) const;
  // From then on the route has limits of its own.
  void MakeOwn(Route route, Kind kind, int64_t raw_ns);
  void CountPeople(Route route, const CallCost& cost);
  const Kind& CorpKind(const RouteBuckets& route) const;
  TokenBuckets::Id CorpBucket(const RouteBuckets& route, size_t place) const;
  // visit(bucket, kind, place of the kind) for each bucket of the route, the corp's first.
  template <typename Visit>
  void ForEach(Route route, Visit visit);
  // visit(calendar, limit) for each of the route, the corp's first.
  template <typename Visit>
  void ForEachCalendar(Route route, Visit visit);
  int64_t WaitOfCalendar(const CalendarWindow& calendar, int64_t cost, int64_t now_ns) const;
  void AddReserved(Route route, const CallCost& cost, int64_t sign);
  void AddRows(const Api& api, Route route, wecom_table::Scope scope, int64_t now_ns,
               std::vector<BucketRow>* rows);
  // Corps, and a corp's routes, by name.
  std::vector<const Corp*> SortedCorps() const;
  std::vector<std::pair<const Api*, Route>> SortedRoutes(const Corp& corp) const;

  const wecom_table::Limits* const limits_;
  const CorpLimits* const corps_limits_;
  WallClock clock_;
  TokenBuckets buckets_;
  std::vector<Api> apis_;
  std::vector<RouteBuckets> routes_;
  std::vector<Own> owns_;
  absl::flat_hash_map<std::string, uint32_t> api_of_;
  absl::flat_hash_map<std::string, Corp> corps_;
  std::vector<std::pair<Route, CallCost>> reserved_;
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
