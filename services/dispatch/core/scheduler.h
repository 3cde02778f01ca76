// Which call leaves next, of all that wait in one egress lane.
//
// Calls wait in flows: a flow is a queue of calls of one corp to one api, of one class, as those of
// a campaign. The scheduler knows of a flow only whether it has a call, and from when on. A flow,
// not a call, waits for its time, in a timing wheel (timing_wheel.h); nothing is asked again before
// something can have changed.
//
//   urgent         by deadline, before all others
//   the rest       apis take turns. Of one api, corps share the address by start-time fair queueing
//                  (Goyal, Vin, Cheng: 1996): the corp that got least, by its weight, is next. Of
//                  one corp, interactive flows go before bulk ones, and flows of a class take turns
//
// A corp that its own limits hold back costs the others nothing, and finds no credit afterwards for
// the time in which it could not send. A full limit of the address holds back its api alone.
//
// Bulk calls leave some tokens of the corp and of the address for the others (reserve.h).
//
// A corp with more calls waiting than its shortest window lets through weighs as much as it has
// more of them than the mean of those corps of its api that have any: its own limits make it the
// last to end, and what it misses early it cannot make up. All weights together at most double by
// that, so every corp gets half of its share at least.
//
// After a lockout bulk calls of a corp leave evenly for one window, not as many at once as may; all
// that do so take turns at the pace of the address, since a lockout often is one of all corps.
//
// Decides and keeps nothing durable: after a fence it is filled anew. Times are CLOCK_MONOTONIC_RAW
// in nanoseconds. Not thread-safe.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "services/dispatch/core/bucket_set.h"
#include "services/dispatch/core/flows.h"
#include "services/dispatch/core/timing_wheel.h"
#include "services/dispatch/core/urgent_calls.h"

namespace tidegate::dispatch {

class Scheduler {
 public:
  using Flow = uint32_t;
  using Route = BucketSet::Route;

  // `buckets` and `urgent_calls` outlive the scheduler. `on_blocked` is told of every route whose
  // calls begin to wait for tokens; again only after one of them has left. `urgent_calls`: for what
  // bulk calls leave tokens; nullptr: for nothing.
  explicit Scheduler(BucketSet* buckets, std::function<void(Route)> on_blocked = {},
                     const UrgentCalls* urgent_calls = nullptr)
      : buckets_(buckets), on_blocked_(std::move(on_blocked)), urgent_calls_(urgent_calls) {}

  Flow AddFlow(Route route, CallClass call_class);
  // The flow has a call that may leave from `not_before_ns` on; urgent ones leave by `deadline_ns`.
  // `waiting`: its calls, this one too; `person_times`: of this one. Replaces what it offered
  // before.
  void Offer(Flow flow, int64_t not_before_ns, int64_t deadline_ns = kNever, int64_t waiting = 1,
             uint32_t person_times = 0);
  // It has none.
  void Withdraw(Flow flow);
  // Its corp's share of the address beside those of other corps: in [1, 1000], 1 at first. It
  // weighs more while it has more to do than others.
  void SetWeight(Route route, int64_t weight);

  // The flow whose call may leave now. The flow offers nothing then until it is told again.
  // nullopt: nothing may leave now.
  std::optional<Flow> Next(int64_t now_ns);
  // A call of the route has ended, or its limits have changed: what waits for that is asked again.
  void Wake(Route route);
  // When Next() may have something although nothing was told; kNever: not before.
  int64_t NextNs() const {
    return std::min({flow_timers_.NextNs(), route_timers_.NextNs(), domain_timers_.NextNs()});
  }
  size_t timers() const {
    return flow_timers_.size() + route_timers_.size() + domain_timers_.size();
  }

  Route route_of(Flow flow) const { return flows_[flow].route; }
  // Of the call that it offered last.
  uint32_t person_times_of(Flow flow) const { return flows_[flow].person_times; }

 private:
  // Virtual time of one token of a corp with weight 1.
  static constexpr int64_t kTagUnit = 1'000'000;

  struct FlowState {
    Route route = 0;
    CallClass call_class = CallClass::kBulk;
    bool offers = false;
    bool queued = false;        // stands in a queue of its route, perhaps offering nothing any more
    int64_t not_before_ns = 0;  // of what it offers
    int64_t deadline_ns = kNever;
    int64_t waiting = 0;        // of bulk calls
    uint32_t person_times = 0;  // of what it offers
  };
  struct RouteState {
    uint32_t api = 0;
    bool blocked = false;       // by its corp's buckets
    bool bulk_blocked = false;  // by them, its bulk calls alone
    bool listed = false;        // in its domain
    bool listed_bulk = false;   // with its bulk calls
    bool told = false;          // that it waits for tokens
    int64_t weight = 1;
    int64_t start_tag = 0;
    int64_t finish_tag = 0;
    int64_t waiting = 0;                     // of its bulk flows
    std::array<std::deque<Flow>, 2> queues;  // by class
    std::vector<Flow> urgent_blocked;
    // After a lockout: until when bulk calls leave evenly (kNever: it is not over yet), when the
    // next one may, and when the one that has asked does (0: none has).
    int64_t evenly_until_ns = 0;
    int64_t next_even_ns = 0;
    int64_t even_turn_ns = 0;
  };
  // Routes with calls that are not blocked, by start tag.
  using Listed = std::set<std::pair<int64_t, Route>>;
  // All calls to one api.
  struct Domain {
    std::array<Listed, 2> routes;               // by the class of their next call
    std::set<std::pair<int64_t, Flow>> urgent;  // by deadline
    int64_t virtual_time = 0;
    bool blocked = false;        // by the address's buckets
    bool bulk_blocked = false;   // by them, bulk calls alone
    int64_t waiting = 0;         // bulk calls
    int64_t waiting_routes = 0;  // with bulk calls
    int64_t next_even_ns = 0;    // as of a route, of all
  };

  // Unless it has an earlier one: when that fires, the later is asked for again.
  static void SetTimer(TimingWheel* timers, uint32_t id, int64_t at_ns);
  void FireTimers();
  void FireFlow(const TimingWheel::Due& timer);
  void TakeBack(Flow flow);
  // The flow's time has come.
  void Queue(Flow flow);
  void SetWaiting(Flow flow, int64_t waiting);
  // Puts it where its next call belongs, if it has one that is not blocked.
  void List(Route route);
  void Unlist(Route route);
  void UnblockRoute(Route route);
  void UnblockDomain(uint32_t api);
  std::optional<Flow> NextUrgent(int64_t now_ns);
  std::optional<Flow> NextOf(Domain* domain, int64_t now_ns);
  // The list that the next call is of; nullptr: none may leave.
  static Listed* FrontList(Domain* domain);
  int64_t WeightOf(Route route);
  // When its next bulk call may leave, evenly where they do.
  int64_t EvenTurn(Route route, int64_t now_ns);
  // A lockout has begun, or is over.
  void NoteLockout(Route route);
  // The next flow of the route that still offers; its queue, or nullptr.
  std::deque<Flow>* FrontQueue(RouteState* route);
  void BlockDomain(Route route, bool bulk, int64_t until_ns);
  void BlockRoute(Route route, bool bulk, int64_t until_ns);
  void TellBlocked(Route route);
  BucketSet::Wait WaitOf(Flow flow, int64_t now_ns);
  Flow Leave(Flow flow);

  BucketSet* buckets_;
  std::function<void(Route)> on_blocked_;
  const UrgentCalls* urgent_calls_;
  std::vector<FlowState> flows_;
  std::vector<RouteState> routes_;  // by route
  std::vector<Domain> domains_;     // by api
  size_t turn_ = 0;                 // the domain that is asked first
  int64_t now_ns_ = 0;              // of the last question
  // At most one of each flow, route and domain. Stale ones change nothing when they fire.
  TimingWheel flow_timers_;
  TimingWheel route_timers_;
  TimingWheel domain_timers_;
};

}  // namespace tidegate::dispatch
