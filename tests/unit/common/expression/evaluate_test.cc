// What an expression means for one customer at one time: edges of days, hours and missing values.
#include <limits>
#include <string>
#include <vector>

#include "common/base/civil_day.h"
#include "common/expression/expression.h"
#include "gtest/gtest.h"

namespace tidegate::expression {
namespace {

constexpr int64_t kToday = 20'000;  // a civil day
constexpr int64_t kHour = 3600;

class EvaluateTest : public ::testing::Test {
 public:
  // 00:00 in Shanghai of a day counted back from today.
  static int64_t Midnight(int64_t days_back) { return StartOfCivilDay(kToday - days_back); }

  EvaluateTest& Order(int64_t time_seconds, int64_t amount_fen = 100) {
    orders_.push_back({time_seconds, amount_fen});
    return *this;
  }

  bool Matches(const std::string& text, const EvaluationTime& at = AtEndOfDay(kToday)) const {
    ParseLimits limits;
    limits.allow_event = true;
    const auto parsed = Expression::Parse(text, limits);
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    return parsed.ok() && parsed->Matches({orders_, tags_, event_kind_}, at);
  }

 protected:
  std::vector<OrderView> orders_;
  std::vector<absl::string_view> tags_;
  absl::string_view event_kind_;
};

TEST_F(EvaluateTest, KnowsTheTimesOfADay) {
  const EvaluationTime end = AtEndOfDay(kToday);
  EXPECT_EQ(end.today, kToday);
  EXPECT_EQ(end.now_seconds, StartOfCivilDay(kToday + 1) - 1);
  EXPECT_EQ(AtInstant(end.now_seconds).today, kToday);
  EXPECT_EQ(AtInstant(end.now_seconds + 1).today, kToday + 1);
  EXPECT_EQ(AtInstant(end.now_seconds + 1).now_seconds, end.now_seconds + 1);
}

TEST_F(EvaluateTest, CountsTodayAsTheFirstOfTheDays) {
  Order(Midnight(29));  // the first second of the 30th day
  EXPECT_FALSE(Matches("orders.count(29d) >= 1"));
  EXPECT_TRUE(Matches("orders.count(30d) >= 1"));
  EXPECT_TRUE(Matches("orders.count(31d) >= 1"));
  EXPECT_FALSE(Matches("last_order within 29d"));
  EXPECT_TRUE(Matches("last_order older than 29d"));
  EXPECT_TRUE(Matches("last_order within 30d"));
  EXPECT_FALSE(Matches("last_order older than 30d"));
}

TEST_F(EvaluateTest, LeavesTheWindowWithTheLastSecondBeforeIt) {
  Order(Midnight(29) - 1);
  EXPECT_FALSE(Matches("orders.count(30d) >= 1"));
  EXPECT_TRUE(Matches("orders.count(31d) >= 1"));
  EXPECT_FALSE(Matches("first_order within 30d"));
  EXPECT_TRUE(Matches("first_order older than 30d"));
}

TEST_F(EvaluateTest, TakesDaysFromMidnightInShanghai) {
  Order(Midnight(0));
  EXPECT_TRUE(Matches("last_order within 1d", AtInstant(Midnight(0))));
  EXPECT_TRUE(Matches("last_order within 1d", AtInstant(Midnight(-1) - 1)));
  EXPECT_FALSE(Matches("last_order within 1d", AtInstant(Midnight(-1))));
  EXPECT_TRUE(Matches("last_order within 2d", AtInstant(Midnight(-1))));
}

TEST_F(EvaluateTest, DoesNotKnowOrdersAfterNow) {
  Order(Midnight(0) + 10, 500).Order(Midnight(0) + 20, 700);
  const EvaluationTime before = AtInstant(Midnight(0) + 9);
  EXPECT_TRUE(Matches("orders.count = 0 and orders.sum = 0 and orders.days = 0", before));
  EXPECT_TRUE(Matches("first_order is not set and last_order is not set", before));
  EXPECT_FALSE(Matches("last_order within 1d or last_order older than 1d", before));
  const EvaluationTime between = AtInstant(Midnight(0) + 10);
  EXPECT_TRUE(Matches("orders.count = 1 and orders.sum = 5.00 and orders.days(1d) = 1", between));
  EXPECT_TRUE(Matches("orders.count(1h) = 1 and last_order within 1m", between));
  EXPECT_TRUE(Matches("orders.count = 2 and orders.sum = 12.00", AtInstant(Midnight(0) + 20)));
}

TEST_F(EvaluateTest, CountsOrdersOfOneDayAsOneDay) {
  Order(Midnight(1)).Order(Midnight(1)).Order(Midnight(0) - 1).Order(Midnight(0));
  EXPECT_TRUE(Matches("orders.count = 4 and orders.days = 2"));
  EXPECT_TRUE(Matches("orders.count(1d) = 1 and orders.days(1d) = 1"));
}

TEST_F(EvaluateTest, CountsTheRunningHourAsTheFirstOfTheHours) {
  const int64_t ten = Midnight(0) + 10 * kHour;
  Order(ten - 1).Order(ten);
  const EvaluationTime at = AtInstant(ten + 1800);
  EXPECT_TRUE(Matches("orders.count(1h) = 1", at));
  EXPECT_TRUE(Matches("orders.count(2h) = 2", at));
}

TEST_F(EvaluateTest, TakesHoursAndMinutesOfASpanExactly) {
  const int64_t time = Midnight(0) + 12'345;
  Order(time);
  EXPECT_TRUE(Matches("last_order within 6h", AtInstant(time + 6 * kHour)));
  EXPECT_FALSE(Matches("last_order within 6h", AtInstant(time + 6 * kHour + 1)));
  EXPECT_TRUE(Matches("last_order older than 6h", AtInstant(time + 6 * kHour + 1)));
  EXPECT_TRUE(Matches("first_order within 30m", AtInstant(time + 1800)));
  EXPECT_FALSE(Matches("first_order within 30m", AtInstant(time + 1801)));
}

TEST_F(EvaluateTest, ComparesMoneyToTheFen) {
  Order(Midnight(3), 4999).Order(Midnight(2), 5000);
  EXPECT_TRUE(Matches("orders.sum = 99.99"));
  EXPECT_FALSE(Matches("orders.sum >= 100"));
  EXPECT_TRUE(Matches("orders.sum < 100.00"));
  EXPECT_TRUE(Matches("orders.sum between 99.99 and 99.99"));
  EXPECT_FALSE(Matches("orders.sum between 99.9 and 99.98"));
  EXPECT_TRUE(Matches("orders.sum in (1, 99.99)"));
  EXPECT_FALSE(Matches("orders.sum in (1, 99.98, 100)"));
  EXPECT_TRUE(Matches("orders.sum(3d) = 50 and orders.sum(4d) != 50"));
}

TEST_F(EvaluateTest, ComparesNumbersInEveryWay) {
  Order(Midnight(0)).Order(Midnight(0));
  for (const char* text : {"= 2", "!= 1", "< 3", "<= 2", "> 1", ">= 2", "between 2 and 3",
                           "between 1 and 2", "in (1, 2)", "is set"}) {
    EXPECT_TRUE(Matches(std::string("orders.count ") + text)) << text;
  }
  for (const char* text : {"= 1", "!= 2", "< 2", "<= 1", "> 2", ">= 3", "between 3 and 4",
                           "between 0 and 1", "in (1, 3)", "is not set"}) {
    EXPECT_FALSE(Matches(std::string("orders.count ") + text)) << text;
  }
}

TEST_F(EvaluateTest, TakesMissingTimesAsFalseAndMissingNumbersAsNull) {
  EXPECT_FALSE(Matches("last_order within 3660d"));
  EXPECT_FALSE(Matches("last_order older than 1d"));
  EXPECT_TRUE(Matches("not (last_order within 3660d)"));
  EXPECT_TRUE(Matches("orders.count = 0 and orders.sum(30d) = 0.00 and orders.days <= 0"));
  EXPECT_TRUE(Matches("orders.count is set"));
}

TEST_F(EvaluateTest, FindsAnyOfTheTags) {
  EXPECT_FALSE(Matches(R"(tag("a"))"));
  tags_ = {"a", "m", "客户"};
  EXPECT_TRUE(Matches(R"(tag("a"))"));
  EXPECT_TRUE(Matches(R"(tag("x", "客户"))"));
  EXPECT_TRUE(Matches(R"(tag("b", "c", "d", "e", "m", "z"))"));
  EXPECT_FALSE(Matches(R"(tag("A"))"));
  EXPECT_FALSE(Matches(R"(tag("b", "aa", "客"))"));
  EXPECT_FALSE(Matches(R"(tag("b", "c", "d", "e", "mm", "z"))"));
}

TEST_F(EvaluateTest, LooksAtTheEventAtHand) {
  EXPECT_FALSE(Matches(R"(this.kind = "view" or this.kind != "view" or this.kind in ("view"))"));
  EXPECT_TRUE(Matches("this.kind is not set"));
  event_kind_ = "view";
  EXPECT_TRUE(Matches(R"(this.kind = "view" and this.kind != "buy" and this.kind is set)"));
  EXPECT_TRUE(Matches(R"(this.kind in ("buy", "view"))"));
  EXPECT_FALSE(Matches(R"(this.kind in ("buy", "viewed"))"));
}

TEST_F(EvaluateTest, CountsEachItemOfAtLeast) {
  EXPECT_TRUE(Matches("at least 1 of (none, all)"));
  EXPECT_FALSE(Matches("at least 2 of (none, all)"));
  EXPECT_TRUE(Matches("at least 2 of (all, none, all)"));
  EXPECT_TRUE(Matches("at least 3 of (all, all, all)"));
  EXPECT_FALSE(Matches("at least 3 of (all, none, all, none)"));
}

TEST_F(EvaluateTest, CannotOverflow) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
  for (int i = 0; i < 4; ++i) Order(kMin, kMax);
  for (int i = 0; i < 4; ++i) Order(kMax, kMax);
  for (const EvaluationTime at :
       {EvaluationTime{kMax, kMax}, EvaluationTime{kMax, kMin}, AtInstant(kMax)}) {
    EXPECT_TRUE(Matches("orders.sum > 1000000000000000 and orders.count = 8", at));
    EXPECT_TRUE(Matches("orders.days >= 1 and orders.count(3660d) >= 4", at));
    EXPECT_TRUE(Matches("orders.count(87840h) >= 4 and last_order within 5270400m", at));
  }
  for (const EvaluationTime at : {EvaluationTime{kMin, kMin}, AtInstant(kMin)}) {
    EXPECT_TRUE(Matches("orders.count = 4 and orders.sum > 0", at));
  }
  for (int64_t day : {kMax, kMin}) EXPECT_EQ(AtEndOfDay(day).today, day);
}

}  // namespace
}  // namespace tidegate::expression
