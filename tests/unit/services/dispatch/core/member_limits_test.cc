#include "services/dispatch/core/member_limits.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "common/base/seeded_random.h"
#include "services/dispatch/core/token_buckets.h"

namespace tidegate::dispatch {
namespace {

constexpr int64_t kSecond = kNanosPerSecond;

TEST(MemberLimitsTest, AMemberIsFreeAWindowAfterTheEndOfWhatFillsIt) {
  MemberLimits limits({{2, 10 * kSecond}});
  EXPECT_EQ(limits.FreeAt("c", "m", 5), 5);
  limits.Hold("c", "m");
  limits.Reserve("c", "m");
  EXPECT_EQ(limits.FreeAt("c", "m", 5), kNever) << "both are under way";
  EXPECT_EQ(limits.FreeAt("c", "n", 5), 5);
  EXPECT_EQ(limits.FreeAt("d", "m", 5), 5);
  limits.Hold("c", "m");  // the reserved one
  limits.Charge("c", "m", 3 * kSecond);
  EXPECT_EQ(limits.FreeAt("c", "m", 4 * kSecond), 13 * kSecond);
  limits.Return("c", "m");
  EXPECT_EQ(limits.FreeAt("c", "m", 4 * kSecond), 4 * kSecond);
}

TEST(MemberLimitsTest, UpperAndLowerCaseAreOneMember) {
  MemberLimits limits({{2, 10 * kSecond}});
  limits.Hold("c", "Bob");
  limits.Reserve("c", "bOB");
  EXPECT_EQ(limits.FreeAt("c", "bob", 5), kNever);
}

TEST(MemberLimitsTest, AfterAnotherBootAllCountsAnew) {
  MemberLimits limits({{1, 10 * kSecond}});
  limits.Hold("c", "m");
  limits.Charge("c", "m", 500 * kSecond);
  limits.Rebase(2 * kSecond);
  EXPECT_EQ(limits.FreeAt("c", "m", 3 * kSecond), 12 * kSecond);
}

TEST(MemberLimitsTest, WhoIsNotWrittenToAnyMoreIsForgotten) {
  MemberLimits limits({{1, kSecond}});
  for (int i = 0; i < 100; ++i) {
    const std::string member = std::to_string(i);
    limits.Hold("c", member);
    limits.Charge("c", member, i * kSecond);
  }
  EXPECT_EQ(limits.members(), 100u);
  limits.Hold("c", "last");
  limits.Charge("c", "last", 8000 * kSecond);
  EXPECT_EQ(limits.members(), 1u);
}

// WeCom counts at any moment between the decision and the end.
TEST(MemberLimitsTest, NoWindowSeesMoreThanItsAmountWhereverWeComCounts) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    SeededRandom random(seed);
    const std::vector<wecom_table::MemberWindow> windows = {{3, 10 * kSecond}, {7, 60 * kSecond}};
    MemberLimits limits(windows);
    struct Open {
      int64_t counted_ns, over_ns;
    };
    std::vector<Open> open;
    std::vector<int64_t> counted;
    int64_t now = 1000 * kSecond;
    for (int step = 0; step < 2000; ++step) {
      now += static_cast<int64_t>(random.Unit() * 2 * kSecond);
      std::erase_if(open, [&](const Open& call) {
        if (call.over_ns > now) return false;
        limits.Charge("c", "m", call.over_ns);
        return true;
      });
      if (limits.FreeAt("c", "m", now) > now) continue;
      limits.Hold("c", "m");
      const auto took = static_cast<int64_t>(random.Unit() * 5 * kSecond);
      const int64_t counted_ns = now + static_cast<int64_t>(random.Unit() * took);
      open.push_back({counted_ns, now + took});
      counted.push_back(counted_ns);
    }
    std::sort(counted.begin(), counted.end());
    ASSERT_GT(counted.size(), 100u);
    for (const auto& window : windows) {
      for (size_t i = static_cast<size_t>(window.amount); i < counted.size(); ++i) {
        ASSERT_GE(counted[i] - counted[i - static_cast<size_t>(window.amount)], window.window_ns)
            << "seed " << seed;
      }
    }
  }
}

}  // namespace
}  // namespace tidegate::dispatch
