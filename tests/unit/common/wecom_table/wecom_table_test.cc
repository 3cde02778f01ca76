#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/wecom_table/answers.h"
#include "common/wecom_table/endpoints.h"
#include "common/wecom_table/errors.h"
#include "common/wecom_table/limits.h"
#include "common/wecom_table/requests.h"

namespace tidegate::wecom_table {
namespace {

using ::testing::HasSubstr;

TEST(LimitsTest, DefaultsAreTheDocumentedOnes) {
  const Limits limits = *ParseLimits("{}");
  const auto windows = limits.WindowsOf("mark_tag", Scope::kCorp);
  ASSERT_EQ(windows.size(), 2u);
  EXPECT_EQ(windows[0].amount, 10'000);
  EXPECT_EQ(windows[1].amount, 150'000);
  EXPECT_EQ(limits.WindowsOf("mark_tag", Scope::kIp)[0].amount, 20'000);
  EXPECT_EQ(limits.InFlight("mark_tag"), 5);
  EXPECT_EQ(limits.InFlight("add_msg_template"), 4);
  EXPECT_EQ(limits.SettleWaitNs(), int64_t{105} * kNanosPerSecond);
}

TEST(LimitsTest, AnApisOwnRowsStandBesideTheGeneralOnes) {
  const Limits limits = *ParseLimits(
      R"({"limits":[{"api":"a","scope":"corp","amount":3,"window_ms":500},{"api":"*","scope":"ip","amount":9,"window_ms":1000}]})");
  EXPECT_EQ(limits.WindowsOf("a", Scope::kCorp).size(), 1u);
  EXPECT_EQ(limits.WindowsOf("a", Scope::kCorp)[0].lockout_ns, 500 * kNanosPerMilli);
  EXPECT_EQ(limits.WindowsOf("b", Scope::kCorp).size(), 2u);
  EXPECT_EQ(limits.WindowsOf("a", Scope::kIp).size(), 1u);
}

TEST(LimitsTest, NamesThePlaceOfEveryFault) {
  struct Row {
    const char* json;
    const char* place;
  };
  for (const Row& row : std::vector<Row>{
           {"", "not JSON"},
           {"[]", "write an object"},
           {R"({"limit":[]})", "limit: unknown key"},
           {R"({"limits":{}})", "limits: write an array"},
           {R"({"limits":[{"api":"a","scope":"corp","amount":0,"window_ms":5}]})",
            "limits[0].amount"},
           {R"({"limits":[{"api":"a","scope":"corp","amount":1.5,"window_ms":5}]})",
            "limits[0].amount"},
           {R"({"limits":[{"api":"a","scope":"corp","amount":1}]})",
            "limits[0].window_ms: is required"},
           {R"({"limits":[{"api":"a","scope":"city","amount":1,"window_ms":5}]})",
            "limits[0].scope"},
           {R"({"limits":[{"api":"a","scope":"corp","amount":1,"window_ms":5,"x":1}]})",
            "limits[0].x"},
           {R"({"in_flight":[{"api":"a"}]})", "in_flight[0].amount"},
           {R"({"http_deadline_ms":0})", "http_deadline_ms"},
           {R"({"slots_per_window":19})", "slots_per_window"},
           {R"({"settle":{"factor":0.5}})", "settle.factor"},
           {R"({"settle":{"hold_ms":86400001}})", "settle.hold_ms"},
           {R"({"settle":{"hold":1}})", "settle.hold: unknown key"},
           {R"({"results":{"poll_ms":"5"}})", "results.poll_ms"},
       }) {
    const auto limits = ParseLimits(row.json);
    ASSERT_FALSE(limits.ok()) << row.json;
    EXPECT_THAT(std::string(limits.status().message()), HasSubstr(row.place)) << row.json;
  }
}

TEST(ErrorsTest, ClassifiesEveryKindOfEnd) {
  struct Row {
    const char* what;
    const char* api;
    AnswerFacts facts;
    bool in_doubt_before;
    AnswerClass expected;
  };
  const auto answered = [](int errcode, bool has_id = false) {
    return AnswerFacts{.bytes_written = true,
                       .answered = true,
                       .body_parsed = true,
                       .http_status = 200,
                       .errcode = errcode,
                       .has_result_id = has_id};
  };
  const AnswerFacts silent{.bytes_written = true};
  const AnswerFacts unwritten{};
  AnswerFacts html = answered(0);
  html.body_parsed = false;
  AnswerFacts failed = answered(0, true);
  failed.http_status = 502;
  for (const Row& row : std::vector<Row>{
           {"no byte left", "add_msg_template", unwritten, false, AnswerClass::kNotExecuted},
           {"create done", "add_msg_template", answered(0, true), false, AnswerClass::kAccepted},
           {"create without msgid", "add_msg_template", answered(0), false, AnswerClass::kDoubt},
           {"create without answer", "add_msg_template", silent, false, AnswerClass::kDoubt},
           {"create, HTML", "add_msg_template", html, false, AnswerClass::kDoubt},
           {"create, 502", "add_msg_template", failed, false, AnswerClass::kDoubt},
           {"create, busy", "add_msg_template", answered(-1), false, AnswerClass::kDoubt},
           {"create, system failure", "add_msg_template", answered(2000111), false,
            AnswerClass::kDoubt},
           {"create, unknown code", "add_msg_template", answered(987654), false,
            AnswerClass::kDoubt},
           {"create, over the limit", "add_msg_template", answered(45009), false,
            AnswerClass::kNotExecuted},
           {"create, too many at once", "add_msg_template", answered(45033), false,
            AnswerClass::kNotExecuted},
           {"create, token expired", "add_msg_template", answered(42001), false,
            AnswerClass::kNotExecuted},
           {"create, nobody to send to", "add_msg_template", answered(41048), false,
            AnswerClass::kRefused},
           {"create, bad parameter", "add_msg_template", answered(40058), false,
            AnswerClass::kRefused},
           {"create, write conflict", "add_msg_template", answered(45035), false,
            AnswerClass::kNotExecuted},
           {"create, version conflict", "add_msg_template", answered(6000), false,
            AnswerClass::kNotExecuted},
           {"create, no right", "add_msg_template", answered(48002), false, AnswerClass::kRefused},
           {"create, template placeholder", "add_msg_template", answered(41301), false,
            AnswerClass::kRefused},
           {"create, text too large", "add_msg_template", answered(45002), false,
            AnswerClass::kRefused},
           {"tags done", "mark_tag", answered(0), false, AnswerClass::kAccepted},
           {"tags without answer", "mark_tag", silent, false, AnswerClass::kNotExecuted},
           {"tags, busy", "mark_tag", answered(-1), false, AnswerClass::kNotExecuted},
           {"tags, write conflict", "mark_tag", answered(45035), false, AnswerClass::kNotExecuted},
           {"tags, no relation", "mark_tag", answered(84061), false, AnswerClass::kRefused},
           {"welcome done", "send_welcome_msg", answered(0), false, AnswerClass::kAccepted},
           {"welcome, used before", "send_welcome_msg", answered(41051), false,
            AnswerClass::kRefused},
           {"welcome, used by us", "send_welcome_msg", answered(41051), true,
            AnswerClass::kAccepted},
           {"welcome, too late", "send_welcome_msg", answered(41050), true, AnswerClass::kRefused},
           {"welcome, another is sending", "send_welcome_msg", answered(41096), false,
            AnswerClass::kNotExecuted},
           {"list, error", "get_groupmsg_list_v2", answered(-1), false, AnswerClass::kNotExecuted},
           {"task, being distributed", "get_groupmsg_task", answered(41063), false,
            AnswerClass::kNotExecuted},
       }) {
    const Endpoint* endpoint = FindEndpoint(row.api);
    ASSERT_NE(endpoint, nullptr) << row.api;
    EXPECT_EQ(Classify(*endpoint, row.facts, row.in_doubt_before).answer_class, row.expected)
        << row.what;
  }
}

TEST(EndpointsTest, CreatesAndRemindersAreTheOnlyCallsThatMustNotBeRepeated) {
  for (const Endpoint& endpoint : Endpoints()) {
    EXPECT_EQ(endpoint.idempotency == Idempotency::kCreates, endpoint.name == "add_msg_template")
        << endpoint.name;
    EXPECT_EQ(endpoint.idempotency == Idempotency::kBlind, endpoint.name == "remind_groupmsg_send")
        << endpoint.name;
  }
  EXPECT_EQ(FindEndpoint("add_moment_task"), nullptr);
}

TEST(RequestsTest, BodiesAreTheSameBytesEachTime) {
  const std::vector<std::string> customers = {"wm1", "wm2"};
  EXPECT_EQ(
      AddMsgTemplateBody("m1", customers, "hi", "https://e.com/a?tg=x", "t"),
      R"({"chat_type":"single","external_userid":["wm1","wm2"],"sender":"m1","text":{"content":"hi"},)"
      R"("attachments":[{"msgtype":"link","link":{"title":"t","url":"https://e.com/a?tg=x"}}]})");
  EXPECT_EQ(RemindGroupMsgBody("msg1"), R"({"msgid":"msg1"})");
  EXPECT_EQ(WelcomeBody("code", "a\"b"), R"({"welcome_code":"code","text":{"content":"a\"b"}})");
  EXPECT_EQ(GroupMsgListBody(1, 2, "", 100),
            R"({"chat_type":"single","start_time":1,"end_time":2,"filter_type":0,"limit":100})");
  EXPECT_EQ(MarkTagBody("m1", "wm1", customers, {}),
            R"({"userid":"m1","external_userid":"wm1","add_tag":["wm1","wm2"]})");
  EXPECT_EQ(MarkTagBody("m1", "wm1", {}, customers),
            R"({"userid":"m1","external_userid":"wm1","remove_tag":["wm1","wm2"]})");
  EXPECT_EQ(GroupMsgSendResultBody("id", "m1", "c", 1000),
            R"({"msgid":"id","userid":"m1","limit":1000,"cursor":"c"})");
  EXPECT_EQ(GroupMsgTaskBody("id", "c", 1000), R"({"msgid":"id","limit":1000,"cursor":"c"})");
  EXPECT_EQ(AppMessageBody("17", customers, "hi", "", "", "mark", 1800),
            R"({"touser":"wm1|wm2","agentid":17,"msgtype":"text","text":{"content":"hi"},)"
            R"("tg":"mark","enable_duplicate_check":1,"duplicate_check_interval":1800})");
  EXPECT_EQ(
      AppMessageBody("17", {customers.data(), 1}, "hi", "https://e.com/a#b", "t", "mark", 1800),
      R"({"touser":"wm1","agentid":17,"msgtype":"textcard","textcard":{"title":"t",)"
      R"("description":"hi","url":"https://e.com/a?tg=mark#b"},)"
      R"("enable_duplicate_check":1,"duplicate_check_interval":1800})");
}

TEST(RequestsTest, AMarkerComesBackFromAnyUrl) {
  struct Row {
    const char* url;
    const char* marked;
  };
  for (const Row& row :
       std::vector<Row>{{"https://e.com", "https://e.com?tg=m"},
                        {"https://e.com/a?b=c", "https://e.com/a?b=c&tg=m"},
                        {"https://e.com/a?", "https://e.com/a?tg=m"},
                        {"https://e.com/a?b=c&", "https://e.com/a?b=c&tg=m"},
                        {"https://e.com/a?tga=1", "https://e.com/a?tga=1&tg=m"},
                        {"https://e.com/a#top", "https://e.com/a?tg=m#top"},
                        {"https://e.com/a?b=c#top", "https://e.com/a?b=c&tg=m#top"}}) {
    EXPECT_EQ(WithMarker(row.url, "m"), row.marked);
    EXPECT_EQ(MarkerOf(row.marked), "m") << row.marked;
    EXPECT_EQ(MarkerOf(row.url), "") << row.url;
  }
}

TEST(RequestsTest, AMarkerReplacesAnOlderOne) {
  // Else a listing would show another marker than ours, and the call would be made twice.
  EXPECT_EQ(WithMarker("https://e.com/a?tg=old&b=c&tg=older#top", "m"),
            "https://e.com/a?b=c&tg=m#top");
  EXPECT_EQ(WithMarker("https://e.com/a?tg=old", "m"), "https://e.com/a?tg=m");
  EXPECT_EQ(WithMarker("https://e.com/a?tg", "m"), "https://e.com/a?tg=m");
}

TEST(AnswersTest, ReadsListsAndIgnoresWhatItDoesNotKnow) {
  const auto answer =
      ParseAnswer("get_groupmsg_list_v2",
                  R"({"errcode":0,"errmsg":"ok","new":1,"next_cursor":"n","group_msg_list":[)"
                  R"({"msgid":"m1","create_time":"1600000000","attachments":[{"msgtype":"link",)"
                  R"("link":{"title":"t","url":"u1"}},{"msgtype":"image","image":{}}]}]})");
  ASSERT_TRUE(answer.ok());
  ASSERT_EQ(answer->messages.size(), 1u);
  EXPECT_EQ(answer->messages[0].link_urls, std::vector<std::string>{"u1"});
  EXPECT_EQ(answer->messages[0].create_time_s, 1600000000);
  EXPECT_EQ(answer->next_cursor, "n");
}

TEST(AnswersTest, RefusesOtherTypesThanDocumented) {
  for (const char* body :
       {"", "<html>", "[]", "{}", R"({"errcode":null})", R"({"group_msg_list":[]})",
        R"({"errcode":4294967296})", R"({"errcode":0,"task_list":[{"status":4294967298}]})",
        R"({"errcode":0,"group_msg_list":[{"msgid":"m","attachments":[{"link":7}]}]})",
        R"({"errcode":"0"})", R"({"errcode":0,"fail_list":[1]})", R"({"errcode":0,"task_list":{}})",
        R"({"errcode":0,"msgid":7})"}) {
    EXPECT_FALSE(ParseAnswer("x", body).ok()) << body;
  }
}

}  // namespace
}  // namespace tidegate::wecom_table
