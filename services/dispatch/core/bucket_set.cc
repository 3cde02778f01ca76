#include "services/dispatch/core/bucket_set.h"

#include <algorithm>
#include <iterator>
#include <set>

#include "absl/strings/str_cat.h"
#include "services/dispatch/core/longest_wait.h"
#include "services/dispatch/core/reserve.h"

namespace tidegate::dispatch {

using wecom_table::Calendar;
using wecom_table::Cost;
using wecom_table::Limits;
using wecom_table::Scope;
using wecom_table::WindowLimit;

namespace {

std::string NameOf(const WindowLimit& limit, const std::string& api) {
  const std::string window = limit.calendar == Calendar::kDay ? "day"
                             : limit.calendar == Calendar::kMonth
                                 ? "month"
                                 : absl::StrCat(static_cast<double>(limit.window_ns) * 1e-9, "s");
  return absl::StrCat(api, limit.scope == Scope::kCorp ? " corp " : " ip ", limit.amount,
                      limit.cost == Cost::kCalls ? "" : " person-times", "/", window);
}

}  // namespace

// ---- Which buckets ----

const BucketSet::Kind& BucketSet::CorpKind(const RouteBuckets& route) const {
  return route.own == kNotOwn ? apis_[route.api].corp : owns_[route.own].kind;
}

TokenBuckets::Id BucketSet::CorpBucket(const RouteBuckets& route, size_t place) const {
  return route.own == kNotOwn ? route.corp_first + static_cast<uint32_t>(place)
                              : owns_[route.own].ids[place];
}

template <typename Visit>
void BucketSet::ForEach(Route route, Visit visit) {
  const RouteBuckets& of = routes_[route];
  const Api& api = apis_[of.api];
  const Kind& corp = CorpKind(of);
  for (uint32_t i = 0; i < corp.places.size(); ++i) visit(CorpBucket(of, i), corp, i);
  for (uint32_t i = 0; i < api.address.places.size(); ++i) {
    visit(api.address_first + i, api.address, i);
  }
}

template <typename Visit>
void BucketSet::ForEachCalendar(Route route, Visit visit) {
  const RouteBuckets& of = routes_[route];
  Api& api = apis_[of.api];
  if (of.own != kNotOwn) {
    Own& own = owns_[of.own];
    for (size_t i = 0; i < own.calendars.size(); ++i) {
      visit(own.calendars[i], own.kind.calendars[i]);
    }
  }
  for (size_t i = 0; i < api.address_calendars.size(); ++i) {
    visit(api.address_calendars[i], api.address.calendars[i]);
  }
}

// ---- Deciding ----

BucketSet::Wait BucketSet::WaitOf(Route route, int64_t now_ns, const CallCost& cost) {
  CountPeople(route, cost);
  Wait wait{.corp_ns = now_ns, .address_ns = now_ns};
  const Api& api = apis_[routes_[route].api];
  ForEach(route, [&](TokenBuckets::Id id, const Kind& kind, uint32_t place) {
    const int64_t tokens = cost.Of(kind.places[place].cost);
    if (tokens == 0 || buckets_.Allows(id, tokens, now_ns)) return;
    int64_t& earliest = &kind == &api.address ? wait.address_ns : wait.corp_ns;
    earliest = std::max(earliest, buckets_.WaitOf(id, tokens, now_ns).earliest_ns);
  });
  ForEachCalendar(route, [&](const CalendarWindow& calendar, const WindowLimit& limit) {
    int64_t& earliest = limit.scope == Scope::kIp ? wait.address_ns : wait.corp_ns;
    earliest = std::max(earliest, WaitOfCalendar(calendar, cost.Of(limit.cost), now_ns));
  });
  return wait;
}

BucketSet::Wait BucketSet::BulkWaitOf(Route route, const Beside& beside, int64_t now_ns,
                                      const CallCost& cost) {
  Wait wait = WaitOf(route, now_ns, cost);
  if (wait.corp_ns > now_ns || wait.address_ns > now_ns) return wait;
  const Kind* address = &apis_[routes_[route].api].address;
  ForEach(route, [&](TokenBuckets::Id id, const Kind& kind, uint32_t place) {
    if (kind.places[place].cost != wecom_table::Cost::kCalls) return;
    const bool of_corp = &kind != address;
    const double per_hour = of_corp ? beside.corp_per_hour : beside.address_per_hour;
    if (per_hour <= 0) return;
    const int64_t waiting = of_corp ? beside.corp_waiting : beside.address_waiting;
    int64_t& earliest = of_corp ? wait.corp_ns : wait.address_ns;
    earliest = std::max(earliest, WhenBulkMay(&buckets_, id, per_hour, waiting, now_ns));
  });
  return wait;
}

BucketLimits::Window BucketSet::ShortestWindow(Route route, Scope scope) {
  BucketLimits::Window shortest;
  const Kind* address = &apis_[routes_[route].api].address;
  ForEach(route, [&](TokenBuckets::Id id, const Kind& kind, uint32_t place) {
    if ((&kind == address) != (scope == Scope::kIp)) return;
    if (kind.places[place].cost != wecom_table::Cost::kCalls) return;
    for (const BucketLimits::Window& window : buckets_.limits_of(id).windows) {
      const bool limits = window.capacity < kUnlimited && window.window_ns > 0;
      if (!limits) continue;
      if (shortest.window_ns == 0 || window.window_ns < shortest.window_ns) shortest = window;
    }
  });
  return shortest;
}

int64_t BucketSet::WaitOfCalendar(const CalendarWindow& calendar, int64_t cost,
                                  int64_t now_ns) const {
  if (cost == 0) return now_ns;
  const auto until = calendar.FullUntil(clock_.LookAt(now_ns), cost);
  if (!until.has_value()) return now_ns;
  return cost > calendar.amount() ? kNever : clock_.RawAfter(*until, now_ns);
}

bool BucketSet::Fits(Route route, const CallCost& cost) {
  bool fits = true;
  ForEach(route, [&](TokenBuckets::Id, const Kind& kind, uint32_t place) {
    const int64_t tokens = cost.Of(kind.places[place].cost);
    const BucketLimits& limits = kind.limits[place];
    fits &= tokens <= limits.in_flight;
    for (const auto& window : limits.windows) fits &= tokens <= window.capacity;
  });
  ForEachCalendar(route, [&](const CalendarWindow& calendar, const WindowLimit& limit) {
    fits &= cost.Of(limit.cost) <= calendar.amount();
  });
  return fits;
}

int64_t BucketSet::CallsMax(Route route) {
  int64_t most = kUnlimited;
  ForEach(route, [&](TokenBuckets::Id, const Kind& kind, uint32_t place) {
    if (kind.places[place].cost != wecom_table::Cost::kCalls) return;
    const BucketLimits& limits = kind.limits[place];
    most = std::min(most, limits.in_flight);
    for (const auto& window : limits.windows) most = std::min(most, window.capacity);
  });
  ForEachCalendar(route, [&](const CalendarWindow& calendar, const WindowLimit& limit) {
    if (limit.cost == wecom_table::Cost::kCalls) most = std::min(most, calendar.amount());
  });
  return most;
}

BucketSet::Verdict BucketSet::Check(Route route, int64_t now_ns, const CallCost& cost) {
  CountPeople(route, cost);
  Verdict verdict{.allowed = true, .near_limit = false, .earliest_ns = now_ns, .binding = ""};
  const std::string& api = apis_[routes_[route].api].name;
  ForEach(route, [&](TokenBuckets::Id id, const Kind& kind, uint32_t place) {
    const int64_t tokens = cost.Of(kind.places[place].cost);
    if (tokens == 0) return;
    for (size_t w = 0; w < BucketLimits::kWindows; ++w) {
      const int64_t capacity = buckets_.capacity(id, w, now_ns);
      verdict.near_limit |=
          (buckets_.Used(id, w, now_ns) + buckets_.reserved(id) + tokens) * 5 > capacity * 4;
    }
    if (buckets_.Allows(id, tokens, now_ns)) return;
    const TokenBuckets::Wait wait = buckets_.WaitOf(id, tokens, now_ns);
    verdict.allowed = false;
    // The binding limit's name is made only where one binds.
    if (wait.earliest_ns < verdict.earliest_ns) return;
    verdict.earliest_ns = wait.earliest_ns;
    switch (wait.cause) {
      case TokenBuckets::Cause::kWindow:
        verdict.binding = NameOf(kind.windows[kind.places[place].first + wait.window], api);
        break;
      case TokenBuckets::Cause::kInFlight:
        verdict.binding = api + " in flight";
        if (const int64_t most = buckets_.ceiling_of(id, tokens, now_ns); tokens > most) {
          absl::StrAppend(&verdict.binding, ": acquire at most ", most, " now");
        }
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
  ForEachCalendar(route, [&](const CalendarWindow& calendar, const WindowLimit& limit) {
    const int64_t tokens = cost.Of(limit.cost);
    if (tokens == 0) return;
    const int64_t used = calendar.Used(clock_.LookAt(now_ns));
    verdict.near_limit |= (used + tokens) * 5 > limit.amount * 4;
    const int64_t earliest = WaitOfCalendar(calendar, tokens, now_ns);
    if (earliest <= now_ns) return;
    verdict.allowed = false;
    if (earliest < verdict.earliest_ns) return;
    verdict.earliest_ns = earliest;
    verdict.binding = NameOf(limit, api);
  });
  // After a lockout one call goes alone: its answer tells whether the others may.
  if (verdict.allowed && cost.calls > 1 &&
      buckets_.lockout_until_ns(CorpBucket(routes_[route], 0)) > 0) {
    verdict = {.allowed = false,
               .earliest_ns = kNever,
               .binding = "after a lockout one call goes first: acquire 1"};
  }
  return verdict;
}

int64_t BucketSet::LockoutUntilNs(absl::string_view corp) const {
  int64_t until_ns = 0;
  for (const Route route : RoutesOf(corp)) {
    until_ns = std::max(until_ns, buckets_.lockout_until_ns(CorpBucket(routes_[route], 0)));
  }
  return until_ns;
}

void BucketSet::Reserve(Route route, const CallCost& cost) {
  CountPeople(route, cost);
  AddReserved(route, cost, 1);
  reserved_.emplace_back(route, cost);
}

void BucketSet::ClearReserved() {
  for (const auto& [route, cost] : reserved_) AddReserved(route, cost, -1);
  reserved_.clear();
}

void BucketSet::AddReserved(Route route, const CallCost& cost, int64_t sign) {
  ForEach(route, [&](TokenBuckets::Id id, const Kind& kind, uint32_t place) {
    buckets_.Reserve(id, sign * cost.Of(kind.places[place].cost));
  });
  ForEachCalendar(route, [&](CalendarWindow& calendar, const WindowLimit& limit) {
    calendar.Reserve(sign * cost.Of(limit.cost));
  });
}

// ---- Applying ----

void BucketSet::Take(Route route, const CallCost& cost) {
  CountPeople(route, cost);
  ForEach(route, [&](TokenBuckets::Id id, const Kind& kind, uint32_t place) {
    buckets_.Take(id, cost.Of(kind.places[place].cost));
  });
  ForEachCalendar(route, [&](CalendarWindow& calendar, const WindowLimit& limit) {
    calendar.Take(cost.Of(limit.cost));
  });
}

void BucketSet::Complete(Route route, int64_t completed_ns, bool proves_nothing,
                         const CallCost& cost, bool granted) {
  ForEach(route, [&](TokenBuckets::Id id, const Kind& kind, uint32_t place) {
    const int64_t tokens = cost.Of(kind.places[place].cost);
    if (tokens > 0) buckets_.Complete(id, tokens, completed_ns, !proves_nothing && !granted);
  });
  ForEachCalendar(route, [&](CalendarWindow& calendar, const WindowLimit& limit) {
    calendar.Complete(clock_.At(completed_ns), cost.Of(limit.cost));
  });
  // What was answered during the lockout was sent before it and proves nothing.
  const TokenBuckets::Id corp = CorpBucket(routes_[route], 0);
  if (!proves_nothing && completed_ns >= buckets_.lockout_until_ns(corp)) buckets_.EndCanary(corp);
}

void BucketSet::HoldUntil(Route route, int64_t until_ns, const CallCost& cost, bool pressing) {
  ForEach(route, [&](TokenBuckets::Id id, const Kind& kind, uint32_t place) {
    const int64_t tokens = cost.Of(kind.places[place].cost);
    if (tokens > 0) buckets_.HoldUntil(id, tokens, until_ns, pressing);
  });
  // WeCom may count it in every day until then.
  const WallClock::Range range{.earliest_ns = clock_.At(clock_.last_raw_ns()).earliest_ns,
                               .latest_ns = clock_.At(until_ns).latest_ns};
  ForEachCalendar(route, [&](CalendarWindow& calendar, const WindowLimit& limit) {
    calendar.Complete(range, cost.Of(limit.cost));
  });
}

void BucketSet::ReturnUnused(Route route, const CallCost& cost) {
  ForEach(route, [&](TokenBuckets::Id id, const Kind& kind, uint32_t place) {
    buckets_.ReturnUnused(id, cost.Of(kind.places[place].cost));
  });
  ForEachCalendar(route, [&](CalendarWindow& calendar, const WindowLimit& limit) {
    calendar.ReturnUnused(cost.Of(limit.cost));
  });
}

void BucketSet::Lockout(Route route, int64_t until_ns) {
  buckets_.Lockout(CorpBucket(routes_[route], 0), until_ns);
}

int64_t BucketSet::ChooseLockout(Route route, int64_t now_ns) {
  int64_t fullest = 0;
  std::set<int64_t> lengths;
  const auto consider = [&](int64_t used, int64_t amount, int64_t lockout_ns) {
    lengths.insert(lockout_ns);
    if (used * 100 > amount * 95) fullest = std::max(fullest, lockout_ns);
  };
  ForEach(route, [&](TokenBuckets::Id id, const Kind& kind, uint32_t place) {
    for (uint32_t w = 0; w < kind.places[place].count; ++w) {
      const WindowLimit& limit = kind.windows[kind.places[place].first + w];
      consider(buckets_.Used(id, w, now_ns), buckets_.capacity(id, w, now_ns), limit.lockout_ns);
    }
  });
  ForEachCalendar(route, [&](const CalendarWindow& calendar, const WindowLimit& limit) {
    const WallClock::Range range = clock_.LookAt(now_ns);
    const int64_t rest_ns = calendar.EndOf(range) - range.earliest_ns;
    consider(calendar.Used(range), limit.amount, limit.lockout_ns > 0 ? limit.lockout_ns : rest_ns);
  });
  constexpr int64_t kWithoutLimits = 60'000'000'000;
  if (fullest > 0) return fullest;
  if (lengths.empty()) return kWithoutLimits;
  const int64_t lockout_ns = buckets_.lockout_until_ns(CorpBucket(routes_[route], 0));
  const bool canary = lockout_ns > 0 && now_ns >= lockout_ns;
  return *(canary && lengths.size() > 1 ? std::next(lengths.begin()) : lengths.begin());
}

std::optional<BucketSet::Learnt> BucketSet::ChooseLearnt(Route route, int64_t now_ns) {
  std::optional<Learnt> learnt;
  int64_t nearest_used = 0;
  int64_t nearest_amount = 1;
  bool explained = false;  // by a limit of another kind
  ForEachCalendar(route, [&](const CalendarWindow& calendar, const WindowLimit& limit) {
    explained |= calendar.Used(clock_.LookAt(now_ns)) * 100 > limit.amount * 95;
  });
  ForEach(route, [&](TokenBuckets::Id id, const Kind& kind, uint32_t place) {
    for (uint32_t w = 0; w < kind.places[place].count; ++w) {
      const WindowLimit& limit = kind.windows[kind.places[place].first + w];
      const int64_t used = buckets_.Used(id, w, now_ns);
      if (limit.cost != Cost::kCalls) {
        explained |= used * 100 > limit.amount * 95;
        continue;
      }
      if (used * 2 <= limit.amount || used * nearest_amount <= nearest_used * limit.amount) {
        continue;
      }
      nearest_used = used;
      nearest_amount = limit.amount;
      const int64_t least = (limit.amount + 1) / 2;
      const int64_t most = buckets_.capacity(id, w, now_ns);
      learnt = {.scope = limit.scope,
                .window_ns = limit.window_ns,
                .amount = std::clamp(used - 1, std::min(least, most), most)};
    }
  });
  return explained ? std::nullopt : learnt;
}

void BucketSet::Learn(Route route, const Learnt& learnt, int64_t now_ns) {
  ForEach(route, [&](TokenBuckets::Id id, const Kind& kind, uint32_t place) {
    if (kind.places[place].cost != Cost::kCalls) return;
    for (uint32_t w = 0; w < kind.places[place].count; ++w) {
      const WindowLimit& limit = kind.windows[kind.places[place].first + w];
      if (limit.scope != learnt.scope || limit.window_ns != learnt.window_ns) continue;
      if (learnt.amount < limit.amount) buckets_.Learn(id, w, learnt.amount, now_ns);
    }
  });
}

void BucketSet::LowerCeiling(Route route, int64_t sent_ns, int64_t completed_ns) {
  buckets_.LowerCeiling(CorpBucket(routes_[route], 0), sent_ns, completed_ns);
}

void BucketSet::Rebase(int64_t now_ns, int64_t wall_ns, int64_t held_until_ns) {
  for (const Api& api : apis_) {
    for (uint32_t i = 0; i < api.address.places.size(); ++i) {
      buckets_.Rebase(api.address_first + i, now_ns, held_until_ns, api.longest_lockout_ns);
    }
  }
  for (const RouteBuckets& route : routes_) {
    int64_t longest_lockout_ns = apis_[route.api].longest_lockout_ns;
    for (const WindowLimit& window : CorpKind(route).windows) {
      longest_lockout_ns = std::max(longest_lockout_ns, window.lockout_ns);
    }
    // That of a day or month may be longer.
    const int64_t lockout_ns = buckets_.lockout_until_ns(CorpBucket(route, 0));
    longest_lockout_ns = std::max(longest_lockout_ns, clock_.LeftUntil(lockout_ns, wall_ns));
    for (size_t i = 0; i < CorpKind(route).places.size(); ++i) {
      buckets_.Rebase(CorpBucket(route, i), now_ns, held_until_ns, longest_lockout_ns);
    }
  }
  clock_.Restart();
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
  bool calendars = false;
  const auto add = [&](absl::string_view corp, const Api& api, uint32_t place,
                       TokenBuckets::Id id) {
    const auto state = buckets_.StateAt(id, at_ns);
    if (state.empty()) return;
    hash->Add(corp).Add(api.name).Add(place).Add(state.size());
    for (const int64_t number : state) hash->Add(number);
  };
  const auto add_calendars = [&](absl::string_view corp, const Api& api,
                                 const std::vector<CalendarWindow>& each) {
    for (size_t i = 0; i < each.size(); ++i) {
      if (each[i].empty()) continue;
      hash->Add(corp).Add(api.name).Add(i);
      each[i].AddStateTo(hash);
      calendars = true;
    }
  };
  for (const Corp* corp : SortedCorps()) {
    for (const auto& [api, route] : SortedRoutes(*corp)) {
      const RouteBuckets& of = routes_[route];
      for (uint32_t i = 0; i < CorpKind(of).places.size(); ++i) {
        add(corp->name, *api, i, CorpBucket(of, i));
      }
      if (of.own != kNotOwn) add_calendars(corp->name, *api, owns_[of.own].calendars);
    }
  }
  std::vector<const Api*> apis;
  for (const Api& api : apis_) apis.push_back(&api);
  std::sort(apis.begin(), apis.end(), [](const Api* a, const Api* b) { return a->name < b->name; });
  for (const Api* api : apis) {
    for (uint32_t i = 0; i < api->address.places.size(); ++i) {
      add("", *api, i, api->address_first + i);
    }
    add_calendars("", *api, api->address_calendars);
  }
  if (calendars) clock_.AddStateTo(hash);
}

void BucketSet::AddRows(const Api& api, Route route, Scope scope, int64_t now_ns,
                        std::vector<BucketRow>* rows) {
  const int64_t lockout =
      scope == Scope::kCorp ? buckets_.lockout_until_ns(CorpBucket(routes_[route], 0)) : 0;
  const auto add = [&](const WindowLimit& limit, int64_t window_ns, int64_t capacity,
                       int64_t used) {
    rows->push_back({.api = api.name,
                     .scope = scope == Scope::kCorp ? "corp" : "ip",
                     .name = NameOf(limit, api.name),
                     .window_ns = window_ns,
                     .capacity = capacity,
                     .tokens = std::max<int64_t>(0, capacity - used),
                     .lockout_until_ns = lockout,
                     .cost = limit.cost,
                     .configured = capacity < limit.amount ? limit.amount : 0});
  };
  ForEach(route, [&](TokenBuckets::Id id, const Kind& kind, uint32_t place) {
    for (uint32_t w = 0; w < kind.places[place].count; ++w) {
      const WindowLimit& limit = kind.windows[kind.places[place].first + w];
      if (limit.scope != scope) continue;
      add(limit, limit.window_ns, buckets_.capacity(id, w, now_ns), buckets_.Used(id, w, now_ns));
    }
  });
  ForEachCalendar(route, [&](const CalendarWindow& calendar, const WindowLimit& limit) {
    if (limit.scope != scope) return;
    const WallClock::Range range = clock_.LookAt(now_ns);
    add(limit, calendar.LengthNs(range), limit.amount, calendar.Used(range));
  });
}

std::vector<BucketRow> BucketSet::Rows(const std::string& corp, int64_t now_ns) {
  std::vector<BucketRow> rows;
  const auto found = corps_.find(corp);
  if (found == corps_.end()) return rows;
  for (const auto& [api, route] : SortedRoutes(found->second)) {
    const TokenBuckets::Id first = CorpBucket(routes_[route], 0);
    const int64_t ceiling = buckets_.ceiling(first);
    buckets_.Used(first, 0, now_ns);  // held calls that have ended meanwhile are under way no more
    const int64_t set = CorpKind(routes_[route]).limits.front().in_flight;
    rows.push_back({.api = api->name,
                    .scope = "in_flight",
                    .capacity = ceiling,
                    .tokens = std::max<int64_t>(0, ceiling - buckets_.at_once(first)),
                    .lockout_until_ns = buckets_.lockout_until_ns(first),
                    .configured = ceiling < set ? set : 0});
    AddRows(*api, route, Scope::kCorp, now_ns, &rows);
    AddRows(*api, route, Scope::kIp, now_ns, &rows);
  }
  return rows;
}

Forecast ForecastCalls(const Limits& limits, const std::string& api, int64_t calls,
                       double latency_seconds) {
  Forecast forecast;
  if (calls <= 0) return forecast;
  std::vector<WindowLimit> windows = limits.WindowsOf(api, Scope::kCorp);
  for (const WindowLimit& limit : limits.WindowsOf(api, Scope::kIp)) windows.push_back(limit);
  // How many people a call is for is not known, nor what day it is.
  std::erase_if(windows, [](const WindowLimit& limit) {
    return limit.cost != Cost::kCalls || limit.calendar != Calendar::kNone;
  });
  std::vector<WaitStep> steps;
  for (const WindowLimit& limit : windows) steps.push_back({limit.amount, limit.window_ns});
  const LongestWait wait = FindLongestWait(steps, calls);
  forecast.seconds = wait.seconds;
  if (wait.binding.has_value()) forecast.binding = NameOf(windows[*wait.binding], api);
  const double concurrency =
      static_cast<double>(calls) * latency_seconds / static_cast<double>(limits.InFlight(api));
  if (concurrency > forecast.seconds) {
    forecast.seconds = concurrency;
    forecast.binding = absl::StrCat(api, " in flight ", limits.InFlight(api));
  }
  return forecast;
}

}  // namespace tidegate::dispatch
