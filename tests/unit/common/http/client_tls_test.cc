// The TLS side of the client, against a server of OpenSSL with a certificate made here.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <chrono>
#include <future>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/http/client.h"
#include "tests/support/certificates.h"
#include "tests/unit/common/http/raw_socket.h"
#include "tests/unit/common/http/tunnel_proxy.h"

namespace tidegate::http {
namespace {

using ::tidegate::testing::ContextPtr;
using ::tidegate::testing::Issued;
using ::tidegate::testing::MakeSelfSigned;
using ::tidegate::testing::SslPtr;
using ::tidegate::testing::TemporaryFolder;

struct ServerOptions {
  int version_max = TLS1_3_VERSION;
  bool sends_close_notify = true;
  std::string answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
};

// Serves one connection on a thread of its own.
class TlsServer {
 public:
  struct Seen {
    bool handshake = false;
    std::string server_name;
    std::string version;
    std::string request;
  };

  TlsServer(const Issued& identity, ServerOptions options)
      : options_(std::move(options)), context_(SSL_CTX_new(TLS_server_method())) {
    SSL_CTX_set_min_proto_version(context_.get(), 0);
    SSL_CTX_set_max_proto_version(context_.get(), options_.version_max);
    // Else the library itself would refuse the versions the client must refuse.
    SSL_CTX_set_cipher_list(context_.get(), "DEFAULT@SECLEVEL=0");
    SSL_CTX_use_certificate(context_.get(), identity.certificate.get());
    SSL_CTX_use_PrivateKey(context_.get(), identity.key.get());
    thread_ = std::thread([this] { Serve(); });
  }
  ~TlsServer() {
    if (thread_.joinable()) thread_.join();
  }

  uint16_t port() const { return listener_.port(); }
  const Seen& Join() {
    thread_.join();
    return seen_;
  }

 private:
  void Serve() {
    RawSocket peer = listener_.Accept();
    if (!peer.is_open()) return;
    const timeval patience{kPatienceMs / 1000, 0};
    setsockopt(peer.fd(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    SslPtr ssl(SSL_new(context_.get()));
    SSL_set_fd(ssl.get(), peer.fd());
    if (SSL_accept(ssl.get()) == 1) {
      seen_.handshake = true;
      if (const char* name = SSL_get_servername(ssl.get(), TLSEXT_NAMETYPE_host_name)) {
        seen_.server_name = name;
      }
      seen_.version = SSL_get_version(ssl.get());
      char bytes[4096];
      const int count = SSL_read(ssl.get(), bytes, sizeof(bytes));
      if (count > 0) {
        seen_.request.assign(bytes, static_cast<size_t>(count));
        SSL_write(ssl.get(), options_.answer.data(), static_cast<int>(options_.answer.size()));
        if (options_.sends_close_notify) SSL_shutdown(ssl.get());
      }
    }
    ERR_clear_error();
  }

  const ServerOptions options_;
  RawListener listener_;
  ContextPtr context_;
  Seen seen_;
  std::thread thread_;
};

class HttpClientTlsTest : public ::testing::Test {
 protected:
  HttpResult Call(const TlsServer& server, const std::string& host, const std::string& ca_file,
                  const std::string& proxy = "") {
    auto client = Client::Create({.base_url = absl::StrCat("https://", host, ":", server.port()),
                                  .connect_deadline = absl::Seconds(5),
                                  .proxy = proxy,
                                  .ca_file = ca_file});
    EXPECT_TRUE(client.ok()) << client.status();
    std::promise<HttpResult> promise;
    auto future = promise.get_future();
    (*client)->Send({.method = "POST", .target = "/create", .body = "secret"},
                    [&promise](HttpResult result) { promise.set_value(std::move(result)); });
    return future.get();  // the deadline of the call bounds this
  }

  const Issued identity_ = MakeSelfSigned({.names = "DNS:localhost,IP:127.0.0.1"});
  const TemporaryFolder folder_;
  const std::string ca_file_ = folder_.Write("authority", identity_.CertificatePem());
};

TEST_F(HttpClientTlsTest, TalksToAServerItTrusts) {
  const struct {
    std::string name, host;
    int version_max;
    std::string server_name, version;
  } kCases[] = {
      {"name, newest", "localhost", TLS1_3_VERSION, "localhost", "TLSv1.3"},
      {"name, oldest", "localhost", TLS1_2_VERSION, "localhost", "TLSv1.2"},
      // An address is no server name (RFC 6066), but it is checked all the same.
      {"address", "127.0.0.1", TLS1_3_VERSION, "", "TLSv1.3"},
  };
  for (const auto& c : kCases) {
    TlsServer server(identity_, {.version_max = c.version_max});

    const HttpResult result = Call(server, c.host, ca_file_);
    const TlsServer::Seen& seen = server.Join();

    EXPECT_TRUE(result.status.ok()) << c.name << ": " << result.status;
    EXPECT_EQ(result.body, "ok") << c.name;
    EXPECT_TRUE(result.bytes_written) << c.name;
    EXPECT_EQ(seen.server_name, c.server_name) << c.name;
    EXPECT_EQ(seen.version, c.version) << c.name;
    EXPECT_TRUE(absl::EndsWith(seen.request, "secret")) << c.name;
  }
}

TEST_F(HttpClientTlsTest, WritesNothingToAServerItDoesNotTrust) {
  const Issued other_name = MakeSelfSigned({.names = "DNS:elsewhere.example,IP:127.0.0.2"});
  const std::string other_ca = folder_.Write("other", other_name.CertificatePem());
  const struct {
    std::string name, host;
    const Issued& identity;
    std::string ca_file;
    int version_max;
  } kCases[] = {
      {"unknown authority", "localhost", identity_, "", TLS1_3_VERSION},
      {"other authority", "localhost", identity_, other_ca, TLS1_3_VERSION},
      {"other name", "localhost", other_name, other_ca, TLS1_3_VERSION},
      {"other address", "127.0.0.1", other_name, other_ca, TLS1_3_VERSION},
      {"version too old", "localhost", identity_, ca_file_, TLS1_1_VERSION},
  };
  for (const auto& c : kCases) {
    TlsServer server(c.identity, {.version_max = c.version_max});

    const HttpResult result = Call(server, c.host, c.ca_file);
    const TlsServer::Seen& seen = server.Join();

    EXPECT_EQ(result.status.code(), absl::StatusCode::kUnavailable) << c.name;
    EXPECT_FALSE(result.bytes_written) << c.name;
    EXPECT_EQ(seen.request, "") << c.name;
  }
}

TEST_F(HttpClientTlsTest, BehindAProxyItIsTheServerWhomItTrusts) {
  TunnelProxy proxy;
  TlsServer trusted(identity_, {});
  const HttpResult result = Call(trusted, "localhost", ca_file_, proxy.address());
  const TlsServer::Seen& seen = trusted.Join();
  EXPECT_EQ(result.body, "ok") << result.status;
  EXPECT_EQ(seen.server_name, "localhost");
  EXPECT_TRUE(absl::EndsWith(seen.request, "secret"));

  const Issued other_name = MakeSelfSigned({.names = "DNS:elsewhere.example"});
  TlsServer other(other_name, {});
  const std::string other_ca = folder_.Write("other", other_name.CertificatePem());
  const HttpResult refused = Call(other, "localhost", other_ca, proxy.address());
  EXPECT_EQ(refused.status.code(), absl::StatusCode::kUnavailable) << refused.status;
  EXPECT_FALSE(refused.bytes_written);
  EXPECT_EQ(other.Join().request, "");

  ASSERT_EQ(proxy.requests().size(), 2u);
  EXPECT_TRUE(absl::StartsWith(proxy.requests()[0],
                               absl::StrCat("CONNECT localhost:", trusted.port(), " HTTP/1.1")));
}

TEST_F(HttpClientTlsTest, TakesACutAnswerAsDoubt) {
  // Without a length only the end of the stream ends it, and anybody can cut a TCP stream.
  const std::string answer = "HTTP/1.1 200 OK\r\n\r\n{\"errcode\":0}";
  TlsServer cut(identity_, {.sends_close_notify = false, .answer = answer});
  const HttpResult doubt = Call(cut, "localhost", ca_file_);
  EXPECT_EQ(doubt.status.code(), absl::StatusCode::kUnavailable) << doubt.status;
  EXPECT_TRUE(doubt.bytes_written);

  TlsServer ended(identity_, {.answer = answer});
  const HttpResult whole = Call(ended, "localhost", ca_file_);
  EXPECT_TRUE(whole.status.ok()) << whole.status;
  EXPECT_EQ(whole.body, "{\"errcode\":0}");
}

TEST_F(HttpClientTlsTest, GivesUpOnAHandshakeThatDoesNotEnd) {
  RawListener silent;
  auto client = Client::Create({.base_url = absl::StrCat("https://127.0.0.1:", silent.port()),
                                .connect_deadline = absl::Milliseconds(50)});
  ASSERT_TRUE(client.ok()) << client.status();
  std::promise<HttpResult> promise;
  (*client)->Send({.target = "/"}, [&promise](HttpResult result) { promise.set_value(result); });

  const HttpResult result = promise.get_future().get();

  EXPECT_EQ(result.status.code(), absl::StatusCode::kDeadlineExceeded) << result.status;
  EXPECT_FALSE(result.bytes_written);
}

}  // namespace
}  // namespace tidegate::http
