#include "services/dispatch/core/bucket_set.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"

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

const Limits& BucketSet::LimitsOf(absl::string_view corp) const {
  return corps_limits_ != nullptr ? corps_limits_->Of(corp) : *limits_;
}

BucketSet::Kind BucketSet::MakeKind(const Limits& limits, const std::string& api, Scope scope,
                                    bool people) const {
  Kind kind;
  const std::vector<WindowLimit> windows = limits.WindowsOf(api, scope);
  constexpr uint32_t kEach = BucketLimits::kWindows;
  for (const Cost cost : {Cost::kCalls, Cost::kPersonTimes}) {
    const uint32_t first = static_cast<uint32_t>(kind.windows.size());
    for (const WindowLimit& window : windows) {
      if (window.cost != cost) continue;
      (window.calendar == Calendar::kNone ? kind.windows : kind.calendars).push_back(window);
    }
    const uint32_t end = static_cast<uint32_t>(kind.windows.size());
    if (first == end && (cost == Cost::kCalls || people)) {
      kind.places.push_back({.cost = cost, .first = first, .count = 0});
    }
    for (uint32_t at = first; at < end; at += kEach) {
      kind.places.push_back({.cost = cost, .first = at, .count = std::min(kEach, end - at)});
    }
  }
  for (const Place& place : kind.places) {
    BucketLimits& bound = kind.limits.emplace_back();
    for (uint32_t w = 0; w < place.count; ++w) {
      const WindowLimit& window = kind.windows[place.first + w];
      bound.windows[w] =
          BucketLimits::MakeWindow(window.amount, window.window_ns, limits_->slots_per_window);
    }
  }
  // Calls in flight are limited per corp only.
  if (scope == Scope::kCorp) kind.limits.front().in_flight = limits.InFlight(api);
  return kind;
}

TokenBuckets::Id BucketSet::MakeBuckets(uint32_t limits, const Kind& kind) {
  const TokenBuckets::Id first = buckets_.Make(limits);
  for (uint32_t i = 1; i < kind.places.size(); ++i) buckets_.Make(limits + i);
  return first;
}

uint32_t BucketSet::FindApi(absl::string_view name) {
  const auto found = api_of_.find(name);
  if (found != api_of_.end()) return found->second;
  const uint32_t number = static_cast<uint32_t>(apis_.size());
  Api api{.name = std::string(name)};
  const auto add = [&](const Kind& kind) {
    const uint32_t first = buckets_.AddLimits(kind.limits.front());
    for (size_t i = 1; i < kind.limits.size(); ++i) buckets_.AddLimits(kind.limits[i]);
    for (const WindowLimit& window : kind.windows) {
      api.longest_lockout_ns = std::max(api.longest_lockout_ns, window.lockout_ns);
    }
    return first;
  };
  api.corp = MakeKind(*limits_, api.name, Scope::kCorp, /*people=*/false);
  api.corp_limits = add(api.corp);
  api.address = MakeKind(*limits_, api.name, Scope::kIp, /*people=*/false);
  api.address_first = MakeBuckets(add(api.address), api.address);
  for (const WindowLimit& limit : api.address.calendars) {
    api.address_calendars.emplace_back(limit.calendar, limit.amount);
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
  const Api& of = apis_[number];
  routes_.push_back({.corp_first = MakeBuckets(of.corp_limits, of.corp), .api = number});
  routes.emplace_back(number, route);
  const Limits& limits = LimitsOf(corp);
  if (&limits != limits_ || !of.corp.calendars.empty()) {
    MakeOwn(route, MakeKind(limits, of.name, Scope::kCorp, /*people=*/false), 0);
  }
  return route;
}

std::vector<BucketSet::Route> BucketSet::RoutesOf(absl::string_view corp) const {
  std::vector<Route> routes;
  if (const auto found = corps_.find(corp); found != corps_.end()) {
    for (const auto& [api, route] : found->second.routes) routes.push_back(route);
  }
  return routes;
}

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

// ---- Limits of a corp's own ----

void BucketSet::ChangeLimits(absl::string_view corp, int64_t wall_ns) {
  const int64_t raw_ns = std::max(clock_.last_raw_ns(), clock_.RawOf(wall_ns));
  for (const Route route : RoutesOf(corp)) {
    const RouteBuckets& of = routes_[route];
    const bool people = CorpKind(of).places.back().cost == Cost::kPersonTimes;
    MakeOwn(route, MakeKind(LimitsOf(corp), apis_[of.api].name, Scope::kCorp, people), raw_ns);
  }
}

void BucketSet::CountPeople(Route route, const CallCost& cost) {
  if (cost.person_times == 0) return;
  const Kind& kind = CorpKind(routes_[route]);
  if (kind.places.back().cost == Cost::kPersonTimes) return;
  Kind with = kind;
  with.places.push_back(
      {.cost = Cost::kPersonTimes, .first = static_cast<uint32_t>(kind.windows.size())});
  with.limits.emplace_back();
  MakeOwn(route, std::move(with), 0);
}

void BucketSet::MakeOwn(Route route, Kind kind, int64_t raw_ns) {
  RouteBuckets& of = routes_[route];
  if (of.own == kNotOwn) {
    Own own{.kind = apis_[of.api].corp};
    for (size_t i = 0; i < own.kind.places.size(); ++i) {
      own.ids.push_back(of.corp_first + static_cast<uint32_t>(i));
      own.limits.push_back(buckets_.AddLimits(own.kind.limits[i]));
    }
    of.own = static_cast<uint32_t>(owns_.size());
    owns_.push_back(std::move(own));
  }
  Own& own = owns_[of.own];
  struct Known {
    Cost cost;
    int64_t window_ns;
    std::vector<TokenBuckets::Past> past;
  };
  std::vector<Known> known;
  std::map<Cost, std::vector<size_t>> places;  // of the old kind
  for (size_t i = 0; i < own.kind.places.size(); ++i) {
    const Place& place = own.kind.places[i];
    places[place.cost].push_back(i);
    for (uint32_t w = 0; w < place.count; ++w) {
      known.push_back({.cost = place.cost,
                       .window_ns = own.kind.windows[place.first + w].window_ns,
                       .past = buckets_.PastOf(own.ids[i], w, raw_ns)});
    }
  }
  // Of the shortest window that is no shorter, else of the longest.
  const auto past_of = [&](Cost cost, int64_t window_ns) {
    const Known* best = nullptr;
    for (const Known& each : known) {
      if (each.cost != cost) continue;
      const bool enough = each.window_ns >= window_ns;
      const bool best_enough = best != nullptr && best->window_ns >= window_ns;
      if (best == nullptr || (enough && !best_enough) ||
          (enough == best_enough && (each.window_ns < best->window_ns) == enough)) {
        best = &each;
      }
    }
    return best != nullptr ? best->past : std::vector<TokenBuckets::Past>();
  };

  // Calendars first: they read the buckets as they were.
  std::vector<CalendarWindow> calendars;
  for (const WindowLimit& limit : kind.calendars) {
    const CalendarWindow* same = nullptr;
    for (size_t i = 0; i < own.calendars.size(); ++i) {
      const WindowLimit& before = own.kind.calendars[i];
      if (before.calendar == limit.calendar && before.cost == limit.cost) same = &own.calendars[i];
    }
    calendars.push_back(same != nullptr ? *same : CalendarWindow(limit.calendar, limit.amount));
    CalendarWindow& calendar = calendars.back();
    calendar.SetAmount(limit.amount);
    if (same != nullptr || places[limit.cost].empty()) continue;
    const TokenBuckets::Id like = own.ids[places[limit.cost].front()];
    int64_t used = buckets_.in_doubt(like);
    for (const auto& past : past_of(limit.cost, kNever)) used += past.tokens;
    calendar.Take(buckets_.under_way(like) - buckets_.in_doubt(like));
    calendar.Reserve(buckets_.reserved(like));
    calendar.Charge(clock_.At(raw_ns), used);
  }
  own.calendars = std::move(calendars);

  std::vector<TokenBuckets::Id> ids;
  std::vector<uint32_t> numbers;
  std::map<Cost, TokenBuckets::Id> like;
  for (auto& [cost, of_cost] : places) {
    if (!of_cost.empty()) like[cost] = own.ids[of_cost.front()];
  }
  for (size_t i = 0; i < kind.places.size(); ++i) {
    const Place& place = kind.places[i];
    auto& left = places[place.cost];
    if (!left.empty()) {
      ids.push_back(own.ids[left.front()]);
      numbers.push_back(own.limits[left.front()]);
      left.erase(left.begin());
    } else if (!own.spare.empty() && like.contains(place.cost)) {
      ids.push_back(own.spare.back().first);
      numbers.push_back(own.spare.back().second);
      own.spare.pop_back();
    } else {
      numbers.push_back(buckets_.AddLimits(kind.limits[i]));
      ids.push_back(buckets_.Make(numbers.back()));
    }
    std::array<std::vector<TokenBuckets::Past>, BucketLimits::kWindows> past;
    for (uint32_t w = 0; w < place.count; ++w) {
      past[w] = past_of(place.cost, kind.windows[place.first + w].window_ns);
    }
    const auto found = like.find(place.cost);
    if (found != like.end()) {
      buckets_.Rebind(ids.back(), numbers.back(), kind.limits[i], found->second, past);
    }
  }
  for (const auto& [cost, left] : places) {
    for (const size_t i : left) own.spare.emplace_back(own.ids[i], own.limits[i]);
  }
  own.ids = std::move(ids);
  own.limits = std::move(numbers);
  own.kind = std::move(kind);
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
  return verdict;
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

void BucketSet::Complete(Route route, int64_t completed_ns, bool rate_limited,
                         const CallCost& cost) {
  ForEach(route, [&](TokenBuckets::Id id, const Kind& kind, uint32_t place) {
    const int64_t tokens = cost.Of(kind.places[place].cost);
    if (tokens > 0) buckets_.Complete(id, tokens, completed_ns, !rate_limited);
  });
  ForEachCalendar(route, [&](CalendarWindow& calendar, const WindowLimit& limit) {
    calendar.Complete(clock_.At(completed_ns), cost.Of(limit.cost));
  });
  // What was answered during the lockout was sent before it and proves nothing.
  const TokenBuckets::Id corp = CorpBucket(routes_[route], 0);
  if (!rate_limited && completed_ns >= buckets_.lockout_until_ns(corp)) buckets_.EndCanary(corp);
}

void BucketSet::HoldUntil(Route route, int64_t until_ns, const CallCost& cost) {
  ForEach(route, [&](TokenBuckets::Id id, const Kind& kind, uint32_t place) {
    const int64_t tokens = cost.Of(kind.places[place].cost);
    if (tokens > 0) buckets_.HoldUntil(id, tokens, until_ns);
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

void BucketSet::LowerCeiling(Route route) { buckets_.LowerCeiling(CorpBucket(routes_[route], 0)); }

void BucketSet::Rebase(int64_t now_ns, int64_t held_until_ns) {
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
                    .tokens = std::max<int64_t>(0, ceiling - buckets_.under_way(first)),
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
