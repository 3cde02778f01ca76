#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/seeded_random.h"
#include "services/dispatch/core/bucket_set.h"

namespace tidegate::dispatch {
namespace {

using wecom_table::Limits;
using wecom_table::ParseLimits;
using wecom_table::Scope;
using wecom_table::WindowLimit;

constexpr int64_t kSecond = 1'000'000'000;

Limits RuleLimits() {
  return *ParseLimits(R"({"limits": [
    {"api": "a", "scope": "corp", "amount": 20, "window_ms": 1000, "lockout_ms": 2000},
    {"api": "a", "scope": "corp", "amount": 100, "window_ms": 10000, "lockout_ms": 30000},
    {"api": "a", "scope": "ip", "amount": 30, "window_ms": 1000, "lockout_ms": 5000},
    {"api": "b", "scope": "corp", "amount": 2, "window_ms": 1000}],
    "in_flight": [{"api": "a", "amount": 4}]})");
}

class BucketRulesTest : public ::testing::Test {
 protected:
  void Call(const std::string& corp, const std::string& api, int64_t at_ns, int times = 1) {
    for (int i = 0; i < times; ++i) {
      buckets_.Take(buckets_.RouteOf(corp, api));
      buckets_.Complete(buckets_.RouteOf(corp, api), at_ns, /*rate_limited=*/false);
    }
  }
  Limits limits_ = RuleLimits();
  BucketSet buckets_{&limits_};
};

TEST_F(BucketRulesTest, TheLatestOfAllLimitsBinds) {
  // Short window full until 11 s, long window until 20 s.
  for (int i = 0; i < 5; ++i) Call("c1", "a", 10 * kSecond, 20);
  const auto verdict = buckets_.Check(buckets_.RouteOf("c1", "a"), 10 * kSecond);
  EXPECT_FALSE(verdict.allowed);
  EXPECT_EQ(verdict.binding, "a corp 100/10s");
  EXPECT_GE(verdict.earliest_ns, 20 * kSecond);
  EXPECT_LE(verdict.earliest_ns, 20 * kSecond + kSecond / 10);
  EXPECT_TRUE(buckets_.Check(buckets_.RouteOf("c1", "a"), verdict.earliest_ns).allowed);
}

TEST_F(BucketRulesTest, OneApisCallsTakeNothingFromAnother) {
  Call("c1", "b", kSecond, 2);
  EXPECT_EQ(buckets_.Check(buckets_.RouteOf("c1", "b"), kSecond).binding, "b corp 2/1s");
  EXPECT_TRUE(buckets_.Check(buckets_.RouteOf("c1", "a"), kSecond).allowed);
}

TEST_F(BucketRulesTest, ReservationsOfAllCorpsCountAtTheAddress) {
  Call("c1", "a", kSecond, 20);
  Call("c2", "a", kSecond, 8);
  buckets_.Reserve(buckets_.RouteOf("c2", "a"));
  EXPECT_TRUE(buckets_.Check(buckets_.RouteOf("c3", "a"), kSecond).allowed);
  buckets_.Reserve(buckets_.RouteOf("c3", "a"));
  EXPECT_EQ(buckets_.Check(buckets_.RouteOf("c3", "a"), kSecond).binding, "a ip 30/1s");
  buckets_.ClearReserved();
  EXPECT_TRUE(buckets_.Check(buckets_.RouteOf("c3", "a"), kSecond).allowed);
}

TEST_F(BucketRulesTest, ADoubtKeepsItsPermitToItsBoundAndItsTokensOneWindowMore) {
  for (int i = 0; i < 4; ++i) {
    buckets_.Take(buckets_.RouteOf("c1", "b"));
    buckets_.HoldUntil(buckets_.RouteOf("c1", "b"), 5 * kSecond);
  }
  const auto verdict = buckets_.Check(buckets_.RouteOf("c1", "b"), kSecond);
  EXPECT_FALSE(verdict.allowed);
  EXPECT_EQ(verdict.binding, "b corp 2/1s");
  EXPECT_GE(verdict.earliest_ns, 6 * kSecond);
  EXPECT_FALSE(buckets_.Check(buckets_.RouteOf("c1", "b"), 6 * kSecond - 1).allowed);
  EXPECT_TRUE(buckets_.Check(buckets_.RouteOf("c1", "b"), verdict.earliest_ns).allowed);
}

TEST_F(BucketRulesTest, ALockoutIsOfOneCorpAndOneApi) {
  buckets_.Lockout(buckets_.RouteOf("c1", "a"), 20 * kSecond);
  EXPECT_EQ(buckets_.Check(buckets_.RouteOf("c1", "a"), 10 * kSecond).binding, "lockout");
  EXPECT_TRUE(buckets_.Check(buckets_.RouteOf("c1", "b"), 10 * kSecond).allowed);
  EXPECT_TRUE(buckets_.Check(buckets_.RouteOf("c2", "a"), 10 * kSecond).allowed);
  // A shorter one that comes later does not end it.
  buckets_.Lockout(buckets_.RouteOf("c1", "a"), 15 * kSecond);
  EXPECT_EQ(buckets_.Check(buckets_.RouteOf("c1", "a"), 16 * kSecond).earliest_ns, 20 * kSecond);
}

TEST_F(BucketRulesTest, TheCanaryMayBeReservedOnlyOnce) {
  buckets_.Lockout(buckets_.RouteOf("c1", "a"), 20 * kSecond);
  ASSERT_TRUE(buckets_.Check(buckets_.RouteOf("c1", "a"), 20 * kSecond).allowed);
  buckets_.Reserve(buckets_.RouteOf("c1", "a"));
  const auto verdict = buckets_.Check(buckets_.RouteOf("c1", "a"), 20 * kSecond);
  EXPECT_FALSE(verdict.allowed);
  EXPECT_EQ(verdict.binding, "canary");
}

TEST_F(BucketRulesTest, ALockoutLastsAsTheFullestWindowSays) {
  // Nothing is full: as the shortest of all.
  EXPECT_EQ(buckets_.ChooseLockout(buckets_.RouteOf("c1", "a"), kSecond), 2 * kSecond);
  Call("c1", "a", kSecond, 19);  // 95 % of the short window: not over
  EXPECT_EQ(buckets_.ChooseLockout(buckets_.RouteOf("c1", "a"), kSecond), 2 * kSecond);
  Call("c2", "a", kSecond, 10);  // 29 of the address's 30
  EXPECT_EQ(buckets_.ChooseLockout(buckets_.RouteOf("c1", "a"), kSecond), 5 * kSecond);
  for (int at = 3; at < 8; ++at) Call("c1", "a", at * kSecond, 19);  // 114 of the long window
  EXPECT_EQ(buckets_.ChooseLockout(buckets_.RouteOf("c1", "a"), 9 * kSecond), 30 * kSecond);
  // Once the windows have passed, the shortest again.
  EXPECT_EQ(buckets_.ChooseLockout(buckets_.RouteOf("c1", "a"), 60 * kSecond), 2 * kSecond);
}

// Somebody else has used a longer window up: a call a minute would be refused for an hour.
TEST_F(BucketRulesTest, ARefusedCanaryMeansTheNextLongerLockout) {
  const auto route = buckets_.RouteOf("c1", "a");
  buckets_.Lockout(route, kSecond + buckets_.ChooseLockout(route, kSecond));
  // Sent before the lockout, answered in it.
  EXPECT_EQ(buckets_.ChooseLockout(route, 2 * kSecond), 2 * kSecond);
  EXPECT_EQ(buckets_.ChooseLockout(route, 4 * kSecond), 5 * kSecond);
  // One that went well: the next refusal is a new one.
  Call("c1", "a", 4 * kSecond);
  EXPECT_EQ(buckets_.ChooseLockout(route, 60 * kSecond), 2 * kSecond);
}

TEST_F(BucketRulesTest, RowsListEveryApiOfTheCorpAndNoOther) {
  Call("c1", "a", kSecond, 3);
  Call("c1", "b", kSecond, 2);
  Call("c2", "a", kSecond, 1);
  buckets_.Take(buckets_.RouteOf("c1", "a"));
  buckets_.Lockout(buckets_.RouteOf("c1", "b"), 9 * kSecond);
  struct Row {
    const char* api;
    const char* scope;
    int64_t window_ns, capacity, tokens, lockout_until_ns;
  };
  const std::vector<Row> expected = {
      {"a", "in_flight", 0, 4, 3, 0},
      {"a", "corp", kSecond, 20, 16, 0},
      {"a", "corp", 10 * kSecond, 100, 96, 0},
      {"a", "ip", kSecond, 30, 25, 0},
      {"b", "in_flight", 0, 4, 4, 9 * kSecond},
      {"b", "corp", kSecond, 2, 0, 9 * kSecond},
      {"b", "ip", 60 * kSecond, 20'000, 19'998, 0},
      {"b", "ip", 3600 * kSecond, 600'000, 599'998, 0},
  };
  const auto rows = buckets_.Rows("c1", kSecond);
  ASSERT_EQ(rows.size(), expected.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    SCOPED_TRACE(absl::StrCat("row ", i));
    EXPECT_EQ(rows[i].api, expected[i].api);
    EXPECT_EQ(rows[i].scope, expected[i].scope);
    EXPECT_EQ(rows[i].window_ns, expected[i].window_ns);
    EXPECT_EQ(rows[i].capacity, expected[i].capacity);
    EXPECT_EQ(rows[i].tokens, expected[i].tokens);
    EXPECT_EQ(rows[i].lockout_until_ns, expected[i].lockout_until_ns);
  }
  EXPECT_TRUE(buckets_.Rows("c3", kSecond).empty());
}

TEST_F(BucketRulesTest, RowsNeverShowFewerThanNoTokens) {
  Call("c1", "b", kSecond, 5);
  for (const BucketRow& row : buckets_.Rows("c1", kSecond)) EXPECT_GE(row.tokens, 0) << row.scope;
}

// Of a day or a month: no window says how long it is.
TEST_F(BucketRulesTest, AnotherBootKeepsALongLockoutUntilItsEndByTheWallClock) {
  constexpr int64_t kHour = 3600 * kSecond;
  constexpr int64_t kWall = 1'790'000'000 * kSecond;
  struct Row {
    const char* what;
    int64_t wall_ns;
    int64_t left_ns;
  };
  const int64_t skew_ns = limits_.settle.skew_ns;
  for (const Row& row : {Row{"an hour later", kWall + kHour, 4 * kHour + skew_ns},
                         {"set back", kWall - 300 * kHour, 5 * kHour},
                         {"set ahead", kWall + 300 * kHour, 30 * kSecond}}) {
    SCOPED_TRACE(row.what);
    BucketSet buckets(&limits_);
    const BucketSet::Route route = buckets.RouteOf("c1", "a");
    buckets.See(1000 * kSecond, kWall);
    buckets.Lockout(route, 1000 * kSecond + 5 * kHour);
    buckets.Rebase(7 * kSecond, row.wall_ns);
    EXPECT_EQ(buckets.Check(route, 8 * kSecond).earliest_ns, 7 * kSecond + row.left_ns);
  }
}

TEST(ForecastRulesTest, MatchesTheDocumentedOptimaAndNamesWhatBinds) {
  const Limits demo = *ParseLimits(R"({"limits": [
    {"api": "x", "scope": "corp", "amount": 60, "window_ms": 5000},
    {"api": "x", "scope": "corp", "amount": 250, "window_ms": 50000}],
    "in_flight": [{"api": "x", "amount": 10}]})");
  const Limits documented = wecom_table::DefaultLimits();
  struct Row {
    const Limits* limits;
    const char* api;
    int64_t calls;
    double latency_s;
    double seconds;
    const char* binding;
  };
  for (const Row& row : std::vector<Row>{
           {&demo, "x", 0, 1, 0, ""},
           {&demo, "x", -5, 1, 0, ""},
           {&demo, "x", 60, 0, 0, ""},
           {&demo, "x", 61, 0, 5, "x corp 60/5s"},
           {&demo, "x", 250, 0, 20, "x corp 60/5s"},
           {&demo, "x", 251, 0, 50, "x corp 250/50s"},
           {&demo, "x", 360, 0, 55, ""},
           {&demo, "x", 360, 10, 360, "x in flight 10"},
           {&documented, "mark_tag", 10'000, 0, 0, ""},
           {&documented, "mark_tag", 150'000, 0, 840, "mark_tag corp 10000/60s"},
           {&documented, "mark_tag", 160'000, 0, 3600, "mark_tag corp 150000/3600s"},
       }) {
    const Forecast forecast = ForecastCalls(*row.limits, row.api, row.calls, row.latency_s);
    EXPECT_NEAR(forecast.seconds, row.seconds, 1e-6) << row.calls;
    if (row.binding[0] != '\0' || row.seconds == 0) {
      EXPECT_EQ(forecast.binding, row.binding) << row.calls;
    }
  }
}

TEST(ForecastRulesTest, EachCallLeavesAsSoonAsEveryWindowHasRoom) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SeededRandom random(seed);
    Limits limits;
    limits.windows = {{.api = "x",
                       .amount = 1 + static_cast<int64_t>(random.Below(9)),
                       .window_ns = (1 + static_cast<int64_t>(random.Below(20))) * kSecond},
                      {.api = "x",
                       .scope = Scope::kIp,
                       .amount = 1 + static_cast<int64_t>(random.Below(30)),
                       .window_ns = (1 + static_cast<int64_t>(random.Below(90))) * kSecond}};
    // Whole seconds are enough: try every one, and look back over each window.
    std::vector<int64_t> sent;
    for (int64_t now = 0; sent.size() < 60;) {
      bool room = true;
      for (const WindowLimit& limit : limits.windows) {
        int64_t inside = 0;
        for (const int64_t at : sent) inside += at > now - limit.window_ns;
        room = room && inside < limit.amount;
      }
      if (room) {
        sent.push_back(now);
        EXPECT_DOUBLE_EQ(ForecastCalls(limits, "x", static_cast<int64_t>(sent.size()), 0).seconds,
                         static_cast<double>(now) * 1e-9)
            << "seed " << seed << " call " << sent.size();
      } else {
        now += kSecond;
      }
    }
  }
}

}  // namespace
}  // namespace tidegate::dispatch
