// Grants of several calls where fewer at once are served than are set.
#include <gtest/gtest.h>

#include <string>

#include "services/dispatch/core/bucket_set.h"

namespace tidegate::dispatch {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kMinute = 60 * kSecond;

class GrantsAtOnceTest : public ::testing::Test {
 protected:
  // Five are set; a call of our own, one of three, is refused.
  GrantsAtOnceTest() {
    buckets_.Take(route_, {.calls = 3});
    buckets_.LowerCeiling(route_, kSecond, 2 * kSecond);
    buckets_.Complete(route_, 2 * kSecond, /*proves_nothing=*/true);
    buckets_.Complete(route_, 2 * kSecond, /*proves_nothing=*/true, {.calls = 2});
  }
  BucketSet::Verdict Ask(int64_t calls, int64_t now_ns) {
    return buckets_.Check(route_, now_ns, {.calls = calls});
  }
  void UseGrant(int64_t calls, int64_t at_ns) {
    buckets_.Take(route_, {.calls = calls});
    buckets_.Complete(route_, at_ns, /*proves_nothing=*/false, {.calls = calls}, /*granted=*/true);
  }
  int64_t AtOnce(int64_t now_ns) { return buckets_.Rows("c1", now_ns).front().capacity; }

  const wecom_table::Limits limits_ = *wecom_table::ParseLimits(
      R"({"limits": [], "in_flight": [{"api": "mark_tag", "amount": 5}]})");
  BucketSet buckets_{&limits_};
  const BucketSet::Route route_ = buckets_.RouteOf("c1", "mark_tag");
};

TEST_F(GrantsAtOnceTest, ARefusalSaysHowManyMayBeAcquiredAndWhenMore) {
  const auto verdict = Ask(4, 3 * kSecond);
  EXPECT_FALSE(verdict.allowed);
  EXPECT_EQ(verdict.binding, "mark_tag in flight: acquire at most 2 now");
  EXPECT_TRUE(Ask(2, 3 * kSecond).allowed);
  EXPECT_FALSE(Ask(4, verdict.earliest_ns - 1).allowed);
  EXPECT_TRUE(Ask(4, verdict.earliest_ns).allowed);
}

TEST_F(GrantsAtOnceTest, WhereOnlyGrantsAreUsedOneMoreMayBeAcquiredAfterEachWait) {
  constexpr int64_t kRefused = 2 * kSecond;
  for (const int64_t calls : {3, 4, 5}) {
    const int64_t at_ns = kRefused + (calls - 2) * kMinute;
    EXPECT_FALSE(Ask(calls, at_ns - 1).allowed) << calls;
    EXPECT_TRUE(Ask(calls, at_ns).allowed) << calls;
    UseGrant(calls, at_ns);
  }
  EXPECT_FALSE(Ask(6, 100 * kMinute).allowed) << "never more than are set";
}

TEST_F(GrantsAtOnceTest, TheEndsOfGrantsAreNoTries) {
  for (int i = 0; i < 10'000; ++i) UseGrant(5, 10 * kMinute + i);
  EXPECT_EQ(AtOnce(10 * kMinute + 10'000), 2);
}

TEST_F(GrantsAtOnceTest, AGrantThatEndsWellEndsTheCanary) {
  buckets_.Lockout(route_, kMinute);
  EXPECT_EQ(Ask(2, 2 * kMinute).binding, "after a lockout one call goes first: acquire 1");
  UseGrant(1, 2 * kMinute);
  EXPECT_TRUE(Ask(2, 2 * kMinute).allowed);
}

}  // namespace
}  // namespace tidegate::dispatch
