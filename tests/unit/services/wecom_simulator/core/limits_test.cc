#include "services/wecom_simulator/core/limits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace tidegate::wecom_simulator {
namespace {

using ::testing::HasSubstr;

TEST(LimitsTest, AnEmptyFileMeansTheDocumentedValues) {
  const auto limits = ParseLimits("{}");
  ASSERT_TRUE(limits.ok());
  ASSERT_EQ(limits->RowsFor("mark_tag", Scope::kCorp).size(), 2u);
  EXPECT_EQ(limits->RowsFor("mark_tag", Scope::kCorp)[0].amount, 10'000);
  EXPECT_EQ(limits->RowsFor("mark_tag", Scope::kIp)[1].amount, 600'000);
  EXPECT_EQ(limits->in_flight.at("mark_tag"), 5);
  EXPECT_EQ(limits->hold_ms, 30'000);
  EXPECT_EQ(limits->list_lag_ms, 30'000);
}

TEST(LimitsTest, RowsOfAnApiReplaceTheGeneralOnesOfTheirScopeOnly) {
  const auto limits =
      ParseLimits(R"({"limits":[{"api":"mark_tag","scope":"corp","amount":7,"window_ms":50}]})");
  ASSERT_TRUE(limits.ok());
  ASSERT_EQ(limits->RowsFor("mark_tag", Scope::kCorp).size(), 1u);
  EXPECT_EQ(limits->RowsFor("mark_tag", Scope::kCorp)[0].lockout_ms, 50);
  EXPECT_EQ(limits->RowsFor("mark_tag", Scope::kIp).size(), 2u);
  EXPECT_EQ(limits->RowsFor("gettoken", Scope::kCorp).size(), 2u);
}

TEST(LimitsTest, GeneralRowsReplaceTheDocumentedOnesOfTheirScope) {
  const auto limits =
      ParseLimits(R"({"limits":[{"api":"*","scope":"ip","amount":9,"window_ms":100}]})");
  ASSERT_TRUE(limits.ok());
  EXPECT_EQ(limits->RowsFor("gettoken", Scope::kIp).size(), 1u);
  EXPECT_EQ(limits->RowsFor("gettoken", Scope::kCorp).size(), 2u);
}

TEST(LimitsTest, TheFileOfTheDemoIsAccepted) {
  const auto limits = ParseLimits(
      R"({"limits":[{"api":"add_msg_template","scope":"corp","amount":60,"window_ms":5000,
      "lockout_ms":5000}],"in_flight":[{"api":"add_msg_template","amount":4}],
      "http_deadline_ms":1000,"settle":{"user_timeout_ms":500,"hold_ms":1000,"proxy_ms":700,"list_lag_ms":500,
      "skew_ms":100,"factor":1.5,"list_gap_ms":500},
      "results":{"first_poll_ms":1000,"poll_ms":5000,"close_after_ms":25000},
      "harm":{"factor":2.5,"min_deletions":5},"audit":{"every_ms":1000}})");
  ASSERT_TRUE(limits.ok()) << limits.status();
  EXPECT_EQ(limits->hold_ms, 1000);
  EXPECT_EQ(limits->in_flight.at("add_msg_template"), 4);
  EXPECT_EQ(limits->in_flight.at("mark_tag"), 5);
}

TEST(LimitsTest, ACorpsRowsReplaceThoseOfTheirName) {
  const auto limits = ParseLimits(R"({
    "limits": [{"api": "*", "scope": "corp", "amount": 5, "window_ms": 100}],
    "receive_quota": "1_per_day", "quiet_hours": {"from": "22:00", "to": "08:00"}, "weight": 3,
    "corps": {"ww1": {"limits": [{"api": "mark_tag", "amount": 2, "calendar": "month"}],
                      "in_flight": [{"api": "mark_tag", "amount": 9}], "weight": 2}}})");
  ASSERT_TRUE(limits.ok()) << limits.status();
  const auto own = limits->RowsFor("mark_tag", Scope::kCorp, "ww1");
  ASSERT_EQ(own.size(), 1u);
  EXPECT_EQ(own[0].calendar, Calendar::kMonth);
  EXPECT_EQ(own[0].lockout_ms, int64_t{30} * 24 * 3600 * 1000);
  EXPECT_EQ(limits->RowsFor("gettoken", Scope::kCorp, "ww1")[0].amount, 5);
  EXPECT_EQ(limits->RowsFor("mark_tag", Scope::kCorp, "ww2")[0].amount, 5);
  EXPECT_EQ(*limits->InFlight("mark_tag", "ww1"), 9);
  EXPECT_EQ(*limits->InFlight("mark_tag", "ww2"), 5);
  EXPECT_EQ(limits->InFlight("gettoken", "ww1"), nullptr);
}

TEST(LimitsTest, AGeneralInFlightLimitBindsWhatHasNoneOfItsOwn) {
  const auto limits = ParseLimits(R"({
    "in_flight": [{"api": "*", "amount": 7}, {"api": "gettoken", "amount": 3}],
    "corps": {"ww1": {"in_flight": [{"api": "*", "amount": 2}]}}})");
  ASSERT_TRUE(limits.ok()) << limits.status();
  EXPECT_EQ(*limits->InFlight("add_msg_template", "ww2"), 7);
  EXPECT_EQ(*limits->InFlight("add_msg_template", "ww1"), 2);
  EXPECT_EQ(*limits->InFlight("gettoken", "ww2"), 3);
  EXPECT_EQ(*limits->InFlight("gettoken", "ww1"), 3);
  EXPECT_EQ(*limits->InFlight("mark_tag", "ww1"), 5);
  EXPECT_EQ(DefaultLimits().InFlight("gettoken", "ww1"), nullptr);
}

TEST(LimitsTest, EachMistakeIsNamed) {
  const struct {
    const char* text;
    const char* named;
  } rows[] = {
      {"[]", "object"},
      {R"({"corps":{"ww1":{"limit":[]}}})", "limit"},
      {R"({"corps":{"ww1":{"limits":[{"api":"a","scope":"ip","amount":1,"window_ms":5}]}}})",
       "scope"},
      {R"({"limits":[{"api":"a","scope":"corp","amount":1,"window_ms":5,"cost":"people"}]})",
       "cost"},
      {R"({"limits":[{"api":"a","scope":"corp","amount":1,"window_ms":5,"calendar":"day"}]})",
       "calendar"},
      {R"({"receive_quota":"weekly"})", "receive_quota"},
      {R"({"quiet_hours":{"from":"22:00"}})", "to"},
      {"{", "not JSON"},
      {R"({"limit":[]})", "\"limit\""},
      {R"({"limits":[{"api":"x","scope":"corp","amount":1,"window_ms":1,"burst":2}]})", "burst"},
      {R"({"limits":[{"api":"x","scope":"app","amount":1,"window_ms":1}]})", "scope"},
      {R"({"limits":[{"api":"x","scope":"corp","amount":0,"window_ms":1}]})", "amount"},
      {R"({"limits":[{"scope":"corp","amount":1,"window_ms":1}]})", "api"},
      {R"({"in_flight":[{"api":"x"}]})", "in_flight[0]"},
      {R"({"settle":{"hold":1}})", "\"hold\""},
      {R"({"settle":{"factor":0.5}})", "factor"},
      {R"({"harm":{"factor":0.5}})", "factor"},
      {R"({"harm":{"deletions":1}})", "deletions"},
      {R"({"audit":{"every":1}})", "every"},
      {R"({"results":{"poll_ms":"soon"}})", "poll_ms"},
      {R"({"http_deadline_ms":1.5})", "http_deadline_ms"},
  };
  for (const auto& row : rows) {
    const auto limits = ParseLimits(row.text);
    ASSERT_FALSE(limits.ok()) << row.text;
    EXPECT_THAT(std::string(limits.status().message()), HasSubstr(row.named)) << row.text;
  }
}

}  // namespace
}  // namespace tidegate::wecom_simulator
