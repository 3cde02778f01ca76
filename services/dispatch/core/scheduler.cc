#include "services/dispatch/core/scheduler.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"

namespace tidegate::dispatch {

// ---- What is offered ----

Scheduler::Flow Scheduler::AddFlow(Route route, CallClass call_class) {
  while (routes_.size() <= route) {
    RouteState& added = routes_.emplace_back();
    added.api = buckets_->ApiOf(static_cast<Route>(routes_.size() - 1));
    if (added.api >= domains_.size()) domains_.resize(added.api + 1);
  }
  flows_.push_back({.route = route, .call_class = call_class});
  return static_cast<Flow>(flows_.size() - 1);
}

void Scheduler::SetWeight(Route route, int64_t weight) {
  CHECK(weight >= 1 && weight <= 1000);
  routes_[route].weight = weight;
}

void Scheduler::Offer(Flow flow, int64_t not_before_ns, int64_t deadline_ns,
                      uint32_t person_times) {
  FlowState& state = flows_[flow];
  if (state.offers && state.not_before_ns == not_before_ns && state.deadline_ns == deadline_ns &&
      state.person_times == person_times) {
    return;
  }
  Withdraw(flow);
  state.offers = true;
  state.not_before_ns = not_before_ns;
  state.deadline_ns = deadline_ns;
  state.person_times = person_times;
  if (not_before_ns > now_ns_) {
    SetTimer(not_before_ns, Kind::kFlow, flow);
  } else {
    Queue(flow);
  }
}

void Scheduler::Withdraw(Flow flow) {
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
  RouteState& route = routes_[state.route];
  if (state.call_class == CallClass::kUrgent) {
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
  if (state.listed) return;
  Domain& domain = domains_[state.api];
  // No credit for the time in which it had nothing to send, or could not.
  state.start_tag = std::max(domain.virtual_time, state.finish_tag);
  domain.routes.emplace(state.start_tag, route);
  state.listed = true;
}

void Scheduler::Unlist(Route route) {
  RouteState& state = routes_[route];
  if (!state.listed) return;
  domains_[state.api].routes.erase({state.start_tag, route});
  state.listed = false;
}

// ---- Time passes, calls end ----

void Scheduler::SetTimer(int64_t at_ns, Kind kind, uint32_t id) {
  if (at_ns != kNever) timers_.push({.at_ns = at_ns, .kind = kind, .id = id});
}

void Scheduler::Fire(const Timer& timer) {
  switch (timer.kind) {
    case Kind::kFlow: {
      const FlowState& flow = flows_[timer.id];
      if (flow.offers && !flow.queued && flow.not_before_ns == timer.at_ns) Queue(timer.id);
      break;
    }
    case Kind::kRoute:
      UnblockRoute(timer.id);
      break;
    case Kind::kDomain:
      domains_[timer.id].blocked = false;
      break;
  }
}

void Scheduler::UnblockRoute(Route route) {
  RouteState& state = routes_[route];
  for (const Flow flow : std::exchange(state.urgent_blocked, {})) Queue(flow);
  if (!state.blocked) return;
  state.blocked = false;
  if (FrontQueue(&state) != nullptr) List(route);
}

void Scheduler::Wake(Route route) {
  if (route >= routes_.size()) return;
  UnblockRoute(route);
  domains_[routes_[route].api].blocked = false;
}

void Scheduler::TellBlocked(Route route) {
  if (!on_blocked_ || std::exchange(routes_[route].told, true)) return;
  on_blocked_(route);
}

void Scheduler::BlockDomain(Route route, int64_t until_ns) {
  const uint32_t api = routes_[route].api;
  domains_[api].blocked = true;
  TellBlocked(route);
  SetTimer(until_ns, Kind::kDomain, api);
}

// ---- Choosing ----

std::deque<Scheduler::Flow>* Scheduler::FrontQueue(RouteState* route) {
  for (auto& queue : route->queues) {
    while (!queue.empty()) {
      FlowState& flow = flows_[queue.front()];
      if (flow.offers && flow.not_before_ns <= now_ns_) return &queue;
      flow.queued = false;
      queue.pop_front();
    }
  }
  return nullptr;
}

BucketSet::Wait Scheduler::WaitOf(Flow flow, int64_t now_ns) {
  return buckets_->WaitOf(flows_[flow].route, now_ns,
                          {.calls = 1, .person_times = flows_[flow].person_times});
}

Scheduler::Flow Scheduler::Leave(Flow flow) {
  flows_[flow].offers = false;
  flows_[flow].queued = false;
  routes_[flows_[flow].route].told = false;
  return flow;
}

std::optional<Scheduler::Flow> Scheduler::Next(int64_t now_ns) {
  now_ns_ = std::max(now_ns_, now_ns);
  while (!timers_.empty() && timers_.top().at_ns <= now_ns_) {
    const Timer timer = timers_.top();
    timers_.pop();
    Fire(timer);
  }
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
        SetTimer(wait.corp_ns, Kind::kRoute, route);
      } else if (wait.address_ns > now_ns) {
        BlockDomain(route, wait.address_ns);
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

std::optional<Scheduler::Flow> Scheduler::NextOf(Domain* domain, int64_t now_ns) {
  while (!domain->blocked && !domain->routes.empty()) {
    const Route route = domain->routes.begin()->second;
    RouteState& state = routes_[route];
    std::deque<Flow>* queue = FrontQueue(&state);
    if (queue == nullptr) {
      Unlist(route);
      continue;
    }
    const BucketSet::Wait wait = WaitOf(queue->front(), now_ns);
    if (wait.corp_ns > now_ns) {
      Unlist(route);
      state.blocked = true;
      TellBlocked(route);
      SetTimer(wait.corp_ns, Kind::kRoute, route);
      continue;
    }
    if (wait.address_ns > now_ns) {
      BlockDomain(route, wait.address_ns);
      break;
    }
    const Flow flow = queue->front();
    queue->pop_front();
    Unlist(route);
    domain->virtual_time = std::max(domain->virtual_time, state.start_tag);
    state.finish_tag = state.start_tag + kTagUnit / state.weight;
    if (FrontQueue(&state) != nullptr) List(route);
    return Leave(flow);
  }
  return std::nullopt;
}

}  // namespace tidegate::dispatch
