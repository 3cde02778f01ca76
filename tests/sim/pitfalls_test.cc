// Mistakes that ways to keep a limit are known for, each in a run that would show it: the core of
// dispatch against the simulated WeCom's core, on a fake clock. Named after what each catches.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/civil_day.h"
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

// Somebody else uses more than half of the corp's quota, which is no limit to be learnt.
TEST(PitfallsTest, ALockoutIsNotHammeredAndIsLeftByOneCall) {
  LaneOptions options;
  options.limits_json = LimitsOf(100, 5000, 1'000'000, 4);
  options.wecom_limits_json = LimitsOf(40, 5000, 1'000'000, 4);
  options.reset_share = 0;
  options.late_share = 0;
  options.stall_seconds = 0;
  Lane lane(options);
  lane.RunFor(20 * kMinute);
  const LaneResult& result = lane.result();
  ASSERT_GT(result.lockouts, 10);
  // What was under way when the first was refused, and nothing during the lockout.
  EXPECT_LE(RateRefusals(result), 4 * result.lockouts);
  // Back within a second of the lockout's end: 40 calls for each 5 s of a lockout and what it takes
  // to be locked out again.
  EXPECT_GE(result.accepted, 40 * result.lockouts);
  EXPECT_LE(20 * kMinute / result.lockouts, 8 * kNanosPerSecond);
}

TEST(PitfallsTest, CallsAtOnceAreLimitedAndUsedToTheFull) {
  LaneOptions options;
  options.stall_seconds = 0;
  options.reset_share = 0;
  options.late_share = 0;
  Lane lane(options);  // mark_tag: 5 at once
  lane.RunFor(kMinute);
  const LaneResult& result = lane.result();
  EXPECT_EQ(RateRefusals(result), 0);
  const double latency =
      static_cast<double>(result.answered_ns) / static_cast<double>(result.answered) * 1e-9;
  EXPECT_GE(static_cast<double>(result.accepted), 0.98 * 60 * 5 / latency);
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

TEST(PitfallsTest, AKillForgetsNoTokens) {
  LaneOptions options;
  options.limits_json = LimitsOf(400, 10'000, 1'000'000, 10);
  options.stall_seconds = 0;
  // Before that many seconds are over, nine tenths of each window's tokens have gone.
  options.kill_at_seconds = {9, 39, 69};
  Lane lane(options);
  lane.RunFor(2 * kMinute);
  EXPECT_EQ(RateRefusals(lane.result()), 0);
  // Ten calls of each process are in doubt for less than a minute.
  EXPECT_GE(lane.result().accepted, 400 * 12 * 9 / 10);
}

TEST(PitfallsTest, A45009OfAnotherCauseMovesNoLimit) {
  LaneOptions options;
  options.limits_json =
      R"({"limits":[{"api":"*","scope":"corp","amount":100,"window_ms":2000,"lockout_ms":5000}],
          "in_flight":[{"api":"mark_tag","amount":4}]})";
  options.wrongly_refused = 1;
  options.stall_seconds = 0;
  options.reset_share = 0;
  options.late_share = 0;
  Lane lane(options);
  lane.RunFor(kMinute);
  // It is believed once, for as long as a lockout of the limit takes; then all is as before.
  EXPECT_LE(RateRefusals(lane.result()), 4);
  EXPECT_GE(lane.result().accepted, 100 * (60 - 6) / 2 * 9 / 10);
}

TEST(PitfallsTest, ACeilingThatIsTooHighIsLearntAndFewCallsAreRefused) {
  LaneOptions options;
  options.limits_json = LimitsOf(10'000, 60'000, 1'000'000, 10);
  options.wecom_limits_json = LimitsOf(10'000, 60'000, 1'000'000, 5);
  options.calls_per_corp = 5'000;
  options.stall_seconds = 0;
  options.reset_share = 0;
  options.late_share = 0;
  Lane lane(options);
  lane.RunFor(10 * kMinute);
  const LaneResult& result = lane.result();
  ASSERT_EQ(result.fulfilled, 5'000);
  EXPECT_GT(RateRefusals(result), 0);
  // A ceiling that goes up and down by one has every second call refused.
  EXPECT_LE(RateRefusals(result), 10);
  // Once ten were under way; later it is one more that is tried alone.
  for (size_t i = 1; i < result.ceilings.size(); ++i) EXPECT_EQ(result.ceilings[i], 1) << i;
  const double latency =
      static_cast<double>(result.answered_ns) / static_cast<double>(result.answered) * 1e-9;
  const double took = static_cast<double>(result.last_accepted_ns - result.first_arrival_ns) * 1e-9;
  EXPECT_LE(took, 1.02 * 5'000 * latency / 5);
}

TEST(PitfallsTest, ALimitThatIsTooHighIsLearntAndFewCallsAreRefused) {
  LaneOptions options;
  options.limits_json = LimitsOf(100, 5000, 1'000'000, 4);
  options.wecom_limits_json = LimitsOf(80, 5000, 1'000'000, 4);
  options.reset_share = 0;
  options.late_share = 0;
  options.stall_seconds = 0;
  options.kill_at_seconds = {600};  // what was learnt outlives the process
  Lane lane(options);
  lane.RunFor(20 * kMinute);
  const LaneResult& result = lane.result();
  EXPECT_GE(result.lockouts, 1);
  EXPECT_LE(result.lockouts, 6);
  EXPECT_GE(result.accepted, 80 * 240 * 95 / 100);
}

TEST(PitfallsTest, AnUrgentCallWaitsBehindNoBulkCall) {
  LaneOptions options;
  options.corps = 100;
  options.connections = options.urgent_connections = 64;
  options.urgent = {.calls = 2'000, .per_second = 40, .burst = 20, .burst_every_seconds = 5};
  options.calls_per_corp = 250;
  Lane lane(options);
  lane.RunFor(10 * kMinute);
  UrgentResult urgent = lane.result().urgent;
  ASSERT_EQ(urgent.executed, 2'000);
  EXPECT_EQ(lane.result().fulfilled, 25'000);
  std::sort(urgent.first_byte_ns.begin(), urgent.first_byte_ns.end());
  EXPECT_LE(urgent.first_byte_ns[urgent.first_byte_ns.size() * 999 / 1000], 50 * kNanosPerMilli);
}

// Somebody else uses the corp's quota of one api up.
TEST(PitfallsTest, ALockoutOfAnHourHoldsBackNothingElse) {
  LaneOptions options;
  const auto limits = [](int64_t amount) {
    return absl::StrCat(R"({"limits":[{"api":"mark_tag","scope":"corp","amount":)", amount,
                        R"(,"window_ms":3600000}]})");
  };
  options.limits_json = limits(1'000);
  options.wecom_limits_json = limits(500);
  options.urgent = {.calls = 600, .per_second = 1};
  Lane lane(options);
  lane.RunFor(15 * kMinute);
  EXPECT_EQ(lane.result().lockouts, 1);
  // What was under way, and one a minute later, which tells that it is the hour.
  EXPECT_LE(RateRefusals(lane.result()), 6);
  EXPECT_EQ(lane.result().urgent.executed, 600);
}

TEST(PitfallsTest, AStepOfTheWallClockFreesAndHoldsBackNothing) {
  int64_t accepted[2] = {0, 0};
  for (const int stepping : {0, 1}) {
    LaneOptions options;
    options.limits_json = LimitsOf(100, 5'000, 1'000'000, 20);
    options.wall_step_seconds = stepping * 3600;
    Lane lane(options);
    lane.RunFor(5 * kMinute);
    EXPECT_EQ(RateRefusals(lane.result()), 0);
    accepted[stepping] = lane.result().accepted;
  }
  EXPECT_EQ(accepted[1], accepted[0]);
}

TEST(PitfallsTest, CustomersWhoCannotBeSentToHoldUpNobody) {
  LaneOptions options;
  options.calls_per_corp = 0;
  options.campaigns = {{.calls = 1'000}};
  options.unsendable_share = 0.1;
  options.stall_seconds = 0;
  options.reset_share = 0;
  options.late_share = 0;
  Lane lane(options);
  lane.RunFor(kMinute / 2);
  const int64_t nobody = lane.result().rejected.at(41048);
  EXPECT_GE(nobody, 70);
  EXPECT_EQ(lane.result().accepted + nobody, 1'000);
}

TEST(PitfallsTest, AFailListIsTheEndOfItsCustomersAndNoReasonToRepeatTheCall) {
  LaneOptions options;
  options.calls_per_corp = 0;
  options.campaigns = {{.calls = 20, .customers_per_call = 50}};
  options.unsendable_share = 0.1;
  options.reset_share = 0;
  options.late_share = 0;
  options.ends_when_done = false;
  Lane lane(options);
  lane.RunFor(20 * kMinute);
  const LaneResult& result = lane.result();
  EXPECT_EQ(result.accepted, 20);
  EXPECT_GE(result.fail_listed, 50);
  EXPECT_EQ(result.touches.at("touch_failed"), result.fail_listed);
  EXPECT_EQ(result.touches.at("touch_sent"), 20 * 50 - result.fail_listed);
}

// The most calls of any second, by their arrivals.
int64_t MostInASecond(std::vector<int64_t> arrivals_ns) {
  std::sort(arrivals_ns.begin(), arrivals_ns.end());
  int64_t most = 0;
  for (size_t first = 0, last = 0; last < arrivals_ns.size(); ++last) {
    while (arrivals_ns[last] - arrivals_ns[first] >= kNanosPerSecond) ++first;
    most = std::max(most, static_cast<int64_t>(last - first + 1));
  }
  return most;
}

struct OneAddress {
  int64_t most_in_a_second = 0;
  int64_t refused = 0;
  std::vector<int64_t> accepted;  // by lane
};

// Lanes with so many corps each, all behind one address whose limit is 200 calls a second, for a
// minute. `millionths` is the share of each.
OneAddress RunLanes(const std::vector<size_t>& corps, int64_t millionths, WindowKind window,
                    double stall_seconds) {
  std::vector<int64_t> arrivals_ns;
  std::vector<std::unique_ptr<Lane>> lanes;
  LaneOptions options;
  options.window = window;
  options.limits_json = LimitsOf(1'000'000, 1000, 200, 50);
  options.address_millionths = millionths;
  options.stall_seconds = stall_seconds;
  options.stall_every_seconds = 20;
  options.on_witness = [&](const wecom_simulator::WitnessEntry& entry, const std::string&) {
    if (entry.api == "mark_tag") arrivals_ns.push_back(entry.t_raw_ns);
  };
  for (const size_t of_lane : corps) {
    options.corps = of_lane;
    options.seed = lanes.size() + 1;
    lanes.push_back(std::make_unique<Lane>(options));
    options.wecom = lanes.front()->shared_wecom();
    options.first_corp += of_lane;
  }
  for (int64_t now_ns = 0; now_ns < kMinute;) {
    const auto next =
        std::min_element(lanes.begin(), lanes.end(),
                         [](const auto& a, const auto& b) { return a->next_ns() < b->next_ns(); });
    now_ns = (*next)->next_ns();
    (*next)->RunFor(now_ns);
  }
  OneAddress result{.most_in_a_second = MostInASecond(std::move(arrivals_ns))};
  for (const auto& lane : lanes) {
    result.refused += RateRefusals(lane->result());
    result.accepted.push_back(lane->result().accepted);
  }
  return result;
}

TEST(PitfallsTest, LanesBehindOneAddressTogetherKeepItsLimit) {
  for (const WindowKind kind :
       {WindowKind::kFixed, WindowKind::kSliding, WindowKind::kSlidingCountingRefusals}) {
    const OneAddress shared = RunLanes({9, 2, 1, 1}, 250'000, kind, 3);
    EXPECT_LE(shared.most_in_a_second, 200);
    EXPECT_EQ(shared.refused, 0);
    for (const int64_t accepted : shared.accepted) EXPECT_GE(accepted, 50 * 45);
  }
  // That it would show: each of them with the whole limit.
  EXPECT_GT(RunLanes({9, 2, 1, 1}, 1'000'000, WindowKind::kSliding, 3).refused, 0);
}

TEST(PitfallsTest, OneLaneWithAllCorpsUsesTheAddressToTheFull) {
  const OneAddress alone = RunLanes({13}, 1'000'000, WindowKind::kSliding, 0);
  EXPECT_LE(alone.most_in_a_second, 200);
  EXPECT_EQ(alone.refused, 0);
  // A slot and a round trip for each second.
  EXPECT_GE(alone.accepted[0], 200 * 60 * 9 / 10) << alone.accepted[0];
}

// Begins five minutes before them, and has to try many calls again. What is late arrives late, and
// where windows are long calls wait for tokens while quiet hours begin.
TEST(PitfallsTest, NoRepeatSlidesIntoQuietHours) {
  constexpr int64_t kCalls = 2'000;
  const int64_t midnight_s = StartOfCivilDay(20'783);
  for (const bool long_windows : {false, true}) {
    LaneOptions options;
    options.start_s = midnight_s + 22 * 3600 - 300;
    options.quiet_hours = {.from = 22 * 60, .to = 8 * 60};
    options.calls_per_corp = 0;
    options.campaigns = {{.calls = kCalls, .reminders = 3}};
    options.limits_json = absl::StrCat(
        R"({"limits":[{"api":"*","scope":"corp",)",
        long_windows ? R"("amount":300,"window_ms":180000)" : R"("amount":50,"window_ms":10000)",
        R"(}],"results":{"poll_ms":3600000}})");
    options.passing_share = 0.3;
    options.reset_share = options.late_share = long_windows ? 0 : 0.005;
    options.urgent = {.calls = 300, .per_second = 1};
    options.ends_when_done = false;
    int64_t before = 0;
    int64_t inside = 0;
    std::map<std::string, std::vector<int64_t>> after_s;
    options.on_witness = [&](const wecom_simulator::WitnessEntry& entry, const std::string&) {
      if (entry.api != "add_msg_template" && entry.api != "remind_groupmsg_send") return;
      const int64_t second = entry.t_wall_ns / kNanosPerSecond - midnight_s;
      if (second < 22 * 3600) {
        ++before;
      } else if (second < 32 * 3600) {
        ++inside;
      } else {
        after_s[entry.api].push_back(second - 32 * 3600);
      }
    };
    Lane lane(options);
    lane.RunFor(11 * 60 * kMinute);
    SCOPED_TRACE(long_windows);
    EXPECT_EQ(inside, 0);
    EXPECT_GE(before, 550);
    EXPECT_EQ(lane.result().accepted, kCalls);
    EXPECT_EQ(lane.result().urgent.executed, 300);
    // With full windows from the first second on.
    const auto& creates = after_s["add_msg_template"];
    EXPECT_GE(std::count_if(creates.begin(), creates.end(), [](int64_t s) { return s < 60; }), 250);
    EXPECT_GT(after_s["remind_groupmsg_send"].size(), 20u);
  }
}

TEST(PitfallsTest, TheProductsCountersAreWhatWecomSaw) {
  LaneOptions options;
  options.limits_json = LimitsOf(200, 2'000, 1'000'000, 20);
  options.calls_per_corp = 5'000;
  options.reset_share = 0.01;
  options.late_share = 0.01;
  options.ends_when_done = false;  // but when that is journaled, too
  Lane lane(options);
  lane.RunFor(10 * kMinute);
  const LaneResult& result = lane.result();
  ASSERT_EQ(result.fulfilled, 5'000);
  ASSERT_GT(result.unanswered, 0);
  EXPECT_EQ(lane.counters().calls.at({"mark_tag", "0"}), 5'000u);
  EXPECT_EQ(lane.counters().calls.at({"mark_tag", "no_answer"}),
            static_cast<uint64_t>(result.unanswered));
  // WeCom has executed those, and some of the others.
  EXPECT_GE(result.accepted, 5'000);
  EXPECT_LE(result.accepted, 5'000 + result.unanswered);
}

TEST(PitfallsTest, OnePairIsWrittenByOneCallAtATime) {
  LaneOptions options;
  options.limits_json = LimitsOf(10'000, 60'000, 1'000'000, 50);
  options.customers = 3;
  options.reset_share = 0.01;
  options.late_share = 0.01;
  Lane lane(options);
  lane.RunFor(10 * kMinute);
  EXPECT_GT(lane.result().accepted, 100);
  EXPECT_GT(lane.result().late, 0);
  EXPECT_EQ(lane.result().rejected.count(45035), 0u);
}

}  // namespace
}  // namespace tidegate::sim
