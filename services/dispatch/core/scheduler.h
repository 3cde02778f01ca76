// Which call leaves next, of all that wait in one egress lane.
//
// Calls wait in flows: a flow is a queue of calls of one corp to one api, of one class, as those of
// a campaign. The scheduler knows of a flow only whether it has a call, and from when on. A flow,
// not a call, waits for its time; nothing is asked again before something can have changed.
//
//   urgent         by deadline, before all others
//   the rest       apis take turns. Of one api, corps share the address by start-time fair queueing
//                  (Goyal, Vin, Cheng: 1996): the corp that got least, by its weight, is next. Of
//                  one corp, interactive flows go before bulk ones, and flows of a class take turns
//
// A corp that its own limits hold back costs the others nothing, and finds no credit afterwards for
// the time in which it could not send. A full limit of the address holds back its api alone.
//
// Decides and keeps nothing durable: after a fence it is filled anew. Times are CLOCK_MONOTONIC_RAW
// in nanoseconds. Not thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <queue>
#include <set>
#include <utility>
#include <vector>

#include "services/dispatch/core/bucket_set.h"
#include "services/dispatch/core/flows.h"

namespace tidegate::dispatch {

class Scheduler {
 public:
  using Flow = uint32_t;
  using Route = BucketSet::Route;

  // `buckets` outlives the scheduler. `on_blocked` is told of every route whose calls begin to wait
  // for tokens; again only after one of them has left.
  explicit Scheduler(BucketSet* buckets, std::function<void(Route)> on_blocked = {})
      : buckets_(buckets), on_blocked_(std::move(on_blocked)) {}

  Flow AddFlow(Route route, CallClass call_class);
  // The flow has a call that may leave from `not_before_ns` on; urgent ones leave by `deadline_ns`.
  // Replaces what it offered before.
  void Offer(Flow flow, int64_t not_before_ns, int64_t deadline_ns = kNever,
             uint32_t person_times = 0);
  // It has none.
  void Withdraw(Flow flow);
  // Its corp's share of the address beside those of other corps: in [1, 1000], 1 at first.
  void SetWeight(Route route, int64_t weight);

  // The flow whose call may leave now. The flow offers nothing then until it is told again.
  // nullopt: nothing may leave now.
  std::optional<Flow> Next(int64_t now_ns);
  // A call of the route has ended, or its limits have changed: what waits for that is asked again.
  void Wake(Route route);
  // When Next() may have something although nothing was told; kNever: not before.
  int64_t NextNs() const { return timers_.empty() ? kNever : timers_.top().at_ns; }

  Route route_of(Flow flow) const { return flows_[flow].route; }

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
    uint32_t person_times = 0;
  };
  struct RouteState {
    uint32_t api = 0;
    bool blocked = false;  // by its corp's buckets
    bool listed = false;   // in its domain
    bool told = false;     // that it waits for tokens
    int64_t weight = 1;
    int64_t start_tag = 0;
    int64_t finish_tag = 0;
    std::array<std::deque<Flow>, 2> queues;  // by class
    std::vector<Flow> urgent_blocked;
  };
  // All calls to one api.
  struct Domain {
    std::set<std::pair<int64_t, Route>> routes;  // with calls and not blocked, by start tag
    std::set<std::pair<int64_t, Flow>> urgent;   // by deadline
    int64_t virtual_time = 0;
    bool blocked = false;  // by the address's buckets
  };
  enum class Kind : uint8_t { kFlow, kRoute, kDomain };
  struct Timer {
    int64_t at_ns;
    Kind kind;
    uint32_t id;
    bool operator>(const Timer& other) const { return at_ns > other.at_ns; }
  };

  void SetTimer(int64_t at_ns, Kind kind, uint32_t id);
  void Fire(const Timer& timer);
  // The flow's time has come.
  void Queue(Flow flow);
  void List(Route route);
  void Unlist(Route route);
  void UnblockRoute(Route route);
  std::optional<Flow> NextUrgent(int64_t now_ns);
  std::optional<Flow> NextOf(Domain* domain, int64_t now_ns);
  // The next flow of the route that still offers; its queue, or nullptr.
  std::deque<Flow>* FrontQueue(RouteState* route);
  void BlockDomain(Route route, int64_t until_ns);
  void TellBlocked(Route route);
  BucketSet::Wait WaitOf(Flow flow, int64_t now_ns);
  Flow Leave(Flow flow);

  BucketSet* buckets_;
  std::function<void(Route)> on_blocked_;
  std::vector<FlowState> flows_;
  std::vector<RouteState> routes_;  // by route
  std::vector<Domain> domains_;     // by api
  size_t turn_ = 0;                 // the domain that is asked first
  int64_t now_ns_ = 0;              // of the last question
  // Stale ones are ignored when they fire.
  std::priority_queue<Timer, std::vector<Timer>, std::greater<>> timers_;
};

}  // namespace tidegate::dispatch
