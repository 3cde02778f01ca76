#include "services/wecom_simulator/core/receive_quota.h"

#include <gtest/gtest.h>

#include <chrono>

namespace tidegate::wecom_simulator {
namespace {

using std::chrono::January, std::chrono::February, std::chrono::November;

// Unix nanoseconds of a time of day in China.
int64_t China(std::chrono::year_month_day date, int hour) {
  const auto time = std::chrono::sys_days(date) + std::chrono::hours(hour - 8);
  return std::chrono::nanoseconds(time.time_since_epoch()).count();
}

std::chrono::year_month_day Day(std::chrono::month month, unsigned day) {
  return {std::chrono::year(2026), month, std::chrono::day(day)};
}

TEST(SimulatedReceiveQuotaTest, OneADayUntilMidnightInChina) {
  ReceiveQuota quota(ReceiveQuotaKind::kOnePerDay);
  EXPECT_TRUE(quota.Receive("wm1", China(Day(January, 5), 0)));
  EXPECT_FALSE(quota.Receive("wm1", China(Day(January, 5), 23)));
  EXPECT_TRUE(quota.Receive("wm2", China(Day(January, 5), 23))) << "another customer";
  EXPECT_TRUE(quota.Receive("wm1", China(Day(January, 6), 0)));
}

TEST(SimulatedReceiveQuotaTest, SevenInAnySevenDays) {
  ReceiveQuota quota(ReceiveQuotaKind::kSevenPerWeek);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(quota.Receive("wm1", China(Day(January, 5), 9 + i)));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(quota.Receive("wm1", China(Day(January, 10), 9 + i)));
  EXPECT_FALSE(quota.Receive("wm1", China(Day(January, 11), 23)));
  // The four of the fifth are a week old.
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(quota.Receive("wm1", China(Day(January, 12), 9 + i)));
  EXPECT_FALSE(quota.Receive("wm1", China(Day(January, 12), 23)));
}

TEST(SimulatedReceiveQuotaTest, AsManyInAMonthAsItHasDays) {
  for (const auto& [month, days] : {std::pair{January, 31}, {February, 28}, {November, 30}}) {
    ReceiveQuota quota(ReceiveQuotaKind::kDaysInMonth);
    for (int i = 0; i < days; ++i) EXPECT_TRUE(quota.Receive("wm1", China(Day(month, 1), 1)));
    EXPECT_FALSE(quota.Receive("wm1", China(Day(month, static_cast<unsigned>(days)), 23)));
    EXPECT_TRUE(quota.Receive("wm1", China(Day(month, static_cast<unsigned>(days)), 24)));
  }
}

TEST(SimulatedReceiveQuotaTest, NothingIsCountedIfThereIsNone) {
  ReceiveQuota quota(ReceiveQuotaKind::kNone);
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(quota.Receive("wm1", China(Day(January, 1), 1)));
}

}  // namespace
}  // namespace tidegate::wecom_simulator
