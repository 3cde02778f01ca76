#include "services/dispatch/core/longest_wait.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "common/base/clock.h"
#include "common/base/seeded_random.h"
#include "common/wecom_table/limits.h"
#include "services/dispatch/core/bucket_set.h"

namespace tidegate::dispatch {
namespace {

constexpr int64_t kSecond = kNanosPerSecond;

// When each call leaves, one after the other.
std::vector<int64_t> CallByCall(const std::vector<WaitStep>& steps, int64_t calls) {
  std::vector<int64_t> at(static_cast<size_t>(calls));
  for (int64_t k = 1; k < calls; ++k) {
    int64_t& leaves = at[static_cast<size_t>(k)];
    leaves = at[static_cast<size_t>(k - 1)];
    for (const WaitStep& step : steps) {
      if (k < step.calls) continue;
      leaves = std::max(leaves, at[static_cast<size_t>(k - step.calls)] + step.wait_ns);
    }
  }
  return at;
}

void ExpectAsCallByCall(const std::vector<WaitStep>& steps, int64_t calls,
                        const std::vector<int64_t>& at) {
  const LongestWait found = FindLongestWait(steps, calls);
  const int64_t last = at[static_cast<size_t>(calls - 1)];
  EXPECT_DOUBLE_EQ(found.seconds, static_cast<double>(last) * 1e-9) << calls;
  ASSERT_EQ(found.binding.has_value(), last > 0) << calls;
  if (!found.binding.has_value()) return;
  const WaitStep& step = steps[*found.binding];
  ASSERT_LT(step.calls, calls);
  EXPECT_EQ(at[static_cast<size_t>(calls - 1 - step.calls)] + step.wait_ns, last) << calls;
}

TEST(LongestWaitTest, IsThatOfCallsOneAfterTheOther) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    std::vector<WaitStep> steps(random.Below(6));
    for (WaitStep& step : steps) {
      step = {1 + static_cast<int64_t>(random.Below(seed % 2 == 0 ? 12 : 200)),
              (1 + static_cast<int64_t>(random.Below(100))) * kSecond};
    }
    const auto at = CallByCall(steps, 1500);
    for (int64_t calls = 1; calls <= 1500; calls += 1 + static_cast<int64_t>(random.Below(9))) {
      ExpectAsCallByCall(steps, calls, at);
    }
  }
}

TEST(LongestWaitTest, OfMillionsOfCallsToo) {
  for (const std::vector<WaitStep>& steps : std::vector<std::vector<WaitStep>>{
           {{10'000, 60 * kSecond}, {150'000, 3600 * kSecond}},
           {{60, 5 * kSecond}, {250, 50 * kSecond}, {997, 150 * kSecond}},
           {{1, 1'000'000}, {1'000'000, 1500 * kSecond}},
           {{4, 4 * kSecond}, {6, 6 * kSecond}}}) {
    constexpr int64_t kCalls = 3'000'000;
    const auto at = CallByCall(steps, kCalls);
    for (const int64_t calls : {kCalls, kCalls - 1, kCalls / 2 + 7}) {
      ExpectAsCallByCall(steps, calls, at);
    }
  }
}

TEST(LongestWaitTest, ForecastsMoreCallsThanAnyCounterOfNanosecondsHolds) {
  wecom_table::Limits limits;
  constexpr int64_t kDay = int64_t{86'400} * kSecond;
  limits.windows = {{.api = "x", .amount = 1, .window_ns = kDay}};
  const Forecast forecast = ForecastCalls(limits, "x", 1'000'000'000'001, 0);
  EXPECT_DOUBLE_EQ(forecast.seconds, 86'400e12);
  EXPECT_EQ(forecast.binding, "x corp 1/86400s");
}

// Windows of nearly the same rate, none of which says what another one does.
TEST(LongestWaitTest, ASearchThatIsCutOffDoesNotSayTooMuch) {
  std::vector<WaitStep> steps;
  for (const int64_t calls : {3001, 3011, 3019, 3023, 3037, 3041, 3049, 3061}) {
    steps.push_back({calls, calls * kSecond});
  }
  constexpr int64_t kCalls = 3'000'000;
  const double exact = static_cast<double>(CallByCall(steps, kCalls).back()) * 1e-9;
  const double found = FindLongestWait(steps, kCalls).seconds;
  EXPECT_LE(found, exact);
  EXPECT_GE(found, exact - 3061);
}

}  // namespace
}  // namespace tidegate::dispatch
