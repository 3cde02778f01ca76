#include "services/dispatch/core/calendar_windows.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "services/dispatch/core/bucket_set.h"

namespace tidegate::dispatch {
namespace {

using wecom_table::Calendar;
using wecom_table::Limits;
using wecom_table::ParseLimits;

constexpr int64_t kSecond = kNanosPerSecond;
constexpr int64_t kHour = 3600 * kSecond;
constexpr int64_t kDay = 24 * kHour;

// Of Shanghai.
int64_t At(int year, int month, int day, int hour = 0, int minute = 0, int second = 0) {
  return absl::ToUnixNanos(absl::FromCivil(
      absl::CivilSecond(year, month, day, hour, minute, second), absl::FixedTimeZone(8 * 3600)));
}

WallClock::Range Exactly(int64_t wall_ns) { return {.earliest_ns = wall_ns, .latest_ns = wall_ns}; }

TEST(CalendarWindowTest, AMonthHasAsManyDaysAsItHas) {
  for (const auto& [year, month, days] : std::vector<std::tuple<int, int, int>>{
           {2026, 1, 31}, {2026, 2, 28}, {2028, 2, 29}, {2026, 4, 30}, {2026, 12, 31}}) {
    CalendarWindow window(Calendar::kMonth, 5);
    EXPECT_EQ(window.LengthNs(Exactly(At(year, month, 3))), days * kDay) << year << month;
    const int64_t last = At(year, month, days, 23, 59, 59);
    window.Take(5);
    window.Complete(Exactly(At(year, month, 1)), 5);
    EXPECT_FALSE(window.Allows(Exactly(last), 1)) << year << month;
    EXPECT_EQ(window.FullUntil(Exactly(last), 1), last + kSecond) << year << month;
    EXPECT_TRUE(window.Allows(Exactly(last + kSecond), 5)) << year << month;
    EXPECT_FALSE(window.Allows(Exactly(last + kSecond), 6)) << year << month;
  }
}

TEST(CalendarWindowTest, ADayBeginsAtMidnightOfChina) {
  CalendarWindow window(Calendar::kDay, 3);
  window.Charge(Exactly(At(2026, 3, 1, 0, 0, 0)), 3);
  EXPECT_FALSE(window.Allows(Exactly(At(2026, 3, 1, 8, 0, 1)), 1)) << "midnight of Greenwich";
  EXPECT_TRUE(window.Allows(Exactly(At(2026, 3, 2)), 3));
  EXPECT_EQ(window.LengthNs(Exactly(At(2026, 3, 2))), kDay);
}

TEST(CalendarWindowTest, AroundABoundaryBothSidesCount) {
  CalendarWindow window(Calendar::kDay, 10);
  const int64_t midnight = At(2026, 3, 2);
  const auto around = [&](int64_t at_ns) {
    return WallClock::Range{.earliest_ns = at_ns - 5 * kSecond, .latest_ns = at_ns + 5 * kSecond};
  };
  window.Charge(around(midnight - 5 * kSecond - 1), 2);
  window.Charge(around(midnight - 4 * kSecond), 3);
  window.Charge(around(midnight + 4 * kSecond), 4);
  EXPECT_EQ(window.Used(Exactly(midnight - 1)), 9);
  EXPECT_EQ(window.Used(Exactly(midnight)), 7);
  // Near the boundary both must have room.
  EXPECT_FALSE(window.Allows(around(midnight + 4 * kSecond), 2));
  EXPECT_TRUE(window.Allows(around(midnight + 6 * kSecond), 2));
}

TEST(CalendarWindowTest, WhatIsUnderWayCountsOnBothSides) {
  CalendarWindow window(Calendar::kDay, 10);
  window.Take(8);
  EXPECT_FALSE(window.Allows(Exactly(At(2026, 3, 1)), 3));
  EXPECT_FALSE(window.Allows(Exactly(At(2026, 3, 2)), 3));
  window.Complete(Exactly(At(2026, 3, 2)), 8);
  EXPECT_FALSE(window.Allows(Exactly(At(2026, 3, 2)), 3));
  EXPECT_TRUE(window.Allows(Exactly(At(2026, 3, 3)), 3));
}

TEST(CalendarWindowTest, ADayThatWasBegunIsNotBegunAgain) {
  CalendarWindow window(Calendar::kDay, 3);
  for (int day = 1; day <= 5; ++day) window.Charge(Exactly(At(2026, 3, day)), 3);
  for (const int day : {5, 4, 3, 2, 1}) {
    EXPECT_FALSE(window.Allows(Exactly(At(2026, 3, day)), 1)) << day;
  }
  EXPECT_TRUE(window.Allows(Exactly(At(2026, 3, 6)), 1));
}

TEST(CalendarWindowTest, AClockThatWasFarAheadFreezesNoDay) {
  CalendarWindow window(Calendar::kDay, 3);
  window.Charge(Exactly(At(2026, 3, 1)), 2);
  for (int day = 1; day <= 28; ++day) window.Charge(Exactly(At(2027, 2, day)), 3);
  EXPECT_FALSE(window.Allows(Exactly(At(2026, 3, 1)), 2));
  for (int day = 2; day <= 30; ++day) {
    EXPECT_TRUE(window.Allows(Exactly(At(2026, 3, day)), 3)) << day;
    window.Charge(Exactly(At(2026, 3, day)), 3);
    EXPECT_FALSE(window.Allows(Exactly(At(2026, 3, day)), 1)) << day;
  }
}

TEST(WallClockTest, BothTimesArePossibleForADayAfterTheClockWasSet) {
  WallClock clock(5 * kSecond);
  clock.See(0, kDay);
  clock.See(kSecond, kDay + kSecond + kHour);
  EXPECT_EQ(clock.At(kHour).earliest_ns, kDay + kHour - 5 * kSecond);
  EXPECT_EQ(clock.At(kHour).latest_ns, kDay + 2 * kHour + 5 * kSecond);
  // Set back: still the same two.
  clock.See(2 * kSecond, kDay + 2 * kSecond);
  EXPECT_EQ(clock.At(kHour).earliest_ns, kDay + kHour - 5 * kSecond);
  EXPECT_EQ(clock.At(kHour).latest_ns, kDay + 2 * kHour + 5 * kSecond);
  EXPECT_EQ(clock.At(kDay + kHour).latest_ns, 2 * kDay + kHour + 5 * kSecond);
  // A look counts for questions alone.
  clock.Look(2 * kDay, 3 * kDay - kHour);
  EXPECT_EQ(clock.LookAt(2 * kDay).earliest_ns, 3 * kDay - kHour - 5 * kSecond);
  EXPECT_EQ(clock.At(2 * kDay).earliest_ns, 3 * kDay - 5 * kSecond);
}

class CalendarBucketsTest : public ::testing::Test {
 protected:
  // Raw time begins at noon.
  int64_t Raw(int64_t wall_ns) const { return wall_ns - noon_; }
  void Call(int64_t wall_ns, int times, int64_t clock_is_off_ns = 0) {
    for (int i = 0; i < times; ++i) {
      buckets_.See(Raw(wall_ns), wall_ns + clock_is_off_ns);
      buckets_.Take(route());
      buckets_.Complete(route(), Raw(wall_ns), /*rate_limited=*/false);
    }
  }
  BucketSet::Verdict Check(int64_t wall_ns, int64_t clock_is_off_ns = 0) {
    buckets_.Look(Raw(wall_ns), wall_ns + clock_is_off_ns);
    return buckets_.Check(route(), Raw(wall_ns));
  }
  BucketSet::Route route() { return buckets_.RouteOf("c1", "a"); }

  const int64_t noon_ = At(2026, 3, 1, 12);
  const int64_t midnight_ = At(2026, 3, 2);
  const Limits limits_ = *ParseLimits(R"({"limits": [
    {"api": "a", "scope": "corp", "amount": 20, "calendar": "day"},
    {"api": "a", "scope": "corp", "amount": 50, "calendar": "month"},
    {"api": "a", "scope": "corp", "amount": 1000, "window_ms": 60000},
    {"api": "a", "scope": "ip", "amount": 30, "calendar": "day"}]})");
  BucketSet buckets_{&limits_};
};

TEST_F(CalendarBucketsTest, ADayIsFullUntilItsEnd) {
  Call(noon_ + kHour, 20);
  const auto verdict = Check(noon_ + 2 * kHour);
  EXPECT_FALSE(verdict.allowed);
  EXPECT_EQ(verdict.binding, "a corp 20/day");
  EXPECT_EQ(verdict.earliest_ns, Raw(midnight_ + 5 * kSecond));
  EXPECT_TRUE(Check(midnight_ + 5 * kSecond).allowed);
  Call(midnight_ + kHour, 20);
  Call(midnight_ + 25 * kHour, 10);
  EXPECT_EQ(Check(midnight_ + 26 * kHour).binding, "a corp 50/month");
  EXPECT_EQ(Check(midnight_ + 26 * kHour).earliest_ns, Raw(At(2026, 4, 1) + 5 * kSecond));
  EXPECT_EQ(buckets_.Rows("c1", Raw(midnight_ + 26 * kHour))[3].window_ns, 31 * kDay);
}

TEST_F(CalendarBucketsTest, TheDayOfTheAddressIsSharedByItsCorps) {
  Call(noon_, 15);
  const auto other = buckets_.RouteOf("c2", "a");
  for (int i = 0; i < 15; ++i) {
    buckets_.Take(other);
    buckets_.Complete(other, Raw(noon_), /*rate_limited=*/false);
  }
  EXPECT_EQ(Check(noon_ + kHour).binding, "a ip 30/day");
}

TEST_F(CalendarBucketsTest, AFullDayLocksForItsRest) {
  Call(noon_ + 2 * kHour, 20);
  buckets_.Look(Raw(noon_ + 2 * kHour), noon_ + 2 * kHour);
  EXPECT_EQ(buckets_.ChooseLockout(route(), Raw(noon_ + 2 * kHour)), 10 * kHour + 5 * kSecond);
  EXPECT_FALSE(buckets_.ChooseLearnt(route(), Raw(noon_ + 2 * kHour)).has_value());
}

// The clock goes an hour forward, over midnight, and back; or is an hour late and set right.
TEST_F(CalendarBucketsTest, ToSetTheClockFreesNothing) {
  const int64_t late = midnight_ - kHour / 2;
  Call(late - kHour, 20);
  EXPECT_FALSE(Check(late, kHour).allowed) << "half past midnight, says the clock";
  Call(late, 5, kHour);  // they were on their way; both days have them
  EXPECT_FALSE(Check(late + kSecond).allowed) << "set back";
  EXPECT_FALSE(Check(midnight_ - 6 * kSecond, kHour).allowed);
  // The day began an hour late, if the clock was right when it was set forward.
  EXPECT_EQ(Check(midnight_ + 10 * kSecond, kHour).allowed, true);
  Call(midnight_ + 10 * kSecond, 15, kHour);
  EXPECT_FALSE(Check(midnight_ + kHour, kHour).allowed) << "5 and 15 are the day's 20";
  EXPECT_FALSE(Check(midnight_ + kHour).allowed);
  EXPECT_FALSE(Check(midnight_ + kHour, -2 * kHour).allowed) << "yesterday was full, too";
}

TEST_F(CalendarBucketsTest, ACallInDoubtCountsInEveryDayThatItMayBeOf) {
  const int64_t late = midnight_ - 20 * kSecond;
  for (int i = 0; i < 20; ++i) {
    buckets_.See(Raw(late), late);
    buckets_.Take(route());
    buckets_.HoldUntil(route(), Raw(midnight_ + 20 * kSecond));
  }
  EXPECT_EQ(Check(late).binding, "a in flight");
  EXPECT_EQ(Check(midnight_ + 2 * kHour).binding, "a corp 20/day");
  EXPECT_TRUE(Check(midnight_ + 25 * kHour).allowed);
}

// Whatever the wall clock does, a server that counts by the true time never sees more than the
// limit in one day.
TEST(CalendarModelTest, NoDayOfWecomsSeesMoreThanItsAmountThoughTheClockIsSet) {
  const Limits limits = *ParseLimits(R"({"limits": [
    {"api": "a", "scope": "corp", "amount": 40, "calendar": "day"},
    {"api": "a", "scope": "corp", "amount": 1000, "window_ms": 1000}]})");
  for (const int64_t off_by : {int64_t{0}, kHour, -kHour, 3 * kSecond}) {
    BucketSet buckets(&limits);
    const auto route = buckets.RouteOf("c1", "a");
    std::map<int64_t, int64_t> seen;
    const int64_t begin = At(2026, 2, 26, 15);
    int64_t off = 0;
    for (int64_t raw = 0; raw < 6 * kDay; raw += 7 * 60 * kSecond) {
      if (raw % (5 * kHour) < 7 * 60 * kSecond) off = off == 0 ? off_by : 0;
      const int64_t wall = begin + raw + off;
      buckets.Look(raw, wall);
      while (buckets.Check(route, raw).allowed) {
        buckets.See(raw, wall);
        buckets.Take(route);
        buckets.Complete(route, raw + kSecond, /*rate_limited=*/false);
        ++seen[(begin + raw + 8 * kHour) / kDay];
      }
    }
    EXPECT_EQ(seen.size(), 7u) << off_by;
    for (const auto& [day, calls] : seen) {
      EXPECT_LE(calls, 40) << day << " " << off_by;
      EXPECT_GE(calls, off_by == 0 ? 40 : 1) << day << " " << off_by;
    }
  }
}

}  // namespace
}  // namespace tidegate::dispatch
