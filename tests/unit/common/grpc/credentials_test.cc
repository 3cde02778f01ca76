// TLS of gRPC with the library that is installed: who gets in, and what a rotation changes. The
// service is the health service of every server.
#include "common/grpc/credentials.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/grpc/server_runner.h"
#include "tests/support/certificates.h"
#include "tests/support/eventually.h"
#include "tests/support/tls_peer.h"

namespace tidegate::rpc {
namespace {

using ::testing::HasSubstr;
using ::tidegate::testing::Eventually;
using ::tidegate::testing::Issue;
using ::tidegate::testing::Issued;
using ::tidegate::testing::kPatience;
using ::tidegate::testing::MakeAuthority;
using ::tidegate::testing::TemporaryFolder;
using ::tidegate::testing::TlsPeer;

constexpr char kHttp2[] = "\x02h2";

std::chrono::system_clock::time_point Deadline() {
  return absl::ToChronoTime(absl::Now() + kPatience);
}

// Distinct arguments, so that no two channels share a connection. By address, since c-ares leaks at
// every name it resolves (Debian 12); `name` stands for the host name in the target.
std::shared_ptr<grpc::Channel> Connect(uint16_t port,
                                       const std::shared_ptr<grpc::ChannelCredentials>& credentials,
                                       const std::string& name = "") {
  static std::atomic<int> number{0};
  grpc::ChannelArguments arguments;
  arguments.SetInt("tidegate.test.channel", number.fetch_add(1));
  if (!name.empty()) arguments.SetSslTargetNameOverride(name);
  return grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", port), credentials, arguments);
}

// An empty message; a default ByteBuffer is none at all.
grpc::ByteBuffer EmptyMessage() {
  const grpc::Slice empty("");
  return grpc::ByteBuffer(&empty, 1);
}

grpc::StatusCode Check(const std::shared_ptr<grpc::Channel>& channel) {
  grpc::GenericStub stub(channel);
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  context.set_deadline(Deadline());
  auto call =
      stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check", EmptyMessage(), &queue);
  call->StartCall();
  grpc::ByteBuffer answer;
  grpc::Status status;
  call->Finish(&answer, &status, nullptr);
  void* tag;
  bool ok;
  queue.Next(&tag, &ok);
  return status.error_code();
}

// A stream that hears of every change of the server's health.
class Watch {
 public:
  explicit Watch(const std::shared_ptr<grpc::Channel>& channel) : stub_(channel) {
    context_.set_deadline(Deadline());
    stream_ = stub_.PrepareCall(&context_, "/grpc.health.v1.Health/Watch", &queue_);
    stream_->StartCall(nullptr);
    open_ = Next();
    if (open_) stream_->WriteLast(EmptyMessage(), {}, nullptr);
    open_ = open_ && Next();
  }
  ~Watch() {
    context_.TryCancel();
    grpc::Status status;
    stream_->Finish(&status, nullptr);
    Next();
  }

  // The next state: 1 serving, 2 not serving; -1 at the end of the stream.
  int Read() {
    grpc::ByteBuffer answer;
    if (!open_) return -1;
    stream_->Read(&answer, nullptr);
    open_ = Next();
    grpc::Slice bytes;
    if (!open_ || !answer.DumpToSingleSlice(&bytes).ok() || bytes.size() != 2) return -1;
    return bytes.begin()[1];
  }

 private:
  bool Next() {
    void* tag;
    bool ok = false;
    return queue_.Next(&tag, &ok) && ok;
  }

  grpc::GenericStub stub_;
  grpc::CompletionQueue queue_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream_;
  bool open_ = false;
};

class GrpcCredentialsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    WritePair("server", first_);
    WritePair("client", client_);
    folder_.Write("ca.crt", authority_.CertificatePem());
  }

  void WritePair(const std::string& name, const Issued& issued) const {
    folder_.Write(name + ".crt", issued.CertificatePem());
    folder_.Write(name + ".key", issued.KeyPem());
  }

  TlsFiles Files(const std::string& name, const std::string& ca = "ca.crt") const {
    return {.cert_file = name.empty() ? "" : folder_.Path(name + ".crt"),
            .key_file = name.empty() ? "" : folder_.Path(name + ".key"),
            .ca_file = ca.empty() ? "" : folder_.Path(ca)};
  }

  void Start(const TlsFiles& files) {
    const auto credentials = ServerCredentials(files);
    ASSERT_TRUE(credentials.ok()) << credentials.status();
    auto server = ServerRunner::Start("127.0.0.1:0", {}, *credentials);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    int port = 0;
    ASSERT_TRUE(
        absl::SimpleAtoi(server_->address().substr(server_->address().rfind(':') + 1), &port));
    port_ = static_cast<uint16_t>(port);
  }

  std::shared_ptr<grpc::Channel> Channel(const TlsFiles& files,
                                         const std::string& name = "") const {
    const auto credentials = ChannelCredentials(files);
    EXPECT_TRUE(credentials.ok()) << credentials.status();
    return Connect(port_, *credentials, name);
  }

  // As a client that no file of ours could be: its certificate may be expired or of nobody.
  std::shared_ptr<grpc::Channel> ForeignChannel(const Issued* own) const {
    grpc::SslCredentialsOptions options{.pem_root_certs = authority_.CertificatePem()};
    if (own != nullptr) {
      options.pem_private_key = own->KeyPem();
      options.pem_cert_chain = own->CertificatePem();
    }
    return Connect(port_, grpc::SslCredentials(options));
  }

  bool ServerIs(const Issued& issued) const {
    const TlsPeer peer(port_, {.own = &client_, .protocols = kHttp2});
    return peer.ServerIs(issued);
  }

  const TemporaryFolder folder_;
  const Issued authority_ = MakeAuthority("one");
  const Issued other_authority_ = MakeAuthority("two");
  const Issued first_ =
      Issue(authority_, {.names = "DNS:localhost,IP:127.0.0.1,URI:spiffe://acme/tidegate"});
  const Issued second_ =
      Issue(authority_, {.names = "DNS:localhost,IP:127.0.0.1,URI:spiffe://acme/tidegate"});
  const Issued client_ = Issue(authority_, {.names = "URI:spiffe://acme/shop"});
  const Issued other_client_ = Issue(other_authority_, {.names = "URI:spiffe://acme/shop"});
  std::unique_ptr<ServerRunner> server_;
  uint16_t port_ = 0;
};

TEST_F(GrpcCredentialsTest, WithoutFilesThereIsNoTls) {
  Start({});
  EXPECT_EQ(Check(Channel({})), grpc::StatusCode::OK);
  EXPECT_EQ(Check(Channel(Files("", "ca.crt"))), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(GrpcCredentialsTest, WithoutAuthoritiesEveryClientMayConnect) {
  Start(Files("server", ""));
  EXPECT_EQ(Check(Channel(Files("", "ca.crt"))), grpc::StatusCode::OK);
  EXPECT_EQ(Check(Channel({})), grpc::StatusCode::UNAVAILABLE) << "plaintext";
}

TEST_F(GrpcCredentialsTest, OnlyClientsOfTheAuthoritiesGetIn) {
  const Issued expired = Issue(
      authority_, {.names = "URI:spiffe://acme/shop", .valid_from_s = -7200, .valid_until_s = -60});
  const Issued self_signed = ::tidegate::testing::MakeSelfSigned({.names = "DNS:localhost"});
  Start(Files("server"));
  const struct {
    std::string name;
    const Issued* own;
    grpc::StatusCode code;
  } kCases[] = {
      {"no certificate", nullptr, grpc::StatusCode::UNAVAILABLE},
      {"another authority", &other_client_, grpc::StatusCode::UNAVAILABLE},
      {"signed by itself", &self_signed, grpc::StatusCode::UNAVAILABLE},
      {"expired", &expired, grpc::StatusCode::UNAVAILABLE},
      {"right", &client_, grpc::StatusCode::OK},
  };
  for (const auto& c : kCases) EXPECT_EQ(Check(ForeignChannel(c.own)), c.code) << c.name;
  EXPECT_EQ(Check(Channel(Files("client"))), grpc::StatusCode::OK);
  EXPECT_EQ(Check(Channel(Files("", "ca.crt"))), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Check(Channel({})), grpc::StatusCode::UNAVAILABLE) << "plaintext";
}

TEST_F(GrpcCredentialsTest, AChannelConnectsOnlyToTheServerOfItsTarget) {
  folder_.Write("other_ca.crt", other_authority_.CertificatePem());
  WritePair("nameless",
            Issue(authority_, {.names = "URI:spiffe://acme/tidegate", .common_name = "127.0.0.1"}));
  const struct {
    std::string name, server, ca, target_name;
    grpc::StatusCode code;
  } kCases[] = {
      {"address", "server", "ca.crt", "", grpc::StatusCode::OK},
      {"name", "server", "ca.crt", "localhost", grpc::StatusCode::OK},
      {"other name", "server", "ca.crt", "elsewhere.example", grpc::StatusCode::UNAVAILABLE},
      {"longer name", "server", "ca.crt", "localhost.example", grpc::StatusCode::UNAVAILABLE},
      {"other authority", "server", "other_ca.crt", "", grpc::StatusCode::UNAVAILABLE},
      // The handshake takes the common name where there is no name of DNS; each call does not.
      {"common name", "nameless", "ca.crt", "", grpc::StatusCode::UNAUTHENTICATED},
  };
  for (const auto& c : kCases) {
    Start(Files(c.server));
    EXPECT_EQ(Check(Channel(Files("client", c.ca), c.target_name)), c.code) << c.name;
  }
}

TEST_F(GrpcCredentialsTest, RefusesTls11) {
  Start(Files("server"));
  const struct {
    int version_max;
    bool open;
  } kCases[] = {{TLS1_1_VERSION, false}, {TLS1_2_VERSION, true}, {TLS1_3_VERSION, true}};
  for (const auto& c : kCases) {
    const TlsPeer peer(port_, {.own = &client_, .version_max = c.version_max, .protocols = kHttp2});
    EXPECT_EQ(peer.is_open(), c.open) << c.version_max << ": " << peer.error();
    // gRPC closes without an alert. Had the client refused, it would have sent nothing.
    if (!c.open) {
      EXPECT_THAT(peer.error(), HasSubstr("unexpected eof"));
    }
  }
}

TEST_F(GrpcCredentialsTest, ARotatedPairServesNewConnectionsAndStreamsGoOn) {
  Start(Files("server"));
  Watch stream(Channel(Files("client")));
  ASSERT_EQ(stream.Read(), 2);
  ASSERT_TRUE(ServerIs(first_));

  WritePair("server", second_);

  EXPECT_TRUE(Eventually([this] { return ServerIs(second_); }));
  EXPECT_EQ(Check(Channel(Files("client"))), grpc::StatusCode::OK);
  server_->SetServing(true);
  EXPECT_EQ(stream.Read(), 1);
}

TEST_F(GrpcCredentialsTest, ARotatedAuthorityCountsForNewConnectionsAndStreamsGoOn) {
  folder_.Write("clients.crt", authority_.CertificatePem());
  Start(Files("server", "clients.crt"));
  Watch stream(Channel(Files("client")));
  ASSERT_EQ(stream.Read(), 2);
  ASSERT_EQ(Check(ForeignChannel(&other_client_)), grpc::StatusCode::UNAVAILABLE);

  folder_.Write("clients.crt", other_authority_.CertificatePem());

  EXPECT_TRUE(
      Eventually([this] { return Check(ForeignChannel(&other_client_)) == grpc::StatusCode::OK; }));
  EXPECT_EQ(Check(ForeignChannel(&client_)), grpc::StatusCode::UNAVAILABLE);
  server_->SetServing(true);
  EXPECT_EQ(stream.Read(), 1);
}

TEST_F(GrpcCredentialsTest, AHalfWrittenPairLeavesTheOldOneInUse) {
  folder_.Write("clients.crt", authority_.CertificatePem());
  Start(Files("server", "clients.crt"));

  folder_.Write("server.key", second_.KeyPem());
  // The authorities are taken at a second reading, and each round reads the pair too: once the new
  // client gets in, the half-written pair has been seen.
  folder_.Write("clients.crt",
                absl::StrCat(authority_.CertificatePem(), other_authority_.CertificatePem()));
  EXPECT_TRUE(
      Eventually([this] { return Check(ForeignChannel(&other_client_)) == grpc::StatusCode::OK; }));
  EXPECT_TRUE(ServerIs(first_));

  folder_.Write("server.crt", second_.CertificatePem());
  EXPECT_TRUE(Eventually([this] { return ServerIs(second_); }));
  EXPECT_EQ(Check(ForeignChannel(&client_)), grpc::StatusCode::OK);
}

TEST_F(GrpcCredentialsTest, AChannelShowsItsRotatedCertificate) {
  folder_.Write("clients.crt", other_authority_.CertificatePem());
  Start(Files("server", "clients.crt"));
  const auto credentials = ChannelCredentials(Files("client"));
  ASSERT_TRUE(credentials.ok()) << credentials.status();
  const auto connects = [&] { return Check(Connect(port_, *credentials)) == grpc::StatusCode::OK; };
  ASSERT_FALSE(connects()) << "not of the server's authority";

  WritePair("client", other_client_);

  EXPECT_TRUE(Eventually(connects));
}

TEST_F(GrpcCredentialsTest, AChannelTakesARotatedAuthority) {
  folder_.Write("server_ca.crt", other_authority_.CertificatePem());
  Start(Files("server"));
  const auto credentials = ChannelCredentials(Files("client", "server_ca.crt"));
  ASSERT_TRUE(credentials.ok()) << credentials.status();
  const auto connects = [&] { return Check(Connect(port_, *credentials)) == grpc::StatusCode::OK; };
  ASSERT_FALSE(connects()) << "the server is of another authority";

  folder_.Write("server_ca.crt", authority_.CertificatePem());

  EXPECT_TRUE(Eventually(connects));
}

TEST_F(GrpcCredentialsTest, FilesThatCannotBeUsedAreAnErrorAtTheStart) {
  folder_.Write("other.crt", second_.CertificatePem());
  folder_.Write("other.key", first_.KeyPem());
  TlsFiles no_key = Files("server");
  no_key.key_file = "";
  const struct {
    std::string name;
    TlsFiles files;
    absl::StatusCode server, channel;
    std::string named;
  } kCases[] = {
      {"no key", no_key, absl::StatusCode::kInvalidArgument, absl::StatusCode::kInvalidArgument,
       "key_file"},
      {"no authorities", Files("server", ""), absl::StatusCode::kOk,
       absl::StatusCode::kInvalidArgument, "ca_file"},
      {"only authorities", Files(""), absl::StatusCode::kInvalidArgument, absl::StatusCode::kOk,
       "cert_file"},
      {"missing", Files("server", "none.crt"), absl::StatusCode::kNotFound,
       absl::StatusCode::kNotFound, "none.crt"},
      {"mismatch", Files("other"), absl::StatusCode::kInvalidArgument,
       absl::StatusCode::kInvalidArgument, "other.key"},
  };
  for (const auto& c : kCases) {
    const absl::Status server = ServerCredentials(c.files).status();
    const absl::Status channel = ChannelCredentials(c.files).status();
    EXPECT_EQ(server.code(), c.server) << c.name << ": " << server;
    EXPECT_EQ(channel.code(), c.channel) << c.name << ": " << channel;
    for (const absl::Status& status : {server, channel}) {
      if (status.ok()) continue;
      EXPECT_THAT(std::string(status.message()), HasSubstr(c.named)) << c.name;
    }
  }
}

}  // namespace
}  // namespace tidegate::rpc
