#include "services/wecom_simulator/core/wecom_core.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace tidegate::wecom_simulator {
namespace {

namespace json = boost::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kAesKey[] = "K7mQ2xV9bT4nR8wY3cF6hJ1sD5gL0pZaXeUiOqWtBvC";

// A corp "ww" with app 1000002, members amy and bob, tags et1 et2, customers wm0..wm9 of amy, wm9
// of bob too. A small language: advance the clock, call, look at the code.
class WecomCoreTest : public testing::Test {
 protected:
  WecomCoreTest() { Restart(Plain()); }

  static CoreOptions Plain() {
    CoreOptions options;
    options.limits.hold_ms = 1000;
    options.limits.list_lag_ms = 500;
    options.broken = options.over_quota = options.fail_list = options.confirm_never = 0;
    return options;
  }
  void Restart(const CoreOptions& options) {
    core_ = std::make_unique<WecomCore>(options);
    json::array customers;
    for (int i = 0; i < 10; ++i) {
      customers.push_back({{"external_userid", absl::StrCat("wm", i)}, {"member", "amy"}});
    }
    customers.push_back({{"external_userid", "wm9"}, {"member", "bob"}});
    Control(
        "/control/seed",
        {{"corp_id", "ww"},
         {"apps", json::array{json::object{{"agent_id", 1000002},
                                           {"secret", "s"},
                                           {"token", "tok"},
                                           {"aes_key", kAesKey},
                                           {"callback_url", "http://127.0.0.1:1/callback/ww/1"}}}},
         {"members", json::array{"amy", "bob"}},
         {"tags", json::array{"et1", "et2"}},
         {"customers", customers}});
    token_ = Text(Get("gettoken?corpid=ww&corpsecret=s").at("access_token").as_string());
  }

  void Advance(int64_t ms) {
    now_.raw_ns += ms * kNanosPerMilli;
    now_.boot_ns += ms * kNanosPerMilli;
    now_.wall_ns += ms * kNanosPerMilli;
  }
  json::object Control(absl::string_view path, const json::object& arguments) {
    auto answer = core_->OnControl(path, arguments, now_);
    EXPECT_TRUE(answer.ok()) << answer.status();
    return answer.ok() ? *answer : json::object{};
  }
  std::string ip_ = "10.0.0.1";  // that calls come from
  // Left unanswered: the permit stays out.
  Decision Open(const std::string& method, const std::string& target, const std::string& body) {
    const std::vector<std::string> parts = absl::StrSplit(target, absl::MaxSplits('?', 1));
    return core_->OnRequest(
        {method, absl::StrCat("/cgi-bin/", parts[0]), parts.size() > 1 ? parts[1] : "", body, ip_},
        now_);
  }
  Decision OpenPost(const std::string& api, const std::string& body) {
    return Open("POST", absl::StrCat("externalcontact/", api, "?access_token=", token_), body);
  }
  json::object Finish(Decision decision) {
    last_ = decision;
    core_->OnAnswered(decision.request_id, now_);
    return json::parse(decision.body).as_object();
  }
  json::object Get(const std::string& target) { return Finish(Open("GET", target, "")); }
  json::object Post(const std::string& api, const std::string& body) {
    return Finish(OpenPost(api, body));
  }
  static int64_t Code(const json::object& answer) { return answer.at("errcode").as_int64(); }

  static std::string Create(const std::string& ids, const std::string& sender = "amy") {
    return absl::StrCat(R"({"chat_type":"single","external_userid":[)", ids, R"(],"sender":")",
                        sender, R"(","text":{"content":"hi"}})");
  }
  json::object List(const std::string& more = "") {
    const int64_t second = now_.wall_ns / kNanosPerSecond;
    return Post("get_groupmsg_list_v2",
                absl::StrCat(R"({"chat_type":"single","start_time":)", second - 1000,
                             R"(,"end_time":)", second + 10, more, "}"));
  }
  std::string AddAndTakeCode(const std::string& customer) {
    const json::object added = Control("/control/event", {{"corp_id", "ww"},
                                                          {"kind", "add_external_contact"},
                                                          {"external_userid", customer},
                                                          {"member", "amy"},
                                                          {"state", "ch"}});
    const auto due = core_->TakeDueCallbacks(now_);
    EXPECT_EQ(due.size(), 1u);
    core_->OnCallbackDone(due.at(0).id, 200, now_);
    return Text(added.at("welcome_code").as_string());
  }

  Now now_{.wall_ns = 1'800'000'000 * kNanosPerSecond, .raw_ns = 5 * kNanosPerSecond};
  std::unique_ptr<WecomCore> core_;
  std::string token_;
  Decision last_;
};

TEST_F(WecomCoreTest, CallsFromAnAddressThatTheCorpDoesNotTrustAreRefused) {
  const std::string create = Create("\"wm1\"");
  EXPECT_EQ(Code(Post("add_msg_template", create)), 0) << "until it is said, any is trusted";
  Control("/control/trusted_ips", {{"corp_id", "ww"}, {"ips", json::array{"10.0.0.2"}}});
  const json::object refused = Post("add_msg_template", create);
  EXPECT_EQ(Code(refused), 60020);
  EXPECT_THAT(Text(refused.at("errmsg").as_string()), HasSubstr("from ip: 10.0.0.1"));
  EXPECT_EQ(last_.entry.verdict, "rejected");
  EXPECT_EQ(last_.entry.ip, "10.0.0.1");
  EXPECT_EQ(Code(Get("gettoken?corpid=ww&corpsecret=s")), 0);
  ip_ = "10.0.0.2";
  EXPECT_EQ(Code(Post("add_msg_template", create)), 0);
  Control("/control/trusted_ips", {{"corp_id", "ww"}, {"ips", json::array{}}});
  EXPECT_EQ(Code(Post("add_msg_template", create)), 60020);
  EXPECT_FALSE(core_->OnControl("/control/trusted_ips", {{"corp_id", "ww"}}, now_).ok());
}

TEST_F(WecomCoreTest, OneTokenPerAppUntilItExpires) {
  const std::string first = token_;
  Advance(7199 * 1000);
  EXPECT_EQ(Text(Get("gettoken?corpid=ww&corpsecret=s").at("access_token").as_string()), first);
  Advance(1000);
  EXPECT_EQ(Code(Post("add_msg_template", Create("\"wm1\""))), 42001);
  const json::object fresh = Get("gettoken?corpid=ww&corpsecret=s");
  EXPECT_EQ(fresh.at("expires_in").as_int64(), 7200);
  EXPECT_NE(Text(fresh.at("access_token").as_string()), first);
}

TEST_F(WecomCoreTest, TokenErrorsHaveTheirCodes) {
  EXPECT_EQ(Code(Get("gettoken?corpsecret=s")), 41002);
  EXPECT_EQ(Code(Get("gettoken?corpid=ww")), 41004);
  EXPECT_EQ(Code(Get("gettoken?corpid=no&corpsecret=s")), 40013);
  EXPECT_EQ(Code(Get("gettoken?corpid=ww&corpsecret=no")), 40001);
  EXPECT_EQ(Code(Finish(Open("POST", "externalcontact/mark_tag", "{}"))), 41001);
  token_ = "made-up";
  EXPECT_EQ(Code(Post("mark_tag", "{}")), 40014);
}

TEST_F(WecomCoreTest, AnUnknownPathIsNotFound) {
  const Decision decision = OpenPost("no_such_thing", "{}");
  EXPECT_EQ(decision.http_status, 404);
  EXPECT_EQ(decision.entry.verdict, "rejected");
  EXPECT_NE(Code(Finish(decision)), 0);
}

TEST_F(WecomCoreTest, BadInputHasItsCodeAndExecutesNothing) {
  const std::string long_text(4001, 'x');
  std::string many = "\"wm0\"";
  for (int i = 0; i < 10'000; ++i) absl::StrAppend(&many, ",\"wm0\"");
  std::string attachments = R"({"msgtype":"file","file":{"media_id":"m"}})";
  const std::string one = attachments;
  for (int i = 0; i < 9; ++i) absl::StrAppend(&attachments, ",", one);
  const struct {
    const char* api;
    std::string body;
    int code;
  } rows[] = {
      {"add_msg_template", "{", 40058},
      {"add_msg_template", "[]", 40058},
      {"add_msg_template", R"({"chat_type":"group","text":{"content":"x"}})", 86214},
      {"add_msg_template", R"({"chat_type":"other","text":{"content":"x"}})", 86214},
      {"add_msg_template", R"({"text":{"content":"x"}})", 40058},
      {"add_msg_template", R"({"sender":"amy"})", 41089},
      {"add_msg_template", R"({"sender":"amy","attachments":[]})", 41088},
      {"add_msg_template", R"({"sender":"amy","text":"x"})", 40058},
      {"add_msg_template", R"({"sender":"zoe","text":{"content":"x"}})", 40003},
      {"add_msg_template", R"({"sender":7,"text":{"content":"x"}})", 40058},
      {"add_msg_template", R"({"sender":"amy","text":{"content":")" + long_text + R"("}})", 40058},
      {"add_msg_template", Create(many), 40058},
      {"add_msg_template", Create("1"), 40058},
      {"add_msg_template", Create("\"nobody\""), 41048},
      {"add_msg_template", Create("\"wm1\"", "bob"), 41048},
      {"add_msg_template", R"({"sender":"amy","attachments":[)" + attachments + "]}", 41064},
      {"add_msg_template", R"({"sender":"amy","attachments":[{"msgtype":"link","file":{}}]})",
       41065},
      {"add_msg_template", R"({"sender":"amy","attachments":[{"msgtype":"poem"}]})", 41065},
      {"add_msg_template",
       R"({"sender":"amy","attachments":[{"msgtype":"link","link":{"url":"http://x"}}]})", 40058},
      {"add_msg_template",
       R"({"sender":"amy","attachments":[{"msgtype":"link","link":{"title":"t"}}]})", 40058},
      {"add_msg_template",
       R"({"sender":"amy","attachments":[{"msgtype":"link","link":{"url":"u","title":")" +
           std::string(129, 't') + R"("}}]})",
       40058},
      {"mark_tag", R"({"external_userid":"wm1","add_tag":["et1"]})", 41009},
      {"mark_tag", R"({"userid":"amy","add_tag":["et1"]})", 41035},
      {"mark_tag", R"({"userid":"amy","external_userid":"wm1"})", 41111},
      {"mark_tag", R"({"userid":"zoe","external_userid":"wm1","add_tag":["et1"]})", 40003},
      {"mark_tag", R"({"userid":"amy","external_userid":"no","add_tag":["et1"]})", 40096},
      {"mark_tag", R"({"userid":"bob","external_userid":"wm1","add_tag":["et1"]})", 84061},
      {"mark_tag", R"({"userid":"amy","external_userid":"wm1","add_tag":["et9"]})", 40068},
      {"send_welcome_msg", R"({"text":{"content":"x"}})", 41049},
      {"send_welcome_msg", R"({"welcome_code":"no","text":{"content":"x"}})", 41050},
      {"get_groupmsg_list_v2", R"({"start_time":1,"end_time":2})", 40058},
      {"get_groupmsg_list_v2", R"({"chat_type":"single","start_time":3,"end_time":2})", 40058},
      {"get_groupmsg_list_v2", R"({"chat_type":"single","start_time":0,"end_time":2678401})",
       40058},
      {"get_groupmsg_list_v2", R"({"chat_type":"single","start_time":1,"end_time":2,"cursor":"x"})",
       50100},
      {"get_groupmsg_task", "{}", 41046},
      {"get_groupmsg_task", R"({"msgid":"no"})", 41047},
      {"get_groupmsg_send_result", R"({"msgid":"no"})", 41009},
  };
  for (const auto& row : rows) {
    const json::object answer = Post(row.api, row.body);
    EXPECT_EQ(Code(answer), row.code) << row.api << " " << row.body.substr(0, 100);
    EXPECT_EQ(last_.entry.verdict, "rejected");
    EXPECT_THAT(Text(answer.at("errmsg").as_string()), HasSubstr("from ip: 10.0.0.1"));
  }
  EXPECT_TRUE(Control("/control/truth", {{"corp_id", "ww"}}).at("sends").as_array().empty());
}

TEST_F(WecomCoreTest, MalformedJsonIsSaidSo) {
  EXPECT_THAT(Text(Post("mark_tag", "{\"userid\":").at("errmsg").as_string()),
              HasSubstr("Warning: wrong json format."));
}

TEST_F(WecomCoreTest, ACustomerOfAnotherMemberGoesToFailList) {
  const json::object answer = Post("add_msg_template", Create(R"("wm9","wm1","nobody")", "bob"));
  EXPECT_EQ(Code(answer), 0);
  EXPECT_EQ(json::serialize(answer.at("fail_list")), R"(["wm1","nobody"])");
  EXPECT_THAT(last_.entry.fail_list, ElementsAre("wm1", "nobody"));
  EXPECT_THAT(last_.entry.recipients, ElementsAre("wm9", "wm1", "nobody"));
  EXPECT_EQ(last_.entry.sender, "bob");
  EXPECT_EQ(last_.entry.msgid, Text(answer.at("msgid").as_string()));
}

TEST_F(WecomCoreTest, WithoutASenderEachMemberGetsATaskEntry) {
  Control("/control/event", {{"corp_id", "ww"},
                             {"kind", "add_external_contact"},
                             {"external_userid", "wmB"},
                             {"member", "bob"}});
  const std::string msgid =
      Text(Post("add_msg_template", R"({"external_userid":["wm1","wmB"],"text":{"content":"x"}})")
               .at("msgid")
               .as_string());
  Advance(1000);
  const json::object tasks = Post("get_groupmsg_task", absl::StrCat(R"({"msgid":")", msgid, "\"}"));
  ASSERT_EQ(tasks.at("task_list").as_array().size(), 2u);
}

TEST_F(WecomCoreTest, TheMarkerIsReadFromTheFirstLink) {
  Post("add_msg_template",
       R"({"sender":"amy","attachments":[{"msgtype":"file","file":{"media_id":"m"}},
       {"msgtype":"link","link":{"title":"t","url":"https://x/y?a=1&tg=c%2Ad7#top"}}]})");
  EXPECT_EQ(last_.entry.marker, "c*d7");
  EXPECT_EQ(last_.entry.verdict, "executed");
}

TEST_F(WecomCoreTest, AReadRightAfterACreateIsToldToWait) {
  const std::string msgid =
      Text(Post("add_msg_template", Create("\"wm1\"")).at("msgid").as_string());
  const std::string task = absl::StrCat(R"({"msgid":")", msgid, "\"}");
  const std::string result = absl::StrCat(R"({"userid":"amy","msgid":")", msgid, "\"}");
  Advance(999);
  EXPECT_EQ(Code(Post("get_groupmsg_task", task)), 41063);
  EXPECT_EQ(Code(Post("get_groupmsg_send_result", result)), 41063);
  Advance(1);
  EXPECT_EQ(Code(Post("get_groupmsg_task", task)), 0);
  EXPECT_EQ(Code(Post("get_groupmsg_send_result", result)), 0);
}

TEST_F(WecomCoreTest, ATaskIsListedExactlyOneLagAfterItsExecutionAsItWasSent) {
  const std::string msgid =
      Text(Post("add_msg_template", Create("\"wm1\"")).at("msgid").as_string());
  Advance(499);
  EXPECT_TRUE(List().at("group_msg_list").as_array().empty());
  Advance(1);
  const json::array list = List().at("group_msg_list").as_array();
  ASSERT_EQ(list.size(), 1u);
  const json::object& item = list[0].as_object();
  EXPECT_EQ(Text(item.at("msgid").as_string()), msgid);
  EXPECT_EQ(json::serialize(item.at("text")), R"({"content":"hi"})");
  EXPECT_EQ(item.at("create_time").as_int64(), 1'800'000'000);
  EXPECT_EQ(item.at("create_type").as_int64(), 0);
  EXPECT_FALSE(item.contains("creator"));
}

TEST_F(WecomCoreTest, ListsArePagedWithoutLossOrRepeat) {
  std::set<std::string> created, listed;
  for (int i = 0; i < 23; ++i) {
    created.insert(Text(Post("add_msg_template", Create("\"wm1\"")).at("msgid").as_string()));
  }
  Advance(500);
  std::string cursor;
  int pages = 0;
  do {
    const json::object page = List(absl::StrCat(R"(,"limit":10,"cursor":")", cursor, "\""));
    for (const auto& item : page.at("group_msg_list").as_array()) {
      EXPECT_TRUE(listed.insert(Text(item.at("msgid").as_string())).second);
    }
    cursor = Text(page.at("next_cursor").as_string());
    ++pages;
  } while (!cursor.empty());
  EXPECT_EQ(pages, 3);
  EXPECT_EQ(listed, created);
  EXPECT_EQ(List(R"(,"limit":1000)").at("group_msg_list").as_array().size(), 23u);
}

TEST_F(WecomCoreTest, ResultsArePaged) {
  const std::string msgid = Text(
      Post("add_msg_template", Create(R"("wm0","wm1","wm2","wm3","wm4")")).at("msgid").as_string());
  Advance(1000);
  std::set<std::string> seen;
  std::string cursor;
  do {
    const json::object page =
        Post("get_groupmsg_send_result", absl::StrCat(R"({"userid":"amy","limit":2,"msgid":")",
                                                      msgid, R"(","cursor":")", cursor, "\"}"));
    for (const auto& item : page.at("send_list").as_array()) {
      EXPECT_TRUE(seen.insert(Text(item.at("external_userid").as_string())).second);
    }
    cursor = Text(page.at("next_cursor").as_string());
  } while (!cursor.empty());
  EXPECT_EQ(seen.size(), 5u);
}

TEST_F(WecomCoreTest, EachLotEndsAsItsStatus) {
  const struct {
    double broken, over_quota;
    int status;
  } rows[] = {{0, 0, 1}, {1, 0, 2}};
  for (const auto& row : rows) {
    CoreOptions options = Plain();
    options.broken = row.broken;
    options.over_quota = row.over_quota;
    Restart(options);
    const std::string msgid =
        Text(Post("add_msg_template", Create("\"wm1\"")).at("msgid").as_string());
    const std::string body = absl::StrCat(R"({"userid":"amy","msgid":")", msgid, "\"}");
    Advance(200'000);
    const json::object result = Post("get_groupmsg_send_result", body);
    const json::object& item = result.at("send_list").as_array().at(0).as_object();
    EXPECT_EQ(item.at("status").as_int64(), row.status);
    EXPECT_EQ(item.contains("send_time"), row.status == 1);
  }
}

TEST_F(WecomCoreTest, CustomersOverTheirQuotaEndAsStatusThreeNextToTheOthers) {
  CoreOptions options = Plain();
  options.over_quota = 0.5;
  Restart(options);
  const std::string msgid =
      Text(Post("add_msg_template", R"({"sender":"amy","text":{"content":"x"}})")
               .at("msgid")
               .as_string());
  Advance(200'000);
  const json::object result =
      Post("get_groupmsg_send_result", absl::StrCat(R"({"userid":"amy","msgid":")", msgid, "\"}"));
  std::set<int64_t> statuses;
  for (const json::value& item : result.at("send_list").as_array()) {
    const bool over = KindOf(options, "ww", Text(item.at("external_userid").as_string())) ==
                      CustomerKind::kOverQuota;
    EXPECT_EQ(item.at("status").as_int64(), over ? 3 : 1);
    statuses.insert(item.at("status").as_int64());
  }
  EXPECT_THAT(statuses, ElementsAre(1, 3));
}

TEST_F(WecomCoreTest, TheQuotaIsTakenInTheOrderOfTheConfirmations) {
  CoreOptions options = Plain();
  options.receive_quota = ReceiveQuotaKind::kOnePerDay;
  options.confirm_mean_ms = 60'000;
  Restart(options);
  std::vector<std::string> msgids;
  for (int i = 0; i < 3; ++i) {
    msgids.push_back(
        Text(Post("add_msg_template", Create(R"("wm1","wm2")")).at("msgid").as_string()));
  }
  Advance(1000);
  const auto finals = [&] {
    std::multiset<int64_t> statuses;
    const json::object truth = Control("/control/truth", {{"corp_id", "ww"}});
    for (const json::value& send : truth.at("sends").as_array()) {
      for (const json::value& recipient : send.at("recipients").as_array()) {
        statuses.insert(recipient.at("final_status").as_int64());
      }
    }
    return statuses;
  };
  EXPECT_THAT(finals(), ElementsAre(1, 1, 3, 3, 3, 3)) << "foretold";
  std::set<std::string> first;  // the task that was confirmed first
  std::multiset<int64_t> told;
  for (int second = 0; second < 600 && told.size() < 6; ++second) {
    Advance(1000);
    told.clear();
    for (const std::string& msgid : msgids) {
      const json::object result = Post(
          "get_groupmsg_send_result", absl::StrCat(R"({"msgid":")", msgid, R"(","userid":"amy"})"));
      size_t over = 0;
      for (const json::value& item : result.at("send_list").as_array()) {
        const int64_t status = item.at("status").as_int64();
        if (status != 0) told.insert(status);
        if (status == 1) first.insert(msgid);
        over += status == 3;
      }
      EXPECT_EQ(last_.entry.over_quota.size(), over) << "the witness tells it";
    }
  }
  EXPECT_THAT(told, ElementsAre(1, 1, 3, 3, 3, 3));
  EXPECT_EQ(first.size(), 1u);
  EXPECT_EQ(finals(), told);
  EXPECT_EQ(Control("/control/status", {}).at("over_quota").as_int64(), 4);
  // The next day in China.
  Advance(int64_t{24} * 3600 * 1000);
  token_ = Text(Get("gettoken?corpid=ww&corpsecret=s").at("access_token").as_string());
  Post("add_msg_template", Create("\"wm1\""));
  EXPECT_EQ(finals().count(1), 3u);
}

TEST_F(WecomCoreTest, MembersConfirmAfterTheMeanOnAverage) {
  std::vector<std::string> msgids;
  for (int i = 0; i < 400; ++i) {
    msgids.push_back(Text(Post("add_msg_template", Create("\"wm1\"")).at("msgid").as_string()));
  }
  const int64_t created = now_.wall_ns / kNanosPerSecond;
  Advance(300'000);
  double sum = 0;
  for (const std::string& msgid : msgids) {
    const json::object task =
        Post("get_groupmsg_task", absl::StrCat(R"({"msgid":")", msgid, "\"}"));
    sum += static_cast<double>(task.at("task_list").at(0).at("send_time").as_int64() - created);
  }
  EXPECT_NEAR(sum / 400, 5.6, 1.0);  // 6 s, less the cut to whole seconds
}

TEST_F(WecomCoreTest, NobodyToSendToIsRefused) {
  CoreOptions options = Plain();
  options.over_quota = 1;
  Restart(options);
  EXPECT_EQ(Code(Post("add_msg_template", Create("\"wm1\""))), 41048);
  options = Plain();
  options.fail_list = 1;
  Restart(options);
  EXPECT_EQ(json::serialize(Post("add_msg_template", Create("\"wm1\"")).at("fail_list")),
            R"(["wm1"])");
}

TEST_F(WecomCoreTest, MembersWhoNeverConfirmLeaveStatusNotSent) {
  CoreOptions options = Plain();
  options.confirm_never = 1;
  Restart(options);
  const std::string msgid =
      Text(Post("add_msg_template", Create("\"wm1\"")).at("msgid").as_string());
  Advance(10'000'000 / 2);
  const json::object task = Post("get_groupmsg_task", absl::StrCat(R"({"msgid":")", msgid, "\"}"));
  EXPECT_EQ(task.at("task_list").at(0).at("status").as_int64(), 0);
  EXPECT_FALSE(task.at("task_list").at(0).as_object().contains("send_time"));
}

TEST_F(WecomCoreTest, ThreeRemindersOfATaskInADayMakeMembersConfirmOrNot) {
  CoreOptions options = Plain();
  options.confirm_never = 1;
  for (const int64_t confirm : {0, 1}) {
    options.confirm_reminded = static_cast<double>(confirm);
    Restart(options);
    const std::string msgid =
        Text(Post("add_msg_template", Create("\"wm1\"")).at("msgid").as_string());
    const std::string task = absl::StrCat(R"({"msgid":")", msgid, "\"}");
    EXPECT_EQ(Code(Post("remind_groupmsg_send", task)), 41063) << "it is being distributed";
    Advance(2'000);
    for (const int64_t code : {0, 0, 0, 41094}) {
      EXPECT_EQ(Code(Post("remind_groupmsg_send", task)), code);
      EXPECT_EQ(last_.entry.msgid, msgid);
      Advance(600'000);
    }
    EXPECT_EQ(Post("get_groupmsg_task", task).at("task_list").at(0).at("status").as_int64(),
              2 * confirm);
    Advance(24 * 3'600'000 - 4 * 600'000);
    token_ = Text(Get("gettoken?corpid=ww&corpsecret=s").at("access_token").as_string());
    EXPECT_EQ(Code(Post("remind_groupmsg_send", task)), 0) << "the first is a day old";
  }
}

TEST_F(WecomCoreTest, ACustomerWhoLeftBeforeTheConfirmationIsAFailedSend) {
  const std::string msgid =
      Text(Post("add_msg_template", Create("\"wm1\"")).at("msgid").as_string());
  Control("/control/event", {{"corp_id", "ww"},
                             {"kind", "del_follow_user"},
                             {"external_userid", "wm1"},
                             {"member", "amy"}});
  Advance(200'000);
  const json::object result =
      Post("get_groupmsg_send_result", absl::StrCat(R"({"userid":"amy","msgid":")", msgid, "\"}"));
  EXPECT_EQ(result.at("send_list").at(0).at("status").as_int64(), 2);
}

TEST_F(WecomCoreTest, WhatIsTakenBackIsNotConfirmedAnyMore) {
  CoreOptions options = Plain();
  options.confirm_mean_ms = 1'000'000;
  Restart(options);
  const std::string msgid =
      Text(Post("add_msg_template", Create("\"wm1\"")).at("msgid").as_string());
  const std::string body = absl::StrCat(R"({"msgid":")", msgid, "\"}");
  EXPECT_EQ(Code(Post("cancel_groupmsg_send", R"({"msgid":"other"})")), 41047);
  Advance(1'000);
  EXPECT_EQ(Code(Post("cancel_groupmsg_send", body)), 0);
  EXPECT_EQ(last_.entry.msgid, msgid);
  EXPECT_EQ(Code(Post("cancel_groupmsg_send", body)), 41093);
  Advance(5'000'000);
  const json::object task = Post("get_groupmsg_task", body);
  EXPECT_EQ(task.at("task_list").at(0).at("status").as_int64(), 0);
}

TEST_F(WecomCoreTest, WhatMembersHaveConfirmedIsNotTakenBack) {
  const std::string msgid =
      Text(Post("add_msg_template", Create("\"wm1\"")).at("msgid").as_string());
  Advance(5'000'000);
  EXPECT_EQ(Code(Post("cancel_groupmsg_send", absl::StrCat(R"({"msgid":")", msgid, "\"}"))), 0);
  const json::object result =
      Post("get_groupmsg_send_result", absl::StrCat(R"({"userid":"amy","msgid":")", msgid, "\"}"));
  EXPECT_EQ(result.at("send_list").at(0).at("status").as_int64(), 1);
}

TEST(KindOfTest, SharesComeOutAndStayTheSame) {
  CoreOptions options;
  int broken = 0, over = 0, failed = 0;
  for (int i = 0; i < 40'000; ++i) {
    const std::string customer = absl::StrCat("wm", i);
    const CustomerKind kind = KindOf(options, "ww", customer);
    EXPECT_EQ(kind, KindOf(options, "ww", customer));
    broken += kind == CustomerKind::kBroken;
    over += kind == CustomerKind::kOverQuota;
    failed += kind == CustomerKind::kFailList;
  }
  EXPECT_NEAR(broken, 400, 100);
  EXPECT_NEAR(over, 400, 100);
  EXPECT_NEAR(failed, 200, 75);
}

TEST_F(WecomCoreTest, TagsAreSetPerMemberAndCustomer) {
  EXPECT_EQ(
      Code(Post("mark_tag", R"({"userid":"amy","external_userid":"wm9","add_tag":["et1","et2"]})")),
      0);
  EXPECT_EQ(
      Code(Post("mark_tag", R"({"userid":"amy","external_userid":"wm9","remove_tag":["et1"]})")),
      0);
  EXPECT_THAT(last_.entry.remove, ElementsAre("et1"));
  EXPECT_EQ(json::serialize(Control("/control/truth", {{"corp_id", "ww"}}).at("tags")),
            R"([{"external_userid":"wm9","userid":"amy","tags":["et2"]}])");
}

TEST_F(WecomCoreTest, TwoOpenWritesToOnePairConflict) {
  const std::string body = R"({"userid":"amy","external_userid":"wm9","add_tag":["et1"]})";
  const Decision first = OpenPost("mark_tag", body);
  EXPECT_EQ(Code(Post("mark_tag", body)), 45035);
  EXPECT_EQ(Code(Post("mark_tag", R"({"userid":"bob","external_userid":"wm9","add_tag":["et1"]})")),
            0);
  Finish(first);
  EXPECT_EQ(Code(Post("mark_tag", body)), 0);
}

TEST_F(WecomCoreTest, TheSixthOpenCallIsTooManyAndTakesNoPermit) {
  std::vector<Decision> open;
  for (int i = 0; i < 5; ++i) {
    open.push_back(OpenPost("mark_tag", absl::StrCat(R"({"userid":"amy","external_userid":"wm)", i,
                                                     R"(","add_tag":["et1"]})")));
    EXPECT_EQ(open.back().entry.verdict, "executed");
  }
  const std::string sixth = R"({"userid":"amy","external_userid":"wm6","add_tag":["et1"]})";
  EXPECT_EQ(Code(Post("mark_tag", sixth)), 45033);
  Finish(open[0]);
  EXPECT_EQ(Code(Post("mark_tag", sixth)), 0);
}

TEST_F(WecomCoreTest, BeyondAWindowCallsAreRefusedAndExecuteNothing) {
  CoreOptions options = Plain();
  options.limits.rows.push_back({"add_msg_template", Scope::kCorp, 3, 5000, 7000});
  Restart(options);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Code(Post("add_msg_template", Create("\"wm1\""))), 0);
  EXPECT_EQ(Code(Post("add_msg_template", Create("\"wm1\""))), 45009);
  EXPECT_THAT(last_.entry.recipients, ElementsAre("wm1"));
  Advance(6999);
  EXPECT_EQ(Code(Post("add_msg_template", Create("\"wm1\""))), 45009);
  EXPECT_EQ(Code(List()), 0);
  Advance(1);
  EXPECT_EQ(Code(Post("add_msg_template", Create("\"wm1\""))), 0);
  EXPECT_EQ(Control("/control/truth", {{"corp_id", "ww"}}).at("sends").as_array().size(), 4u);
}

TEST_F(WecomCoreTest, AWelcomeCodeWorksOnce) {
  const std::string code = AddAndTakeCode("wmNew");
  const std::string body =
      absl::StrCat(R"({"welcome_code":")", code, R"(","text":{"content":"hello"}})");
  Advance(1500);
  EXPECT_EQ(Code(Post("send_welcome_msg", body)), 0);
  EXPECT_EQ(last_.entry.age_ms, 1500);
  EXPECT_THAT(last_.entry.recipients, ElementsAre("wmNew"));
  EXPECT_EQ(Code(Post("send_welcome_msg", body)), 41051);
}

TEST_F(WecomCoreTest, AWelcomeCodeLivesTwentySeconds) {
  const std::string first = AddAndTakeCode("wmA");
  const std::string second = AddAndTakeCode("wmB");
  Advance(20'000);
  const std::string tail = R"(","text":{"content":"hello"}})";
  EXPECT_EQ(Code(Post("send_welcome_msg", absl::StrCat(R"({"welcome_code":")", first, tail))), 0);
  Advance(1);
  EXPECT_EQ(Code(Post("send_welcome_msg", absl::StrCat(R"({"welcome_code":")", second, tail))),
            41050);
}

TEST_F(WecomCoreTest, AHalfAddedCustomerIsNotServedYet) {
  Control("/control/event", {{"corp_id", "ww"},
                             {"kind", "add_half_external_contact"},
                             {"external_userid", "wmH"},
                             {"member", "amy"}});
  const std::string body = R"({"userid":"amy","external_userid":"wmH","add_tag":["et1"]})";
  EXPECT_EQ(Code(Post("mark_tag", body)), 84061);
  Control("/control/event", {{"corp_id", "ww"},
                             {"kind", "add_external_contact"},
                             {"external_userid", "wmH"},
                             {"member", "amy"}});
  EXPECT_EQ(Code(Post("mark_tag", body)), 0);
}

TEST_F(WecomCoreTest, ExecThenCloseExecutesAndKeepsThePermitToTheHoldBound) {
  CoreOptions options = Plain();
  options.limits.in_flight["add_msg_template"] = 1;
  Restart(options);
  Control("/control/faults",
          {{"api", "add_msg_template"}, {"kind", "EXEC_THEN_CLOSE"}, {"next", 1}});
  const Decision decision = OpenPost("add_msg_template", Create("\"wm1\""));
  EXPECT_EQ(decision.ending, Ending::kClose);
  EXPECT_EQ(decision.entry.verdict, "executed");
  EXPECT_EQ(decision.entry.fault, "EXEC_THEN_CLOSE");
  Finish(decision);
  Advance(999);
  EXPECT_EQ(Code(Post("add_msg_template", Create("\"wm1\""))), 45033);
  Advance(1);
  EXPECT_EQ(Code(Post("add_msg_template", Create("\"wm1\""))), 0);
  EXPECT_EQ(Control("/control/truth", {{"corp_id", "ww"}}).at("sends").as_array().size(), 2u);
}

TEST_F(WecomCoreTest, ExecThenTimeoutIsHeldToTheHoldBound) {
  Control("/control/faults", {{"api", "*"}, {"kind", "EXEC_THEN_TIMEOUT"}, {"probability", 1.0}});
  const Decision decision = OpenPost("add_msg_template", Create("\"wm1\""));
  EXPECT_EQ(decision.ending, Ending::kHold);
  EXPECT_EQ(decision.answer_at_raw_ns, now_.raw_ns + 1000 * kNanosPerMilli);
  EXPECT_EQ(decision.entry.verdict, "executed");
  Finish(decision);
  Control("/control/faults", {{"api", "*"}, {"kind", "EXEC_THEN_TIMEOUT"}, {"probability", 0}});
  EXPECT_EQ(OpenPost("add_msg_template", Create("\"wm1\"")).ending, Ending::kAnswer);
}

TEST_F(WecomCoreTest, AListingHasNoMoreTasksOnAPageThanItIsTold) {
  CoreOptions options = Plain();
  options.list_page_max = 2;
  Restart(options);
  for (int i = 0; i < 3; ++i) Post("add_msg_template", Create("\"wm1\""));
  Advance(1000);
  const json::object first = List();
  EXPECT_EQ(first.at("group_msg_list").as_array().size(), 2u);
  const std::string cursor(first.at("next_cursor").as_string());
  ASSERT_FALSE(cursor.empty());
  const json::object second = List(absl::StrCat(R"(,"cursor":")", cursor, "\""));
  EXPECT_EQ(second.at("group_msg_list").as_array().size(), 1u);
  EXPECT_EQ(second.at("next_cursor").as_string(), "");
}

TEST_F(WecomCoreTest, WhatExecutesMayBeAnsweredBySomethingElse) {
  const struct {
    const char* kind;
    Ending ending;
    int http_status;
    const char* body;  // what of it the answer has; the true one names a msgid
  } kCases[] = {
      {"EXEC_THEN_RST", Ending::kReset, 200, "msgid"},
      {"EXEC_THEN_5XX", Ending::kAnswer, 502, "<html>"},
      {"EXEC_THEN_-1", Ending::kAnswer, 200, "\"errcode\":-1"},
      {"EXEC_THEN_GARBAGE", Ending::kAnswer, 200, "{\"errcode\":0"},
  };
  size_t executed = 0;
  for (const auto& each : kCases) {
    SCOPED_TRACE(each.kind);
    Control("/control/faults", {{"api", "add_msg_template"}, {"kind", each.kind}, {"next", 1}});
    const Decision decision = OpenPost("add_msg_template", Create("\"wm1\""));
    EXPECT_EQ(decision.ending, each.ending);
    EXPECT_EQ(decision.http_status, each.http_status);
    EXPECT_THAT(decision.body, HasSubstr(each.body));
    EXPECT_EQ(decision.entry.verdict, "executed");
    EXPECT_EQ(decision.entry.fault, each.kind);
    core_->OnAnswered(decision.request_id, now_);
    ++executed;
    EXPECT_EQ(Control("/control/truth", {{"corp_id", "ww"}}).at("sends").as_array().size(),
              executed);
  }
  Control("/control/faults",
          {{"api", "add_msg_template"}, {"kind", "EXEC_THEN_GARBAGE"}, {"next", 1}});
  json::error_code error;
  json::parse(OpenPost("add_msg_template", Create("\"wm1\"")).body, error);
  EXPECT_TRUE(error);
}

TEST_F(WecomCoreTest, ADelayedExecutionIsWithinTheHoldBoundAndListedOneLagLater) {
  Control("/control/faults", {{"api", "add_msg_template"}, {"kind", "DELAY_EXEC"}, {"next", 1}});
  const Decision decision = OpenPost("add_msg_template", Create("\"wm1\""));
  EXPECT_EQ(decision.ending, Ending::kClose);
  EXPECT_GT(decision.entry.executed_after_ms, 0);
  EXPECT_LT(decision.entry.executed_after_ms, 1000);
  Finish(decision);
  Advance(decision.entry.executed_after_ms + 499);
  EXPECT_TRUE(List().at("group_msg_list").as_array().empty());
  Advance(2);
  EXPECT_EQ(List().at("group_msg_list").as_array().size(), 1u);
}

TEST_F(WecomCoreTest, DroppedAndRejectedCallsExecuteNothing) {
  Control("/control/faults",
          {{"api", "add_msg_template"}, {"kind", "DROP_THEN_CLOSE"}, {"next", 1}});
  Control("/control/faults", {{"api", "add_msg_template"}, {"kind", "REJECT:6000"}, {"next", 1}});
  const Decision dropped = OpenPost("add_msg_template", Create("\"wm1\""));
  EXPECT_EQ(dropped.entry.verdict, "dropped");
  EXPECT_EQ(dropped.ending, Ending::kClose);
  Finish(dropped);
  EXPECT_EQ(Code(Post("add_msg_template", Create("\"wm1\""))), 6000);
  EXPECT_TRUE(Control("/control/truth", {{"corp_id", "ww"}}).at("sends").as_array().empty());
  Control("/control/faults", {{"api", "get_groupmsg_list_v2"}, {"kind", "LIST_ERR"}, {"next", 1}});
  const json::object list = List();
  EXPECT_EQ(Code(list), -1);
  EXPECT_EQ(Code(List()), 0);
}

TEST_F(WecomCoreTest, AFailedCallbackComesAgainWithTheSameTextAndIsExhaustedAfterThree) {
  Control("/control/add_customers",
          {{"corp_id", "ww"},
           {"per_second", 2},
           {"customers", json::array{json::object{{"external_userid", "n1"}, {"member", "amy"}},
                                     json::object{{"external_userid", "n2"}, {"member", "amy"}}}}});
  auto due = core_->TakeDueCallbacks(now_);
  ASSERT_EQ(due.size(), 1u);
  std::set<std::string> bodies = {due[0].body}, urls = {due[0].url};
  const uint64_t id = due[0].id;
  core_->OnCallbackDone(id, 503, now_);
  Advance(500);
  due = core_->TakeDueCallbacks(now_);
  ASSERT_EQ(due.size(), 1u) << "the second customer half a second later";
  core_->OnCallbackDone(due[0].id, 200, now_);
  EXPECT_EQ(*core_->NextWakeNs(), now_.raw_ns + 500 * kNanosPerMilli);
  Control("/control/callback_url",
          {{"corp_id", "ww"}, {"callback_url", "http://127.0.0.1:2/moved"}});
  Advance(500);
  due = core_->TakeDueCallbacks(now_);
  ASSERT_EQ(due.size(), 1u);
  EXPECT_EQ(due[0].id, id);
  EXPECT_THAT(due[0].url, HasSubstr("http://127.0.0.1:2/moved?msg_signature="));
  bodies.insert(due[0].body);
  core_->OnCallbackDone(id, 0, now_);
  const json::object status = Control("/control/status", {});
  EXPECT_EQ(status.at("callbacks").at("deliveries_left_min").to_number<int>(), 1);
  Advance(2999);
  EXPECT_TRUE(core_->TakeDueCallbacks(now_).empty());
  Advance(1);
  due = core_->TakeDueCallbacks(now_);
  ASSERT_EQ(due.size(), 1u);
  bodies.insert(due[0].body);
  EXPECT_EQ(bodies.size(), 3u) << "each delivery has a random part of its own";
  core_->OnCallbackDone(id, 500, now_);
  EXPECT_EQ(core_->NextWakeNs(), std::nullopt);
  const json::object end = Control("/control/status", {});
  EXPECT_EQ(end.at("callbacks").at("exhausted").to_number<int>(), 1);
  EXPECT_EQ(end.at("callbacks").at("delivered").to_number<int>(), 1);
  EXPECT_EQ(end.at("adds").at("done").to_number<int>(), 2);
}

TEST(ContactEventXmlTest, HasTheDocumentedShape) {
  EXPECT_EQ(ContactEventXml("ww", 7, "add_external_contact", "amy", "wm1", "a]]>b", "WC"),
            "<xml><ToUserName><![CDATA[ww]]></ToUserName><FromUserName><![CDATA[sys]]>"
            "</FromUserName><CreateTime>7</CreateTime><MsgType><![CDATA[event]]></MsgType>"
            "<Event><![CDATA[change_external_contact]]></Event>"
            "<ChangeType><![CDATA[add_external_contact]]></ChangeType>"
            "<UserID><![CDATA[amy]]></UserID><ExternalUserID><![CDATA[wm1]]></ExternalUserID>"
            "<State><![CDATA[a]]]]><![CDATA[>b]]></State>"
            "<WelcomeCode><![CDATA[WC]]></WelcomeCode></xml>");
}

TEST_F(WecomCoreTest, TheSameSeedDecidesTheSame) {
  auto run = [this] {
    now_ = {.wall_ns = 1'800'000'000 * kNanosPerSecond, .raw_ns = 5 * kNanosPerSecond};
    Restart(Plain());
    Control("/control/faults",
            {{"api", "add_msg_template"}, {"kind", "EXEC_THEN_CLOSE"}, {"probability", 0.5}});
    std::string trace;
    for (int i = 0; i < 30; ++i) {
      const Decision decision = OpenPost("add_msg_template", Create("\"wm1\""));
      absl::StrAppend(&trace, decision.answer_at_raw_ns, ToLine(decision.entry, i));
      Finish(decision);
      Advance(10);
    }
    return trace;
  };
  const std::string first = run();
  EXPECT_EQ(run(), first);
  EXPECT_THAT(first, HasSubstr("EXEC_THEN_CLOSE"));
}

TEST_F(WecomCoreTest, BadControlRequestsAreRefusedWithTheirReason) {
  const struct {
    const char* path;
    const char* body;
    const char* reason;
  } rows[] = {
      {"/control/nothing", "{}", "no control request"},
      {"/control/seed", "{}", "corp_id"},
      {"/control/seed", R"({"corp_id":"x","color":1})", "color"},
      {"/control/seed", R"({"corp_id":"x","apps":[{"agent_id":1,"secret":"s","aes_key":"k"}]})",
       "43"},
      {"/control/seed", R"({"corp_id":"x","customers":[{"external_userid":"a","member":"b"}]})",
       "unknown member b"},
      {"/control/callback_url", R"({"corp_id":"ww","callback_url":"ftp://x"})", "http"},
      {"/control/callback_url", R"({"corp_id":"no","callback_url":"http://x"})", "seeded"},
      {"/control/add_customers", R"({"corp_id":"ww","customers":[]})", "empty"},
      {"/control/add_customers",
       R"({"corp_id":"ww","per_second":0,"customers":[{"external_userid":"a","member":"amy"}]})",
       "per_second"},
      {"/control/event", R"({"corp_id":"ww","kind":"x","external_userid":"wm1","member":"amy"})",
       "kind"},
      {"/control/faults", R"({"api":"mark_tag","kind":"BOOM","next":1})", "BOOM"},
      {"/control/faults", R"({"api":"mark_tag","kind":"DELAY_EXEC","next":1})", "DELAY_EXEC"},
      {"/control/faults", R"({"api":"mark_tag","kind":"EXEC_THEN_CLOSE"})", "either"},
      {"/control/faults", R"({"api":"mark_tag","kind":"EXEC_THEN_CLOSE","probability":2})",
       "probability"},
      {"/control/hold", R"({"api":"add_msg_template","ms":1001})", "hold bound"},
  };
  for (const auto& row : rows) {
    const auto answer = core_->OnControl(row.path, json::parse(row.body).as_object(), now_);
    ASSERT_FALSE(answer.ok()) << row.path << row.body;
    EXPECT_THAT(std::string(answer.status().message()), HasSubstr(row.reason)) << row.body;
  }
}

}  // namespace
}  // namespace tidegate::wecom_simulator
