// Which buckets a corp's calls to an api take tokens of, and what becomes of them when its limits
// change.
#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "services/dispatch/core/bucket_set.h"

namespace tidegate::dispatch {

using wecom_table::Calendar;
using wecom_table::Cost;
using wecom_table::Limits;
using wecom_table::Scope;
using wecom_table::WindowLimit;

// ---- Routes ----

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
  if (scope == Scope::kCorp) {
    kind.limits.front().in_flight = limits.InFlight(api);
    kind.limits.front().in_flight_guessed = limits.GuessesInFlight(api);
    kind.limits.front().in_flight_documented = wecom_table::DefaultLimits().InFlight(api);
    kind.limits.front().answered_ns = 2 * limits_->http_deadline_ns;
  }
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

// ---- Limits of a corp's own ----

void BucketSet::ChangeLimits(absl::string_view corp, int64_t raw_ns) {
  raw_ns = std::max(clock_.last_raw_ns(), raw_ns);
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
    TokenBuckets::Learnt learnt;
  };
  std::vector<Known> known;
  std::map<Cost, std::vector<size_t>> places;  // of the old kind
  for (size_t i = 0; i < own.kind.places.size(); ++i) {
    const Place& place = own.kind.places[i];
    places[place.cost].push_back(i);
    for (uint32_t w = 0; w < place.count; ++w) {
      known.push_back({.cost = place.cost,
                       .window_ns = own.kind.windows[place.first + w].window_ns,
                       .past = buckets_.PastOf(own.ids[i], w, clock_.last_raw_ns()),
                       .learnt = buckets_.LearntOf(own.ids[i], w)});
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
    if (best == nullptr) return std::vector<TokenBuckets::Past>();
    std::vector<TokenBuckets::Past> past = best->past;
    // What completed in a slot that has not ended yet has completed by now: a shorter window would
    // take the slot's end for a later one.
    if (raw_ns > 0) {
      for (TokenBuckets::Past& each : past) each.ended_ns = std::min(each.ended_ns, raw_ns);
    }
    // Those that may have been returned by somebody's look: a replay, which looks at nothing, does
    // not have them either.
    if (best->window_ns != window_ns) {
      std::erase_if(past, [&](const TokenBuckets::Past& each) {
        return each.ended_ns + best->window_ns < raw_ns;
      });
    }
    return past;
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
    calendar.Charge({.earliest_ns = clock_.At(clock_.last_raw_ns()).earliest_ns,
                     .latest_ns = clock_.At(std::max(raw_ns, clock_.last_raw_ns())).latest_ns},
                    used);
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
    std::array<TokenBuckets::Learnt, BucketLimits::kWindows> learnt;
    for (uint32_t w = 0; w < place.count; ++w) {
      const int64_t window_ns = kind.windows[place.first + w].window_ns;
      past[w] = past_of(place.cost, window_ns);
      // The window is the same one, whatever amount is set: WeCom's word about it stands.
      for (const Known& each : known) {
        if (each.cost == place.cost && each.window_ns == window_ns) learnt[w] = each.learnt;
      }
    }
    const auto found = like.find(place.cost);
    if (found != like.end()) {
      buckets_.Rebind(ids.back(), numbers.back(), kind.limits[i], found->second, past, learnt);
    }
  }
  for (const auto& [cost, left] : places) {
    for (const size_t i : left) own.spare.emplace_back(own.ids[i], own.limits[i]);
  }
  own.ids = std::move(ids);
  own.limits = std::move(numbers);
  own.kind = std::move(kind);
}

}  // namespace tidegate::dispatch
