// Calls that cost more than one token, and limits that change while calls are under way.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/seeded_random.h"
#include "services/dispatch/core/bucket_set.h"

namespace tidegate::dispatch {
namespace {

using ::tidegate::log::v1::LimitsSet;
using wecom_table::Cost;
using wecom_table::Limits;
using wecom_table::ParseLimits;

constexpr int64_t kMilli = 1'000'000;
constexpr int64_t kSecond = 1'000'000'000;

LimitsSet Windows(const std::vector<std::pair<int64_t, int64_t>>& amount_and_ms,
                  const std::string& cost = "calls") {
  LimitsSet set;
  set.set_corp("c1");
  for (const auto& [amount, window_ms] : amount_and_ms) {
    auto* window = set.mutable_limits()->add_windows();
    window->set_api("mark_tag");
    window->set_amount(amount);
    window->set_window_ms(window_ms);
    window->set_cost(cost);
  }
  return set;
}

class ChangedLimitsTest : public ::testing::Test {
 protected:
  void Set(const LimitsSet& set, int64_t at_ns) {
    corps_.Set(set);
    buckets_.ChangeLimits(set.corp(), at_ns);
  }
  void Call(int64_t at_ns, const CallCost& cost = {}) {
    buckets_.Take(route(), cost);
    buckets_.Complete(route(), at_ns, /*rate_limited=*/false, cost);
  }
  BucketSet::Route route() { return buckets_.RouteOf("c1", "mark_tag"); }
  BucketSet::Verdict Check(int64_t now_ns, const CallCost& cost = {}) {
    return buckets_.Check(route(), now_ns, cost);
  }

  const Limits limits_ = *ParseLimits(R"({"limits": [
    {"api": "mark_tag", "scope": "corp", "amount": 10, "window_ms": 1000},
    {"api": "mark_tag", "scope": "corp", "amount": 40, "window_ms": 10000},
    {"api": "mark_tag", "scope": "ip", "amount": 1000, "window_ms": 1000}],
    "in_flight": [{"api": "mark_tag", "amount": 8}]})");
  CorpLimits corps_{&limits_};
  BucketSet buckets_{&limits_, &corps_};
};

TEST_F(ChangedLimitsTest, WhatWasUsedStaysUsed) {
  for (int i = 0; i < 8; ++i) Call(kSecond + i * 10 * kMilli);
  Set(Windows({{5, 1000}, {40, 10'000}}), kSecond + 100 * kMilli);
  const auto verdict = Check(kSecond + 100 * kMilli);
  EXPECT_FALSE(verdict.allowed);
  EXPECT_EQ(verdict.binding, "mark_tag corp 5/1s");
  // Four have to return.
  EXPECT_GE(verdict.earliest_ns, 2030 * kMilli);
  EXPECT_LE(verdict.earliest_ns, 2040 * kMilli);
  EXPECT_EQ(buckets_.Rows("c1", kSecond + 100 * kMilli)[1].tokens, 0);
  Set(Windows({{9, 1000}, {40, 10'000}}), kSecond + 110 * kMilli);
  EXPECT_TRUE(Check(kSecond + 110 * kMilli).allowed);
  Call(kSecond + 110 * kMilli);
  EXPECT_FALSE(Check(kSecond + 110 * kMilli).allowed);
}

TEST_F(ChangedLimitsTest, AnotherLengthBeginsWithWhatIsRemembered) {
  for (int i = 0; i < 8; ++i) Call((1 + i) * kSecond);
  const int64_t now = 8 * kSecond + 100 * kMilli;
  Set(Windows({{8, 5000}}), now);
  // Of the last 5 s, as the window of 10 s knew: five.
  EXPECT_EQ(buckets_.Rows("c1", now)[1].tokens, 3);
  Set(Windows({{8, 60'000}}), now);
  EXPECT_EQ(buckets_.Rows("c1", now)[1].tokens, 3) << "no longer window was there";
}

TEST_F(ChangedLimitsTest, AMuchShorterWindowCountsWhatCompletesFromThenOn) {
  Set(Windows({{1000, 86'400'000}}), kSecond);  // slots of six minutes
  Call(2 * kSecond);
  Set(Windows({{3, 60'000}}), 3 * kSecond);
  Call(4 * kSecond);
  Call(5 * kSecond);
  EXPECT_FALSE(Check(6 * kSecond).allowed);
  EXPECT_TRUE(Check(70 * kSecond).allowed);
}

TEST_F(ChangedLimitsTest, AWallClockThatWasSetReturnsNothing) {
  buckets_.See(kSecond, kSecond);
  for (int i = 0; i < 10; ++i) Call(kSecond);
  Set(Windows({{10, 1000}, {40, 10'000}}), 3600 * kSecond);
  EXPECT_FALSE(Check(kSecond + 100 * kMilli).allowed);
  EXPECT_TRUE(Check(2100 * kMilli).allowed);
}

TEST_F(ChangedLimitsTest, CallsUnderWayStayUnderWayWhateverCounts) {
  for (int i = 0; i < 4; ++i) buckets_.Take(route());
  buckets_.HoldUntil(route(), 5 * kSecond);
  Set(Windows({{5, 1000}, {20, 2000}, {30, 3000}}), kSecond);  // one bucket more
  Call(kSecond);
  EXPECT_EQ(Check(kSecond).binding, "mark_tag corp 5/1s");
  for (int i = 0; i < 3; ++i) buckets_.Complete(route(), 2 * kSecond, false);
  Set(Windows({{5, 1000}}), 2 * kSecond);  // and one less
  EXPECT_EQ(buckets_.Rows("c1", 4 * kSecond)[1].tokens, 4) << "the one in doubt";
  for (const BucketRow& row : buckets_.Rows("c1", 20 * kSecond)) {
    EXPECT_EQ(row.tokens, row.capacity) << row.scope;
  }
}

TEST_F(ChangedLimitsTest, FewerAtOnceMeansWaiting) {
  for (int i = 0; i < 6; ++i) buckets_.Take(route());
  LimitsSet set;
  set.set_corp("c1");
  set.mutable_limits()->add_in_flight()->set_api("mark_tag");
  set.mutable_limits()->mutable_in_flight(0)->set_amount(3);
  Set(set, kSecond);
  EXPECT_EQ(buckets_.Rows("c1", kSecond)[0].tokens, 0);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Check(kSecond).binding, "mark_tag in flight") << i;
    buckets_.ReturnUnused(route());
  }
  EXPECT_FALSE(Check(kSecond).allowed);
  buckets_.ReturnUnused(route());
  EXPECT_TRUE(Check(kSecond).allowed);
}

TEST_F(ChangedLimitsTest, OfOneCorpAndOfNoAddress) {
  Call(kSecond);
  Set(Windows({{1, 1000}}), kSecond);
  EXPECT_FALSE(Check(kSecond).allowed);
  const auto other = buckets_.RouteOf("c2", "mark_tag");
  EXPECT_TRUE(buckets_.Check(other, kSecond).allowed);
  buckets_.Take(other);
  EXPECT_EQ(buckets_.Rows("c1", kSecond).back().tokens, 1000 - 2);
}

TEST_F(ChangedLimitsTest, PeopleCountAndNotTheirCalls) {
  Set(Windows({{100, 1000}}, "person_times"), 0);
  EXPECT_TRUE(buckets_.Fits(route(), {.calls = 1, .person_times = 100}));
  EXPECT_FALSE(buckets_.Fits(route(), {.calls = 1, .person_times = 101}));
  EXPECT_FALSE(buckets_.Fits(route(), {.calls = 9, .person_times = 1})) << "8 at once";
  Call(kSecond, {.calls = 1, .person_times = 60});
  EXPECT_FALSE(Check(kSecond, {.calls = 1, .person_times = 41}).allowed);
  EXPECT_EQ(Check(kSecond, {.calls = 1, .person_times = 41}).binding,
            "mark_tag corp 100 person-times/1s");
  EXPECT_TRUE(Check(kSecond, {.calls = 1, .person_times = 40}).allowed);
  EXPECT_TRUE(Check(kSecond).allowed) << "a call for nobody";
  EXPECT_EQ(Check(kSecond, {.calls = 1, .person_times = 101}).earliest_ns, kNever);
  // What is decided and not applied counts, and leaves nothing behind.
  buckets_.Reserve(route(), {.calls = 1, .person_times = 30});
  EXPECT_FALSE(Check(kSecond, {.calls = 1, .person_times = 11}).allowed);
  buckets_.ClearReserved();
  EXPECT_TRUE(Check(kSecond, {.calls = 1, .person_times = 40}).allowed);
}

TEST_F(ChangedLimitsTest, ALimitOfPeopleKnowsThoseWhoAreUnderWay) {
  const CallCost thirty{.calls = 1, .person_times = 30};
  buckets_.Take(route(), thirty);
  buckets_.Take(route(), thirty);
  buckets_.HoldUntil(route(), 3 * kSecond, thirty);
  Set(Windows({{70, 1000}}, "person_times"), kSecond);
  EXPECT_FALSE(Check(kSecond, thirty).allowed);
  buckets_.Complete(route(), 2 * kSecond, false, thirty);
  EXPECT_FALSE(Check(2 * kSecond, thirty).allowed);
  EXPECT_TRUE(Check(3500 * kMilli, thirty).allowed) << "one in doubt still counts, one is back";
  EXPECT_EQ(buckets_.Rows("c1", 20 * kSecond)[1].cost, Cost::kPersonTimes);
  EXPECT_EQ(buckets_.Rows("c1", 20 * kSecond)[1].tokens, 70);
}

// Random windows of calls and of people, random calls, and every 5 s other amounts and lengths,
// against a server that looks back from each call it counts. Of the calls in one window the one
// that was admitted last saw all others, under the limit of its moment.
TEST(ChangedLimitsModelTest, NoWindowSeesMoreThanTheLimitOfItsLastCall) {
  struct Counted {
    int64_t at_ns;
    CallCost cost;
    size_t order;                                         // of admission
    std::map<std::pair<Cost, int64_t>, int64_t> amounts;  // then, by window
  };
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    SeededRandom random(seed);
    const auto below = [&](int64_t bound) {
      return static_cast<int64_t>(random.Below(static_cast<uint64_t>(bound)));
    };
    // A long window of each cost knows what a shorter one has to begin with.
    const Limits limits = *ParseLimits(R"({"limits": [
      {"api": "mark_tag", "scope": "corp", "amount": 100000, "window_ms": 20000}],
      "in_flight": [{"api": "mark_tag", "amount": 20}]})");
    CorpLimits corps(&limits);
    BucketSet buckets(&limits, &corps);
    const auto route = buckets.RouteOf("c1", "mark_tag");
    LimitsSet set;
    int64_t now = 1000 * kSecond;
    int64_t next_change = now;
    struct Open {
      int64_t ends_ns;
      CallCost cost;
      bool seen;
    };
    std::vector<Open> open;
    std::vector<Counted> counted;
    int64_t charged[2] = {0, 0};
    int64_t accepted[2] = {0, 0};
    for (int round = 0; round < 1500; ++round) {
      now += 1 + below(40 * kMilli);
      if (now >= next_change) {
        set = Windows({{100'000, 20'000}, {2 + below(40), 500 + below(4000)}});
        for (const auto& [amount, ms] : {std::pair<int64_t, int64_t>{100'000, 20'000},
                                         {20 + below(200), 500 + below(4000)},
                                         {100 + below(500), 4000 + below(4000)}}) {
          *set.mutable_limits()->add_windows() =
              Windows({{amount, ms}}, "person_times").limits().windows(0);
        }
        corps.Set(set);
        buckets.ChangeLimits("c1", now);
        next_change += 5 * kSecond;
      }
      for (auto it = open.begin(); it != open.end();) {
        if (it->ends_ns > now) {
          ++it;
          continue;
        }
        if (it->seen) buckets.Complete(route, it->ends_ns, false, it->cost);
        it = open.erase(it);
      }
      const CallCost cost{.calls = 1, .person_times = below(25)};
      const auto verdict = buckets.Check(route, now, cost);
      const auto wait = buckets.WaitOf(route, now, cost);
      ASSERT_EQ(verdict.allowed, wait.corp_ns <= now && wait.address_ns <= now);
      if (!verdict.allowed) continue;
      ASSERT_TRUE(buckets.Fits(route, cost));
      buckets.Take(route, cost);
      charged[0] += cost.calls;
      charged[1] += cost.person_times;
      if (random.Chance(0.05)) {
        buckets.ReturnUnused(route, cost);
        charged[0] -= cost.calls;
        charged[1] -= cost.person_times;
        continue;
      }
      const int64_t latency = below(random.Chance(0.03) ? 2 * kSecond : 100 * kMilli);
      open.push_back({.ends_ns = now + latency, .cost = cost, .seen = !random.Chance(0.1)});
      if (!open.back().seen) buckets.HoldUntil(route, now + latency, cost);
      Counted one{.at_ns = now + below(latency + 1), .cost = cost, .order = counted.size()};
      for (const auto& window : corps.Of("c1").WindowsOf("mark_tag", wecom_table::Scope::kCorp)) {
        one.amounts[{window.cost, window.window_ns}] = window.amount;
      }
      counted.push_back(std::move(one));
      accepted[0] += cost.calls;
      accepted[1] += cost.person_times;
    }
    ASSERT_EQ(charged[0], accepted[0]);
    ASSERT_EQ(charged[1], accepted[1]);
    ASSERT_GT(counted.size(), 50u);
    std::sort(counted.begin(), counted.end(),
              [](const Counted& a, const Counted& b) { return a.at_ns < b.at_ns; });
    for (size_t last = 0; last < counted.size(); ++last) {
      // Of every window that ends with it, under the limits of the newest of its calls.
      size_t newest = last;
      int64_t sums[2] = {0, 0};
      for (size_t i = last + 1; i-- > 0 && counted[last].at_ns - counted[i].at_ns < 10 * kSecond;) {
        if (counted[i].order > counted[newest].order) newest = i;
        sums[0] += counted[i].cost.calls;
        sums[1] += counted[i].cost.person_times;
        for (const auto& [window, amount] : counted[newest].amounts) {
          if (counted[last].at_ns - counted[i].at_ns >= window.second) continue;
          if (counted[newest].cost.Of(window.first) == 0) continue;  // asked nothing of it
          ASSERT_LE(sums[window.first == Cost::kCalls ? 0 : 1], amount)
              << "of " << window.second / kMilli << " ms, call " << last;
        }
      }
    }
    now += 2 * 3600 * kSecond;
    for (const Open& call : open) {
      if (call.seen) buckets.Complete(route, call.ends_ns, false, call.cost);
    }
    for (const BucketRow& row : buckets.Rows("c1", now)) {
      EXPECT_EQ(row.tokens, row.capacity) << row.scope;
    }
  }
}

TEST_F(ChangedLimitsTest, TheStatesHashDoesNotDependOnWhenTheBucketsWereLookedAt) {
  const auto hash_of = [](const BucketSet& buckets, int64_t at_ns) {
    core::StateHash hash;
    buckets.AddStateTo(&hash, at_ns);
    return hash.Hex();
  };
  SeededRandom random(3);
  BucketSet looked_at(&limits_, &corps_);
  const CallCost cost{.calls = 1, .person_times = 7};
  for (int64_t i = 0, ms = 1000; i < 200; ++i) {
    const int64_t now = (ms += 1 + static_cast<int64_t>(random.Below(300))) * kMilli;
    looked_at.Check(looked_at.RouteOf("c1", "mark_tag"), now, cost);
    for (BucketSet* buckets : {&buckets_, &looked_at}) {
      const auto route = buckets->RouteOf("c1", "mark_tag");
      buckets->See(now, now);
      buckets->Take(route, cost);
      if (i % 5 == 0) {
        buckets->HoldUntil(route, now + 3 * kSecond, cost);
      } else {
        buckets->Complete(route, now, i % 7 == 0, cost);
      }
      if (i % 11 == 0) buckets->Learn(route, {.window_ns = kSecond, .amount = 6}, now);
    }
    if (i % 10 == 9) {
      corps_.Set(Windows({{5 + i % 4, 1000 + i}, {40, 10'000}, {99, 700}},
                         i % 20 == 9 ? "calls" : "person_times"));
      for (BucketSet* buckets : {&buckets_, &looked_at}) buckets->ChangeLimits("c1", now);
    }
    for (const int64_t later : {int64_t{1}, kSecond, 5 * kSecond}) {
      ASSERT_EQ(hash_of(buckets_, now + later), hash_of(looked_at, now + later)) << i;
    }
  }
}

}  // namespace
}  // namespace tidegate::dispatch
