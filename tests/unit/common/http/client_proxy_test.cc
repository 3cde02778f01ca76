// The client behind a forward proxy.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/http/client.h"
#include "common/http/server.h"
#include "tests/unit/common/http/raw_socket.h"
#include "tests/unit/common/http/tunnel_proxy.h"

namespace tidegate::http {
namespace {

using absl::StatusCode;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kPassword[] = "pa ss:w@rd";

std::future<HttpResult> Send(Client& client, HttpCall call) {
  auto promise = std::make_shared<std::promise<HttpResult>>();
  client.Send(std::move(call),
              [promise](HttpResult result) { promise->set_value(std::move(result)); });
  return promise->get_future();
}

class HttpClientProxyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = Server::Start({}, [](const Request& request, const Responder& send) {
      send({.body = absl::StrCat(request.target, " ", request.body)});
    });
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  std::unique_ptr<Client> CreateClient(const std::string& proxy, ClientOptions options = {}) {
    options.base_url = "http://" + server_->address();
    options.proxy = proxy;
    auto client = Client::Create(std::move(options));
    EXPECT_TRUE(client.ok()) << client.status();
    return client.ok() ? *std::move(client) : nullptr;
  }

  std::unique_ptr<Server> server_;
};

TEST_F(HttpClientProxyTest, EveryConnectionIsATunnelOfItsOwn) {
  TunnelProxy proxy;
  const auto client =
      CreateClient(proxy.address(), {.proxy_credentials = absl::StrCat("li:", kPassword)});
  const auto call = [&](const std::string& body, bool reusable) {
    const HttpResult result = Send(*client, {.method = "POST",
                                             .target = "/create?a=1",
                                             .body = body,
                                             .reusable_connection = reusable})
                                  .get();
    EXPECT_TRUE(result.bytes_written);
    return result.status.ok() ? result.body : result.status.ToString();
  };
  // Two share one; each of the others has one of its own.
  EXPECT_EQ(call("one", true), "/create?a=1 one");
  EXPECT_EQ(call("two", true), "/create?a=1 two");
  EXPECT_EQ(call("three", false), "/create?a=1 three");
  EXPECT_EQ(call("four", false), "/create?a=1 four");

  // Base64 of li:pa ss:w@rd.
  const std::string tunnel =
      absl::StrCat("CONNECT ", server_->address(), " HTTP/1.1\r\nHost: ", server_->address(),
                   "\r\nUser-Agent: tidegate\r\nProxy-Authorization: Basic "
                   "bGk6cGEgc3M6d0ByZA==\r\n\r\n");
  EXPECT_THAT(proxy.requests(), ElementsAre(tunnel, tunnel, tunnel));
  EXPECT_EQ(client->connections_opened(), 3u);
}

TEST_F(HttpClientProxyTest, ARefusalSaysWhoRefusedAndNothingIsWritten) {
  for (const char* status :
       {"407 Proxy Authentication Required", "502 Bad Gateway", "302 Found", "100 Continue"}) {
    RawListener proxy;
    const std::string address = absl::StrCat("127.0.0.1:", proxy.port());
    const auto client =
        CreateClient(address, {.proxy_credentials = absl::StrCat("li:", kPassword)});
    bool asked = false;
    auto future = Send(*client, {.target = "/create", .may_write = [&] { return asked = true; }});
    RawSocket peer = proxy.Accept();
    ASSERT_THAT(peer.ReadMessage(), HasSubstr("CONNECT "));
    ASSERT_TRUE(peer.Send(absl::StrCat("HTTP/1.1 ", status, "\r\nContent-Length: 0\r\n\r\n")));

    const HttpResult result = future.get();

    EXPECT_EQ(result.status.code(), StatusCode::kUnavailable) << status;
    EXPECT_THAT(result.status.message(), AllOf(HasSubstr(absl::StrCat("by proxy ", address)),
                                               HasSubstr(std::string(status).substr(0, 3)),
                                               Not(HasSubstr(kPassword)), Not(HasSubstr("bGk6"))));
    EXPECT_FALSE(result.bytes_written) << status;
    EXPECT_FALSE(asked) << status;
    EXPECT_EQ(peer.ReadToEnd(), "") << "it was written to all the same";
  }
}

TEST_F(HttpClientProxyTest, BytesBehindTheProxysAnswerAreNotTakenForTheServers) {
  RawListener proxy;
  const auto client = CreateClient(absl::StrCat("127.0.0.1:", proxy.port()));
  auto future = Send(*client, {.target = "/create"});
  RawSocket peer = proxy.Accept();
  ASSERT_THAT(peer.ReadMessage(), HasSubstr("CONNECT "));
  ASSERT_TRUE(peer.Send("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));

  const HttpResult result = future.get();

  EXPECT_EQ(result.status.code(), StatusCode::kUnavailable) << result.status;
  EXPECT_FALSE(result.bytes_written);
}

TEST_F(HttpClientProxyTest, AProxyThatIsSilentGoneOrNoneFailsBeforeTheFirstByte) {
  RawListener silent;
  const struct {
    std::string proxy;
    StatusCode code;
  } kCases[] = {{absl::StrCat("127.0.0.1:", silent.port()), StatusCode::kDeadlineExceeded},
                {"127.0.0.1:1", StatusCode::kUnavailable},
                {"no-such-proxy.invalid:3128", StatusCode::kUnavailable}};
  for (const auto& c : kCases) {
    const auto client = CreateClient(c.proxy, {.connect_deadline = absl::Milliseconds(500)});
    const HttpResult result = Send(*client, {.target = "/"}).get();
    EXPECT_FALSE(result.bytes_written) << c.proxy;
    if (c.proxy == kCases[2].proxy) continue;  // how long a name takes is the machine's affair
    EXPECT_EQ(result.status.code(), c.code) << c.proxy << ": " << result.status;
    EXPECT_EQ(result.connect_timed_out, c.code == StatusCode::kDeadlineExceeded) << c.proxy;
  }
}

TEST_F(HttpClientProxyTest, TheDeadlineOfTheCallEndsConnectingTooAndSaysSo) {
  RawListener silent;
  const auto client = CreateClient(absl::StrCat("127.0.0.1:", silent.port()),
                                   {.connections_max = 1, .connect_deadline = absl::Minutes(1)});
  auto first = Send(*client, {.target = "/", .deadline = absl::Milliseconds(200)});
  // Its turn comes when little of its time is left, which is not the fault of the way.
  auto second = Send(*client, {.target = "/", .deadline = absl::Milliseconds(300)});
  const HttpResult result = first.get();
  EXPECT_EQ(result.status.code(), StatusCode::kDeadlineExceeded) << result.status;
  EXPECT_FALSE(result.bytes_written);
  EXPECT_TRUE(result.connect_timed_out);
  const HttpResult late = second.get();
  EXPECT_EQ(late.status.code(), StatusCode::kDeadlineExceeded) << late.status;
  EXPECT_FALSE(late.bytes_written);
  EXPECT_FALSE(late.connect_timed_out);
}

TEST_F(HttpClientProxyTest, AnAnswerThatIsNotHttpIsARefusal) {
  RawListener proxy;
  const auto client = CreateClient(absl::StrCat("127.0.0.1:", proxy.port()));
  auto future = Send(*client, {.target = "/"});
  RawSocket peer = proxy.Accept();
  ASSERT_THAT(peer.ReadMessage(), HasSubstr("CONNECT "));
  ASSERT_TRUE(peer.Send("SSH-2.0-OpenSSH_9.6\r\n"));

  const HttpResult result = future.get();

  EXPECT_EQ(result.status.code(), StatusCode::kUnavailable) << result.status;
  EXPECT_FALSE(result.bytes_written);
}

TEST_F(HttpClientProxyTest, WhatCannotBeAProxyIsToldAtOnceWithoutItsPassword) {
  for (const char* proxy : {"proxy", "proxy:0", "proxy:70000", ":3128", "li:secret@proxy:3128",
                            "http://proxy:3128", "[::1:3128"}) {
    const auto client = Client::Create({.base_url = "http://127.0.0.1:1", .proxy = proxy});
    EXPECT_EQ(client.status().code(), StatusCode::kInvalidArgument) << proxy;
    EXPECT_THAT(client.status().message(), AllOf(HasSubstr("host:port"), Not(HasSubstr("secret"))));
  }
}

}  // namespace
}  // namespace tidegate::http
