#include "services/dispatch/adapters/wecom_caller.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <condition_variable>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/http/server.h"
#include "tests/support/eventually.h"
#include "tests/unit/common/http/raw_socket.h"

namespace tidegate::dispatch {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kDone[] = R"({"errcode":0,"errmsg":"ok"})";

// A WeCom that keeps the answers to mark_tag back.
class WecomCallerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string secret = ::testing::TempDir() + "/wecom_caller_test_secret";
    std::ofstream(secret) << "s\n";
    ASSERT_EQ(chmod(secret.c_str(), 0600), 0);
    corps_.corps = {{.corp_id = "ww", .apps = {{.agent_id = "1", .secret_file = secret}}}};
    auto server = http::Server::Start({}, [this](http::Request request, http::Responder send) {
      {
        const std::lock_guard lock(mutex_);
        peers_.insert({http::Path(request.target), request.remote_ip});
      }
      if (http::Path(request.target) == "/cgi-bin/gettoken") {
        return send({.body = R"({"errcode":0,"access_token":"t","expires_in":7200})"});
      }
      if (http::Path(request.target) != "/cgi-bin/externalcontact/mark_tag") {
        return send({.body = kDone});
      }
      const std::lock_guard lock(mutex_);
      held_.push_back(std::move(send));
      changed_.notify_all();
    });
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    CallFrom("");
  }
  void CallFrom(const std::string& source, const std::string& proxy = "") {
    auto caller = WecomCaller::Create(
        {.base_url = "http://" + server_->address(), .source_address = source, .proxy = proxy},
        &corps_, &limits_, &clock_, [this](std::unique_ptr<CallAnswer> answer) {
          const std::lock_guard lock(mutex_);
          const std::string call_id = answer->call_id;
          answers_[call_id] = std::move(answer);
          changed_.notify_all();
        });
    ASSERT_TRUE(caller.ok()) << caller.status();
    caller_ = *std::move(caller);
  }

  void Make(const std::string& api, const std::string& call_id) {
    caller_->Make({.corp = "ww",
                   .agent_id = "1",
                   .api = api,
                   .call_id = call_id,
                   .attempt = 1,
                   .body = "{}",
                   .send_deadline_boot_ns = clock_.Read().boot_ns + 60 * kNanosPerSecond});
  }
  // nullptr: none came.
  std::unique_ptr<CallAnswer> AnswerOf(const std::string& call_id) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, absl::ToChronoSeconds(testing::kPatience),
                      [&] { return answers_.contains(call_id); });
    return std::move(answers_[call_id]);
  }
  size_t WaitForHeld(size_t calls) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, absl::ToChronoSeconds(testing::kPatience),
                      [&] { return held_.size() >= calls; });
    return held_.size();
  }
  void AnswerHeld() {
    const std::lock_guard lock(mutex_);
    for (auto& send : std::exchange(held_, {})) send({.body = kDone});
  }

  SystemClock clock_;
  config::Corps corps_;
  wecom_table::Limits limits_ = wecom_table::DefaultLimits();
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<http::Responder> held_;
  std::set<std::pair<std::string, std::string>> peers_;  // path, address that called it
  std::map<std::string, std::unique_ptr<CallAnswer>> answers_;
  std::unique_ptr<http::Server> server_;
  std::unique_ptr<WecomCaller> caller_;
};

TEST_F(WecomCallerTest, TokensAndCallsOfEveryKindLeaveFromTheSourceAddress) {
  CallFrom("127.0.0.2");
  for (const char* api : {"send_welcome_msg", "add_msg_template", "get_groupmsg_list_v2"}) {
    Make(api, api);
    const auto answer = AnswerOf(api);
    ASSERT_NE(answer, nullptr) << api;
    EXPECT_TRUE(answer->answered) << api;
  }
  const std::string folder = "/cgi-bin/externalcontact/";
  const std::lock_guard lock(mutex_);
  EXPECT_EQ(peers_, (std::set<std::pair<std::string, std::string>>{
                        {"/cgi-bin/gettoken", "127.0.0.2"},
                        {folder + "send_welcome_msg", "127.0.0.2"},
                        {folder + "add_msg_template", "127.0.0.2"},
                        {folder + "get_groupmsg_list_v2", "127.0.0.2"}}));
}

TEST_F(WecomCallerTest, AWelcomeDoesNotWaitForAConnectionBehindBulkCalls) {
  constexpr size_t kConnections = 64;
  for (size_t i = 0; i < 2 * kConnections; ++i) Make("mark_tag", absl::StrCat("tag", i));
  ASSERT_EQ(WaitForHeld(kConnections), kConnections);
  Make("send_welcome_msg", "welcome");
  const auto welcome = AnswerOf("welcome");
  ASSERT_NE(welcome, nullptr);
  EXPECT_TRUE(welcome->answered);
  // Those that wait have not been given up: their turn comes.
  AnswerHeld();
  ASSERT_EQ(WaitForHeld(kConnections), kConnections);
  AnswerHeld();
  for (size_t i = 0; i < 2 * kConnections; ++i) {
    const auto tag = AnswerOf(absl::StrCat("tag", i));
    ASSERT_NE(tag, nullptr);
    EXPECT_TRUE(tag->answered) << i;
  }
}

TEST_F(WecomCallerTest, ACallThatWaitedForItsTurnTooLongDoesNotBlameTheWay) {
  constexpr size_t kConnections = 64;
  for (size_t i = 0; i < kConnections; ++i) Make("mark_tag", absl::StrCat("tag", i));
  ASSERT_EQ(WaitForHeld(kConnections), kConnections);
  limits_.http_deadline_ns = 50 * kNanosPerMilli;
  ::testing::internal::CaptureStderr();
  Make("mark_tag", "late");
  const auto late = AnswerOf("late");
  const std::string log = ::testing::internal::GetCapturedStderr();
  ASSERT_NE(late, nullptr);
  EXPECT_FALSE(late->bytes_written);
  EXPECT_THAT(log, Not(HasSubstr("wecom_not_reached")));
}

TEST_F(WecomCallerTest, NoConnectionInTimeIsTold) {
  limits_.http_deadline_ns = 300 * kNanosPerMilli;
  http::RawListener silent;
  CallFrom("", absl::StrCat("127.0.0.1:", silent.port()));
  ::testing::internal::CaptureStderr();
  Make("mark_tag", "tag");
  const auto tag = AnswerOf("tag");
  const std::string log = ::testing::internal::GetCapturedStderr();
  ASSERT_NE(tag, nullptr);
  EXPECT_FALSE(tag->bytes_written);
  EXPECT_THAT(log, HasSubstr("wecom_not_reached"));
}

}  // namespace
}  // namespace tidegate::dispatch
