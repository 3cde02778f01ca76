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
  limits.rows = {{"x", Scope::kCorp, amount, window_ms, lockout_ms}};
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
