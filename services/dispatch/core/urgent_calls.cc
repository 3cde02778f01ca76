#include "services/dispatch/core/urgent_calls.h"

#include <algorithm>
#include <tuple>
#include <vector>

#include "common/base/clock.h"

namespace tidegate::dispatch {

using ::tidegate::log::v1::CallTarget;

namespace {

constexpr int64_t kSlotNs = int64_t{600} * kNanosPerSecond;
constexpr int64_t kSlotsOfHour = 6;
constexpr int64_t kHours = 24;
constexpr int64_t kSlotsKept = kHours * kSlotsOfHour;

}  // namespace

bool UrgentCalls::Counts(const CallTarget& target) {
  switch (target.target_case()) {
    case CallTarget::kWelcome:
    case CallTarget::kList:
      return true;
    case CallTarget::kCampaignCall:
      return target.campaign_call().campaign() == "@urgent" ||
             target.campaign_call().campaign() == "@interactive";
    default:
      return false;
  }
}

void UrgentCalls::AddTo(int64_t slot, Slots* slots) {
  if (slots->empty() || slots->back().first < slot) slots->emplace_back(slot, 0);
  ++slots->back().second;
  while (slots->front().first <= slots->back().first - kSlotsKept) slots->pop_front();
}

void UrgentCalls::Add(Route route, uint32_t api_number, absl::string_view corp,
                      absl::string_view api, int64_t raw_ns) {
  const int64_t slot = raw_ns / kSlotNs;
  newest_slot_ = std::max(newest_slot_, slot);
  OfRoute& of = routes_[route];
  if (of.corp.empty()) {
    of.corp = std::string(corp);
    of.api = std::string(api);
  }
  AddTo(slot, &of.slots);
  AddTo(slot, &apis_[api_number]);
}

double UrgentCalls::PerHourOf(const Slots& slots, int64_t slot) {
  int64_t busiest = 0;
  int64_t all = 0;
  for (const auto& [each, calls] : slots) {
    if (each <= slot - kSlotsKept) continue;
    all += calls;
    if (each >= slot - kSlotsOfHour) busiest = std::max(busiest, calls);
  }
  return std::max(static_cast<double>(busiest * kSlotsOfHour), static_cast<double>(all) / kHours);
}

double UrgentCalls::PerHour(Route route, int64_t raw_ns) const {
  const auto found = routes_.find(route);
  return found == routes_.end() ? 0 : PerHourOf(found->second.slots, raw_ns / kSlotNs);
}

double UrgentCalls::PerHourOfApi(uint32_t api_number, int64_t raw_ns) const {
  const auto found = apis_.find(api_number);
  return found == apis_.end() ? 0 : PerHourOf(found->second, raw_ns / kSlotNs);
}

void UrgentCalls::Rebase(int64_t raw_ns) {
  const int64_t later = raw_ns / kSlotNs - newest_slot_;
  newest_slot_ += later;
  const auto move = [&](Slots* slots) {
    for (auto& [slot, calls] : *slots) slot += later;
  };
  for (auto& [route, of] : routes_) move(&of.slots);
  for (auto& [api, slots] : apis_) move(&slots);
}

// Routes and apis have the numbers of the process.
void UrgentCalls::AddStateTo(core::StateHash* hash) const {
  std::vector<const OfRoute*> sorted;
  for (const auto& [route, of] : routes_) sorted.push_back(&of);
  std::sort(sorted.begin(), sorted.end(), [](const OfRoute* a, const OfRoute* b) {
    return std::tie(a->corp, a->api) < std::tie(b->corp, b->api);
  });
  hash->Add(sorted.size());
  for (const OfRoute* of : sorted) {
    hash->Add(of->corp).Add(of->api).Add(of->slots.size());
    for (const auto& [slot, calls] : of->slots) hash->Add(slot).Add(calls);
  }
}

}  // namespace tidegate::dispatch
