// The flows of all books: what each offers to the scheduler, and the call that leaves next.
#include <algorithm>

#include "common/wecom_table/quiet_hours.h"
#include "services/dispatch/core/dispatch_core.h"

namespace tidegate::dispatch {

Scheduler DispatchCore::MakeScheduler() {
  return Scheduler(
      &buckets_,
      [this](BucketSet::Route route) { ++counters_.over_limit[buckets_.ApiName(route)]; },
      &urgent_calls_);
}

void DispatchCore::NoteChanged(const FlowName& name) {
  // An unknown corp waits for its configuration.
  if (!options_.agent_ids.contains(name.corp)) return;
  auto found = flow_of_.find(name);
  if (found == flow_of_.end()) {
    const auto route = buckets_.RouteOf(name.corp, ApiOf(name.kind));
    found = flow_of_.emplace(name, scheduler_.AddFlow(route, ClassOf(name.kind))).first;
    flows_.push_back(&found->first);
    scheduler_.SetWeight(route, corp_limits_.Of(name.corp).weight);
  }
  changed_flows_.insert(found->second);
}

void DispatchCore::SetWeights(const std::string& corp) {
  for (Scheduler::Flow flow = 0; flow < flows_.size(); ++flow) {
    if (flows_[flow]->corp != corp) continue;
    scheduler_.SetWeight(scheduler_.route_of(flow), corp_limits_.Of(corp).weight);
  }
}

void DispatchCore::ReconsiderAll() {
  for (Scheduler::Flow flow = 0; flow < flows_.size(); ++flow) changed_flows_.insert(flow);
}

bool DispatchCore::IsCommand(FlowKind kind) {
  return kind == FlowKind::kMarkTag || kind == FlowKind::kWelcome;
}

std::optional<int64_t> DispatchCore::QuietUntilNs(const FlowName& name, const Now& now) const {
  if (!KeepsQuiet(name.kind)) return std::nullopt;
  // What is decided may still take effect so much later.
  const int64_t ahead_ns = HoldBound(2 * limits_->http_deadline_ns);
  return wecom_table::QuietUntilNs(corp_limits_.Of(name.corp).quiet_hours, now.wall_ns, ahead_ns);
}

std::optional<FlowHead> DispatchCore::HeadOf(const FlowName& name, const Now& now) {
  if (name.kind == FlowKind::kProbe) return trust_.HeadOf(name.corp);
  if (!trust_.MayCall(name.corp)) return std::nullopt;
  if (GhostBook::IsOurs(name.kind)) return ghosts_.HeadOf(name, now);
  return IsCommand(name.kind) ? commands_.HeadOf(name, now) : campaigns_.HeadOf(name, now);
}

std::optional<WantedCall> DispatchCore::Take(const FlowName& name, const Now& now) {
  if (name.kind == FlowKind::kProbe) return trust_.Take(name.corp, now);
  if (GhostBook::IsOurs(name.kind)) return ghosts_.Take(name, now);
  return IsCommand(name.kind) ? commands_.Take(name, now) : campaigns_.Take(name, now);
}

void DispatchCore::OfferChanged(const Now& now) {
  // A book may name another flow while it is asked.
  while (!changed_flows_.empty()) {
    const Scheduler::Flow flow = changed_flows_.extract(changed_flows_.begin()).value();
    const FlowName& name = *flows_[flow];
    const auto head = HeadOf(name, now);
    if (head.has_value() && !blocks_.Holds(name.corp, name.campaign, now.wall_ns)) {
      int64_t not_before_ns = head->not_before_raw_ns;
      if (const auto until_ns = QuietUntilNs(name, now)) {
        not_before_ns = std::max(not_before_ns, now.raw_ns + (*until_ns - now.wall_ns));
      }
      scheduler_.Offer(flow, not_before_ns, head->deadline_ns, head->waiting, head->person_times);
    } else {
      scheduler_.Withdraw(flow);
    }
  }
}

std::optional<WantedCall> DispatchCore::NextCall(const Now& now) {
  if (now.wall_ns >= blocks_.NextEndNs(blocks_seen_wall_ns_)) ReconsiderAll();
  blocks_seen_wall_ns_ = now.wall_ns;
  OfferChanged(now);
  while (const auto flow = scheduler_.Next(now.raw_ns)) {
    const FlowName& name = *flows_[*flow];
    changed_flows_.insert(*flow);
    // It was offered before quiet hours began, and waited for tokens.
    if (QuietUntilNs(name, now).has_value()) {
      OfferChanged(now);
      continue;
    }
    // Another call of the flow is first now, for more or fewer people than there is room for.
    if (IsAppMessage(name.kind)) {
      const auto head = HeadOf(name, now);
      if (!head.has_value() || head->person_times != scheduler_.person_times_of(*flow)) {
        OfferChanged(now);
        continue;
      }
    }
    auto call = Take(name, now);
    if (call.has_value()) {
      const BucketSet::Route route = scheduler_.route_of(*flow);
      const CallCost cost{.calls = 1, .person_times = call->person_times};
      counters_.near_limit[call->api] += buckets_.Check(route, now.raw_ns, cost).near_limit;
      buckets_.Reserve(route, cost);
      return call;
    }
    // What it offered is gone meanwhile.
    OfferChanged(now);
  }
  return std::nullopt;
}

}  // namespace tidegate::dispatch
