#include "services/dispatch/core/bucket_set.h"

#include <gtest/gtest.h>

#include <string>

namespace tidegate::dispatch {
namespace {

using wecom_table::ParseLimits;

constexpr int64_t kSecond = 1'000'000'000;

wecom_table::Limits TestLimits() {
  return *ParseLimits(R"({"limits": [
    {"api": "a", "scope": "corp", "amount": 2, "window_ms": 1000},
    {"api": "a", "scope": "corp", "amount": 5, "window_ms": 10000, "lockout_ms": 7000},
    {"api": "a", "scope": "ip", "amount": 3, "window_ms": 1000}],
    "in_flight": [{"api": "a", "amount": 2}]})");
}

class BucketSetTest : public ::testing::Test {
 protected:
  void Call(const std::string& corp, int64_t at_ns) {
    buckets_.Take(corp, "a");
    buckets_.Complete(corp, "a", at_ns, /*rate_limited=*/false);
  }
  wecom_table::Limits limits_ = TestLimits();
  BucketSet buckets_{&limits_, "lane-0"};
};

TEST_F(BucketSetTest, NamesTheLimitThatBinds) {
  EXPECT_TRUE(buckets_.Check("c1", "a", kSecond).allowed);
  Call("c1", kSecond);
  Call("c1", kSecond);
  const auto verdict = buckets_.Check("c1", "a", kSecond);
  EXPECT_FALSE(verdict.allowed);
  EXPECT_EQ(verdict.binding, "a corp 2/1s");
  EXPECT_GE(verdict.earliest_ns, 2 * kSecond);
}

TEST_F(BucketSetTest, CorpsShareTheBucketsOfTheAddress) {
  Call("c1", kSecond);
  Call("c1", kSecond);
  Call("c2", kSecond);
  const auto verdict = buckets_.Check("c2", "a", kSecond);
  EXPECT_FALSE(verdict.allowed);
  EXPECT_EQ(verdict.binding, "a ip 3/1s");
}

TEST_F(BucketSetTest, ACheckThatFailsTakesNothing) {
  Call("c1", kSecond);
  Call("c1", kSecond);
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(buckets_.Check("c1", "a", kSecond).allowed);
  EXPECT_TRUE(buckets_.Check("c1", "a", 3 * kSecond).allowed);
  EXPECT_TRUE(buckets_.Check("c2", "a", kSecond).allowed);
}

TEST_F(BucketSetTest, ReservedCallsCountUntilTheyAreCleared) {
  buckets_.Reserve("c1", "a");
  EXPECT_TRUE(buckets_.Check("c1", "a", kSecond).allowed);
  buckets_.Reserve("c1", "a");
  EXPECT_FALSE(buckets_.Check("c1", "a", kSecond).allowed);
  buckets_.ClearReserved();
  EXPECT_TRUE(buckets_.Check("c1", "a", kSecond).allowed);
}

TEST_F(BucketSetTest, CallsInFlightAreLimitedPerCorp) {
  buckets_.Take("c1", "a");
  buckets_.Take("c1", "a");
  const auto verdict = buckets_.Check("c1", "a", kSecond);
  EXPECT_FALSE(verdict.allowed);
  EXPECT_EQ(verdict.earliest_ns, kNever);
  EXPECT_TRUE(buckets_.Check("c2", "a", kSecond).allowed);
}

TEST_F(BucketSetTest, AfterALockoutOneCanaryGoesAndThenTheRest) {
  Call("c1", kSecond);
  buckets_.Lockout("c1", "a", 20 * kSecond);
  EXPECT_EQ(buckets_.Check("c1", "a", 10 * kSecond).earliest_ns, 20 * kSecond);
  EXPECT_TRUE(buckets_.Check("c1", "a", 20 * kSecond).allowed);
  buckets_.Take("c1", "a");
  EXPECT_FALSE(buckets_.Check("c1", "a", 20 * kSecond).allowed);
  buckets_.Complete("c1", "a", 20 * kSecond, /*rate_limited=*/true);
  buckets_.Lockout("c1", "a", 40 * kSecond);
  EXPECT_FALSE(buckets_.Check("c1", "a", 39 * kSecond).allowed);
  buckets_.Take("c1", "a");
  buckets_.Complete("c1", "a", 40 * kSecond, /*rate_limited=*/false);
  buckets_.Take("c1", "a");
  EXPECT_TRUE(buckets_.Check("c1", "a", 41 * kSecond + kSecond / 2).allowed);
}

TEST_F(BucketSetTest, ChoosesTheLockoutOfTheFullestWindow) {
  EXPECT_EQ(buckets_.ChooseLockout("c1", "a", kSecond), kSecond);
  for (int i = 0; i < 5; ++i) Call("c1", (5 + 2 * i) * kSecond);
  EXPECT_EQ(buckets_.ChooseLockout("c1", "a", 14 * kSecond), 7 * kSecond);
}

TEST_F(BucketSetTest, UnusedTokensReturnAtOnce) {
  buckets_.Take("c1", "a");
  buckets_.Take("c1", "a");
  buckets_.ReturnUnused("c1", "a");
  EXPECT_TRUE(buckets_.Check("c1", "a", kSecond).allowed);
}

TEST_F(BucketSetTest, ShowsEveryBucketWithWhatIsLeft) {
  Call("c1", kSecond);
  const auto rows = buckets_.Rows("c1", kSecond);
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0].scope, "in_flight");
  EXPECT_EQ(rows[0].tokens, 2);
  EXPECT_EQ(rows[1].scope, "corp");
  EXPECT_EQ(rows[1].tokens, 1);
  EXPECT_EQ(rows[3].scope, "ip");
  EXPECT_EQ(rows[3].tokens, 2);
}

TEST(ForecastTest, IsTheGreedyRecurrence) {
  const auto demo = *ParseLimits(R"({"limits": [
    {"api": "add_msg_template", "scope": "corp", "amount": 60, "window_ms": 5000},
    {"api": "add_msg_template", "scope": "corp", "amount": 250, "window_ms": 50000}]})");
  EXPECT_DOUBLE_EQ(ForecastCalls(demo, "add_msg_template", 360, 0).seconds, 55);
  const auto documented = wecom_table::DefaultLimits();
  struct Row {
    int64_t calls;
    double seconds;
  };
  // The table of optima for one corp and one API.
  for (const Row& row :
       {Row{10'000, 0}, Row{150'000, 840}, Row{160'000, 3600}, Row{300'000, 4440}}) {
    EXPECT_DOUBLE_EQ(ForecastCalls(documented, "mark_tag", row.calls, 0).seconds, row.seconds)
        << row.calls;
  }
  const auto concurrency = ForecastCalls(documented, "mark_tag", 150'000, 0.08);
  EXPECT_DOUBLE_EQ(concurrency.seconds, 2400);
  EXPECT_EQ(concurrency.binding, "mark_tag in flight 5");
  EXPECT_EQ(ForecastCalls(documented, "mark_tag", 0, 0.08).seconds, 0);
}

}  // namespace
}  // namespace tidegate::dispatch
