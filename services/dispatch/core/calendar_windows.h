// Limits of natural days and months of China, which is UTC+8 all year.
//
// WeCom counts a call at some moment of its own clock, between the call's first byte and its
// answer. So a call is charged to every day in which that moment may be: that of the earliest and
// that of the latest time which its clock may show. A call that is under way counts in all of them.
//
// Pure; folds. Not thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "common/core/state_hash.h"
#include "common/wecom_table/limits.h"

namespace tidegate::dispatch {

// What the time may be. Told the wall clock beside the raw one, it knows when the wall clock was
// set, and takes both times for possible for a day: to set it neither frees a quota early nor
// leaves a call uncounted.
class WallClock {
 public:
  explicit WallClock(int64_t skew_ns) : skew_ns_(skew_ns) {}

  // As a record says.
  void See(int64_t raw_ns, int64_t wall_ns);
  // As it is now: for questions, no part of the state.
  void Look(int64_t raw_ns, int64_t wall_ns) { look_ns_ = wall_ns - raw_ns; }
  // The raw clock began anew.
  void Restart();

  struct Range {
    int64_t earliest_ns = 0;  // wall
    int64_t latest_ns = 0;
  };
  // By records alone.
  Range At(int64_t raw_ns) const;
  // By the last look, too.
  Range LookAt(int64_t raw_ns) const;
  // The raw time of a wall time.
  int64_t RawOf(int64_t wall_ns) const { return wall_ns - offset_ns_; }
  // When, at `raw_ns`, the range is expected to have passed a wall time.
  int64_t RawAfter(int64_t wall_ns, int64_t raw_ns) const {
    return raw_ns + (wall_ns - LookAt(raw_ns).earliest_ns);
  }
  // How long it is, where the raw clock is about to begin anew and the wall clock shows `wall_ns`,
  // until a raw time of before: no longer than it was at the newest record.
  int64_t LeftUntil(int64_t raw_ns, int64_t wall_ns) const;
  int64_t last_raw_ns() const { return last_raw_ns_; }
  void AddStateTo(core::StateHash* hash) const;

 private:
  const int64_t skew_ns_;
  bool known_ = false;
  // Wall less raw time: of the newest record, and between which it was before the clock was set.
  int64_t offset_ns_ = 0;
  int64_t former_least_ns_ = 0;
  int64_t former_most_ns_ = 0;
  std::optional<int64_t> set_raw_ns_;  // when it was set last
  int64_t last_raw_ns_ = 0;
  std::optional<int64_t> look_ns_;
};

// One limit of one corp or address.
class CalendarWindow {
 public:
  CalendarWindow(wecom_table::Calendar calendar, int64_t amount)
      : calendar_(calendar), amount_(amount) {}

  wecom_table::Calendar calendar() const { return calendar_; }
  int64_t amount() const { return amount_; }
  // What was used stays used.
  void SetAmount(int64_t amount) { amount_ = amount; }

  // Whether so many more keep the limit.
  bool Allows(const WallClock::Range& range, int64_t cost) const {
    return !FullUntil(range, cost).has_value();
  }
  // Wall time at which the last day or month ends that has no room for them; nullopt: all have.
  std::optional<int64_t> FullUntil(const WallClock::Range& range, int64_t cost) const;
  // Of the fullest day or month of the range, with what is under way.
  int64_t Used(const WallClock::Range& range) const;
  // Wall time at which the last day or month of the range ends.
  int64_t EndOf(const WallClock::Range& range) const;
  // Length of the day or month at the range's begin.
  int64_t LengthNs(const WallClock::Range& range) const;

  void Reserve(int64_t cost) { reserved_ += cost; }
  void Take(int64_t cost) { under_way_ += cost; }
  void ReturnUnused(int64_t cost) { under_way_ -= cost; }
  // It was counted by WeCom at a time of the range, if at all.
  void Complete(const WallClock::Range& range, int64_t cost);
  // Used without having been taken: before the limit was set.
  void Charge(const WallClock::Range& range, int64_t cost);

  // Nothing if nothing is used.
  void AddStateTo(core::StateHash* hash) const;
  bool empty() const { return under_way_ == 0 && counts_.empty(); }

 private:
  // Of a day or month, numbered without gaps.
  struct Count {
    int64_t period;
    int64_t used;
  };
  // Visits the periods of a range. One that was begun before is remembered: to go back to it, or to
  // come to it once more, finds what was used.
  template <typename Visit>
  void ForEachPeriod(const WallClock::Range& range, Visit visit) const;
  int64_t UsedIn(int64_t period) const;

  wecom_table::Calendar calendar_;
  int64_t amount_;
  int64_t under_way_ = 0;
  int64_t reserved_ = 0;
  std::vector<Count> counts_;  // ascending, a few
};

}  // namespace tidegate::dispatch
