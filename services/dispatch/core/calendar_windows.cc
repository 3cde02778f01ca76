#include "services/dispatch/core/calendar_windows.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "common/base/civil_day.h"
#include "common/base/clock.h"

namespace tidegate::dispatch {

using wecom_table::Calendar;

namespace {

constexpr int64_t kDay = int64_t{24} * 3600 * kNanosPerSecond;
// Less is how clocks drift apart, or how long it takes to read them one after the other.
constexpr int64_t kSetBy = kNanosPerSecond;
constexpr int64_t kRemembered = kDay;
constexpr size_t kCountsMax = 32;
constexpr int64_t kAllOf = 3;  // periods of a range

int64_t DayOf(int64_t wall_ns) { return CivilDayOf(wall_ns / kNanosPerSecond); }

int64_t MonthOf(int64_t wall_ns) {
  const std::chrono::year_month_day date{std::chrono::sys_days(std::chrono::days(DayOf(wall_ns)))};
  return int64_t{static_cast<int>(date.year())} * 12 + static_cast<unsigned>(date.month()) - 1;
}

int64_t PeriodOf(Calendar calendar, int64_t wall_ns) {
  return calendar == Calendar::kDay ? DayOf(wall_ns) : MonthOf(wall_ns);
}

// Wall time.
int64_t BeginOf(Calendar calendar, int64_t period) {
  int64_t day = period;
  if (calendar == Calendar::kMonth) {
    const std::chrono::year year(static_cast<int>(period / 12));
    const std::chrono::month month(static_cast<unsigned>(period % 12) + 1);
    day = std::chrono::sys_days(year / month / 1).time_since_epoch().count();
  }
  return StartOfCivilDay(day) * kNanosPerSecond;
}

}  // namespace

// ---- WallClock ----

void WallClock::See(int64_t raw_ns, int64_t wall_ns) {
  const int64_t offset = wall_ns - raw_ns;
  if (known_ && std::abs(offset - offset_ns_) > kSetBy) {
    const bool again = set_raw_ns_.has_value() && raw_ns - *set_raw_ns_ < kRemembered;
    former_least_ns_ = again ? std::min(former_least_ns_, offset_ns_) : offset_ns_;
    former_most_ns_ = again ? std::max(former_most_ns_, offset_ns_) : offset_ns_;
    set_raw_ns_ = raw_ns;
  }
  known_ = true;
  offset_ns_ = offset;
  last_raw_ns_ = std::max(last_raw_ns_, raw_ns);
}

void WallClock::Restart() {
  known_ = false;
  set_raw_ns_.reset();
  look_ns_.reset();
  last_raw_ns_ = 0;
}

WallClock::Range WallClock::At(int64_t raw_ns) const {
  int64_t least = offset_ns_;
  int64_t most = offset_ns_;
  if (set_raw_ns_.has_value() && raw_ns - *set_raw_ns_ < kRemembered) {
    least = std::min(least, former_least_ns_);
    most = std::max(most, former_most_ns_);
  }
  return {.earliest_ns = raw_ns + least - skew_ns_, .latest_ns = raw_ns + most + skew_ns_};
}

WallClock::Range WallClock::LookAt(int64_t raw_ns) const {
  if (!look_ns_.has_value()) return At(raw_ns);
  const Range look{.earliest_ns = raw_ns + *look_ns_ - skew_ns_,
                   .latest_ns = raw_ns + *look_ns_ + skew_ns_};
  if (!known_) return look;
  const Range range = At(raw_ns);
  return {.earliest_ns = std::min(range.earliest_ns, look.earliest_ns),
          .latest_ns = std::max(range.latest_ns, look.latest_ns)};
}

int64_t WallClock::LeftUntil(int64_t raw_ns, int64_t wall_ns) const {
  const int64_t most = std::max<int64_t>(0, raw_ns - last_raw_ns_);
  return std::clamp<int64_t>(At(last_raw_ns_).latest_ns + most - wall_ns, 0, most);
}

void WallClock::AddStateTo(core::StateHash* hash) const {
  hash->Add(offset_ns_).Add(last_raw_ns_).Add(set_raw_ns_.value_or(-1));
  if (set_raw_ns_.has_value()) hash->Add(former_least_ns_).Add(former_most_ns_);
}

// ---- CalendarWindow ----

template <typename Visit>
void CalendarWindow::ForEachPeriod(const WallClock::Range& range, Visit visit) const {
  const int64_t first = PeriodOf(calendar_, range.earliest_ns);
  const int64_t last = PeriodOf(calendar_, range.latest_ns);
  visit(first);
  // A clock that was set by more than that was right before, or is right now.
  if (last - first < kAllOf) {
    for (int64_t period = first + 1; period < last; ++period) visit(period);
  }
  if (last > first) visit(last);
}

int64_t CalendarWindow::UsedIn(int64_t period) const {
  for (const Count& count : counts_) {
    if (count.period == period) return count.used;
  }
  return 0;
}

std::optional<int64_t> CalendarWindow::FullUntil(const WallClock::Range& range,
                                                 int64_t cost) const {
  std::optional<int64_t> until;
  ForEachPeriod(range, [&](int64_t period) {
    if (UsedIn(period) + under_way_ + reserved_ + cost > amount_) {
      until = BeginOf(calendar_, period + 1);
    }
  });
  return until;
}

int64_t CalendarWindow::Used(const WallClock::Range& range) const {
  int64_t used = 0;
  ForEachPeriod(range, [&](int64_t period) { used = std::max(used, UsedIn(period)); });
  return used + under_way_;
}

int64_t CalendarWindow::EndOf(const WallClock::Range& range) const {
  int64_t end = 0;
  ForEachPeriod(range, [&](int64_t period) { end = BeginOf(calendar_, period + 1); });
  return end;
}

int64_t CalendarWindow::LengthNs(const WallClock::Range& range) const {
  const int64_t period = PeriodOf(calendar_, range.earliest_ns);
  return BeginOf(calendar_, period + 1) - BeginOf(calendar_, period);
}

void CalendarWindow::Complete(const WallClock::Range& range, int64_t cost) {
  under_way_ -= cost;
  Charge(range, cost);
}

void CalendarWindow::Charge(const WallClock::Range& range, int64_t cost) {
  if (cost == 0) return;
  std::vector<int64_t> periods;
  ForEachPeriod(range, [&](int64_t period) { periods.push_back(period); });
  for (const int64_t period : periods) {
    auto at =
        std::lower_bound(counts_.begin(), counts_.end(), period,
                         [](const Count& count, int64_t wanted) { return count.period < wanted; });
    if (at == counts_.end() || at->period != period) {
      at = counts_.insert(at, {.period = period, .used = 0});
    }
    at->used += cost;
  }
  // The farthest is forgotten, before or after.
  while (counts_.size() > kCountsMax) {
    const bool after =
        counts_.back().period - periods.front() > periods.back() - counts_.front().period;
    counts_.erase(after ? counts_.end() - 1 : counts_.begin());
  }
}

void CalendarWindow::AddStateTo(core::StateHash* hash) const {
  hash->Add(static_cast<int64_t>(calendar_)).Add(under_way_).Add(counts_.size());
  for (const Count& count : counts_) hash->Add(count.period).Add(count.used);
}

}  // namespace tidegate::dispatch
