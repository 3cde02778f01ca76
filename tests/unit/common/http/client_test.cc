#include "common/http/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/http/server.h"
#include "tests/unit/common/http/raw_socket.h"

namespace tidegate::http {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kOk[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

std::unique_ptr<Client> CreateClient(ClientOptions options) {
  auto client = Client::Create(std::move(options));
  EXPECT_TRUE(client.ok()) << client.status();
  return client.ok() ? *std::move(client) : nullptr;
}

std::future<HttpResult> Send(Client& client, HttpCall call) {
  auto promise = std::make_shared<std::promise<HttpResult>>();
  client.Send(std::move(call),
              [promise](HttpResult result) { promise->set_value(std::move(result)); });
  return promise->get_future();
}

HttpResult Wait(std::future<HttpResult> future) {
  if (future.wait_for(std::chrono::milliseconds(kPatienceMs)) != std::future_status::ready) {
    ADD_FAILURE() << "done was not called";
    return {.status = absl::InternalError("done was not called")};
  }
  return future.get();
}

HttpCall Post(const std::string& body) {
  return {.method = "POST", .target = "/create", .content_type = "application/json", .body = body};
}

// The server's side is written by the test, byte by byte.
class HttpClientTest : public testing::Test {
 protected:
  std::unique_ptr<Client> CreateClientOfListener(ClientOptions options = {}) {
    options.base_url = listener_.url();
    return CreateClient(std::move(options));
  }

  // Accepts the next connection, reads a request and sends `answer`.
  RawSocket Serve(absl::string_view answer) {
    RawSocket peer = listener_.Accept();
    EXPECT_THAT(peer.ReadMessage(), Not(IsEmpty()));
    EXPECT_TRUE(peer.Send(answer));
    return peer;
  }

  RawListener listener_;
};

TEST_F(HttpClientTest, WritesOneRequestAndReadsItsAnswer) {
  const auto client = CreateClientOfListener();
  auto future = Send(*client, Post("{\"a\":1}"));
  RawSocket peer = listener_.Accept();

  EXPECT_EQ(peer.ReadMessage(),
            absl::StrCat("POST /create HTTP/1.1\r\nHost: 127.0.0.1:", listener_.port(),
                         "\r\nUser-Agent: tidegate\r\nContent-Type: application/json\r\n"
                         "Content-Length: 7\r\n\r\n{\"a\":1}"));
  ASSERT_TRUE(
      peer.Send("HTTP/1.1 201 Created\r\nDate: Tue, 06 Jan 2026 08:00:00 GMT\r\n"
                "Content-Length: 4\r\n\r\nbody"));
  const HttpResult result = Wait(std::move(future));

  EXPECT_TRUE(result.status.ok()) << result.status;
  EXPECT_EQ(result.http_status, 201);
  EXPECT_EQ(result.body, "body");
  EXPECT_EQ(result.date_header, "Tue, 06 Jan 2026 08:00:00 GMT");
  EXPECT_TRUE(result.bytes_written);
  EXPECT_GT(result.first_byte_raw_ns, 0);
  EXPECT_GE(result.completed_raw_ns, result.first_byte_raw_ns);
}

TEST(HttpClientSourceTest, ConnectionsLeaveFromTheGivenAddress) {
  auto server = Server::Start(
      {}, [](const Request& request, const Responder& send) { send({.body = request.remote_ip}); });
  ASSERT_TRUE(server.ok()) << server.status();
  const std::string url = "http://" + (*server)->address();
  for (const char* source : {"127.0.0.2", "127.0.0.3", ""}) {
    const auto client = CreateClient({.base_url = url, .source_address = source});
    for (const bool reusable : {true, false}) {
      const HttpResult result =
          Wait(Send(*client, {.target = "/", .reusable_connection = reusable}));
      EXPECT_EQ(result.body, *source == '\0' ? "127.0.0.1" : source) << result.status;
    }
  }
}

TEST(HttpClientSourceTest, AnAddressThatIsNotOfThisMachineIsToldAtOnce) {
  // 203.0.113.0/24 is kept for documentation.
  for (const char* source : {"203.0.113.9", "no address"}) {
    const auto client =
        Client::Create({.base_url = "http://127.0.0.1:1", .source_address = source});
    EXPECT_EQ(client.status().code(), StatusCode::kInvalidArgument) << source;
    EXPECT_THAT(client.status().message(), HasSubstr(source));
    EXPECT_THAT(client.status().message(), HasSubstr("write an IP address of this machine"));
  }
}

TEST(HttpClientSourceTest, AServerOfAnotherFamilyIsNotCalled) {
  const auto client = CreateClient({.base_url = "http://127.0.0.1:1", .source_address = "::1"});
  if (client == nullptr) GTEST_SKIP() << "no IPv6 here";
  const HttpResult result = Wait(Send(*client, {.target = "/"}));
  EXPECT_EQ(result.status.code(), StatusCode::kUnavailable);
  EXPECT_FALSE(result.bytes_written);
}

TEST_F(HttpClientTest, PutsThePrefixBeforeEveryTarget) {
  const auto client = CreateClient({.base_url = absl::StrCat(listener_.url(), "/wecom/")});
  auto future = Send(*client, {.target = "/cgi-bin/x?a=1"});
  RawSocket peer = listener_.Accept();

  EXPECT_THAT(peer.ReadMessage(), StartsWith("GET /wecom/cgi-bin/x?a=1 HTTP/1.1\r\n"));
  ASSERT_TRUE(peer.Send(kOk));
  EXPECT_TRUE(Wait(std::move(future)).status.ok());
}

TEST_F(HttpClientTest, ReadsAnswersOfEveryShape) {
  const struct {
    std::string name, answer;
    int status;
    std::string body;
  } kCases[] = {
      {"empty", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, ""},
      {"no content", "HTTP/1.1 204 No Content\r\n\r\n", 204, ""},
      {"chunked",
       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", 200,
       "abc"},
      {"to the end of the stream", "HTTP/1.1 200 OK\r\n\r\nall of it", 200, "all of it"},
      {"error of the server", "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\n<html>", 502,
       "<html>"},
      {"after interim answers",
       "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n"
       "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
       200, "ok"},
  };
  for (const auto& c : kCases) {
    const auto client = CreateClientOfListener();
    auto future = Send(*client, Post("x"));
    Serve(c.answer).ShutdownWrite();

    const HttpResult result = Wait(std::move(future));

    EXPECT_TRUE(result.status.ok()) << c.name << ": " << result.status;
    EXPECT_EQ(result.http_status, c.status) << c.name;
    EXPECT_EQ(result.body, c.body) << c.name;
  }
}

TEST_F(HttpClientTest, FailsInDoubtWhenNoCompleteAnswerComes) {
  const struct {
    std::string name, answer;
    StatusCode expected;
  } kCases[] = {
      {"nothing", "", StatusCode::kUnavailable},
      {"half a header", "HTTP/1.1 200 OK\r\nConte", StatusCode::kUnavailable},
      {"half a body", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", StatusCode::kUnavailable},
      {"half a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf",
       StatusCode::kUnavailable},
      {"no last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
       StatusCode::kUnavailable},
      {"interim answer only", "HTTP/1.1 100 Continue\r\n\r\n", StatusCode::kUnavailable},
      {"another protocol", "SSH-2.0-OpenSSH_9.2\r\n\r\n", StatusCode::kUnknown},
      {"bad length", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", StatusCode::kUnknown},
      {"bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
       StatusCode::kUnknown},
      {"announced too large", "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n",
       StatusCode::kOutOfRange},
      {"grows too large", absl::StrCat("HTTP/1.1 200 OK\r\n\r\n", std::string(1001, 'x')),
       StatusCode::kOutOfRange},
      {"header too large", absl::StrCat("HTTP/1.1 200 OK\r\nX: ", std::string(40'000, 'x')),
       StatusCode::kOutOfRange},
  };
  for (const auto& c : kCases) {
    const auto client = CreateClientOfListener({.answer_bytes_max = 1000});
    auto future = Send(*client, Post("x"));
    RawSocket peer = Serve(c.answer);
    peer.ShutdownWrite();

    const HttpResult result = Wait(std::move(future));

    EXPECT_EQ(result.status.code(), c.expected) << c.name << ": " << result.status;
    EXPECT_TRUE(result.bytes_written) << c.name;
    EXPECT_EQ(result.http_status, 0) << c.name;
    EXPECT_THAT(result.body, IsEmpty()) << c.name;
    EXPECT_FALSE(listener_.HasPending()) << c.name;
    EXPECT_EQ(client->connections_opened(), 1u) << c.name;
  }
}

TEST_F(HttpClientTest, TakesABodyOfExactlyTheBound) {
  const auto client = CreateClientOfListener({.answer_bytes_max = 1000});
  auto future = Send(*client, Post("x"));
  RawSocket peer = Serve(
      absl::StrCat("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", std::string(1000, 'x')));

  EXPECT_EQ(Wait(std::move(future)).body.size(), 1000u);
}

TEST_F(HttpClientTest, ReusesAConnectionForCallsOneAfterTheOther) {
  const auto client = CreateClientOfListener();
  auto future = Send(*client, Post("0"));
  RawSocket peer = Serve(kOk);
  ASSERT_TRUE(Wait(std::move(future)).status.ok());

  for (int i = 1; i <= 10; ++i) {
    future = Send(*client, Post(absl::StrCat(i)));
    ASSERT_TRUE(absl::EndsWith(peer.ReadMessage(), absl::StrCat("\r\n\r\n", i)));
    ASSERT_TRUE(peer.Send(kOk));
    ASSERT_TRUE(Wait(std::move(future)).status.ok());
  }

  EXPECT_EQ(client->connections_opened(), 1u);
}

TEST_F(HttpClientTest, GivesACallThatAsksAConnectionOfItsOwn) {
  const auto client = CreateClientOfListener();
  auto future = Send(*client, Post("shared"));
  RawSocket shared = Serve(kOk);
  ASSERT_TRUE(Wait(std::move(future)).status.ok());
  HttpCall call = Post("alone");
  call.reusable_connection = false;

  future = Send(*client, call);
  RawSocket own = listener_.Accept();
  EXPECT_THAT(own.ReadMessage(), HasSubstr("Connection: close\r\n"));
  ASSERT_TRUE(own.Send(kOk));
  ASSERT_TRUE(Wait(std::move(future)).status.ok());

  // Closed although the server would have kept it; the shared one lives on.
  EXPECT_THAT(own.ReadSome(), IsEmpty());
  EXPECT_NE(own.last_error(), ETIMEDOUT);
  future = Send(*client, Post("shared again"));
  EXPECT_TRUE(absl::EndsWith(shared.ReadMessage(), "shared again"));
  ASSERT_TRUE(shared.Send(kOk));
  EXPECT_TRUE(Wait(std::move(future)).status.ok());
  EXPECT_EQ(client->connections_opened(), 2u);
}

TEST_F(HttpClientTest, DoesNotReuseAConnectionThatMayNotBe) {
  for (const std::string answer :
       {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok-and-more"}) {
    const auto client = CreateClientOfListener();
    auto future = Send(*client, Post("1"));
    RawSocket first = Serve(answer);
    ASSERT_EQ(Wait(std::move(future)).body, "ok") << answer;

    future = Send(*client, Post("2"));
    RawSocket second = Serve(kOk);

    EXPECT_TRUE(Wait(std::move(future)).status.ok()) << answer;
    EXPECT_EQ(client->connections_opened(), 2u) << answer;
  }
}

TEST_F(HttpClientTest, ReplacesAnIdleConnectionThatTheServerClosed) {
  const auto client = CreateClientOfListener();
  auto future = Send(*client, Post("1"));
  Serve(kOk).Close();
  ASSERT_TRUE(Wait(std::move(future)).status.ok());

  future = Send(*client, Post("2"));
  RawSocket second = listener_.Accept();
  EXPECT_TRUE(absl::EndsWith(second.ReadMessage(), "\r\n\r\n2"));
  ASSERT_TRUE(second.Send(kOk));

  EXPECT_TRUE(Wait(std::move(future)).status.ok());
  EXPECT_EQ(client->connections_opened(), 2u);
}

TEST_F(HttpClientTest, NeverRepeatsAPostWhoseReusedConnectionDies) {
  for (const bool by_reset : {false, true}) {
    const auto client = CreateClientOfListener();
    auto future = Send(*client, Post("first"));
    RawSocket peer = Serve(kOk);
    ASSERT_TRUE(Wait(std::move(future)).status.ok());

    future = Send(*client, Post("create"));
    ASSERT_TRUE(absl::EndsWith(peer.ReadMessage(), "create"));
    by_reset ? peer.Reset() : peer.Close();
    const HttpResult result = Wait(std::move(future));

    EXPECT_EQ(result.status.code(), StatusCode::kUnavailable) << result.status;
    EXPECT_TRUE(result.bytes_written);
    EXPECT_FALSE(listener_.HasPending());
    EXPECT_EQ(client->connections_opened(), 1u);
  }
}

TEST_F(HttpClientTest, WritesNothingWhereNobodyListens) {
  const auto client = CreateClientOfListener();
  listener_.Close();

  const HttpResult result = Wait(Send(*client, Post("x")));

  EXPECT_EQ(result.status.code(), StatusCode::kUnavailable) << result.status;
  EXPECT_FALSE(result.bytes_written);
  EXPECT_EQ(result.first_byte_raw_ns, 0);
  EXPECT_GT(result.completed_raw_ns, 0);
  EXPECT_EQ(client->connections_opened(), 0u);
}

TEST_F(HttpClientTest, WritesNothingWhereTheNameIsUnknown) {
  // The suffix is reserved for names that do not exist.
  const auto client = CreateClient({.base_url = "http://nowhere.invalid"});

  const HttpResult result = Wait(Send(*client, {.target = "/", .deadline = absl::Seconds(5)}));

  EXPECT_FALSE(result.status.ok());
  EXPECT_FALSE(result.bytes_written);
}

TEST_F(HttpClientTest, ResetsTheConnectionAtTheDeadline) {
  const auto client = CreateClientOfListener();
  HttpCall call = Post("slow");
  call.deadline = absl::Milliseconds(200);
  auto future = Send(*client, call);
  RawSocket peer = listener_.Accept();
  ASSERT_TRUE(absl::EndsWith(peer.ReadMessage(), "slow"));

  const HttpResult result = Wait(std::move(future));

  EXPECT_EQ(result.status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(result.bytes_written);
  EXPECT_FALSE(result.connect_timed_out);
  EXPECT_THAT(peer.ReadSome(), IsEmpty());
  EXPECT_EQ(peer.last_error(), ECONNRESET);
  EXPECT_FALSE(listener_.HasPending());
}

TEST_F(HttpClientTest, FailsACallWhoseDeadlineHasPassedWithoutTouchingAnIdleConnection) {
  const auto client = CreateClientOfListener();
  auto future = Send(*client, Post("1"));
  RawSocket peer = Serve(kOk);
  ASSERT_TRUE(Wait(std::move(future)).status.ok());
  for (const absl::Duration passed :
       {absl::ZeroDuration(), absl::Seconds(-1), -absl::InfiniteDuration()}) {
    HttpCall call = Post("late");
    call.deadline = passed;

    const HttpResult result = Wait(Send(*client, call));

    EXPECT_EQ(result.status.code(), StatusCode::kDeadlineExceeded);
    EXPECT_FALSE(result.bytes_written);
  }
  future = Send(*client, Post("in time"));
  EXPECT_TRUE(absl::EndsWith(peer.ReadMessage(), "\r\n\r\nin time"));
  ASSERT_TRUE(peer.Send(kOk));
  EXPECT_TRUE(Wait(std::move(future)).status.ok());
}

TEST_F(HttpClientTest, CountsTheWaitForAConnectionTowardsTheDeadline) {
  const auto client = CreateClientOfListener({.connections_max = 1});
  auto busy = Send(*client, Post("busy"));
  RawSocket peer = listener_.Accept();
  ASSERT_TRUE(absl::EndsWith(peer.ReadMessage(), "busy"));
  HttpCall call = Post("waits");
  call.deadline = absl::Milliseconds(30);

  const HttpResult result = Wait(Send(*client, call));

  EXPECT_EQ(result.status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_FALSE(result.bytes_written);
  EXPECT_FALSE(result.connect_timed_out);
  ASSERT_TRUE(peer.Send(kOk));
  EXPECT_TRUE(Wait(std::move(busy)).status.ok());
  auto next = Send(*client, Post("next"));
  EXPECT_TRUE(absl::EndsWith(peer.ReadMessage(), "next"));
  ASSERT_TRUE(peer.Send(kOk));
  EXPECT_TRUE(Wait(std::move(next)).status.ok());
}

TEST_F(HttpClientTest, ServesWaitingCallsInTheirOrder) {
  const auto client = CreateClientOfListener({.connections_max = 1});
  std::vector<std::future<HttpResult>> futures;
  for (int i = 0; i < 5; ++i) futures.push_back(Send(*client, Post(absl::StrCat("n", i))));
  RawSocket peer = listener_.Accept();

  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(absl::EndsWith(peer.ReadMessage(), absl::StrCat("n", i)));
    ASSERT_TRUE(peer.Send(kOk));
  }

  for (auto& future : futures) EXPECT_TRUE(Wait(std::move(future)).status.ok());
  EXPECT_EQ(client->connections_opened(), 1u);
}

TEST_F(HttpClientTest, RejectsCallsBeyondItsQueue) {
  const auto client = CreateClientOfListener({.connections_max = 1, .waiting_max = 1});
  auto busy = Send(*client, Post("busy"));
  RawSocket peer = listener_.Accept();
  ASSERT_TRUE(absl::EndsWith(peer.ReadMessage(), "busy"));
  auto waiting = Send(*client, Post("waiting"));

  const HttpResult rejected = Wait(Send(*client, Post("one too many")));

  EXPECT_EQ(rejected.status.code(), StatusCode::kResourceExhausted);
  EXPECT_FALSE(rejected.bytes_written);
  ASSERT_TRUE(peer.Send(kOk));
  ASSERT_TRUE(absl::EndsWith(peer.ReadMessage(), "waiting"));
  ASSERT_TRUE(peer.Send(kOk));
  EXPECT_TRUE(Wait(std::move(busy)).status.ok());
  EXPECT_TRUE(Wait(std::move(waiting)).status.ok());
}

TEST_F(HttpClientTest, KeepsItsBoundOfConnectionsWhenOneMustBeFresh) {
  const auto client = CreateClientOfListener({.connections_max = 1});
  auto future = Send(*client, Post("shared"));
  RawSocket idle = Serve(kOk);
  ASSERT_TRUE(Wait(std::move(future)).status.ok());
  HttpCall call = Post("alone");
  call.reusable_connection = false;

  future = Send(*client, call);

  EXPECT_THAT(idle.ReadSome(), IsEmpty());
  EXPECT_NE(idle.last_error(), ETIMEDOUT);
  RawSocket own = Serve(kOk);
  EXPECT_TRUE(Wait(std::move(future)).status.ok());
}

TEST_F(HttpClientTest, ClosesAConnectionThatStaysIdle) {
  const auto client = CreateClientOfListener({.idle_limit = absl::Milliseconds(20)});
  auto future = Send(*client, Post("1"));
  RawSocket peer = Serve(kOk);
  ASSERT_TRUE(Wait(std::move(future)).status.ok());

  EXPECT_THAT(peer.ReadSome(), IsEmpty());
  EXPECT_NE(peer.last_error(), ETIMEDOUT);
}

TEST_F(HttpClientTest, WritesNothingWithoutPermission) {
  const auto client = CreateClientOfListener();
  HttpCall call = Post("forbidden");
  call.may_write = [] { return false; };

  const HttpResult result = Wait(Send(*client, call));
  RawSocket peer = listener_.Accept();

  EXPECT_EQ(result.status.code(), StatusCode::kAborted);
  EXPECT_FALSE(result.bytes_written);
  EXPECT_EQ(result.first_byte_raw_ns, 0);
  EXPECT_THAT(peer.ReadToEnd(), IsEmpty());
}

TEST_F(HttpClientTest, WritesNothingWithoutPermissionOnAReusedConnection) {
  const auto client = CreateClientOfListener();
  auto future = Send(*client, Post("1"));
  RawSocket peer = Serve(kOk);
  ASSERT_TRUE(Wait(std::move(future)).status.ok());
  HttpCall call = Post("forbidden");
  call.may_write = [] { return false; };

  EXPECT_EQ(Wait(Send(*client, call)).status.code(), StatusCode::kAborted);

  EXPECT_THAT(peer.ReadToEnd(), IsEmpty());
}

TEST_F(HttpClientTest, AsksForPermissionOnceAndAfterConnecting) {
  const auto client = CreateClientOfListener();
  std::atomic<int> asked{0};
  std::atomic<uint64_t> connected{0};
  HttpCall call = Post("x");
  call.may_write = [&] {
    ++asked;
    connected = client->connections_opened();
    return true;
  };

  auto future = Send(*client, call);
  RawSocket peer = Serve(kOk);

  EXPECT_TRUE(Wait(std::move(future)).status.ok());
  EXPECT_EQ(asked, 1);
  EXPECT_EQ(connected, 1u);
}

TEST_F(HttpClientTest, FollowsNoRedirect) {
  RawListener elsewhere;
  const auto client = CreateClientOfListener();
  auto future = Send(*client, Post("x"));
  RawSocket peer =
      Serve(absl::StrCat("HTTP/1.1 307 Temporary Redirect\r\nLocation: ", elsewhere.url(),
                         "/\r\nContent-Length: 0\r\n\r\n"));

  EXPECT_EQ(Wait(std::move(future)).http_status, 307);
  EXPECT_FALSE(elsewhere.HasPending());
}

TEST_F(HttpClientTest, ExpectsNoBodyAfterHead) {
  const auto client = CreateClientOfListener();
  auto future = Send(*client, {.method = "HEAD", .target = "/"});
  RawSocket peer = Serve("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");

  const HttpResult result = Wait(std::move(future));

  EXPECT_TRUE(result.status.ok()) << result.status;
  EXPECT_THAT(result.body, IsEmpty());
}

TEST_F(HttpClientTest, RefusesCallsThatAreNoRequest) {
  const auto client = CreateClientOfListener();
  const HttpCall kCases[] = {
      {.method = "", .target = "/"},
      {.method = "GET /x", .target = "/"},
      {.target = ""},
      {.target = "no-slash"},
      {.target = "/a b"},
      {.target = "/a\r\nX: y"},
      {.target = "/\xe4\xbd\xa0"},
      {.method = "POST", .target = "/", .content_type = "text/plain\r\nX: y"},
  };
  for (const HttpCall& call : kCases) {
    const HttpResult result = Wait(Send(*client, call));
    EXPECT_EQ(result.status.code(), StatusCode::kInvalidArgument) << call.target;
    EXPECT_FALSE(result.bytes_written);
  }
  EXPECT_FALSE(listener_.HasPending());
}

TEST_F(HttpClientTest, CancelsOpenCallsAtItsEnd) {
  auto client = CreateClientOfListener({.connections_max = 1});
  std::atomic<int> done{0};
  std::vector<StatusCode> codes;
  for (int i = 0; i < 3; ++i) {
    client->Send(Post(absl::StrCat(i)), [&](HttpResult result) {
      codes.push_back(result.status.code());
      ++done;
    });
  }
  RawSocket peer = listener_.Accept();
  ASSERT_TRUE(absl::EndsWith(peer.ReadMessage(), "\r\n\r\n0"));

  client.reset();

  EXPECT_EQ(done, 3);
  EXPECT_THAT(codes, testing::Each(StatusCode::kCancelled));
}

TEST_F(HttpClientTest, CancelsACallThatIsSentWhileItEnds) {
  auto client = CreateClientOfListener();
  std::atomic<int> inner{0};
  StatusCode inner_code = StatusCode::kOk;
  Client* const raw = client.get();
  client->Send(Post("outer"), [&, raw](HttpResult) {
    raw->Send(Post("inner"), [&](HttpResult result) {
      inner_code = result.status.code();
      ++inner;
    });
  });
  RawSocket peer = listener_.Accept();
  ASSERT_TRUE(absl::EndsWith(peer.ReadMessage(), "outer"));

  client.reset();

  EXPECT_EQ(inner, 1);
  EXPECT_EQ(inner_code, StatusCode::kCancelled);
}

// Against the server of this folder, with many calls at once.
TEST(HttpClientAndServerTest, AgreeOnEveryCallOfManyThreads) {
  std::atomic<int> handled{0};
  auto server =
      Server::Start({.address = "127.0.0.1:0"}, [&handled](Request request, Responder send) {
        ++handled;
        send({.body = absl::StrCat(request.target, "|", request.body)});
      });
  ASSERT_TRUE(server.ok()) << server.status();
  const auto client = CreateClient(
      {.base_url = absl::StrCat("http://", (*server)->address()), .connections_max = 4});
  constexpr int kThreads = 4;
  constexpr int kCalls = 200;
  std::atomic<int> right{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kCalls; ++i) {
        HttpCall call = Post(absl::StrCat(t, "-", i));
        call.reusable_connection = i % 5 != 0;
        const HttpResult result = Wait(Send(*client, call));
        if (result.status.ok() && result.body == absl::StrCat("/create|", t, "-", i)) ++right;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(right, kThreads * kCalls);
  EXPECT_EQ(handled, kThreads * kCalls);
  EXPECT_GE(client->connections_opened(), static_cast<uint64_t>(kThreads * kCalls / 5));
}

TEST(HttpClientAndServerTest, SeeTheFaultsOfTheServerAsDoubt) {
  const struct {
    Response::Ending ending;
    StatusCode expected;
  } kCases[] = {{Response::Ending::kClose, StatusCode::kUnavailable},
                {Response::Ending::kHold, StatusCode::kDeadlineExceeded}};
  for (const auto& c : kCases) {
    std::atomic<int> handled{0};
    auto server = Server::Start({.address = "127.0.0.1:0"}, [&](Request, Responder send) {
      ++handled;
      send({.ending = c.ending});
    });
    ASSERT_TRUE(server.ok()) << server.status();
    const auto client = CreateClient({.base_url = absl::StrCat("http://", (*server)->address())});
    HttpCall call = Post("x");
    call.deadline = absl::Milliseconds(300);

    const HttpResult result = Wait(Send(*client, call));

    EXPECT_EQ(result.status.code(), c.expected) << result.status;
    EXPECT_TRUE(result.bytes_written);
    EXPECT_EQ(handled, 1);
  }
}

TEST(HttpClientCreateTest, TakesOnlyUsableOptions) {
  for (const std::string url :
       {"", "qyapi.weixin.qq.com", "ftp://a", "http://", "http:///x", "http://a:0",
        "http://a:65536", "http://a:x", "http://u@a", "http://a?x", "http://a#x", "http://a b",
        "http://[::1", "http://a\r\nX: y"}) {
    EXPECT_EQ(Client::Create({.base_url = url}).status().code(), StatusCode::kInvalidArgument)
        << url;
  }
  EXPECT_EQ(Client::Create({.base_url = "http://a", .connections_max = 0}).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(Client::Create({.base_url = "https://a", .ca_file = "no/such/file"}).status().code(),
            StatusCode::kInvalidArgument);
  for (const std::string url : {"http://a", "https://a:8443/x/y", "http://[::1]:80/"}) {
    EXPECT_TRUE(Client::Create({.base_url = url}).ok()) << url;
  }
}

}  // namespace
}  // namespace tidegate::http
