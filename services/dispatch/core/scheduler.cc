#include "services/dispatch/core/scheduler.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "common/base/clock.h"

namespace tidegate::dispatch {

using wecom_table::Scope;

namespace {

constexpr int64_t kWeightMax = 1000;
// So late a turn may be taken; those that missed it must not all go at once.
constexpr int64_t kTurnNs = 50 * kNanosPerMilli;
constexpr size_t kInteractive = static_cast<size_t>(CallClass::kInteractive);
constexpr size_t kBulk = static_cast<size_t>(CallClass::kBulk);

}  // namespace

// ---- What is offered ----

Scheduler::Flow Scheduler::AddFlow(Route route, CallClass call_class) {
  while (routes_.size() <= route) {
    RouteState& added = routes_.emplace_back();
    added.api = buckets_->ApiOf(static_cast<Route>(routes_.size() - 1));
    if (added.api >= domains_.size()) domains_.resize(added.api + 1);
    NoteLockout(static_cast<Route>(routes_.size() - 1));
  }
  flows_.push_back({.route = route, .call_class = call_class});
  return static_cast<Flow>(flows_.size() - 1);
}

void Scheduler::SetWeight(Route route, int64_t weight) {
  CHECK(weight >= 1 && weight <= kWeightMax);
  routes_[route].weight = weight;
}

void Scheduler::SetWaiting(Flow flow, int64_t waiting) {
  FlowState& state = flows_[flow];
  if (state.call_class != CallClass::kBulk || state.waiting == waiting) return;
  RouteState& route = routes_[state.route];
  Domain& domain = domains_[route.api];
  const bool had = route.waiting > 0;
  route.waiting += waiting - state.waiting;
  domain.waiting += waiting - state.waiting;
  domain.waiting_routes += (route.waiting > 0) - had;
  state.waiting = waiting;
}

void Scheduler::Offer(Flow flow, int64_t not_before_ns, int64_t deadline_ns, int64_t waiting,
                      uint32_t person_times) {
  FlowState& state = flows_[flow];
  SetWaiting(flow, waiting);
  if (state.offers && state.not_before_ns == not_before_ns && state.deadline_ns == deadline_ns &&
      state.person_times == person_times) {
    return;
  }
  TakeBack(flow);
  state.offers = true;
  state.not_before_ns = not_before_ns;
  state.deadline_ns = deadline_ns;
  state.person_times = person_times;
  if (not_before_ns > now_ns_) {
    SetTimer(&flow_timers_, flow, not_before_ns);
  } else {
    Queue(flow);
  }
}

void Scheduler::Withdraw(Flow flow) {
  SetWaiting(flow, 0);
  TakeBack(flow);
}

void Scheduler::TakeBack(Flow flow) {
  FlowState& state = flows_[flow];
  if (!state.offers) return;
  state.offers = false;
  if (state.call_class != CallClass::kUrgent) return;  // its queue forgets it at its turn
  RouteState& route = routes_[state.route];
  domains_[route.api].urgent.erase({state.deadline_ns, flow});
  std::erase(route.urgent_blocked, flow);
}

void Scheduler::Queue(Flow flow) {
  FlowState& state = flows_[flow];
  if (!state.offers) return;
  RouteState& route = routes_[state.route];
  if (state.call_class == CallClass::kUrgent) {
    std::erase(route.urgent_blocked, flow);
    domains_[route.api].urgent.emplace(state.deadline_ns, flow);
    return;
  }
  if (!state.queued) {
    route.queues[static_cast<size_t>(state.call_class)].push_back(flow);
    state.queued = true;
  }
  if (!route.blocked) List(state.route);
}

void Scheduler::List(Route route) {
  RouteState& state = routes_[route];
  const std::deque<Flow>* front = FrontQueue(&state);
  if (front == nullptr) return;
  const bool bulk = front == &state.queues[kBulk];
  if (state.listed && state.listed_bulk == bulk) return;
  Domain& domain = domains_[state.api];
  if (state.listed) {
    Unlist(route);
  } else {
    // No credit for the time in which it had nothing to send, or could not.
    state.start_tag = std::max(domain.virtual_time, state.finish_tag);
  }
  domain.routes[bulk ? kBulk : kInteractive].emplace(state.start_tag, route);
  state.listed = true;
  state.listed_bulk = bulk;
}

void Scheduler::Unlist(Route route) {
  RouteState& state = routes_[route];
  if (!state.listed) return;
  Domain& domain = domains_[state.api];
  domain.routes[state.listed_bulk ? kBulk : kInteractive].erase({state.start_tag, route});
  state.listed = false;
}

// ---- Time passes, calls end ----

void Scheduler::SetTimer(TimingWheel* timers, uint32_t id, int64_t at_ns) {
  if (at_ns < timers->AtNs(id)) timers->Set(id, at_ns);
}

void Scheduler::FireTimers() {
  // All that is due before anything is chosen, so it does not matter which kind is first.
  while (const auto due = flow_timers_.PopDue(now_ns_)) FireFlow(*due);
  while (const auto due = route_timers_.PopDue(now_ns_)) UnblockRoute(due->id);
  while (const auto due = domain_timers_.PopDue(now_ns_)) UnblockDomain(due->id);
}

void Scheduler::FireFlow(const TimingWheel::Due& timer) {
  const FlowState& flow = flows_[timer.id];
  if (!flow.offers) return;
  if (flow.not_before_ns > timer.at_ns) {
    SetTimer(&flow_timers_, timer.id, flow.not_before_ns);
  } else if (!flow.queued && flow.not_before_ns == timer.at_ns) {
    Queue(timer.id);
  }
}

void Scheduler::UnblockRoute(Route route) {
  RouteState& state = routes_[route];
  for (const Flow flow : std::exchange(state.urgent_blocked, {})) Queue(flow);
  if (!state.blocked && !state.bulk_blocked) return;
  state.blocked = state.bulk_blocked = false;
  List(route);
}

void Scheduler::UnblockDomain(uint32_t api) {
  domains_[api].blocked = domains_[api].bulk_blocked = false;
}

void Scheduler::Wake(Route route) {
  // Others may wait for the address's tokens, though no flow of this route was ever added.
  const uint32_t api = buckets_->ApiOf(route);
  if (api < domains_.size()) UnblockDomain(api);
  if (route >= routes_.size()) return;
  NoteLockout(route);
  UnblockRoute(route);
}

void Scheduler::NoteLockout(Route route) {
  RouteState& state = routes_[route];
  if (buckets_->LockedOut(route)) {
    state.evenly_until_ns = kNever;
  } else if (state.evenly_until_ns == kNever) {
    const int64_t window_ns = std::max(buckets_->ShortestWindow(route, Scope::kCorp).window_ns,
                                       buckets_->ShortestWindow(route, Scope::kIp).window_ns);
    state.evenly_until_ns = now_ns_ + window_ns;
  }
}

void Scheduler::TellBlocked(Route route) {
  if (!on_blocked_ || std::exchange(routes_[route].told, true)) return;
  on_blocked_(route);
}

void Scheduler::BlockRoute(Route route, bool bulk, int64_t until_ns) {
  RouteState& state = routes_[route];
  Unlist(route);
  (bulk ? state.bulk_blocked : state.blocked) = true;
  SetTimer(&route_timers_, route, until_ns);
}

void Scheduler::BlockDomain(Route route, bool bulk, int64_t until_ns) {
  const uint32_t api = routes_[route].api;
  (bulk ? domains_[api].bulk_blocked : domains_[api].blocked) = true;
  TellBlocked(route);
  SetTimer(&domain_timers_, api, until_ns);
}

// ---- Choosing ----

std::deque<Scheduler::Flow>* Scheduler::FrontQueue(RouteState* route) {
  for (auto& queue : route->queues) {
    if (route->bulk_blocked && &queue == &route->queues[kBulk]) return nullptr;
    while (!queue.empty()) {
      FlowState& flow = flows_[queue.front()];
      if (flow.offers && flow.not_before_ns <= now_ns_) return &queue;
      flow.queued = false;
      queue.pop_front();
    }
  }
  return nullptr;
}

Scheduler::Flow Scheduler::Leave(Flow flow) {
  flows_[flow].offers = false;
  flows_[flow].queued = false;
  routes_[flows_[flow].route].told = false;
  return flow;
}

std::optional<Scheduler::Flow> Scheduler::Next(int64_t now_ns) {
  now_ns_ = std::max(now_ns_, now_ns);
  FireTimers();
  if (auto flow = NextUrgent(now_ns_)) return flow;
  for (size_t i = 0; i < domains_.size(); ++i) {
    const size_t at = (turn_ + i) % domains_.size();
    if (auto flow = NextOf(&domains_[at], now_ns_)) {
      turn_ = at + 1;
      return flow;
    }
  }
  return std::nullopt;
}

std::optional<Scheduler::Flow> Scheduler::NextUrgent(int64_t now_ns) {
  std::optional<std::pair<int64_t, Flow>> first;
  for (uint32_t api = 0; api < domains_.size(); ++api) {
    Domain& domain = domains_[api];
    while (!domain.blocked && !domain.urgent.empty()) {
      const auto head = *domain.urgent.begin();
      const Route route = flows_[head.second].route;
      const BucketSet::Wait wait = WaitOf(head.second, now_ns);
      if (wait.corp_ns > now_ns) {
        domain.urgent.erase(domain.urgent.begin());
        routes_[route].urgent_blocked.push_back(head.second);
        TellBlocked(route);
        SetTimer(&route_timers_, route, wait.corp_ns);
      } else if (wait.address_ns > now_ns) {
        BlockDomain(route, /*bulk=*/false, wait.address_ns);
      } else {
        if (!first.has_value() || head < *first) first = head;
        break;
      }
    }
  }
  if (!first.has_value()) return std::nullopt;
  const Flow flow = first->second;
  domains_[routes_[flows_[flow].route].api].urgent.erase(*first);
  return Leave(flow);
}

Scheduler::Listed* Scheduler::FrontList(Domain* domain) {
  if (domain->blocked) return nullptr;
  Listed& interactive = domain->routes[kInteractive];
  Listed& bulk = domain->routes[kBulk];
  const bool no_bulk = domain->bulk_blocked || bulk.empty();
  if (interactive.empty()) return no_bulk ? nullptr : &bulk;
  return no_bulk || *interactive.begin() < *bulk.begin() ? &interactive : &bulk;
}

std::optional<Scheduler::Flow> Scheduler::NextOf(Domain* domain, int64_t now_ns) {
  while (const Listed* list = FrontList(domain)) {
    const Route route = list->begin()->second;
    const bool bulk = list == &domain->routes[kBulk];
    RouteState& state = routes_[route];
    std::deque<Flow>* queue = FrontQueue(&state);
    if (queue == nullptr) {
      Unlist(route);
      continue;
    }
    if (queue != &state.queues[bulk ? kBulk : kInteractive]) {
      List(route);  // what it was listed for is gone
      continue;
    }
    const BucketSet::Wait wait = WaitOf(queue->front(), now_ns);
    if (wait.corp_ns > now_ns) {
      TellBlocked(route);
      BlockRoute(route, bulk, wait.corp_ns);
      continue;
    }
    if (wait.address_ns > now_ns) {
      BlockDomain(route, bulk, wait.address_ns);
      continue;
    }
    if (bulk) {
      if (const int64_t turn_ns = EvenTurn(route, now_ns); turn_ns > now_ns) {
        BlockRoute(route, bulk, turn_ns);
        continue;
      }
      state.even_turn_ns = 0;
    }
    const Flow flow = queue->front();
    queue->pop_front();
    Unlist(route);
    domain->virtual_time = std::max(domain->virtual_time, state.start_tag);
    state.finish_tag = state.start_tag + kTagUnit / WeightOf(route);
    const Flow left = Leave(flow);
    List(route);
    return left;
  }
  return std::nullopt;
}

BucketSet::Wait Scheduler::WaitOf(Flow flow, int64_t now_ns) {
  const Route route = flows_[flow].route;
  const CallCost cost{.calls = 1, .person_times = flows_[flow].person_times};
  if (flows_[flow].call_class != CallClass::kBulk || urgent_calls_ == nullptr) {
    return buckets_->WaitOf(route, now_ns, cost);
  }
  const RouteState& state = routes_[route];
  return buckets_->BulkWaitOf(route,
                              {.corp_per_hour = urgent_calls_->PerHour(route, now_ns),
                               .address_per_hour = urgent_calls_->PerHourOfApi(state.api, now_ns),
                               .corp_waiting = state.waiting,
                               .address_waiting = domains_[state.api].waiting},
                              now_ns, cost);
}

int64_t Scheduler::WeightOf(Route route) {
  const RouteState& state = routes_[route];
  const Domain& domain = domains_[state.api];
  if (state.waiting == 0) return state.weight;
  const int64_t need = state.waiting * domain.waiting_routes / domain.waiting;
  if (need <= state.weight) return state.weight;
  const int64_t at_once = buckets_->ShortestWindow(route, Scope::kCorp).capacity;
  return state.waiting > at_once ? std::min(need, kWeightMax) : state.weight;
}

int64_t Scheduler::EvenTurn(Route route, int64_t now_ns) {
  RouteState& state = routes_[route];
  if (now_ns >= state.evenly_until_ns) return now_ns;
  if (state.even_turn_ns + kTurnNs > now_ns) return state.even_turn_ns;
  Domain& domain = domains_[state.api];
  state.even_turn_ns = std::max({now_ns, state.next_even_ns, domain.next_even_ns});
  const auto interval_ns = [&](Scope scope) {
    const BucketLimits::Window window = buckets_->ShortestWindow(route, scope);
    return window.window_ns / window.capacity;
  };
  state.next_even_ns = state.even_turn_ns + interval_ns(Scope::kCorp);
  domain.next_even_ns = state.even_turn_ns + interval_ns(Scope::kIp);
  return state.even_turn_ns;
}

}  // namespace tidegate::dispatch
