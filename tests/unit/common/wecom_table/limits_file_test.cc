#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/wecom_table/limits.h"

namespace tidegate::wecom_table {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(LimitsFileTest, NamesTheExactPlaceOfEachBadValue) {
  struct Row {
    const char* json;
    const char* place;
  };
  for (const Row& row : std::vector<Row>{
           {R"({"limits":7})", "limits"},
           {R"({"limits":[7]})", "limits[0]"},
           {R"({"limits":[{"scope":"corp","amount":1,"window_ms":5}]})", "limits[0].api"},
           {R"({"limits":[{"api":"a","amount":1,"window_ms":5}]})", "limits[0].scope"},
           {R"({"limits":[{"api":"a","scope":"ip","window_ms":5}]})", "limits[0].amount"},
           {R"({"limits":[{"api":"a","scope":"ip","amount":1}]})", "limits[0].window_ms"},
           {R"({"limits":[{"api":"","scope":"ip","amount":1,"window_ms":5}]})", "limits[0].api"},
           {R"({"limits":[{"api":7,"scope":"ip","amount":1,"window_ms":5}]})", "limits[0].api"},
           {R"({"limits":[{"api":"a","scope":7,"amount":1,"window_ms":5}]})", "limits[0].scope"},
           {R"({"limits":[{"api":"a","scope":"IP","amount":1,"window_ms":5}]})", "limits[0].scope"},
           {R"({"limits":[{"api":"a","scope":"ip","amount":"1","window_ms":5}]})",
            "limits[0].amount"},
           {R"({"limits":[{"api":"a","scope":"ip","amount":-1,"window_ms":5}]})",
            "limits[0].amount"},
           {R"({"limits":[{"api":"a","scope":"ip","amount":null,"window_ms":5}]})",
            "limits[0].amount"},
           {R"({"limits":[{"api":"a","scope":"ip","amount":1000000001,"window_ms":5}]})",
            "limits[0].amount"},
           {R"({"limits":[{"api":"a","scope":"ip","amount":18446744073709551615,"window_ms":5}]})",
            "limits[0].amount"},
           {R"({"limits":[{"api":"a","scope":"ip","amount":1,"window_ms":0}]})",
            "limits[0].window_ms"},
           {R"({"limits":[{"api":"a","scope":"ip","amount":1,"window_ms":31622400001}]})",
            "limits[0].window_ms"},
           {R"({"limits":[{"api":"a","scope":"ip","amount":1,"window_ms":5,"lockout_ms":-1}]})",
            "limits[0].lockout_ms"},
           {R"({"limits":[{"api":"a","scope":"ip","amount":1,"window_ms":5},)"
            R"({"api":"b","scope":"ip","amount":1,"window_ms":5.5}]})",
            "limits[1].window_ms"},
           {R"({"limits":[{"api":"a","scope":"ip","amount":1,"window_ms":5,"window":1}]})",
            "limits[0].window"},
           {R"({"in_flight":{}})", "in_flight"},
           {R"({"in_flight":["a"]})", "in_flight[0]"},
           {R"({"in_flight":[{"amount":1}]})", "in_flight[0].api"},
           {R"({"in_flight":[{"api":"a","amount":1},{"api":"b","amount":0}]})",
            "in_flight[1].amount"},
           {R"({"in_flight":[{"api":"a","amount":10001}]})", "in_flight[0].amount"},
           {R"({"in_flight":[{"api":"a","amount":1,"scope":"ip"}]})", "in_flight[0].scope"},
           {R"({"http_deadline_ms":"5"})", "http_deadline_ms"},
           {R"({"http_deadline_ms":null})", "http_deadline_ms"},
           {R"({"slots_per_window":241})", "slots_per_window"},
           {R"({"harm":{"factor":0.5}})", "harm.factor"},
           {R"({"harm":{"min_deletions":0}})", "harm.min_deletions"},
           {R"({"harm":{"window_ms":0}})", "harm.window_ms"},
           {R"({"harm":{"deletions":1}})", "harm.deletions"},
           {R"({"audit":{"every_ms":999}})", "audit.every_ms"},
           {R"({"slots_per_window":240.5})", "slots_per_window"},
           {R"({"settle":[]})", "settle"},
           {R"({"settle":{"user_timeout_ms":0}})", "settle.user_timeout_ms"},
           {R"({"settle":{"hold_ms":-1}})", "settle.hold_ms"},
           {R"({"settle":{"proxy_ms":86400001}})", "settle.proxy_ms"},
           {R"({"settle":{"list_lag_ms":"1"}})", "settle.list_lag_ms"},
           {R"({"settle":{"skew_ms":-1}})", "settle.skew_ms"},
           {R"({"settle":{"list_gap_ms":true}})", "settle.list_gap_ms"},
           {R"({"settle":{"factor":0.99}})", "settle.factor"},
           {R"({"settle":{"factor":101}})", "settle.factor"},
           {R"({"settle":{"factor":"2"}})", "settle.factor"},
           {R"({"results":3})", "results"},
           {R"({"results":{"first_poll_ms":0}})", "results.first_poll_ms"},
           {R"({"results":{"poll_ms":0}})", "results.poll_ms"},
           {R"({"results":{"close_after_ms":-1}})", "results.close_after_ms"},
           {R"({"results":{"poll":1}})", "results.poll"},
           {R"({"setle":{}})", "setle"},
           {R"({"limits":[{"api":"a","scope":"corp","amount":1,"window_ms":5,"calendar":"day"}]})",
            "limits[0].window_ms"},
           {R"({"limits":[{"api":"a","scope":"corp","amount":1,"calendar":"week"}]})",
            "limits[0].calendar"},
           {R"({"limits":[{"api":"a","scope":"corp","amount":1,"window_ms":5,"cost":"people"}]})",
            "limits[0].cost"},
           {R"({"receive_quota":"weekly"})", "receive_quota"},
           {R"({"quiet_hours":{"from":"22:00"}})", "quiet_hours.to"},
           {R"({"quiet_hours":{"from":"24:00","to":"08:00"}})", "quiet_hours.from"},
           {R"({"quiet_hours":{"from":"22:00","to":"8:00"}})", "quiet_hours.to"},
           {R"({"quiet_hours":{"from":"22:00","to":"+8:00"}})", "quiet_hours.to"},
           {R"({"weight":0})", "weight"},
           {R"({"weight":1001})", "weight"},
           {R"({"corps":[]})", "corps"},
           {R"({"corps":{"ww1":7}})", "corps.ww1"},
           {R"({"corps":{"ww1":{"settle":{}}}})", "corps.ww1.settle"},
           {R"({"corps":{"ww1":{"weight":"2"}}})", "corps.ww1.weight"},
           {R"({"corps":{"ww1":{"in_flight":[{"api":"a"}]}}})", "corps.ww1.in_flight[0].amount"},
           {R"({"corps":{"ww1":{"limits":[{"api":"a","window_ms":5}]}}})",
            "corps.ww1.limits[0].amount"},
           {R"({"corps":{"ww1":{"limits":[{"api":"a","scope":"ip","amount":1,"window_ms":5}]}}})",
            "corps.ww1.limits[0].scope"},
       }) {
    const auto limits = ParseLimits(row.json);
    ASSERT_FALSE(limits.ok()) << row.json;
    EXPECT_EQ(limits.status().code(), absl::StatusCode::kInvalidArgument) << row.json;
    EXPECT_THAT(std::string(limits.status().message()),
                StartsWith(absl::StrCat("limits file: ", row.place, ": ")))
        << row.json;
  }
}

// Audits look back for so long.
TEST(LimitsFileTest, CallsAreKeptForAMonthAtLeast) {
  const auto limits = ParseLimits(R"({"results":{"keep_after_ms":2678399999}})");
  EXPECT_THAT(std::string(limits.status().message()),
              HasSubstr("results.keep_after_ms: write a whole number from 2678400000 to"));
  EXPECT_TRUE(ParseLimits(R"({"results":{"keep_after_ms":31622400000}})").ok());
  EXPECT_FALSE(ParseLimits(R"({"results":{"keep_after_ms":31622400001}})").ok());
}

TEST(LimitsFileTest, OneApiHasEightWindowsOfAScopeAtMost) {
  const auto windows = [](int count) {
    std::string rows;
    for (int i = 0; i < count; ++i) {
      absl::StrAppend(&rows, i > 0 ? "," : "",
                      R"({"api":"a","scope":"corp","amount":1,"window_ms":)", i + 1, "}");
    }
    return ParseLimits(absl::StrCat(R"({"limits":[)", rows, "]}"));
  };
  EXPECT_TRUE(windows(8).ok());
  EXPECT_THAT(std::string(windows(9).status().message()), HasSubstr("limits[8]: write at most 8"));
}

TEST(LimitsFileTest, DaysMonthsAndPeople) {
  const auto limits = ParseLimits(R"({"limits": [
    {"api": "message_send", "scope": "corp", "amount": 3, "calendar": "day",
     "cost": "person_times"},
    {"api": "message_send", "scope": "corp", "amount": 4, "calendar": "month"},
    {"api": "message_send", "scope": "corp", "amount": 5, "calendar": "day", "lockout_ms": 7}]})");
  ASSERT_TRUE(limits.ok()) << limits.status();
  const auto rows = limits->WindowsOf("message_send", Scope::kCorp);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].cost, Cost::kPersonTimes);
  EXPECT_EQ(rows[0].calendar, Calendar::kDay);
  EXPECT_EQ(rows[0].window_ns, 0);
  EXPECT_EQ(rows[0].lockout_ns, 0);  // the rest of the day
  EXPECT_EQ(rows[1].cost, Cost::kCalls);
  EXPECT_EQ(rows[1].calendar, Calendar::kMonth);
  EXPECT_EQ(rows[1].lockout_ns, kMonthLockoutNs);
  EXPECT_EQ(rows[2].lockout_ns, 7 * kNanosPerMilli);
}

TEST(LimitsFileTest, PeopleAreCountedOfMessagesToMembersOnly) {
  const auto limits = ParseLimits(R"({"limits": [
    {"api": "*", "scope": "corp", "amount": 3, "window_ms": 5, "cost": "person_times"}]})");
  EXPECT_THAT(std::string(limits.status().message()), HasSubstr("limits[0].cost: write \"calls\""));
}

TEST(LimitsFileTest, ACorpHasWhatItsPartSaysAndTheRestOfAll) {
  const auto limits = ParseLimits(R"({
    "limits": [{"api": "a", "scope": "corp", "amount": 3, "window_ms": 500},
               {"api": "a", "scope": "ip", "amount": 9, "window_ms": 500},
               {"api": "b", "scope": "corp", "amount": 4, "window_ms": 600}],
    "in_flight": [{"api": "a", "amount": 7}],
    "receive_quota": "7_per_week", "quiet_hours": {"from": "22:00", "to": "08:30"}, "weight": 2,
    "corps": {"ww1": {"limits": [{"api": "a", "amount": 2, "window_ms": 900}],
                      "in_flight": [{"api": "*", "amount": 6}],
                      "receive_quota": "none", "weight": 5},
              "ww2": {"quiet_hours": {"from": "00:00", "to": "00:00"}}}})");
  ASSERT_TRUE(limits.ok()) << limits.status();
  const Limits& one = limits->OfCorp("ww1");
  ASSERT_EQ(one.WindowsOf("a", Scope::kCorp).size(), 1u);
  EXPECT_EQ(one.WindowsOf("a", Scope::kCorp)[0].window_ns, 900 * kNanosPerMilli);
  EXPECT_EQ(one.WindowsOf("a", Scope::kIp)[0].amount, 9);
  EXPECT_EQ(one.WindowsOf("b", Scope::kCorp)[0].amount, 4);
  EXPECT_EQ(one.InFlight("a"), 7);
  EXPECT_EQ(one.InFlight("b"), 6);
  EXPECT_EQ(one.receive_quota, ReceiveQuota::kNone);
  EXPECT_EQ(one.quiet_hours.from, 22 * 60);
  EXPECT_EQ(one.quiet_hours.to, 8 * 60 + 30);
  EXPECT_EQ(one.weight, 5);
  EXPECT_TRUE(one.corps.empty());
  const Limits& two = limits->OfCorp("ww2");
  EXPECT_EQ(two.quiet_hours.from, two.quiet_hours.to);
  EXPECT_EQ(two.weight, 2);
  EXPECT_EQ(two.receive_quota, ReceiveQuota::kSevenPerWeek);
  EXPECT_EQ(&limits->OfCorp("ww3"), &*limits);
  EXPECT_EQ(limits->WindowsOf("a", Scope::kCorp)[0].amount, 3);
}

TEST(LimitsFileTest, SaysWhatToWriteInstead) {
  EXPECT_THAT(std::string(ParseLimits(R"({"slots_per_window":1})").status().message()),
              HasSubstr("write a whole number from 20 to 240"));
  EXPECT_THAT(std::string(ParseLimits(R"({"receive_quota":"weekly"})").status().message()),
              HasSubstr("write \"days_in_month\" or \"7_per_week\" or \"1_per_day\" or \"none\""));
  EXPECT_THAT(std::string(ParseLimits(R"({"settle":{"factor":0}})").status().message()),
              HasSubstr("write a number from 1 to 100"));
}

TEST(LimitsFileTest, EveryKeyLandsWhereItBelongs) {
  const auto limits = ParseLimits(R"({
    "limits": [{"api": "a", "scope": "corp", "amount": 3, "window_ms": 500, "lockout_ms": 900},
               {"api": "*", "scope": "corp", "amount": 4, "window_ms": 600}],
    "in_flight": [{"api": "*", "amount": 7}, {"api": "mark_tag", "amount": 2}],
    "http_deadline_ms": 11, "slots_per_window": 22,
    "settle": {"user_timeout_ms": 1, "hold_ms": 2, "list_lag_ms": 3, "skew_ms": 4, "factor": 2,
               "list_gap_ms": 6, "proxy_ms": 14},
    "results": {"first_poll_ms": 7, "poll_ms": 8, "close_after_ms": 9, "keep_after_ms": 2678400000},
    "harm": {"factor": 2.5, "min_deletions": 12, "window_ms": 13}, "audit": {"every_ms": 1400}})");
  ASSERT_TRUE(limits.ok()) << limits.status();
  const auto own = limits->WindowsOf("a", Scope::kCorp);
  ASSERT_EQ(own.size(), 1u);
  EXPECT_EQ(own[0].amount, 3);
  EXPECT_EQ(own[0].window_ns, 500 * kNanosPerMilli);
  EXPECT_EQ(own[0].lockout_ns, 900 * kNanosPerMilli);
  const auto general = limits->WindowsOf("b", Scope::kCorp);
  ASSERT_EQ(general.size(), 1u);  // a general row replaces all general defaults of its scope
  EXPECT_EQ(general[0].amount, 4);
  EXPECT_EQ(limits->WindowsOf("b", Scope::kIp).size(), 2u);  // and of no other scope
  EXPECT_EQ(limits->InFlight("b"), 7);
  EXPECT_EQ(limits->InFlight("mark_tag"), 2);
  EXPECT_EQ(limits->http_deadline_ns, 11 * kNanosPerMilli);
  EXPECT_EQ(limits->slots_per_window, 22);
  EXPECT_EQ(limits->settle.user_timeout_ns, 1 * kNanosPerMilli);
  EXPECT_EQ(limits->settle.hold_ns, 2 * kNanosPerMilli);
  EXPECT_EQ(limits->settle.list_lag_ns, 3 * kNanosPerMilli);
  EXPECT_EQ(limits->settle.skew_ns, 4 * kNanosPerMilli);
  EXPECT_EQ(limits->settle.list_gap_ns, 6 * kNanosPerMilli);
  EXPECT_EQ(limits->settle.proxy_ns, 14 * kNanosPerMilli);
  EXPECT_EQ(limits->SettleWaitNs(), 20 * kNanosPerMilli);  // no lane's with a proxy
  EXPECT_EQ(limits->results.first_poll_ns, 7 * kNanosPerMilli);
  EXPECT_EQ(limits->results.poll_ns, 8 * kNanosPerMilli);
  EXPECT_EQ(limits->results.close_after_ns, 9 * kNanosPerMilli);
  EXPECT_EQ(limits->results.keep_after_ns, 31 * 86'400 * kNanosPerSecond);
  EXPECT_EQ(limits->harm.factor, 2.5);
  EXPECT_EQ(limits->harm.min_deletions, 12);
  EXPECT_EQ(limits->harm.window_ns, 13 * kNanosPerMilli);
  EXPECT_EQ(limits->audit.every_ns, 1400 * kNanosPerMilli);
}

TEST(LimitsFileTest, MessagesOfAppsHaveTheirOwnPart) {
  EXPECT_EQ(DefaultLimits().app_messages.per_member.size(), 2u);
  const auto limits =
      ParseLimits(R"({"app_messages":{"duplicate_check_ms":14400000,"repeat_margin_ms":1000,)"
                  R"("per_member":[{"amount":5,"window_ms":2000}]}})");
  ASSERT_TRUE(limits.ok()) << limits.status();
  EXPECT_EQ(limits->app_messages.duplicate_check_ns, int64_t{4} * 3600 * kNanosPerSecond);
  EXPECT_EQ(limits->app_messages.repeat_margin_ns, kNanosPerSecond);
  ASSERT_EQ(limits->app_messages.per_member.size(), 1u);
  EXPECT_EQ(limits->app_messages.per_member[0].amount, 5);
  EXPECT_EQ(limits->app_messages.per_member[0].window_ns, 2 * kNanosPerSecond);
  for (const char* bad : {R"({"app_messages":{"duplicate_check_ms":14400001}})",
                          R"({"app_messages":{"per_member":[{"amount":5}]}})",
                          R"({"app_messages":{"per_member":{}}})"}) {
    EXPECT_FALSE(ParseLimits(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace tidegate::wecom_table
