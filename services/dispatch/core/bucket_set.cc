#include "services/dispatch/core/bucket_set.h"

#include <algorithm>
#include <iterator>
#include <set>

#include "absl/strings/str_cat.h"

namespace tidegate::dispatch {

using wecom_table::Limits;
using wecom_table::Scope;
using wecom_table::WindowLimit;

namespace {

std::string NameOf(const WindowLimit& limit, const std::string& api) {
  return absl::StrCat(api, limit.scope == Scope::kCorp ? " corp " : " ip ", limit.amount, "/",
                      static_cast<double>(limit.window_ns) * 1e-9, "s");
}

}  // namespace

// ---- Which buckets ----

BucketSet::Kind BucketSet::MakeKind(const std::string& api, Scope scope) {
  Kind kind{.windows = limits_->WindowsOf(api, scope)};
  constexpr size_t kEach = BucketLimits::kWindows;
  kind.count =
      static_cast<uint32_t>(std::max<size_t>(1, (kind.windows.size() + kEach - 1) / kEach));
  for (uint32_t i = 0; i < kind.count; ++i) {
    BucketLimits limits;
    for (size_t w = 0; w < kEach && i * kEach + w < kind.windows.size(); ++w) {
      const WindowLimit& window = kind.windows[i * kEach + w];
      limits.windows[w] =
          BucketLimits::MakeWindow(window.amount, window.window_ns, limits_->slots_per_window);
    }
    // Calls in flight are limited per corp only.
    if (scope == Scope::kCorp && i == 0) limits.in_flight = limits_->InFlight(api);
    const uint16_t number = buckets_.AddLimits(limits);
    if (i == 0) kind.first_limits = number;
  }
  return kind;
}

TokenBuckets::Id BucketSet::MakeBuckets(const Kind& kind) {
  const TokenBuckets::Id first = buckets_.Make(kind.first_limits);
  for (uint32_t i = 1; i < kind.count; ++i) {
    buckets_.Make(static_cast<uint16_t>(kind.first_limits + i));
  }
  return first;
}

uint32_t BucketSet::FindApi(absl::string_view name) {
  const auto found = api_of_.find(name);
  if (found != api_of_.end()) return found->second;
  const uint32_t number = static_cast<uint32_t>(apis_.size());
  Api api{.name = std::string(name)};
  api.corp = MakeKind(api.name, Scope::kCorp);
  api.address = MakeKind(api.name, Scope::kIp);
  api.address_first = MakeBuckets(api.address);
  for (const Kind* kind : {&api.corp, &api.address}) {
    for (const WindowLimit& window : kind->windows) {
      api.longest_lockout_ns = std::max(api.longest_lockout_ns, window.lockout_ns);
    }
  }
  api_of_.emplace(api.name, number);
  apis_.push_back(std::move(api));
  return number;
}

BucketSet::Route BucketSet::RouteOf(absl::string_view corp, absl::string_view api) {
  const uint32_t number = FindApi(api);
  auto found = corps_.find(corp);
  if (found == corps_.end()) {
    found = corps_.emplace(std::string(corp), Corp{.name = std::string(corp)}).first;
  }
  auto& routes = found->second.routes;
  for (const auto& [of_api, route] : routes) {
    if (of_api == number) return route;
  }
  const Route route = static_cast<Route>(routes_.size());
  routes_.push_back({.corp_first = MakeBuckets(apis_[number].corp), .api = number});
  routes.emplace_back(number, route);
  return route;
}

template <typename Visit>
void BucketSet::ForEach(Route route, Visit visit) {
  const RouteBuckets& of = routes_[route];
  const Api& api = apis_[of.api];
  for (uint32_t i = 0; i < api.corp.count; ++i) visit(of.corp_first + i, api.corp, i);
  for (uint32_t i = 0; i < api.address.count; ++i) visit(api.address_first + i, api.address, i);
}

// ---- Deciding ----

BucketSet::Wait BucketSet::WaitOf(Route route, int64_t now_ns) {
  Wait wait{.corp_ns = now_ns, .address_ns = now_ns};
  const Kind* address = &apis_[routes_[route].api].address;
  ForEach(route, [&](TokenBuckets::Id id, const Kind& kind, uint32_t) {
    if (buckets_.Allows(id, 1, now_ns)) return;
    int64_t& earliest = &kind == address ? wait.address_ns : wait.corp_ns;
    earliest = std::max(earliest, buckets_.WaitOf(id, 1, now_ns).earliest_ns);
  });
  return wait;
}

BucketSet::Verdict BucketSet::Check(Route route, int64_t now_ns) {
  Verdict verdict{.allowed = true, .near_limit = false, .earliest_ns = now_ns, .binding = ""};
  const std::string& api = apis_[routes_[route].api].name;
  ForEach(route, [&](TokenBuckets::Id id, const Kind& kind, uint32_t place) {
    const auto& limits = buckets_.limits_of(id);
    for (size_t w = 0; w < BucketLimits::kWindows; ++w) {
      const int64_t capacity = limits.windows[w].capacity;
      verdict.near_limit |=
          (buckets_.Used(id, w, now_ns) + buckets_.reserved(id) + 1) * 5 > capacity * 4;
    }
    if (buckets_.Allows(id, 1, now_ns)) return;
    const TokenBuckets::Wait wait = buckets_.WaitOf(id, 1, now_ns);
    verdict.allowed = false;
    // The binding limit's name is made only where one binds.
    if (wait.earliest_ns < verdict.earliest_ns) return;
    verdict.earliest_ns = wait.earliest_ns;
    switch (wait.cause) {
      case TokenBuckets::Cause::kWindow:
        verdict.binding = NameOf(kind.windows[place * BucketLimits::kWindows + wait.window], api);
        break;
      case TokenBuckets::Cause::kInFlight:
        verdict.binding = api + " in flight";
        break;
      case TokenBuckets::Cause::kLockout:
        verdict.binding = "lockout";
        break;
      case TokenBuckets::Cause::kCanary:
        verdict.binding = "canary";
        break;
      case TokenBuckets::Cause::kNone:
        break;
    }
  });
  return verdict;
}

void BucketSet::Reserve(Route route) {
  ForEach(route, [&](TokenBuckets::Id id, const Kind&, uint32_t) { buckets_.Reserve(id, 1); });
  reserved_.push_back(route);
}

void BucketSet::ClearReserved() {
  for (const Route route : reserved_) {
    ForEach(route, [&](TokenBuckets::Id id, const Kind&, uint32_t) { buckets_.Reserve(id, -1); });
  }
  reserved_.clear();
}

// ---- Applying ----

void BucketSet::Take(Route route) {
  ForEach(route, [&](TokenBuckets::Id id, const Kind&, uint32_t) { buckets_.Take(id, 1); });
}

void BucketSet::Complete(Route route, int64_t completed_ns, bool rate_limited) {
  ForEach(route, [&](TokenBuckets::Id id, const Kind&, uint32_t) {
    buckets_.Complete(id, 1, completed_ns, !rate_limited);
  });
  // What was answered during the lockout was sent before it and proves nothing.
  const TokenBuckets::Id corp = routes_[route].corp_first;
  if (!rate_limited && completed_ns >= buckets_.lockout_until_ns(corp)) buckets_.EndCanary(corp);
}

void BucketSet::HoldUntil(Route route, int64_t until_ns) {
  ForEach(route,
          [&](TokenBuckets::Id id, const Kind&, uint32_t) { buckets_.HoldUntil(id, 1, until_ns); });
}

void BucketSet::ReturnUnused(Route route) {
  ForEach(route, [&](TokenBuckets::Id id, const Kind&, uint32_t) { buckets_.ReturnUnused(id, 1); });
}

void BucketSet::Lockout(Route route, int64_t until_ns) {
  buckets_.Lockout(routes_[route].corp_first, until_ns);
}

int64_t BucketSet::ChooseLockout(Route route, int64_t now_ns) {
  int64_t fullest = 0;
  std::set<int64_t> lengths;
  ForEach(route, [&](TokenBuckets::Id id, const Kind& kind, uint32_t place) {
    for (size_t w = 0; w < BucketLimits::kWindows; ++w) {
      const size_t at = place * BucketLimits::kWindows + w;
      if (at >= kind.windows.size()) return;
      const WindowLimit& limit = kind.windows[at];
      lengths.insert(limit.lockout_ns);
      if (buckets_.Used(id, w, now_ns) * 100 > limit.amount * 95) {
        fullest = std::max(fullest, limit.lockout_ns);
      }
    }
  });
  constexpr int64_t kWithoutLimits = 60'000'000'000;
  if (fullest > 0) return fullest;
  if (lengths.empty()) return kWithoutLimits;
  const int64_t lockout_ns = buckets_.lockout_until_ns(routes_[route].corp_first);
  const bool canary = lockout_ns > 0 && now_ns >= lockout_ns;
  return *(canary && lengths.size() > 1 ? std::next(lengths.begin()) : lengths.begin());
}

void BucketSet::LowerCeiling(Route route) { buckets_.LowerCeiling(routes_[route].corp_first); }

void BucketSet::Rebase(int64_t now_ns, int64_t held_until_ns) {
  for (const Api& api : apis_) {
    for (uint32_t i = 0; i < api.address.count; ++i) {
      buckets_.Rebase(api.address_first + i, now_ns, held_until_ns, api.longest_lockout_ns);
    }
  }
  for (const RouteBuckets& route : routes_) {
    const Api& api = apis_[route.api];
    for (uint32_t i = 0; i < api.corp.count; ++i) {
      buckets_.Rebase(route.corp_first + i, now_ns, held_until_ns, api.longest_lockout_ns);
    }
  }
}

// ---- For others ----

std::vector<const BucketSet::Corp*> BucketSet::SortedCorps() const {
  std::vector<const Corp*> corps;
  for (const auto& [name, corp] : corps_) corps.push_back(&corp);
  std::sort(corps.begin(), corps.end(),
            [](const Corp* a, const Corp* b) { return a->name < b->name; });
  return corps;
}

std::vector<std::pair<const BucketSet::Api*, BucketSet::Route>> BucketSet::SortedRoutes(
    const Corp& corp) const {
  std::vector<std::pair<const Api*, Route>> routes;
  for (const auto& [api, route] : corp.routes) routes.emplace_back(&apis_[api], route);
  std::sort(routes.begin(), routes.end(),
            [](const auto& a, const auto& b) { return a.first->name < b.first->name; });
  return routes;
}

void BucketSet::AddStateTo(core::StateHash* hash, int64_t at_ns) const {
  const auto add = [&](absl::string_view corp, const Api& api, TokenBuckets::Id first,
                       uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) {
      const auto state = buckets_.StateAt(first + i, at_ns);
      if (state.empty()) continue;
      hash->Add(corp).Add(api.name).Add(i).Add(state.size());
      for (const int64_t number : state) hash->Add(number);
    }
  };
  for (const Corp* corp : SortedCorps()) {
    for (const auto& [api, route] : SortedRoutes(*corp)) {
      add(corp->name, *api, routes_[route].corp_first, api->corp.count);
    }
  }
  std::vector<const Api*> apis;
  for (const Api& api : apis_) apis.push_back(&api);
  std::sort(apis.begin(), apis.end(), [](const Api* a, const Api* b) { return a->name < b->name; });
  for (const Api* api : apis) add("", *api, api->address_first, api->address.count);
}

std::vector<BucketRow> BucketSet::Rows(const std::string& corp, int64_t now_ns) {
  std::vector<BucketRow> rows;
  const auto found = corps_.find(corp);
  if (found == corps_.end()) return rows;
  for (const auto& [api, route] : SortedRoutes(found->second)) {
    const TokenBuckets::Id first = routes_[route].corp_first;
    const int64_t lockout = buckets_.lockout_until_ns(first);
    rows.push_back({.api = api->name,
                    .scope = "in_flight",
                    .capacity = buckets_.ceiling(first),
                    .tokens = buckets_.ceiling(first) - buckets_.under_way(first),
                    .lockout_until_ns = lockout});
    ForEach(route, [&](TokenBuckets::Id id, const Kind& kind, uint32_t place) {
      const bool of_corp = &kind == &api->corp;
      for (size_t w = 0; w < BucketLimits::kWindows; ++w) {
        if (place * BucketLimits::kWindows + w >= kind.windows.size()) return;
        const auto& window = buckets_.limits_of(id).windows[w];
        rows.push_back(
            {.api = api->name,
             .scope = of_corp ? "corp" : "ip",
             .name = NameOf(kind.windows[place * BucketLimits::kWindows + w], api->name),
             .cost = kind.windows[place * BucketLimits::kWindows + w].cost,
             .window_ns = window.window_ns,
             .capacity = window.capacity,
             .tokens = std::max<int64_t>(0, window.capacity - buckets_.Used(id, w, now_ns)),
             .lockout_until_ns = of_corp ? lockout : 0});
      }
    });
  }
  return rows;
}

Forecast ForecastCalls(const Limits& limits, const std::string& api, int64_t calls,
                       double latency_seconds) {
  Forecast forecast;
  if (calls <= 0) return forecast;
  std::vector<WindowLimit> windows = limits.WindowsOf(api, Scope::kCorp);
  for (const WindowLimit& limit : limits.WindowsOf(api, Scope::kIp)) windows.push_back(limit);
  std::vector<int64_t> at(static_cast<size_t>(calls), 0);
  const WindowLimit* binding = nullptr;
  for (int64_t k = 0; k < calls; ++k) {
    int64_t earliest = k > 0 ? at[static_cast<size_t>(k - 1)] : 0;
    for (const WindowLimit& limit : windows) {
      if (k < limit.amount) continue;
      const int64_t back = at[static_cast<size_t>(k - limit.amount)] + limit.window_ns;
      if (back <= earliest) continue;
      earliest = back;
      binding = &limit;
    }
    at[static_cast<size_t>(k)] = earliest;
  }
  forecast.seconds = static_cast<double>(at.back()) * 1e-9;
  if (binding != nullptr) forecast.binding = NameOf(*binding, api);
  const double concurrency =
      static_cast<double>(calls) * latency_seconds / static_cast<double>(limits.InFlight(api));
  if (concurrency > forecast.seconds) {
    forecast.seconds = concurrency;
    forecast.binding = absl::StrCat(api, " in flight ", limits.InFlight(api));
  }
  return forecast;
}

}  // namespace tidegate::dispatch
