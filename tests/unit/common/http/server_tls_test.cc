// The TLS side of the server: who gets in, what a rotation changes, and that the limits hold.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/http/server.h"
#include "tests/support/certificates.h"
#include "tests/support/eventually.h"
#include "tests/support/tls_peer.h"
#include "tests/unit/common/http/raw_socket.h"

namespace tidegate::http {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using ::tidegate::testing::Eventually;
using ::tidegate::testing::Issue;
using ::tidegate::testing::Issued;
using ::tidegate::testing::MakeAuthority;
using ::tidegate::testing::TemporaryFolder;
using ::tidegate::testing::TlsPeer;

constexpr char kGet[] = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
constexpr char kLastGet[] = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

class HttpServerTlsTest : public ::testing::Test {
 protected:
  Server::Options Options(bool mutual = false) const {
    return {.cert_file = folder_.Path("tls.crt"),
            .key_file = folder_.Path("tls.key"),
            .ca_file = mutual ? folder_.Path("ca.crt") : ""};
  }

  void Start(Server::Options options) {
    auto server = Server::Start(std::move(options), [](Request request, Responder send) {
      send({.body = absl::StrCat("hello ", request.remote_ip, ".")});
    });
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  void WritePair(const Issued& issued) {
    folder_.Write("tls.crt", issued.CertificatePem());
    folder_.Write("tls.key", issued.KeyPem());
  }

  // Connects as `own`, and whether it was answered.
  bool IsAnswered(const Issued* own) const {
    TlsPeer peer(server_->port(), {.own = own});
    return peer.is_open() && peer.Send(kGet) && absl::EndsWith(peer.ReadUntil("."), "127.0.0.1.");
  }

  const TemporaryFolder folder_;
  const Issued authority_ = MakeAuthority("one");
  const Issued other_authority_ = MakeAuthority("two");
  const Issued first_ = Issue(authority_, {.names = "DNS:localhost"});
  const Issued second_ = Issue(authority_, {.names = "DNS:localhost"});
  const Issued client_ = Issue(authority_, {.names = "URI:spiffe://acme/wecom"});
  const Issued other_client_ = Issue(other_authority_, {.names = "URI:spiffe://acme/wecom"});

  void SetUp() override {
    WritePair(first_);
    folder_.Write("ca.crt", authority_.CertificatePem());
  }

  std::unique_ptr<Server> server_;
};

TEST_F(HttpServerTlsTest, AnswersRequestAfterRequestOverTls12AndTls13) {
  Start(Options());
  const struct {
    int version_max;
    std::string version;
  } kCases[] = {{TLS1_2_VERSION, "TLSv1.2"}, {TLS1_3_VERSION, "TLSv1.3"}};
  for (const auto& c : kCases) {
    TlsPeer peer(server_->port(), {.authority = &authority_, .version_max = c.version_max});
    ASSERT_TRUE(peer.is_open()) << c.version << ": " << peer.error();

    EXPECT_EQ(peer.version(), c.version);
    EXPECT_TRUE(peer.ServerIs(first_)) << c.version;
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(peer.Send(kGet));
      EXPECT_THAT(peer.ReadUntil("."),
                  AllOf(StartsWith("HTTP/1.1 200"), EndsWith("hello 127.0.0.1.")))
          << c.version;
    }
  }
}

TEST_F(HttpServerTlsTest, RefusesTls11) {
  Start(Options());
  TlsPeer peer(server_->port(), {.version_max = TLS1_1_VERSION});
  EXPECT_FALSE(peer.is_open());
  EXPECT_THAT(peer.error(), HasSubstr("protocol version")) << "the alert is the server's";
}

TEST_F(HttpServerTlsTest, AnswersOnlyClientsOfItsAuthorities) {
  const Issued expired =
      Issue(authority_,
            {.names = "URI:spiffe://acme/wecom", .valid_from_s = -7200, .valid_until_s = -3600});
  const Issued self_signed = ::tidegate::testing::MakeSelfSigned({.names = "DNS:localhost"});
  Start(Options(/*mutual=*/true));
  const struct {
    std::string name;
    const Issued* own;
    bool answered;
  } kCases[] = {
      {"no certificate", nullptr, false},
      {"another authority", &other_client_, false},
      {"signed by itself", &self_signed, false},
      {"expired", &expired, false},
      {"right", &client_, true},
  };
  for (const auto& c : kCases) EXPECT_EQ(IsAnswered(c.own), c.answered) << c.name;
}

TEST_F(HttpServerTlsTest, ClosesAPlaintextConnectionWithoutAnAnswer) {
  Start(Options());
  RawSocket peer = RawSocket::Connect(server_->port());
  ASSERT_TRUE(peer.Send(kGet));
  EXPECT_THAT(peer.ReadToEnd(), Not(HasSubstr("HTTP")));
  EXPECT_NE(peer.last_error(), ETIMEDOUT);
}

TEST_F(HttpServerTlsTest, EndsAHandshakeThatTakesTooLong) {
  Server::Options options = Options();
  options.read_deadline = absl::Milliseconds(50);
  Start(options);
  for (const std::string bytes : {"", "\x16\x03\x01"}) {  // nothing; the begin of a hello
    RawSocket peer = RawSocket::Connect(server_->port());
    ASSERT_TRUE(peer.Send(bytes));
    EXPECT_EQ(peer.ReadToEnd(), "");
    EXPECT_EQ(peer.last_error(), 0);
  }
  // The first byte of the request has no longer time of its own.
  TlsPeer silent(server_->port(), {});
  EXPECT_EQ(silent.ReadToEnd(), "");
}

TEST_F(HttpServerTlsTest, AnswersARequestThatTakesTooLongWith408) {
  Server::Options options = Options();
  options.read_deadline = absl::Milliseconds(50);
  Start(options);
  TlsPeer peer(server_->port(), {});
  ASSERT_TRUE(peer.Send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab"));
  EXPECT_THAT(peer.ReadToEnd(), StartsWith("HTTP/1.1 408"));
}

TEST_F(HttpServerTlsTest, CountsAConnectionBeforeItsHandshake) {
  Server::Options options = Options();
  options.connections_max = 1;
  Start(options);
  auto silent = std::make_unique<RawSocket>(RawSocket::Connect(server_->port()));

  TlsPeer beyond(server_->port(), {});
  EXPECT_FALSE(beyond.is_open());

  silent.reset();
  EXPECT_TRUE(Eventually([this] { return IsAnswered(nullptr); }));
}

TEST_F(HttpServerTlsTest, EndsTheStreamSoThatNothingSeemsCutOff) {
  Start(Options());
  TlsPeer peer(server_->port(), {});
  ASSERT_TRUE(peer.Send(kLastGet));
  EXPECT_THAT(peer.ReadToEnd(), EndsWith("hello 127.0.0.1."));
  EXPECT_TRUE(peer.ended_well()) << peer.error();
}

TEST_F(HttpServerTlsTest, RefusesALargeBodyWithAWholeAnswer) {
  Server::Options options = Options();
  options.body_bytes_max = 10;
  Start(options);
  TlsPeer peer(server_->port(), {});
  ASSERT_TRUE(peer.Send(absl::StrCat("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 500000\r\n\r\n",
                                     std::string(100'000, 'x'))));
  EXPECT_THAT(peer.ReadToEnd(), StartsWith("HTTP/1.1 413"));
}

TEST_F(HttpServerTlsTest, ARotatedPairServesNewConnectionsAndOldOnesGoOn) {
  Start(Options());
  TlsPeer old(server_->port(), {.authority = &authority_});
  ASSERT_TRUE(old.ServerIs(first_));

  WritePair(second_);

  EXPECT_TRUE(Eventually([this] {
    TlsPeer peer(server_->port(), {.authority = &authority_});
    return peer.ServerIs(second_);
  }));
  ASSERT_TRUE(old.Send(kGet)) << old.error();
  EXPECT_THAT(old.ReadUntil("."), EndsWith("hello 127.0.0.1."));
}

TEST_F(HttpServerTlsTest, ARotatedAuthorityCountsForNewConnections) {
  Start(Options(/*mutual=*/true));
  TlsPeer old(server_->port(), {.own = &client_});
  ASSERT_TRUE(old.Send(kGet));
  ASSERT_THAT(old.ReadUntil("."), EndsWith("hello 127.0.0.1."));
  ASSERT_FALSE(IsAnswered(&other_client_));

  folder_.Write("ca.crt", other_authority_.CertificatePem());

  EXPECT_TRUE(Eventually([this] { return IsAnswered(&other_client_); }));
  EXPECT_FALSE(IsAnswered(&client_));
  ASSERT_TRUE(old.Send(kGet)) << old.error();
  EXPECT_THAT(old.ReadUntil("."), EndsWith("hello 127.0.0.1."));
}

TEST_F(HttpServerTlsTest, AHalfWrittenPairLeavesTheOldOneInUse) {
  Start(Options(/*mutual=*/true));

  folder_.Write("tls.key", second_.KeyPem());
  // The authorities are taken at a second reading, and each reads the pair too: once the new
  // client gets in, the half-written pair has been seen.
  folder_.Write("ca.crt",
                absl::StrCat(authority_.CertificatePem(), other_authority_.CertificatePem()));
  EXPECT_TRUE(Eventually([this] { return IsAnswered(&other_client_); }));
  TlsPeer between(server_->port(), {.authority = &authority_, .own = &client_});
  EXPECT_TRUE(between.ServerIs(first_)) << between.error();

  folder_.Write("tls.crt", second_.CertificatePem());
  EXPECT_TRUE(Eventually([this] {
    TlsPeer peer(server_->port(), {.authority = &authority_, .own = &client_});
    return peer.ServerIs(second_);
  }));
}

TEST_F(HttpServerTlsTest, DoesNotStartWithFilesItCannotUse) {
  const auto error_of = [](Server::Options options) {
    return Server::Start(std::move(options), [](Request, Responder) {}).status();
  };
  Server::Options no_key = Options();
  no_key.key_file = "";
  Server::Options only_authorities{.ca_file = folder_.Path("ca.crt")};
  Server::Options missing = Options(/*mutual=*/true);
  missing.ca_file = folder_.Path("nothing.crt");

  EXPECT_EQ(error_of(no_key).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(error_of(no_key).message()), HasSubstr("key_file"));
  EXPECT_EQ(error_of(only_authorities).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(error_of(missing).code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(error_of(missing).message()), HasSubstr(missing.ca_file));
}

}  // namespace
}  // namespace tidegate::http
