#include "services/dispatch/core/bucket_set.h"

#include <algorithm>
#include <utility>

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

BucketSet::BucketSet(const Limits* limits, std::string address)
    : limits_(limits), address_(std::move(address)) {}

BucketSet::Buckets& BucketSet::Find(const std::string& corp, const std::string& api, Scope scope) {
  const auto make = [&] {
    Buckets buckets{
        .api = api,
        .scope = scope,
        .limits = limits_->WindowsOf(api, scope),
        .windows = {},
        // Calls in flight are limited per corp only.
        .in_flight = InFlight(scope == Scope::kCorp ? limits_->InFlight(api) : 1'000'000)};
    for (const WindowLimit& limit : buckets.limits) {
      buckets.windows.emplace_back(limit.amount, limit.window_ns, limits_->slots_per_window);
    }
    return buckets;
  };
  if (scope == Scope::kIp) {
    const auto it = by_address_.find(api);
    return it != by_address_.end() ? it->second : by_address_.emplace(api, make()).first->second;
  }
  const auto it = by_corp_.find({corp, api});
  return it != by_corp_.end() ? it->second : by_corp_.emplace(Key{corp, api}, make()).first->second;
}

BucketSet::Verdict BucketSet::Check(const std::string& corp, const std::string& api,
                                    int64_t now_ns) {
  Verdict verdict{.allowed = true, .near_limit = false, .earliest_ns = now_ns, .binding = ""};
  // The binding limit's name is made only where one binds.
  const auto restrict = [&](int64_t earliest_ns, const auto& name) {
    if (earliest_ns <= now_ns) return;
    verdict.allowed = false;
    if (earliest_ns < verdict.earliest_ns) return;
    verdict.earliest_ns = earliest_ns;
    verdict.binding = name();
  };
  for (const Scope scope : {Scope::kCorp, Scope::kIp}) {
    Buckets& buckets = Find(corp, api, scope);
    const int64_t cost = buckets.reserved + 1;
    restrict(buckets.lockout_until_ns, [] { return std::string("lockout"); });
    if (buckets.canary) {
      restrict(buckets.reserved > 0 ? kNever : buckets.in_flight.IdleNs(now_ns),
               [] { return std::string("canary"); });
    }
    restrict(buckets.in_flight.EarliestNs(cost, now_ns), [&] { return api + " in flight"; });
    for (size_t i = 0; i < buckets.windows.size(); ++i) {
      TokenBucket& window = buckets.windows[i];
      restrict(window.EarliestNs(cost, now_ns), [&] { return NameOf(buckets.limits[i], api); });
      verdict.near_limit |= (window.Used(now_ns) + cost) * 5 > window.capacity() * 4;
    }
  }
  return verdict;
}

void BucketSet::Reserve(const std::string& corp, const std::string& api) {
  for (const Scope scope : {Scope::kCorp, Scope::kIp}) ++Find(corp, api, scope).reserved;
}

void BucketSet::ClearReserved() {
  for (auto& [key, buckets] : by_corp_) buckets.reserved = 0;
  for (auto& [key, buckets] : by_address_) buckets.reserved = 0;
}

void BucketSet::Take(const std::string& corp, const std::string& api) {
  for (const Scope scope : {Scope::kCorp, Scope::kIp}) {
    Buckets& buckets = Find(corp, api, scope);
    buckets.in_flight.Take();
    for (TokenBucket& window : buckets.windows) window.Take(1);
  }
}

void BucketSet::Complete(const std::string& corp, const std::string& api, int64_t completed_ns,
                         bool rate_limited) {
  for (const Scope scope : {Scope::kCorp, Scope::kIp}) {
    Buckets& buckets = Find(corp, api, scope);
    buckets.in_flight.End(!rate_limited);
    // What was answered during the lockout was sent before it and proves nothing.
    if (!rate_limited && completed_ns >= buckets.lockout_until_ns) buckets.canary = false;
    for (TokenBucket& window : buckets.windows) window.Complete(1, completed_ns);
  }
}

void BucketSet::HoldUntil(const std::string& corp, const std::string& api, int64_t until_ns) {
  for (const Scope scope : {Scope::kCorp, Scope::kIp}) {
    Buckets& buckets = Find(corp, api, scope);
    buckets.in_flight.HoldUntil(until_ns);
    for (TokenBucket& window : buckets.windows) window.HoldUntil(1, until_ns);
  }
}

void BucketSet::ReturnUnused(const std::string& corp, const std::string& api) {
  for (const Scope scope : {Scope::kCorp, Scope::kIp}) {
    Buckets& buckets = Find(corp, api, scope);
    buckets.in_flight.End(false);
    for (TokenBucket& window : buckets.windows) window.ReturnUnused(1);
  }
}

void BucketSet::Lockout(const std::string& corp, const std::string& api, int64_t until_ns) {
  Buckets& buckets = Find(corp, api, Scope::kCorp);
  buckets.lockout_until_ns = std::max(buckets.lockout_until_ns, until_ns);
  buckets.canary = true;
}

int64_t BucketSet::ChooseLockout(const std::string& corp, const std::string& api, int64_t now_ns) {
  int64_t fullest = 0;
  int64_t shortest = kNever;
  for (const Scope scope : {Scope::kCorp, Scope::kIp}) {
    Buckets& buckets = Find(corp, api, scope);
    for (size_t i = 0; i < buckets.windows.size(); ++i) {
      const WindowLimit& limit = buckets.limits[i];
      shortest = std::min(shortest, limit.lockout_ns);
      if (buckets.windows[i].Used(now_ns) * 100 > limit.amount * 95) {
        fullest = std::max(fullest, limit.lockout_ns);
      }
    }
  }
  constexpr int64_t kWithoutLimits = 60'000'000'000;
  return fullest > 0 ? fullest : shortest == kNever ? kWithoutLimits : shortest;
}

void BucketSet::LowerCeiling(const std::string& corp, const std::string& api) {
  Find(corp, api, Scope::kCorp).in_flight.LowerCeiling();
}

void BucketSet::Rebase(int64_t now_ns, int64_t held_until_ns) {
  const auto rebase = [&](Buckets& buckets) {
    buckets.in_flight.Rebase(std::max(now_ns, held_until_ns));
    for (TokenBucket& window : buckets.windows) window.Rebase(now_ns, held_until_ns);
    // How long it had to go on cannot be told: all of it, once more.
    if (buckets.lockout_until_ns != 0) {
      int64_t longest = 0;
      for (const WindowLimit& limit : buckets.limits) longest = std::max(longest, limit.lockout_ns);
      buckets.lockout_until_ns = buckets.canary ? now_ns + longest : 0;
    }
  };
  for (auto& [key, buckets] : by_corp_) rebase(buckets);
  for (auto& [key, buckets] : by_address_) rebase(buckets);
}

void BucketSet::AddStateTo(core::StateHash* hash, int64_t at_ns) const {
  const auto add = [&](absl::string_view corp, const Buckets& buckets) {
    const int64_t lockout = buckets.lockout_until_ns > at_ns ? buckets.lockout_until_ns : 0;
    std::vector<std::vector<int64_t>> parts = {buckets.in_flight.StateAt(at_ns)};
    for (const TokenBucket& window : buckets.windows) parts.push_back(window.StateAt(at_ns));
    const bool as_new =
        lockout == 0 && !buckets.canary &&
        std::all_of(parts.begin(), parts.end(), [](const auto& part) { return part.empty(); });
    if (as_new) return;
    hash->Add(corp).Add(buckets.api).Add(lockout).Add(buckets.canary).Add(parts.size());
    for (const auto& part : parts) {
      hash->Add(part.size());
      for (const int64_t number : part) hash->Add(number);
    }
  };
  for (const auto& [key, buckets] : by_corp_) add(key.first, buckets);
  for (const auto& [api, buckets] : by_address_) add("", buckets);
}

std::vector<BucketRow> BucketSet::Rows(const std::string& corp, int64_t now_ns) {
  std::vector<BucketRow> rows;
  for (auto& [key, corp_buckets] : by_corp_) {
    if (key.first != corp) continue;
    const std::string& api = key.second;
    rows.push_back({.api = api,
                    .scope = "in_flight",
                    .capacity = corp_buckets.in_flight.ceiling(),
                    .tokens = corp_buckets.in_flight.ceiling() - corp_buckets.in_flight.under_way(),
                    .lockout_until_ns = corp_buckets.lockout_until_ns});
    for (Buckets* buckets : {&corp_buckets, &Find(corp, api, Scope::kIp)}) {
      for (size_t i = 0; i < buckets->windows.size(); ++i) {
        TokenBucket& window = buckets->windows[i];
        rows.push_back({.api = api,
                        .scope = buckets->scope == Scope::kCorp ? "corp" : "ip",
                        .window_ns = window.window_ns(),
                        .capacity = window.capacity(),
                        .tokens = std::max<int64_t>(0, window.capacity() - window.Used(now_ns)),
                        .lockout_until_ns = buckets->lockout_until_ns});
      }
    }
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
