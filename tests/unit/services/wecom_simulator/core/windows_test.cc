#include "services/wecom_simulator/core/windows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "common/base/clock.h"
#include "common/base/seeded_random.h"

namespace tidegate::wecom_simulator {
namespace {

Limits OneRow(int64_t amount, int64_t window_ms, int64_t lockout_ms) {
  Limits limits;
  limits.rows = {{.api = "x",
                  .scope = Scope::kCorp,
                  .amount = amount,
                  .window_ms = window_ms,
                  .lockout_ms = lockout_ms}};
  return limits;
}

int64_t Ms(int64_t ms) { return ms * kNanosPerMilli; }

TEST(WindowTest, ACallExactlyOneWindowAgoIsOutside) {
  Window window(WindowKind::kSliding, 1, 100, 0);
  window.Count(1000);
  EXPECT_FALSE(window.HasRoom(1099));
  EXPECT_TRUE(window.HasRoom(1100));
}

TEST(WindowTest, AFixedWindowStartsAgainAtItsCellsBorder) {
  Window window(WindowKind::kFixed, 2, 100, 30);
  window.Count(1060);
  window.Count(1068);
  EXPECT_FALSE(window.HasRoom(1069));
  EXPECT_TRUE(window.HasRoom(1070));
}

TEST(WindowTest, ACallTakesWhatItCosts) {
  for (const WindowKind kind : {WindowKind::kFixed, WindowKind::kSliding}) {
    Window window(kind, 10, 100, 0);
    EXPECT_FALSE(window.HasRoom(1000, 11));
    window.Count(1000, 6);
    EXPECT_TRUE(window.HasRoom(1050, 4));
    EXPECT_FALSE(window.HasRoom(1050, 5));
    window.Count(1050, 4);
    EXPECT_FALSE(window.HasRoom(1099, 1));
    EXPECT_TRUE(window.HasRoom(1100, 6));
    EXPECT_EQ(window.HasRoom(1100, 7), kind == WindowKind::kFixed);
  }
}

TEST(CalendarCountTest, DaysAndMonthsAreChinas) {
  constexpr int64_t kHour = int64_t{3600} * 1'000'000'000;
  // 2026-03-01 at midnight of China.
  constexpr int64_t kMarch = int64_t{1'772'294'400} * 1'000'000'000;
  CalendarCount day(Calendar::kDay, 3);
  CalendarCount month(Calendar::kMonth, 3);
  for (CalendarCount* count : {&day, &month}) {
    count->Count(kMarch - 1, 3);
    EXPECT_FALSE(count->HasRoom(kMarch - kHour, 1));
    EXPECT_TRUE(count->HasRoom(kMarch, 3));
    EXPECT_FALSE(count->HasRoom(kMarch, 4));
    EXPECT_EQ(count->RestNs(kMarch - 1), 1);
  }
  EXPECT_EQ(day.RestNs(kMarch), 24 * kHour);
  EXPECT_EQ(month.RestNs(kMarch), 31 * 24 * kHour);
  day.Count(kMarch, 1);
  EXPECT_FALSE(day.HasRoom(kMarch + 8 * kHour, 3)) << "midnight of Greenwich";
}

TEST(FrequencyTest, PeopleAndCorpsWithRowsOfTheirOwnAreCountedApart) {
  const auto limits = ParseLimits(R"({
    "limits": [{"api": "x", "scope": "corp", "amount": 5, "window_ms": 100, "cost": "person_times"},
               {"api": "y", "scope": "corp", "amount": 9, "calendar": "day"}],
    "corps": {"a": {"limits": [{"api": "x", "amount": 1, "window_ms": 100}]}}})");
  ASSERT_TRUE(limits.ok()) << limits.status();
  Frequency frequency(*limits, WindowKind::kSliding, 1);
  EXPECT_TRUE(frequency.Count("x", "b", "ip", 0, 0, 5));
  EXPECT_TRUE(frequency.Count("x", "b", "ip", 1, 0, 0)) << "for nobody";
  EXPECT_FALSE(frequency.Count("x", "b", "ip", 2, 0, 1));
  EXPECT_TRUE(frequency.Count("x", "a", "ip", 2, 0, 50));
  EXPECT_FALSE(frequency.Count("x", "a", "ip", 3, 0, 0));
  for (int i = 0; i < 9; ++i) EXPECT_TRUE(frequency.Count("y", "a", "ip", Ms(1), 0)) << i;
  EXPECT_FALSE(frequency.Count("y", "a", "ip", Ms(1), 0));
  // The rest of the day: of 1970 in China, begun at 16:00 of Greenwich.
  EXPECT_FALSE(frequency.Count("y", "a", "ip", Ms(1) + 16 * Ms(3'600'000) - 1, 16 * Ms(3'600'000)));
  EXPECT_TRUE(frequency.Count("y", "a", "ip", Ms(1) + 16 * Ms(3'600'000), 16 * Ms(3'600'000)));
}

// Every accepted call is checked against the plain definition of the two kinds; every refused one
// must be one too many or inside a lockout.
TEST(FrequencyTest, AgreesWithACountOverAllCallsOnRandomTraffic) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SeededRandom random(seed);
    const int64_t amount = 1 + static_cast<int64_t>(random.Below(6));
    const int64_t window_ms = 5 + static_cast<int64_t>(random.Below(40));
    const int64_t lockout_ms = static_cast<int64_t>(random.Below(30));
    for (WindowKind kind : {WindowKind::kSliding, WindowKind::kSlidingCountingRefusals}) {
      Frequency frequency(OneRow(amount, window_ms, lockout_ms), kind, seed);
      std::vector<int64_t> counted;
      int64_t now = 0, locked_until = -1;
      for (int i = 0; i < 400; ++i) {
        now += static_cast<int64_t>(random.Below(static_cast<uint64_t>(Ms(9))));
        const auto in_window = std::count_if(counted.begin(), counted.end(), [&](int64_t call) {
          return call > now - Ms(window_ms);
        });
        bool expected = now >= locked_until;
        if (expected && in_window >= amount) {
          expected = false;
          locked_until = now + Ms(lockout_ms);
        }
        if (expected || kind == WindowKind::kSlidingCountingRefusals) counted.push_back(now);
        ASSERT_EQ(frequency.Count("x", "corp", "ip", now), expected)
            << "seed " << seed << " call " << i;
      }
    }
  }
}

TEST(FrequencyTest, AFixedWindowNeverLetsMoreThanItsAmountIntoOneCell) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SeededRandom random(seed);
    Frequency frequency(OneRow(5, 20, 0), WindowKind::kFixed, seed);
    std::vector<int64_t> accepted;
    int64_t now = 0;
    for (int i = 0; i < 600; ++i) {
      now += static_cast<int64_t>(random.Below(static_cast<uint64_t>(Ms(2))));
      if (frequency.Count("x", "corp", "ip", now)) accepted.push_back(now);
    }
    // Some phase must explain it: the cells of one phase hold at most 5 each.
    bool explained = false;
    for (int64_t phase = 0; phase < Ms(20) && !explained; phase += Ms(20) / 2000) {
      int64_t cell = -1, in_cell = 0, most = 0;
      for (int64_t call : accepted) {
        const int64_t of = (call + phase) / Ms(20);
        in_cell = of == cell ? in_cell + 1 : 1;
        cell = of;
        most = std::max(most, in_cell);
      }
      explained = most <= 5;
    }
    EXPECT_TRUE(explained) << "seed " << seed;
    EXPECT_GT(accepted.size(), 60u);
  }
}

TEST(FrequencyTest, ALockoutRunsFromTheHitAndIsNotProlonged) {
  Frequency frequency(OneRow(1, 10, 50), WindowKind::kSliding, 1);
  EXPECT_TRUE(frequency.Count("x", "corp", "ip", 0));
  EXPECT_FALSE(frequency.Count("x", "corp", "ip", Ms(5)));
  EXPECT_FALSE(frequency.Count("x", "corp", "ip", Ms(54)));
  EXPECT_TRUE(frequency.Count("x", "corp", "ip", Ms(55)));
  EXPECT_EQ(frequency.lockouts(), 1);
  EXPECT_EQ(frequency.lockout_ms_total(), 50);
}

TEST(FrequencyTest, ALockoutConcernsOneCorpAndOneApi) {
  Limits limits;
  limits.rows = {{"*", Scope::kCorp, 1, 10, 50}};
  Frequency frequency(limits, WindowKind::kSliding, 1);
  EXPECT_TRUE(frequency.Count("x", "a", "ip", 0));
  EXPECT_FALSE(frequency.Count("x", "a", "ip", 1));
  EXPECT_TRUE(frequency.Count("y", "a", "ip", 2));
  EXPECT_TRUE(frequency.Count("x", "b", "ip", 2));
}

TEST(FrequencyTest, AnAddressIsCountedAcrossCorps) {
  Limits limits;
  limits.rows = {{"*", Scope::kIp, 2, 10, 0}};
  Frequency frequency(limits, WindowKind::kSliding, 1);
  EXPECT_TRUE(frequency.Count("x", "a", "ip", 0));
  EXPECT_TRUE(frequency.Count("x", "b", "ip", 0));
  EXPECT_FALSE(frequency.Count("x", "c", "ip", 0));
  EXPECT_TRUE(frequency.Count("x", "c", "other", 0));
}

}  // namespace
}  // namespace tidegate::wecom_simulator
