// Shares of a limit in simulated hours: what bulk calls leave for urgent ones, long corps beside
// short ones, and the start after a lockout. Named after the mistakes that each would catch.
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/sim/lane.h"
#include "tests/sim/optimum.h"

namespace tidegate::sim {
namespace {

constexpr int64_t kMinute = 60 * kNanosPerSecond;
constexpr int64_t kHour = 60 * kMinute;

int64_t RateRefusals(const LaneResult& result) {
  int64_t refused = 0;
  for (const auto& [code, count] : result.rejected) {
    if (code == 45009 || code == 45033) refused += count;
  }
  return refused;
}

std::string Row(const std::string& scope, int64_t amount, int64_t window_ms) {
  return absl::StrCat(R"({"api":"*","scope":")", scope, R"(","amount":)", amount,
                      R"(,"window_ms":)", window_ms, "}");
}

// A network and a WeCom that lose nothing.
LaneOptions Quiet() {
  LaneOptions options;
  options.stall_seconds = options.reset_share = options.late_share = 0;
  return options;
}

int64_t Took(const LaneResult& result) { return result.last_accepted_ns - result.first_arrival_ns; }

// A campaign beside messages: both are add_msg_template, a tenth of the documented limits. Results
// are read later.
LaneOptions Campaign(int64_t calls) {
  LaneOptions options = Quiet();
  options.calls_per_corp = 0;
  options.campaigns = {{.calls = calls, .at_seconds = 10}};
  options.limits_json = absl::StrCat(
      R"({"limits":[)", Row("corp", 1'000, 60'000), ",", Row("corp", 15'000, 3'600'000), ",",
      Row("ip", 2'000, 60'000), ",", Row("ip", 60'000, 3'600'000),
      R"(],"in_flight":[{"api":"add_msg_template","amount":50}],"results":{"first_poll_ms":36000000}})");
  return options;
}

TEST(SharesTest, AnUrgentCallAfterBulkHasSpentTheHourWaitsForNoWindow) {
  Lane alone(Campaign(16'000));
  alone.RunFor(3 * kHour);
  ASSERT_EQ(alone.result().fulfilled, 16'000);
  LaneOptions options = Campaign(16'000);
  // The hour is spent after 15 minutes.
  options.messages = {{.at_seconds = 5}, {.at_seconds = 1'200}, {.at_seconds = 3'000}};
  Lane lane(options);
  lane.RunFor(3 * kHour);
  ASSERT_EQ(lane.result().fulfilled, 16'000);
  EXPECT_EQ(RateRefusals(lane.result()), 0);
  for (const int64_t released_ns : lane.result().messages_released_ns) {
    EXPECT_GE(released_ns, 0);
    EXPECT_LE(released_ns, 2 * kNanosPerSecond);
  }
  const double inflation =
      static_cast<double>(Took(lane.result())) / static_cast<double>(Took(alone.result()));
  std::cout << "bulk ends " << inflation << " later" << std::endl;
  EXPECT_LE(inflation, 1.05);
}

TEST(SharesTest, AnotherProcessKeepsAsMuchForUrgentCalls) {
  LaneOptions options = Campaign(16'000);
  options.messages = {{.at_seconds = 5}, {.at_seconds = 1'200}};
  options.kill_at_seconds = {300};
  options.ends_when_done = false;
  Lane lane(options);
  lane.RunFor(kHour / 2);
  // All but what the messages may need has gone.
  EXPECT_GE(lane.result().accepted, 15'000 - 20);
  EXPECT_GE(lane.result().messages_released_ns[1], 0);
  EXPECT_LE(lane.result().messages_released_ns[1], 2 * kNanosPerSecond);
}

// One call fewer in the hour would end 45 minutes later.
TEST(SharesTest, WhereNothingIsUrgentAReserveTakesNothing) {
  Lane lane(Campaign(15'000));
  lane.RunFor(3 * kHour);
  ASSERT_EQ(lane.result().fulfilled, 15'000);
  EXPECT_LE(Took(lane.result()), Optimum(lane.limits()).LastNs(15'000) + kMinute);
}

TEST(SharesTest, BulkThatCanEndInTheHourTakesWhatIsHardlyNeeded) {
  // A message a minute: 60 an hour, and 85 in 1 of 1000 hours.
  LaneOptions options = Campaign(14'930);
  for (int minute = 0; minute < 60; ++minute) {
    options.messages.push_back({.at_seconds = minute * 60.0 + 5});
  }
  options.ends_when_done = false;
  Lane lane(options);
  lane.RunFor(kHour);
  ASSERT_EQ(lane.result().fulfilled, 14'930);
  EXPECT_LE(Took(lane.result()), Optimum(lane.limits()).LastNs(14'930) + kMinute);
  for (const int64_t released_ns : lane.result().messages_released_ns) {
    EXPECT_GE(released_ns, 0);
    EXPECT_LE(released_ns, 2 * kNanosPerSecond);
  }
}

// A hundredth of 600,000 calls of one corp and 10,000 of 19 others, and of the documented limits;
// some fewer than four hours allow, as a call that meets the end of a token is made twice.
TEST(SharesTest, ALongCorpIsNotKeptFromItsOwnLimitByShortOnesThatHaveTime) {
  constexpr int64_t kLong = 5'990;
  LaneOptions options = Quiet();
  options.corps = 20;
  options.calls_per_corp = 100;
  options.calls_of = {{0, kLong}};
  options.customers = kLong;
  options.wishes_ahead = kLong;
  options.limits_json =
      absl::StrCat(R"({"limits":[)", Row("corp", 100, 60'000), ",", Row("corp", 1'500, 3'600'000),
                   ",", Row("ip", 200, 60'000), ",", Row("ip", 6'000, 3'600'000),
                   R"(],"in_flight":[{"api":"mark_tag","amount":100}]})");
  Lane lane(options);
  std::vector<wecom_simulator::LimitRow> of_corp;
  std::vector<wecom_simulator::LimitRow> of_address;
  for (const auto& row : lane.limits()) {
    (row.scope == wecom_simulator::Scope::kCorp ? of_corp : of_address).push_back(row);
  }
  const int64_t bound =
      std::max(Optimum(of_corp).LastNs(kLong), Optimum(of_address).LastNs(kLong + 1'900));
  // The short ones have calls left all this time.
  lane.RunFor(4 * kMinute);
  const std::vector<int64_t> early = lane.result().accepted_by_corp;
  lane.RunFor(5 * kHour);
  ASSERT_EQ(lane.result().fulfilled, kLong + 1'900);
  EXPECT_EQ(RateRefusals(lane.result()), 0);
  const double over = static_cast<double>(Took(lane.result())) / static_cast<double>(bound);
  const std::vector<int64_t> of_short(early.begin() + 1, early.end());
  std::cout << "makespan " << over << " of the bound; Jain's index early: all " << Jain(early)
            << ", the short ones " << Jain(of_short) << std::endl;
  EXPECT_LE(over, 1.02);
  EXPECT_GE(Jain(of_short), 0.99);
  // Half of an equal share is nobody's loss: 200 a minute for 20 corps.
  EXPECT_GE(*std::min_element(of_short.begin(), of_short.end()), 5 * 4 - 1);
  for (size_t corp = 1; corp < options.corps; ++corp) {
    EXPECT_LE(lane.result().last_accepted_by_corp_ns[corp] - lane.result().first_arrival_ns,
              2 * 10 * kMinute);
  }
}

TEST(SharesTest, AfterALockoutOfTheAddressCorpsDoNotGoOnAllAtOnce) {
  const auto limits = [](int64_t address) {
    return absl::StrCat(R"({"limits":[)", Row("corp", 1'000, 10'000), ",",
                        Row("ip", address, 10'000),
                        R"(],"in_flight":[{"api":"mark_tag","amount":5}]})");
  };
  LaneOptions options = Quiet();
  options.corps = 100;
  options.limits_json = limits(2'000);
  // Somebody else uses half of the address's quota.
  options.wecom_limits_json = limits(1'000);
  Lane lane(options);
  lane.RunFor(5 * kMinute);
  const std::vector<int64_t>& sent = lane.result().sent_in_100_ms;
  // At the start they do.
  ASSERT_GE(*std::max_element(sent.begin(), sent.begin() + 10), 400);
  int64_t lockouts = 0;
  int64_t most = 0;
  size_t quiet = 0;
  size_t left = 0;
  for (const int64_t in_100_ms : sent) {
    if (quiet >= 50 && in_100_ms > 0) {
      ++lockouts;
      left = 50;
    }
    quiet = in_100_ms > 0 ? 0 : quiet + 1;
    if (left == 0) continue;
    --left;
    most = std::max(most, in_100_ms);
  }
  std::cout << lockouts << " lockouts; at most " << most << " calls in 100 ms of the 5 s after one"
            << std::endl;
  ASSERT_GE(lockouts, 1);
  // 2,000 in 10 s are 20 in 100 ms.
  EXPECT_LE(most, 30);
  // The even start does not cost more than it takes: 1,000 calls between two lockouts of 10 s.
  EXPECT_GE(lane.result().accepted, 900 * lockouts);
}

}  // namespace
}  // namespace tidegate::sim
