// Mistakes that ways to keep a limit are known for, each in a run that would show it: the core of
// dispatch against the simulated WeCom's core, on a fake clock. Named after what each catches.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/sim/lane.h"
#include "tests/sim/optimum.h"

namespace tidegate::sim {
namespace {

using wecom_simulator::WindowKind;

constexpr int64_t kMinute = 60 * kNanosPerSecond;

int64_t RateRefusals(const LaneResult& result) {
  int64_t refused = 0;
  for (const auto& [code, count] : result.rejected) {
    if (code == 45009 || code == 45033) refused += count;
  }
  return refused;
}

std::string LimitsOf(int64_t corp, int64_t window_ms, int64_t address, int64_t in_flight) {
  return absl::StrCat(R"({"limits":[{"api":"*","scope":"corp","amount":)", corp, R"(,"window_ms":)",
                      window_ms, R"(},{"api":"*","scope":"ip","amount":)", address,
                      R"(,"window_ms":)", window_ms,
                      R"(}],"in_flight":[{"api":"mark_tag","amount":)", in_flight, "}]}");
}

TEST(PitfallsTest, AFullBucketAtTheStartLetsNoMoreThanItsCapacityThroughAWindow) {
  for (const WindowKind kind :
       {WindowKind::kFixed, WindowKind::kSliding, WindowKind::kSlidingCountingRefusals}) {
    LaneOptions options;
    options.window = kind;
    options.limits_json = LimitsOf(100, 1000, 1'000'000, 50);
    Lane lane(options);
    lane.RunFor(kMinute);
    EXPECT_EQ(RateRefusals(lane.result()), 0);
    EXPECT_GE(lane.result().accepted, 100 * 45);
  }
}

TEST(PitfallsTest, AWindowOfWecomsMayBeginAtAnyMoment) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {  // the phase follows from the seed
    LaneOptions options;
    options.seed = seed;
    options.window = WindowKind::kFixed;
    options.limits_json = LimitsOf(50, 1000, 1'000'000, 50);
    Lane lane(options);
    lane.RunFor(20 * kNanosPerSecond);
    ASSERT_EQ(RateRefusals(lane.result()), 0) << seed;
  }
}

TEST(PitfallsTest, CallsThatAStallBunchesUpStayBelowTheLimit) {
  LaneOptions options;
  options.limits_json = LimitsOf(200, 2000, 1'000'000, 200);
  options.stall_seconds = 3;
  options.stall_every_seconds = 10;
  Lane lane(options);
  lane.RunFor(10 * kMinute);
  EXPECT_EQ(RateRefusals(lane.result()), 0);
}

TEST(PitfallsTest, ALimitBelowOneCallASecondAndOneOfASingleCallHold) {
  for (const auto& [amount, window_ms] :
       {std::pair<int64_t, int64_t>{1, 500}, {1, 60'000}, {7, 10'000}}) {
    LaneOptions options;
    options.limits_json = LimitsOf(amount, window_ms, 1'000'000, 5);
    Lane lane(options);
    lane.RunFor(10 * kMinute);
    EXPECT_EQ(RateRefusals(lane.result()), 0) << amount << "/" << window_ms;
    const auto windows = 10 * kMinute / (window_ms * kNanosPerMilli);
    EXPECT_GE(lane.result().accepted, amount * windows * 7 / 10) << amount << "/" << window_ms;
  }
}

TEST(PitfallsTest, ManyMoreCorpsThanAnyCacheAreEachKept) {
  LaneOptions options;
  options.corps = 400;
  options.limits_json = LimitsOf(2, 5000, 1'000'000, 5);
  options.reset_share = 0;
  options.late_share = 0;
  Lane lane(options);
  lane.RunFor(kMinute);
  EXPECT_EQ(RateRefusals(lane.result()), 0);
  const auto [least, most] = std::minmax_element(lane.result().accepted_by_corp.begin(),
                                                 lane.result().accepted_by_corp.end());
  EXPECT_GE(*least, 2 * 10);
  EXPECT_LE(*most, 2 * 13);
}

// Somebody else uses half of the corp's quota.
TEST(PitfallsTest, ALockoutIsNotHammeredAndIsLeftByOneCall) {
  LaneOptions options;
  options.limits_json = LimitsOf(100, 5000, 1'000'000, 4);
  options.wecom_limits_json = LimitsOf(50, 5000, 1'000'000, 4);
  options.reset_share = 0;
  options.late_share = 0;
  options.stall_seconds = 0;
  Lane lane(options);
  lane.RunFor(20 * kMinute);
  const LaneResult& result = lane.result();
  ASSERT_GT(result.lockouts, 10);
  // What was under way when the first was refused, and nothing during the lockout.
  EXPECT_LE(RateRefusals(result), 4 * result.lockouts);
  // Back within a second of the lockout's end: 50 calls for each 5 s of a lockout and what it takes
  // to be locked out again.
  EXPECT_GE(result.accepted, 50 * result.lockouts);
  EXPECT_LE(20 * kMinute / result.lockouts, 8 * kNanosPerSecond);
}

TEST(PitfallsTest, CallsAtOnceAreLimitedAndUsedToTheFull) {
  LaneOptions options;
  options.stall_seconds = 0;
  options.reset_share = 0;
  options.late_share = 0;
  Lane lane(options);  // mark_tag: 5 at once
  lane.RunFor(kMinute);
  EXPECT_EQ(RateRefusals(lane.result()), 0);
  // A call takes about 67 ms and a journal's 0.3 ms: 5 at once are 74 a second.
  EXPECT_GE(lane.result().accepted, 4'200);
}

TEST(PitfallsTest, OneLongCorpEndsInTimeBesideManyShortOnes) {
  LaneOptions options;
  options.corps = 20;
  options.calls_per_corp = 1'000;
  options.calls_of = {{0, 20'000}};
  options.limits_json = LimitsOf(100, 1000, 200, 100);
  options.stall_seconds = 0;
  options.reset_share = 0;
  options.late_share = 0;
  Lane lane(options);
  lane.RunFor(60 * kMinute);
  ASSERT_EQ(lane.result().fulfilled, 39'000);
  EXPECT_EQ(RateRefusals(lane.result()), 0);
  // Alone its own limit lets it end after 200 s; all together need 195 s of the address.
  const int64_t all = lane.result().last_accepted_ns - lane.result().first_arrival_ns;
  EXPECT_LE(all, 400 * kNanosPerSecond);
  // The short ones do not wait for the long one.
  for (size_t corp = 1; corp < options.corps; ++corp) {
    EXPECT_LE(lane.result().last_accepted_by_corp_ns[corp] - lane.result().first_arrival_ns,
              140 * kNanosPerSecond);
  }
}

TEST(PitfallsTest, AtTheStepOfTheHourNothingIsHeldBack) {
  for (const int64_t calls : {1'499, 1'501}) {
    LaneOptions options;
    options.calls_per_corp = calls;
    options.stall_seconds = 0;
    options.reset_share = 0;
    options.late_share = 0;
    options.limits_json =
        R"({"limits":[{"api":"*","scope":"corp","amount":100,"window_ms":600},
                      {"api":"*","scope":"corp","amount":1500,"window_ms":36000}],
            "in_flight":[{"api":"mark_tag","amount":100}]})";
    Lane lane(options);
    lane.RunFor(10 * kMinute);
    ASSERT_EQ(lane.result().fulfilled, calls);
    const int64_t took = lane.result().last_accepted_ns - lane.result().first_arrival_ns;
    const int64_t best = Optimum(lane.limits()).LastNs(calls);
    // A slot and a round trip for each window.
    EXPECT_LE(took, best + 15 * 200 * kNanosPerMilli) << calls;
    EXPECT_GE(took, best - 200 * kNanosPerMilli) << calls;
  }
}

}  // namespace
}  // namespace tidegate::sim
