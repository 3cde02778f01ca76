#include "services/dispatch/core/urgent_calls.h"

#include <algorithm>
#include <tuple>
#include <vector>

#include "common/base/clock.h"

namespace tidegate::dispatch {

using ::tidegate::log::v1::CallTarget;

namespace {

constexpr int64_t kHourNs = int64_t{3600} * kNanosPerSecond;
constexpr int64_t kHoursKept = 24;

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

void UrgentCalls::AddTo(int64_t hour, Hours* hours) {
  if (hours->empty() || hours->back().first < hour) hours->emplace_back(hour, 0);
  ++hours->back().second;
  while (hours->front().first <= hours->back().first - kHoursKept) hours->pop_front();
}

void UrgentCalls::Add(Route route, uint32_t api_number, absl::string_view corp,
                      absl::string_view api, int64_t raw_ns) {
  const int64_t hour = raw_ns / kHourNs;
  newest_hour_ = std::max(newest_hour_, hour);
  OfRoute& of = routes_[route];
  if (of.corp.empty()) {
    of.corp = std::string(corp);
    of.api = std::string(api);
  }
  AddTo(hour, &of.hours);
  AddTo(hour, &apis_[api_number]);
}

double UrgentCalls::PerHourOf(const Hours& hours, int64_t hour) {
  int64_t busier = 0;
  int64_t all = 0;
  for (const auto& [each, calls] : hours) {
    if (each <= hour - kHoursKept) continue;
    all += calls;
    if (each >= hour - 1) busier = std::max(busier, calls);
  }
  return std::max(static_cast<double>(busier), static_cast<double>(all) / kHoursKept);
}

double UrgentCalls::PerHour(Route route, int64_t raw_ns) const {
  const auto found = routes_.find(route);
  return found == routes_.end() ? 0 : PerHourOf(found->second.hours, raw_ns / kHourNs);
}

double UrgentCalls::PerHourOfApi(uint32_t api_number, int64_t raw_ns) const {
  const auto found = apis_.find(api_number);
  return found == apis_.end() ? 0 : PerHourOf(found->second, raw_ns / kHourNs);
}

void UrgentCalls::Rebase(int64_t raw_ns) {
  const int64_t later = raw_ns / kHourNs - newest_hour_;
  newest_hour_ += later;
  const auto move = [&](Hours* hours) {
    for (auto& [hour, calls] : *hours) hour += later;
  };
  for (auto& [route, of] : routes_) move(&of.hours);
  for (auto& [api, hours] : apis_) move(&hours);
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
    hash->Add(of->corp).Add(of->api).Add(of->hours.size());
    for (const auto& [hour, calls] : of->hours) hash->Add(hour).Add(calls);
  }
}

}  // namespace tidegate::dispatch
