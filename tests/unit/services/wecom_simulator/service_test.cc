#include "services/wecom_simulator/service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <filesystem>
#include <fstream>
#include <future>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/http/client.h"

namespace tidegate::wecom_simulator {
namespace {

namespace json = boost::json;
using ::testing::HasSubstr;

// The simulator on a free port, with a witness file in a directory of its own.
class ServiceTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/simulatorXXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    config_.address = "127.0.0.1:0";
    config_.witness_file = directory_ + "/witness.jsonl";
    config_.ports_file = directory_ + "/ports.json";
    config_.core.latency_median_ms = 1;
    config_.core.latency_p99_ms = 2;
    config_.core.limits.hold_ms = 300;
    Start();
  }
  void TearDown() override {
    client_.reset();
    service_.reset();
    std::filesystem::remove_all(directory_);
  }
  void Start() {
    auto service = Service::Start(config_, clock_);
    ASSERT_TRUE(service.ok()) << service.status();
    service_ = *std::move(service);
    client_ = *http::Client::Create({.base_url = "http://" + service_->address()});
  }
  std::future<http::HttpResult> Send(const std::string& method, const std::string& target,
                                     const std::string& body = "") {
    auto promise = std::make_shared<std::promise<http::HttpResult>>();
    http::HttpCall call;
    call.method = method;
    call.target = target;
    call.body = body;
    if (method == "POST") call.content_type = "application/json";
    client_->Send(call, [promise](http::HttpResult result) { promise->set_value(result); });
    return promise->get_future();
  }
  json::object Ask(const std::string& method, const std::string& target,
                   const std::string& body = "") {
    const http::HttpResult result = Send(method, target, body).get();
    EXPECT_TRUE(result.status.ok()) << result.status;
    json::error_code error;
    const json::value value = json::parse(result.body, error);
    return value.is_object() ? value.get_object() : json::object{};
  }
  void Seed(const std::string& callback_url) {
    Ask("POST", "/control/seed",
        absl::StrCat(R"({"corp_id":"ww","members":["amy"],"tags":["et1"],"apps":[{"agent_id":1,
            "secret":"s","token":"tok","callback_url":")",
                     callback_url,
                     R"(","aes_key":"K7mQ2xV9bT4nR8wY3cF6hJ1sD5gL0pZaXeUiOqWtBvC"}],
            "customers":[{"external_userid":"wm1","member":"amy"}]})"));
    const json::object answer = Ask("GET", "/cgi-bin/gettoken?corpid=ww&corpsecret=s");
    ASSERT_TRUE(answer.contains("access_token"));
    create_target_ = absl::StrCat("/cgi-bin/externalcontact/add_msg_template?access_token=",
                                  std::string(answer.at("access_token").as_string()));
  }
  std::vector<json::object> WitnessLines() const {
    std::vector<json::object> lines;
    std::ifstream file(config_.witness_file);
    for (std::string line; std::getline(file, line);) {
      lines.push_back(json::parse(line).as_object());
    }
    return lines;
  }

  const std::string create_ =
      R"({"sender":"amy","external_userid":["wm1"],"text":{"content":"hi"}})";
  SystemClock clock_;
  std::string directory_;
  Config config_;
  std::unique_ptr<Service> service_;
  std::unique_ptr<http::Client> client_;
  std::string create_target_;
};

TEST_F(ServiceTest, EveryAnsweredCallIsAlreadyInTheWitnessFile) {
  Seed("http://127.0.0.1:1/");
  for (int i = 0; i < 20; ++i) {
    const json::object answer = Ask("POST", create_target_, create_);
    ASSERT_TRUE(answer.contains("msgid")) << json::serialize(answer);
    const auto lines = WitnessLines();
    ASSERT_EQ(lines.size(), static_cast<size_t>(i + 2));
    EXPECT_EQ(lines.back().at("seq").to_number<int>(), i + 2);
    EXPECT_EQ(lines.back().at("msgid"), answer.at("msgid"));
    EXPECT_EQ(lines.back().at("ip").as_string(), "127.0.0.1");
  }
}

TEST_F(ServiceTest, AHeldCallIsClosedAtTheHoldBoundAndWitnessedAsExecuted) {
  Seed("http://127.0.0.1:1/");
  Ask("POST", "/control/faults",
      R"({"api":"add_msg_template","kind":"EXEC_THEN_TIMEOUT","next":1})");
  const int64_t start = clock_.Read().raw_ns;
  const http::HttpResult result = Send("POST", create_target_, create_).get();
  EXPECT_FALSE(result.status.ok());
  EXPECT_GE(clock_.Read().raw_ns - start, 300 * kNanosPerMilli);
  EXPECT_EQ(WitnessLines().back().at("verdict").as_string(), "executed");
}

TEST_F(ServiceTest, WaitCreateAnswersWhileTheCreateIsStillOpen) {
  Seed("http://127.0.0.1:1/");
  // Open long enough that either of the two may arrive first.
  Ask("POST", "/control/hold", R"({"api":"add_msg_template","ms":200})");
  auto create = Send("POST", create_target_, create_);
  auto waiting = Send("GET", "/control/wait_create?timeout_ms=5000&extend_ms=300");
  const json::object told = json::parse(waiting.get().body).as_object();
  ASSERT_TRUE(told.at("received").as_bool());
  EXPECT_EQ(json::parse(create.get().body).at("errcode").as_int64(), 0);
  const int64_t arrived = told.at("arrived_raw_ns").to_number<int64_t>();
  EXPECT_GE(clock_.Read().raw_ns - arrived, 300 * kNanosPerMilli) << "extended to the hold bound";
}

TEST_F(ServiceTest, WaitCreateEndsAtItsTimeout) {
  EXPECT_FALSE(Ask("GET", "/control/wait_create?timeout_ms=20").at("received").as_bool());
}

TEST_F(ServiceTest, ACallbackIsPostedAndPostedAgainAfterAnError) {
  config_.core.callback_retry_ms = {10, 10};
  config_.witness_file = directory_ + "/second.jsonl";
  Start();
  std::mutex mu;
  std::vector<std::string> bodies;
  std::promise<void> twice;
  auto receiver = http::Server::Start(
      {.address = "127.0.0.1:0"}, [&](http::Request request, http::Responder send) {
        std::lock_guard lock(mu);
        bodies.push_back(request.body);
        EXPECT_NE(http::QueryValue(request.target, "msg_signature"), "");
        if (bodies.size() == 2) twice.set_value();
        send({.status = bodies.size() == 1 ? 500 : 200});
      });
  ASSERT_TRUE(receiver.ok());
  Seed("http://" + (*receiver)->address() + "/callback/ww/1");
  Ask("POST", "/control/add_customers",
      R"({"corp_id":"ww","customers":[{"external_userid":"new","member":"amy","state":"ch"}]})");
  ASSERT_EQ(twice.get_future().wait_for(std::chrono::seconds(20)), std::future_status::ready);
  std::lock_guard lock(mu);
  EXPECT_THAT(bodies[0], HasSubstr("<Encrypt>"));
  EXPECT_NE(bodies[0], bodies[1]);
  client_.reset();
  service_.reset();
}

TEST_F(ServiceTest, BadControlRequestsAndUnknownPathsHaveHttpErrors) {
  EXPECT_EQ(Send("POST", "/control/seed", "{").get().http_status, 400);
  EXPECT_EQ(Send("POST", "/control/nothing", "{}").get().http_status, 404);
  EXPECT_EQ(Send("GET", "/control/truth?corp=no").get().http_status, 404);
  EXPECT_EQ(Send("GET", "/control/wait_create?timeout_ms=x").get().http_status, 400);
  EXPECT_EQ(Send("GET", "/cgi-bin/other").get().http_status, 404);
}

TEST_F(ServiceTest, TheWitnessFileOfAnotherRunIsRefused) {
  Seed("http://127.0.0.1:1/");
  client_.reset();
  service_.reset();
  const auto second = Service::Start(config_, clock_);
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("another run"));
}

TEST_F(ServiceTest, ThePortsFileNamesTheBoundAddress) {
  std::ifstream file(config_.ports_file);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const json::value ports = json::parse(text);
  EXPECT_EQ(ports.at("address").as_string(), service_->address().c_str());
  EXPECT_EQ(ports.at("pid").as_int64(), getpid());
}

}  // namespace
}  // namespace tidegate::wecom_simulator
