#include "services/dispatch/core/bucket_set.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/seeded_random.h"

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
    buckets_.Take(buckets_.RouteOf(corp, "a"));
    buckets_.Complete(buckets_.RouteOf(corp, "a"), at_ns, /*rate_limited=*/false);
  }
  wecom_table::Limits limits_ = TestLimits();
  BucketSet buckets_{&limits_};
};

TEST_F(BucketSetTest, NamesTheLimitThatBinds) {
  EXPECT_TRUE(buckets_.Check(buckets_.RouteOf("c1", "a"), kSecond).allowed);
  Call("c1", kSecond);
  Call("c1", kSecond);
  const auto verdict = buckets_.Check(buckets_.RouteOf("c1", "a"), kSecond);
  EXPECT_FALSE(verdict.allowed);
  EXPECT_EQ(verdict.binding, "a corp 2/1s");
  EXPECT_GE(verdict.earliest_ns, 2 * kSecond);
}

TEST_F(BucketSetTest, CorpsShareTheBucketsOfTheAddress) {
  Call("c1", kSecond);
  Call("c1", kSecond);
  Call("c2", kSecond);
  const auto verdict = buckets_.Check(buckets_.RouteOf("c2", "a"), kSecond);
  EXPECT_FALSE(verdict.allowed);
  EXPECT_EQ(verdict.binding, "a ip 3/1s");
}

TEST_F(BucketSetTest, ACheckThatFailsTakesNothing) {
  Call("c1", kSecond);
  Call("c1", kSecond);
  for (int i = 0; i < 10; ++i)
    EXPECT_FALSE(buckets_.Check(buckets_.RouteOf("c1", "a"), kSecond).allowed);
  EXPECT_TRUE(buckets_.Check(buckets_.RouteOf("c1", "a"), 3 * kSecond).allowed);
  EXPECT_TRUE(buckets_.Check(buckets_.RouteOf("c2", "a"), kSecond).allowed);
}

TEST_F(BucketSetTest, ReservedCallsCountUntilTheyAreCleared) {
  buckets_.Reserve(buckets_.RouteOf("c1", "a"));
  EXPECT_TRUE(buckets_.Check(buckets_.RouteOf("c1", "a"), kSecond).allowed);
  buckets_.Reserve(buckets_.RouteOf("c1", "a"));
  EXPECT_FALSE(buckets_.Check(buckets_.RouteOf("c1", "a"), kSecond).allowed);
  buckets_.ClearReserved();
  EXPECT_TRUE(buckets_.Check(buckets_.RouteOf("c1", "a"), kSecond).allowed);
}

TEST_F(BucketSetTest, CallsInFlightAreLimitedPerCorp) {
  buckets_.Take(buckets_.RouteOf("c1", "a"));
  buckets_.Take(buckets_.RouteOf("c1", "a"));
  const auto verdict = buckets_.Check(buckets_.RouteOf("c1", "a"), kSecond);
  EXPECT_FALSE(verdict.allowed);
  EXPECT_EQ(verdict.earliest_ns, kNever);
  EXPECT_TRUE(buckets_.Check(buckets_.RouteOf("c2", "a"), kSecond).allowed);
}

TEST_F(BucketSetTest, AfterALockoutOneCanaryGoesAndThenTheRest) {
  Call("c1", kSecond);
  buckets_.Lockout(buckets_.RouteOf("c1", "a"), 20 * kSecond);
  EXPECT_EQ(buckets_.Check(buckets_.RouteOf("c1", "a"), 10 * kSecond).earliest_ns, 20 * kSecond);
  EXPECT_TRUE(buckets_.Check(buckets_.RouteOf("c1", "a"), 20 * kSecond).allowed);
  buckets_.Take(buckets_.RouteOf("c1", "a"));
  EXPECT_FALSE(buckets_.Check(buckets_.RouteOf("c1", "a"), 20 * kSecond).allowed);
  buckets_.Complete(buckets_.RouteOf("c1", "a"), 20 * kSecond, /*rate_limited=*/true);
  buckets_.Lockout(buckets_.RouteOf("c1", "a"), 40 * kSecond);
  EXPECT_FALSE(buckets_.Check(buckets_.RouteOf("c1", "a"), 39 * kSecond).allowed);
  buckets_.Take(buckets_.RouteOf("c1", "a"));
  buckets_.Complete(buckets_.RouteOf("c1", "a"), 40 * kSecond, /*rate_limited=*/false);
  buckets_.Take(buckets_.RouteOf("c1", "a"));
  EXPECT_TRUE(buckets_.Check(buckets_.RouteOf("c1", "a"), 41 * kSecond + kSecond / 2).allowed);
}

TEST_F(BucketSetTest, ACallSentBeforeALockoutIsNoCanary) {
  buckets_.Take(buckets_.RouteOf("c1", "a"));
  buckets_.Take(buckets_.RouteOf("c1", "a"));
  buckets_.Complete(buckets_.RouteOf("c1", "a"), kSecond, /*rate_limited=*/true);
  buckets_.Lockout(buckets_.RouteOf("c1", "a"), 20 * kSecond);
  buckets_.Complete(buckets_.RouteOf("c1", "a"), 2 * kSecond, /*rate_limited=*/false);
  ASSERT_TRUE(buckets_.Check(buckets_.RouteOf("c1", "a"), 20 * kSecond).allowed);
  buckets_.Take(buckets_.RouteOf("c1", "a"));
  EXPECT_FALSE(buckets_.Check(buckets_.RouteOf("c1", "a"), 20 * kSecond).allowed);
}

TEST_F(BucketSetTest, ACanaryWhoseEndNobodySawIsFollowedByAnother) {
  buckets_.Lockout(buckets_.RouteOf("c1", "a"), 20 * kSecond);
  buckets_.Take(buckets_.RouteOf("c1", "a"));
  EXPECT_EQ(buckets_.Check(buckets_.RouteOf("c1", "a"), 21 * kSecond).earliest_ns, kNever);
  buckets_.HoldUntil(buckets_.RouteOf("c1", "a"), 30 * kSecond);
  const auto held = buckets_.Check(buckets_.RouteOf("c1", "a"), 22 * kSecond);
  EXPECT_FALSE(held.allowed);
  EXPECT_EQ(held.earliest_ns, 30 * kSecond);
  EXPECT_EQ(held.binding, "canary");
  EXPECT_TRUE(buckets_.Check(buckets_.RouteOf("c1", "a"), 30 * kSecond).allowed);
  buckets_.Take(buckets_.RouteOf("c1", "a"));
  EXPECT_FALSE(buckets_.Check(buckets_.RouteOf("c1", "a"), 33 * kSecond).allowed);
}

TEST_F(BucketSetTest, ARefusedCallStaysCharged) {
  buckets_.Take(buckets_.RouteOf("c1", "a"));
  buckets_.Complete(buckets_.RouteOf("c1", "a"), kSecond, /*rate_limited=*/true);
  Call("c1", kSecond);
  EXPECT_EQ(buckets_.Check(buckets_.RouteOf("c1", "a"), kSecond).binding, "a corp 2/1s");
}

TEST_F(BucketSetTest, TooManyAtOnceLowersTheCeilingOfThatCorpOnly) {
  buckets_.Take(buckets_.RouteOf("c1", "a"));
  buckets_.Take(buckets_.RouteOf("c1", "a"));
  buckets_.LowerCeiling(buckets_.RouteOf("c1", "a"), kSecond / 2, kSecond);
  buckets_.Complete(buckets_.RouteOf("c1", "a"), kSecond, /*proves_nothing=*/true);
  EXPECT_EQ(buckets_.Rows("c1", kSecond)[0].capacity, 1);
  EXPECT_EQ(buckets_.Check(buckets_.RouteOf("c1", "a"), 9 * kSecond).binding, "a in flight");
  buckets_.Complete(buckets_.RouteOf("c1", "a"), 9 * kSecond, /*rate_limited=*/false);
  EXPECT_EQ(buckets_.Rows("c1", 9 * kSecond)[0].capacity, 1) << "for a minute";
  Call("c1", 61 * kSecond);
  EXPECT_EQ(buckets_.Rows("c1", 61 * kSecond)[0].capacity, 2);
  buckets_.Take(buckets_.RouteOf("c2", "a"));
  EXPECT_TRUE(buckets_.Check(buckets_.RouteOf("c2", "a"), 19 * kSecond).allowed);
}

TEST_F(BucketSetTest, AnotherBootKeepsALockoutAndChargesAnew) {
  Call("c1", 100 * kSecond);
  Call("c1", 100 * kSecond);
  buckets_.See(100 * kSecond, 500 * kSecond);
  buckets_.Lockout(buckets_.RouteOf("c1", "a"), 107 * kSecond);
  buckets_.Rebase(kSecond, /*wall_ns=*/600 * kSecond);
  // Another corp sees only what the two calls left of the address.
  EXPECT_TRUE(buckets_.Check(buckets_.RouteOf("c2", "a"), kSecond).allowed);
  buckets_.Take(buckets_.RouteOf("c2", "a"));
  EXPECT_FALSE(buckets_.Check(buckets_.RouteOf("c2", "a"), 19 * kSecond / 10).allowed);
  EXPECT_EQ(buckets_.Check(buckets_.RouteOf("c1", "a"), 2 * kSecond).earliest_ns, 8 * kSecond);
  EXPECT_TRUE(buckets_.Check(buckets_.RouteOf("c1", "a"), 8 * kSecond).allowed);
}

// Corps that share one address, against a server that looks back over every window of every limit
// and counts each call at some moment between its first byte and its end.
TEST(BucketSetModelTest, NoWindowOfAnyLimitSeesMoreThanItsAmount) {
  struct Counted {
    int64_t at_ns;
    int corp;
  };
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    SeededRandom random(seed);
    const auto below = [&](int64_t bound) {
      return static_cast<int64_t>(random.Below(static_cast<uint64_t>(bound)));
    };
    const int64_t window_ms = 100 + below(2000);
    const int64_t corp_amount = 1 + below(20);
    const int64_t in_flight = 1 + below(5);
    const auto limits = *ParseLimits(absl::StrCat(
        R"({"limits":[{"api":"a","scope":"corp","window_ms":)", window_ms, R"(,"amount":)",
        corp_amount, R"(},{"api":"a","scope":"corp","window_ms":)", 10 * window_ms, R"(,"amount":)",
        4 * corp_amount, R"(},{"api":"a","scope":"ip","window_ms":)", window_ms, R"(,"amount":)",
        corp_amount + below(2 * corp_amount), R"(}],"in_flight":[{"api":"a","amount":)", in_flight,
        R"(}],"slots_per_window":)", 20 + below(200), "}"));
    BucketSet buckets(&limits);
    struct Call {
      int64_t ends_ns;
      int corp;
      bool seen;
    };
    std::vector<Call> open;
    std::vector<Counted> counted;
    int64_t now = 1'000 * kSecond;
    const int64_t step = window_ms * 1'000'000 / 30;
    for (int round = 0; round < 1500; ++round) {
      now += 1 + below(step);
      for (auto it = open.begin(); it != open.end();) {
        if (it->ends_ns > now) {
          ++it;
          continue;
        }
        if (it->seen)
          buckets.Complete(buckets.RouteOf(absl::StrCat("c", it->corp), "a"), it->ends_ns, false);
        it = open.erase(it);
      }
      std::vector<int> decided;  // one batch: decided together, applied afterwards
      for (int64_t tries = below(12); tries > 0; --tries) {
        const int corp = static_cast<int>(below(3));
        const std::string name = absl::StrCat("c", corp);
        const auto verdict = buckets.Check(buckets.RouteOf(name, "a"), now);
        ASSERT_EQ(verdict.allowed, verdict.earliest_ns <= now);
        if (!verdict.allowed) continue;
        buckets.Reserve(buckets.RouteOf(name, "a"));
        decided.push_back(corp);
      }
      buckets.ClearReserved();
      for (const int corp : decided) {
        const std::string name = absl::StrCat("c", corp);
        buckets.Take(buckets.RouteOf(name, "a"));
        if (random.Chance(0.05)) {
          buckets.ReturnUnused(buckets.RouteOf(name, "a"));
          continue;
        }
        const int64_t latency = below(random.Chance(0.03) ? 60 * step : 3 * step);
        open.push_back({.ends_ns = now + latency, .corp = corp, .seen = !random.Chance(0.1)});
        if (!open.back().seen) buckets.HoldUntil(buckets.RouteOf(name, "a"), now + latency);
        counted.push_back({.at_ns = now + below(latency + 1), .corp = corp});
        ASSERT_LE(std::count_if(open.begin(), open.end(),
                                [&](const Call& call) { return call.corp == corp; }),
                  in_flight);
      }
    }
    ASSERT_GT(counted.size(), 20u);
    std::sort(counted.begin(), counted.end(),
              [](const Counted& a, const Counted& b) { return a.at_ns < b.at_ns; });
    for (const auto& limit : limits.windows) {
      if (limit.api != "a") continue;
      std::map<int, std::vector<int64_t>> times;
      for (const Counted& one : counted) {
        times[limit.scope == wecom_table::Scope::kCorp ? one.corp : -1].push_back(one.at_ns);
      }
      const size_t amount = static_cast<size_t>(limit.amount);
      for (const auto& [key, at] : times) {
        for (size_t i = amount; i < at.size(); ++i) {
          ASSERT_GE(at[i] - at[i - amount], limit.window_ns) << limit.amount << " of " << key;
        }
      }
    }
    for (const Call& call : open) {
      if (call.seen)
        buckets.Complete(buckets.RouteOf(absl::StrCat("c", call.corp), "a"), call.ends_ns, false);
    }
    now += 3600 * kSecond;
    for (const char* corp : {"c0", "c1", "c2"}) {
      ASSERT_TRUE(buckets.Check(buckets.RouteOf(corp, "a"), now).allowed);
      for (const BucketRow& row : buckets.Rows(corp, now)) {
        EXPECT_EQ(row.tokens, row.capacity) << corp << " " << row.scope;
      }
    }
  }
}

// Both windows of the first run, latency short beside them: the recurrence is the optimum.
TEST(BucketSetModelTest, TakesHardlyLongerThanTheRecurrence) {
  const auto limits = *ParseLimits(R"({"limits": [
    {"api": "a", "scope": "corp", "amount": 60, "window_ms": 5000},
    {"api": "a", "scope": "corp", "amount": 250, "window_ms": 50000}],
    "in_flight": [{"api": "a", "amount": 4}]})");
  constexpr int64_t kLatency = 20'000'000;
  for (const int64_t calls : {61, 249, 360, 1000}) {
    BucketSet buckets(&limits);
    std::vector<int64_t> open;  // ends, ascending
    const int64_t start = 100 * kSecond;
    int64_t now = start;
    for (int64_t sent = 0; sent < calls;) {
      while (!open.empty() && open.front() <= now) {
        buckets.Complete(buckets.RouteOf("c", "a"), open.front(), false);
        open.erase(open.begin());
      }
      const auto verdict = buckets.Check(buckets.RouteOf("c", "a"), now);
      if (verdict.allowed) {
        buckets.Take(buckets.RouteOf("c", "a"));
        open.push_back(now + kLatency);
        ++sent;
        continue;
      }
      const int64_t next =
          open.empty() ? verdict.earliest_ns : std::min(verdict.earliest_ns, open.front());
      ASSERT_NE(next, kNever);
      ASSERT_GT(next, now);
      now = next;
    }
    const double optimum = ForecastCalls(limits, "a", calls, 0).seconds;
    EXPECT_LE(static_cast<double>(now - start) * 1e-9, optimum / 0.98 + 0.3) << calls;
    EXPECT_GE(static_cast<double>(now - start) * 1e-9, optimum) << calls;
  }
}

TEST_F(BucketSetTest, ChoosesTheLockoutOfTheFullestWindow) {
  EXPECT_EQ(buckets_.ChooseLockout(buckets_.RouteOf("c1", "a"), kSecond), kSecond);
  for (int i = 0; i < 5; ++i) Call("c1", (5 + 2 * i) * kSecond);
  EXPECT_EQ(buckets_.ChooseLockout(buckets_.RouteOf("c1", "a"), 14 * kSecond), 7 * kSecond);
}

TEST_F(BucketSetTest, UnusedTokensReturnAtOnce) {
  buckets_.Take(buckets_.RouteOf("c1", "a"));
  buckets_.Take(buckets_.RouteOf("c1", "a"));
  buckets_.ReturnUnused(buckets_.RouteOf("c1", "a"));
  EXPECT_TRUE(buckets_.Check(buckets_.RouteOf("c1", "a"), kSecond).allowed);
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

// A replay takes the same calls without ever looking at the clock in between.
TEST_F(BucketSetTest, TheStatesHashDoesNotDependOnWhenTheBucketsWereLookedAt) {
  const auto hash_of = [](const BucketSet& buckets, int64_t at_ns) {
    core::StateHash hash;
    buckets.AddStateTo(&hash, at_ns);
    return hash.Hex();
  };
  SeededRandom random(7);
  BucketSet looked_at(&limits_);
  const std::string as_new = hash_of(buckets_, 0);
  for (int64_t ms = 1000, i = 0; i < 300; ++i) {
    for (BucketSet* buckets : {&buckets_, &looked_at}) buckets->Take(buckets->RouteOf("c1", "a"));
    ms += 1 + static_cast<int64_t>(random.Below(700));
    for (BucketSet* buckets : {&buckets_, &looked_at}) {
      if (i % 3 == 0) {
        buckets->HoldUntil(buckets->RouteOf("c1", "a"), ms * 1'000'000 + 3 * kSecond);
      } else {
        buckets->Complete(buckets->RouteOf("c1", "a"), ms * 1'000'000, i % 7 == 0);
      }
    }
    looked_at.Check(looked_at.RouteOf("c1", "a"), (ms + 1) * 1'000'000);
    looked_at.Check(looked_at.RouteOf("c2", "a"),
                    (ms + 1) * 1'000'000);  // makes a bucket that is as new
    for (const int64_t later : {int64_t{1}, kSecond, 5 * kSecond}) {
      const int64_t at = ms * 1'000'000 + 1'000'000 + later;
      EXPECT_EQ(hash_of(buckets_, at), hash_of(looked_at, at)) << i;
    }
    EXPECT_NE(hash_of(buckets_, ms * 1'000'000 + 2'000'000), as_new);
  }
  EXPECT_EQ(hash_of(buckets_, kNever), as_new) << "all tokens are back at last";
}

}  // namespace
}  // namespace tidegate::dispatch
