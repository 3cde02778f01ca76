#include "common/http/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/unit/common/http/raw_socket.h"

namespace tidegate::http {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kGet[] = "GET /a?b=1 HTTP/1.1\r\nHost: h\r\n\r\n";

void SayHello(Request, Responder send) { send({.body = "hello"}); }

std::unique_ptr<Server> StartServer(Handler handler, Server::Options options = {}) {
  auto server = Server::Start(std::move(options), std::move(handler));
  EXPECT_TRUE(server.ok()) << server.status();
  return server.ok() ? *std::move(server) : nullptr;
}

// Hands every request to the test, which answers when it likes.
class Inbox {
 public:
  Handler handler() {
    return [this](Request request, Responder send) {
      std::lock_guard<std::mutex> lock(mutex_);
      requests_.push_back(std::move(request));
      responders_.push_back(std::move(send));
      arrived_.notify_all();
    };
  }

  Responder Take() {
    std::unique_lock<std::mutex> lock(mutex_);
    if (!arrived_.wait_for(lock, std::chrono::milliseconds(kPatienceMs),
                           [this] { return !responders_.empty(); })) {
      return nullptr;
    }
    Responder taken = std::move(responders_.front());
    responders_.erase(responders_.begin());
    return taken;
  }

  std::vector<Request> requests() {
    std::lock_guard<std::mutex> lock(mutex_);
    return requests_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<Request> requests_;
  std::vector<Responder> responders_;
};

TEST(HttpServerTest, HandsOverTheRequestAndSendsTheAnswer) {
  Request seen;
  const auto server = StartServer([&seen](Request request, Responder send) {
    seen = std::move(request);
    send({.status = 201, .content_type = "application/json", .body = "{}"});
  });
  RawSocket peer = RawSocket::Connect(server->port());
  ASSERT_TRUE(peer.Send(
      "POST /in?x=%41 HTTP/1.1\r\nHost: h\r\nContent-Type: text/xml\r\nContent-Length: 4\r\n\r\n"
      "body"));

  const std::string answer = peer.ReadMessage();

  EXPECT_THAT(answer, StartsWith("HTTP/1.1 201 "));
  EXPECT_THAT(answer, HasSubstr("Content-Type: application/json\r\n"));
  EXPECT_TRUE(absl::EndsWith(answer, "\r\n\r\n{}")) << answer;
  EXPECT_EQ(seen.method, "POST");
  EXPECT_EQ(seen.target, "/in?x=%41");
  EXPECT_EQ(seen.content_type, "text/xml");
  EXPECT_EQ(seen.body, "body");
  EXPECT_EQ(seen.remote_ip, "127.0.0.1");
}

TEST(HttpServerTest, ReadsAChunkedBody) {
  const auto server =
      StartServer([](Request request, Responder send) { send({.body = request.body}); });
  RawSocket peer = RawSocket::Connect(server->port());
  ASSERT_TRUE(
      peer.Send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"));

  EXPECT_TRUE(absl::EndsWith(peer.ReadMessage(), "\r\n\r\nabcde"));
}

TEST(HttpServerTest, ServesManyRequestsOnOneConnection) {
  int count = 0;
  const auto server = StartServer(
      [&count](Request, Responder send) { send({.body = absl::StrCat("n", ++count)}); });
  RawSocket peer = RawSocket::Connect(server->port());

  for (int i = 1; i <= 20; ++i) {
    ASSERT_TRUE(peer.Send(kGet));
    ASSERT_TRUE(absl::EndsWith(peer.ReadMessage(), absl::StrCat("\r\n\r\nn", i))) << i;
  }
}

TEST(HttpServerTest, ClosesAfterTheAnswerWhenThePeerAsks) {
  const auto server = StartServer(SayHello);
  for (const std::string request :
       {"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"}) {
    RawSocket peer = RawSocket::Connect(server->port());
    ASSERT_TRUE(peer.Send(request));

    EXPECT_TRUE(absl::EndsWith(peer.ReadToEnd(), "\r\n\r\nhello")) << request;
    EXPECT_EQ(peer.last_error(), 0) << request;
  }
}

TEST(HttpServerTest, AnswersHeadWithTheLengthButNoBody) {
  const auto server = StartServer(SayHello);
  RawSocket peer = RawSocket::Connect(server->port());
  ASSERT_TRUE(peer.Send("HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));

  const std::string answer = peer.ReadToEnd();

  EXPECT_THAT(answer, HasSubstr("Content-Length: 5\r\n"));
  EXPECT_TRUE(absl::EndsWith(answer, "\r\n\r\n")) << answer;
}

TEST(HttpServerTest, SendsNoBodyWithAStatusThatHasNone) {
  const auto server =
      StartServer([](Request, Responder send) { send({.status = 204, .body = "lost"}); });
  RawSocket peer = RawSocket::Connect(server->port());
  ASSERT_TRUE(peer.Send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));

  const std::string answer = peer.ReadToEnd();

  EXPECT_THAT(answer, StartsWith("HTTP/1.1 204 "));
  EXPECT_THAT(answer, Not(HasSubstr("lost")));
}

TEST(HttpServerTest, InvitesABodyThatIsExpected) {
  const auto server =
      StartServer([](Request request, Responder send) { send({.body = request.body}); });
  RawSocket peer = RawSocket::Connect(server->port());
  ASSERT_TRUE(
      peer.Send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n"
                "Expect: 100-continue\r\n\r\n"));

  ASSERT_EQ(peer.ReadMessage(), "HTTP/1.1 100 Continue\r\n\r\n");
  ASSERT_TRUE(peer.Send("ok"));
  EXPECT_TRUE(absl::EndsWith(peer.ReadMessage(), "\r\n\r\nok"));
}

TEST(HttpServerTest, RefusesWhatIsTooLargeOrNotHttpAndCloses) {
  const std::string long_name(2000, 'x');
  const struct {
    std::string name, request, expected;
  } kCases[] = {
      {"announced body", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 101\r\n\r\n", "413"},
      {"body that follows",
       absl::StrCat("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9000\r\n\r\n",
                    std::string(9000, 'b')),
       "413"},
      {"huge announcement",
       "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9223372036854775807\r\n\r\n", "413"},
      {"chunks",
       absl::StrCat("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n",
                    std::string(101, 'b'), "\r\n0\r\n\r\n"),
       "413"},
      {"header", absl::StrCat("GET / HTTP/1.1\r\nHost: h\r\nX: ", long_name, "\r\n\r\n"), "431"},
      {"target", absl::StrCat("GET /", long_name, " HTTP/1.1\r\nHost: h\r\n\r\n"), "431"},
      {"header without end", absl::StrCat("GET / HTTP/1.1\r\nX: ", long_name), "431"},
      {"version", "GET / HTTP/9.1\r\nHost: h\r\n\r\n", "400"},
      {"no request line", "\x16\x03\x01\x02\r\n\r\n", "400"},
      {"bad length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n", "400"},
      {"two lengths",
       "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400"},
  };
  std::atomic<int> handled{0};
  const auto server = StartServer(
      [&handled](Request, Responder send) {
        ++handled;
        send({});
      },
      {.body_bytes_max = 100, .header_bytes_max = 1024});
  for (const auto& c : kCases) {
    RawSocket peer = RawSocket::Connect(server->port());
    ASSERT_TRUE(peer.Send(c.request)) << c.name;

    const std::string answer = peer.ReadToEnd();

    EXPECT_THAT(answer, StartsWith(absl::StrCat("HTTP/1.1 ", c.expected, " "))) << c.name;
    EXPECT_THAT(answer, HasSubstr("Connection: close\r\n")) << c.name;
    EXPECT_EQ(peer.last_error(), 0) << c.name;
  }
  EXPECT_EQ(handled, 0);
}

TEST(HttpServerTest, TakesWhatIsJustWithinTheLimits) {
  const auto server =
      StartServer([](Request request, Responder send) { send({.body = request.body}); },
                  {.body_bytes_max = 100, .header_bytes_max = 1024});
  const std::string body(100, 'b');
  RawSocket peer = RawSocket::Connect(server->port());
  ASSERT_TRUE(peer.Send(absl::StrCat("POST / HTTP/1.1\r\nHost: h\r\nX: ", std::string(900, 'x'),
                                     "\r\nContent-Length: 100\r\n\r\n", body)));

  EXPECT_TRUE(absl::EndsWith(peer.ReadMessage(), absl::StrCat("\r\n\r\n", body)));
}

TEST(HttpServerTest, GivesUpOnARequestThatDoesNotEnd) {
  const auto server = StartServer(SayHello, {.read_deadline = absl::Milliseconds(30)});
  for (const std::string begun :
       {"GET / HT", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab"}) {
    RawSocket peer = RawSocket::Connect(server->port());
    ASSERT_TRUE(peer.Send(begun));

    EXPECT_THAT(peer.ReadToEnd(), StartsWith("HTTP/1.1 408 ")) << begun;
    EXPECT_EQ(peer.last_error(), 0) << begun;
  }
}

TEST(HttpServerTest, ClosesAnIdleConnectionWithoutAWord) {
  const auto server = StartServer(SayHello, {.idle_deadline = absl::Milliseconds(30)});
  RawSocket peer = RawSocket::Connect(server->port());
  ASSERT_TRUE(peer.Send(kGet));
  ASSERT_TRUE(absl::EndsWith(peer.ReadMessage(), "hello"));

  EXPECT_THAT(peer.ReadToEnd(), IsEmpty());
  EXPECT_EQ(peer.last_error(), 0);
}

TEST(HttpServerTest, ClosesAConnectionThatNeverSpeaks) {
  const auto server = StartServer(SayHello, {.read_deadline = absl::Milliseconds(30)});
  RawSocket peer = RawSocket::Connect(server->port());

  EXPECT_THAT(peer.ReadToEnd(), IsEmpty());
  EXPECT_EQ(peer.last_error(), 0);
}

TEST(HttpServerTest, ClosesWithoutAnAnswerWhenTheHandlerSaysSo) {
  const auto server =
      StartServer([](Request, Responder send) { send({.ending = Response::Ending::kClose}); });
  RawSocket peer = RawSocket::Connect(server->port());
  ASSERT_TRUE(peer.Send(kGet));

  EXPECT_THAT(peer.ReadToEnd(), IsEmpty());
  EXPECT_NE(peer.last_error(), ETIMEDOUT);
}

TEST(HttpServerTest, ResetsTheConnectionWhenTheHandlerSaysSo) {
  const auto server =
      StartServer([](Request, Responder send) { send({.ending = Response::Ending::kReset}); });
  RawSocket peer = RawSocket::Connect(server->port());
  ASSERT_TRUE(peer.Send(kGet));

  EXPECT_THAT(peer.ReadToEnd(), IsEmpty());
  EXPECT_EQ(peer.last_error(), ECONNRESET);
}

TEST(HttpServerTest, HoldsTheConnectionUntilThePeerCloses) {
  Inbox inbox;
  const auto server = StartServer(inbox.handler());
  RawSocket held = RawSocket::Connect(server->port());
  ASSERT_TRUE(held.Send(kGet));
  const Responder send = inbox.Take();
  ASSERT_TRUE(send);
  send({.ending = Response::Ending::kHold});
  // A request on another connection is answered after the hold took effect.
  RawSocket other = RawSocket::Connect(server->port());
  ASSERT_TRUE(other.Send(kGet));
  inbox.Take()({.body = "other"});
  ASSERT_TRUE(absl::EndsWith(other.ReadMessage(), "other"));

  EXPECT_TRUE(held.Send(kGet));
  held.ShutdownWrite();
  EXPECT_THAT(held.ReadToEnd(), IsEmpty());
  EXPECT_EQ(held.last_error(), 0);
  EXPECT_EQ(inbox.requests().size(), 2u);
}

TEST(HttpServerTest, TakesTheAnswerFromAnotherThread) {
  Inbox inbox;
  const auto server = StartServer(inbox.handler());
  RawSocket peer = RawSocket::Connect(server->port());
  ASSERT_TRUE(peer.Send(kGet));

  std::thread([send = inbox.Take()] { send({.body = "from afar"}); }).join();

  EXPECT_TRUE(absl::EndsWith(peer.ReadMessage(), "from afar"));
}

TEST(HttpServerTest, IgnoresASecondAnswerToOneRequest) {
  Inbox inbox;
  const auto server = StartServer(inbox.handler());
  RawSocket peer = RawSocket::Connect(server->port());
  ASSERT_TRUE(peer.Send(kGet));
  const Responder first = inbox.Take();
  first({.body = "one"});
  first({.body = "again"});
  ASSERT_TRUE(absl::EndsWith(peer.ReadMessage(), "one"));
  ASSERT_TRUE(peer.Send(kGet));
  const Responder second = inbox.Take();
  first({.body = "too late"});

  second({.body = "two"});

  EXPECT_TRUE(absl::EndsWith(peer.ReadMessage(), "two"));
}

TEST(HttpServerTest, AnswersForAHandlerThatDropsItsResponder) {
  const auto server = StartServer([](Request, Responder) {});
  RawSocket peer = RawSocket::Connect(server->port());
  ASSERT_TRUE(peer.Send(kGet));

  EXPECT_THAT(peer.ReadMessage(), StartsWith("HTTP/1.1 500 "));
}

TEST(HttpServerTest, AnswersAfterThePeerHasGoneAreHarmless) {
  Inbox inbox;
  const auto server = StartServer(inbox.handler());
  RawSocket gone = RawSocket::Connect(server->port());
  ASSERT_TRUE(gone.Send(kGet));
  const Responder late = inbox.Take();
  gone.Reset();

  late({.body = std::string(1 << 20, 'x')});

  RawSocket peer = RawSocket::Connect(server->port());
  ASSERT_TRUE(peer.Send(kGet));
  inbox.Take()({.body = "alive"});
  EXPECT_TRUE(absl::EndsWith(peer.ReadMessage(), "alive"));
}

TEST(HttpServerTest, AnswersAfterTheServerHasEndedAreHarmless) {
  Inbox inbox;
  auto server = StartServer(inbox.handler());
  RawSocket peer = RawSocket::Connect(server->port());
  ASSERT_TRUE(peer.Send(kGet));
  const Responder late = inbox.Take();
  server.reset();

  late({.body = "nobody hears"});

  EXPECT_THAT(peer.ReadToEnd(), IsEmpty());
  EXPECT_NE(peer.last_error(), ETIMEDOUT);
}

TEST(HttpServerTest, WritesTheAnswersHandedInBeforeItStops) {
  Inbox inbox;
  auto server = StartServer(inbox.handler());
  RawSocket peer = RawSocket::Connect(server->port());
  ASSERT_TRUE(peer.Send(kGet));
  // More than the buffers of both ends hold.
  const std::string body(8 << 20, 'x');
  inbox.Take()({.body = body});
  auto stopped = std::async(std::launch::async, [&server] { server.reset(); });

  const std::string answer = peer.ReadToEnd();

  EXPECT_EQ(answer.size() - answer.find("\r\n\r\n") - 4, body.size());
  stopped.get();
}

TEST(HttpServerTest, StopsInTimeAlthoughAPeerReadsNothing) {
  Inbox inbox;
  auto server = StartServer(inbox.handler());
  RawSocket peer = RawSocket::Connect(server->port());
  ASSERT_TRUE(peer.Send(kGet));
  inbox.Take()({.body = std::string(64 << 20, 'x')});

  auto stopped = std::async(std::launch::async, [&server] { server.reset(); });

  EXPECT_EQ(stopped.wait_for(std::chrono::milliseconds(kPatienceMs)), std::future_status::ready);
}

TEST(HttpServerTest, ClosesConnectionsBeyondItsBoundAtOnce) {
  const auto server = StartServer(SayHello, {.connections_max = 1});
  RawSocket first = RawSocket::Connect(server->port());
  ASSERT_TRUE(first.Send(kGet));
  ASSERT_TRUE(absl::EndsWith(first.ReadMessage(), "hello"));

  RawSocket second = RawSocket::Connect(server->port());
  EXPECT_THAT(second.ReadToEnd(), IsEmpty());
  EXPECT_NE(second.last_error(), ETIMEDOUT);

  ASSERT_TRUE(first.Send(kGet));
  EXPECT_TRUE(absl::EndsWith(first.ReadMessage(), "hello"));
}

TEST(HttpServerTest, TakesANewConnectionForOneThatEnded) {
  const auto server = StartServer(SayHello, {.connections_max = 1});
  for (int i = 0; i < 5; ++i) {
    RawSocket peer = RawSocket::Connect(server->port());
    ASSERT_TRUE(peer.Send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));
    // The end of the stream comes after the server has forgotten the connection.
    ASSERT_TRUE(absl::EndsWith(peer.ReadToEnd(), "hello")) << i;
  }
}

TEST(HttpServerTest, NamesTheAddressThatIsTaken) {
  const auto first = StartServer(SayHello);

  const auto second = Server::Start({.address = first->address()}, SayHello);

  ASSERT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(first->address()));
}

TEST(HttpServerTest, TakesThePortOfAServerThatEnded) {
  auto first = StartServer(SayHello);
  const std::string address = first->address();
  RawSocket peer = RawSocket::Connect(first->port());
  ASSERT_TRUE(peer.Send(kGet));
  ASSERT_TRUE(absl::EndsWith(peer.ReadMessage(), "hello"));
  first.reset();

  EXPECT_TRUE(Server::Start({.address = address}, SayHello).ok());
}

TEST(HttpServerTest, RefusesWhatIsNoAddress) {
  for (const std::string address :
       {"", "127.0.0.1", ":80", "localhost:0", "127.0.0.1:65536", "127.0.0.1:-1",
        "127.0.0.1:", "127.0.0.1:x", "::1:0", "[127.0.0.1]:0", "[::1]", "127.0.0.256:0"}) {
    EXPECT_EQ(Server::Start({.address = address}, SayHello).status().code(),
              absl::StatusCode::kInvalidArgument)
        << address;
  }
  // Of the range for documentation: certainly not an address of this machine.
  EXPECT_EQ(Server::Start({.address = "192.0.2.1:0"}, SayHello).status().code(),
            absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace tidegate::http
