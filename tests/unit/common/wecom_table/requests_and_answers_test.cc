#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/seeded_random.h"
#include "common/wecom_table/answers.h"
#include "common/wecom_table/requests.h"

namespace tidegate::wecom_table {
namespace {

TEST(RequestBodiesTest, AreTheGoldenOnes) {
  const std::vector<std::string> one = {"wm\"1"};
  const std::vector<std::string> two = {"t1", "t2"};
  const std::vector<std::string> none;
  struct Row {
    std::string body;
    const char* golden;
  };
  for (
      const Row& row : std::vector<Row>{
          {AddMsgTemplateBody("m\\1", one, "a\nb\t\"c\" \xE4\xBD\xA0", "https://e.com/?a=1&b=2",
                              ""),
           R"({"chat_type":"single","external_userid":["wm\"1"],"sender":"m\\1",)"
           R"("text":{"content":"a\nb\t\"c\" )"
           "\xE4\xBD\xA0"
           R"("},"attachments":[{"msgtype":"link","link":{"title":"",)"
           R"("url":"https://e.com/?a=1&b=2"}}]})"},
          {MarkTagBody("m", "wm", two, one),
           R"({"userid":"m","external_userid":"wm","add_tag":["t1","t2"],"remove_tag":["wm\"1"]})"},
          {MarkTagBody("m", "wm", none, none), R"({"userid":"m","external_userid":"wm"})"},
          {WelcomeBody("", ""), R"({"welcome_code":"","text":{"content":""}})"},
          {GroupMsgListBody(1'600'000'000, 4'000'000'000, "next", 100),
           R"({"chat_type":"single","start_time":1600000000,"end_time":4000000000,)"
           R"("filter_type":0,"limit":100,"cursor":"next"})"},
          {GroupMsgTaskBody("id", "", 1000), R"({"msgid":"id","limit":1000})"},
          {GroupMsgSendResultBody("id", "m", "", 500),
           R"({"msgid":"id","userid":"m","limit":500})"},
      }) {
    EXPECT_EQ(row.body, row.golden);
  }
}

TEST(MarkersTest, StandInTheQueryAndNowhereElse) {
  struct Row {
    const char* url;
    const char* marked;
  };
  for (const Row& row : std::vector<Row>{
           {"", "?tg=m"},
           {"https://e.com/", "https://e.com/?tg=m"},
           {"https://e.com/a?b", "https://e.com/a?b&tg=m"},
           {"https://e.com/a?b=c?d", "https://e.com/a?b=c?d&tg=m"},
           {"https://e.com/a?b=1&c=2", "https://e.com/a?b=1&c=2&tg=m"},
           {"https://e.com/a?#", "https://e.com/a?tg=m#"},
           {"https://e.com/a#", "https://e.com/a?tg=m#"},
           {"https://e.com/a?b=c&#x", "https://e.com/a?b=c&tg=m#x"},
           // What follows # is not the query, whatever it looks like.
           {"https://e.com/#/page?x=1", "https://e.com/?tg=m#/page?x=1"},
           {"https://e.com/#?tg=no", "https://e.com/?tg=m#?tg=no"},
           {"https://e.com/a?b=1#c#d", "https://e.com/a?b=1&tg=m#c#d"},
           // Neither is a path or another parameter.
           {"https://e.com/tg=no", "https://e.com/tg=no?tg=m"},
           {"https://e.com/a?atg=no", "https://e.com/a?atg=no&tg=m"},
           {"https://e.com/a?u=%3Ftg%3Dno", "https://e.com/a?u=%3Ftg%3Dno&tg=m"},
       }) {
    EXPECT_EQ(WithMarker(row.url, "m"), row.marked);
    EXPECT_EQ(MarkerOf(row.marked), "m") << row.marked;
    EXPECT_EQ(MarkerOf(row.url), "") << row.url;
  }
}

TEST(MarkersTest, ComeBackFromArbitraryUrls) {
  constexpr absl::string_view kAlphabet = "?&#=ta/%";
  for (uint64_t seed = 1; seed <= 2000; ++seed) {
    SeededRandom random(seed);
    std::string url = "https://e.com";
    for (uint64_t length = random.Below(12); length > 0; --length) {
      url += kAlphabet[random.Below(kAlphabet.size())];
    }
    const std::string marked = WithMarker(url, "0123456789abcdef");
    EXPECT_EQ(MarkerOf(marked), "0123456789abcdef") << "seed " << seed << " " << url;
    const size_t fragment = url.find('#');
    const size_t marked_fragment = marked.find('#');
    EXPECT_EQ(fragment == std::string::npos ? "" : url.substr(fragment),
              marked_fragment == std::string::npos ? "" : marked.substr(marked_fragment))
        << "seed " << seed << " " << url;
  }
}

TEST(AnswerFieldsTest, EveryDocumentedFieldIsRead) {
  const auto answer = ParseAnswer("any", R"({"errcode":40058,"errmsg":"x","msgid":"id",
    "fail_list":["wm1","wm2"],"next_cursor":"n",
    "task_list":[{"userid":"m1","status":2,"send_time":1},{"userid":"m2","status":0}],
    "send_list":[{"external_userid":"wm1","userid":"m1","status":3},{"external_userid":"wm2"}],
    "group_msg_list":[{"msgid":"g1","create_time":1600000000,"attachments":[
      {"msgtype":"link","link":{"url":"u1"}},{"msgtype":"link","link":{"url":"u2"}}]},
      {"msgid":"g2"}]})");
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->errcode, 40058);
  EXPECT_EQ(answer->msgid, "id");
  EXPECT_EQ(answer->fail_list, (std::vector<std::string>{"wm1", "wm2"}));
  EXPECT_EQ(answer->next_cursor, "n");
  ASSERT_EQ(answer->tasks.size(), 2u);
  EXPECT_EQ(answer->tasks[0].userid, "m1");
  EXPECT_EQ(answer->tasks[0].status, 2);
  EXPECT_EQ(answer->tasks[1].status, 0);
  ASSERT_EQ(answer->sends.size(), 2u);
  EXPECT_EQ(answer->sends[0].external_userid, "wm1");
  EXPECT_EQ(answer->sends[0].status, 3);
  EXPECT_EQ(answer->sends[1].status, 0);
  ASSERT_EQ(answer->messages.size(), 2u);
  EXPECT_EQ(answer->messages[0].msgid, "g1");
  EXPECT_EQ(answer->messages[0].create_time_s, 1'600'000'000);
  EXPECT_EQ(answer->messages[0].link_urls, (std::vector<std::string>{"u1", "u2"}));
  EXPECT_TRUE(answer->messages[1].link_urls.empty());
}

TEST(AnswerFieldsTest, AnotherTypeThanDocumentedProvesNothing) {
  for (const char* field :
       {R"("errcode":"0")",
        R"("errcode":0.5)",
        R"("errcode":[])",
        R"("errcode":9999999999)",
        R"("errcode":18446744073709551615)",
        R"("errcode":0,"msgid":7)",
        R"("errcode":0,"msgid":["id"])",
        R"("errcode":0,"next_cursor":1)",
        R"("errcode":0,"fail_list":"wm1")",
        R"("errcode":0,"fail_list":["wm1",2])",
        R"("errcode":0,"task_list":{"userid":"m"})",
        R"("errcode":0,"task_list":["m"])",
        R"("errcode":0,"task_list":[{"userid":1}])",
        R"("errcode":0,"task_list":[{"status":"2"}])",
        R"("errcode":0,"send_list":7)",
        R"("errcode":0,"send_list":[null])",
        R"("errcode":0,"send_list":[{"external_userid":{}}])",
        R"("errcode":0,"send_list":[{"status":1.5}])",
        R"("errcode":0,"group_msg_list":"")",
        R"("errcode":0,"group_msg_list":[[]])",
        R"("errcode":0,"group_msg_list":[{"msgid":1}])",
        R"("errcode":0,"group_msg_list":[{"create_time":"soon"}])",
        R"("errcode":0,"group_msg_list":[{"create_time":[]}])",
        R"("errcode":0,"group_msg_list":[{"attachments":{}}])",
        R"("errcode":0,"group_msg_list":[{"attachments":["link"]}])",
        R"("errcode":0,"group_msg_list":[{"attachments":[{"link":"u"}]}])",
        R"("errcode":0,"group_msg_list":[{"attachments":[{"link":{"url":7}}]}])"}) {
    const auto answer = ParseAnswer("any", absl::StrCat("{", field, "}"));
    ASSERT_FALSE(answer.ok()) << field;
    EXPECT_EQ(answer.status().code(), absl::StatusCode::kInvalidArgument) << field;
  }
  for (const char* body : {"null", "0", "\"ok\"", "{", "{\"errcode\":0}x", "<html></html>"}) {
    EXPECT_FALSE(ParseAnswer("any", body).ok()) << body;
  }
}

TEST(AnswersTest, MembersWhomAnAppCannotWriteToAreTold) {
  const auto answer = ParseAnswer(
      "message_send",
      R"({"errcode":0,"invaliduser":"a|b","unlicenseduser":"c","invalidparty":"","msgid":"m"})");
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->fail_list, (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_FALSE(ParseAnswer("message_send", R"({"errcode":0,"invaliduser":["a"]})").ok());
}

}  // namespace
}  // namespace tidegate::wecom_table
