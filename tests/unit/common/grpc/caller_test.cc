// Who a caller is, over real connections: what gRPC knows of a peer cannot be made up here.
#include "common/grpc/caller.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "common/config/corps.h"
#include "common/grpc/credentials.h"
#include "common/grpc/errors.h"
#include "common/grpc/server_runner.h"
#include "tests/support/certificates.h"
#include "tidegate/ingestion/v1/ingestion_service.grpc.pb.h"

namespace tidegate::rpc {
namespace {

using ::tidegate::ingestion::v1::BatchPublishEventsRequest;
using ::tidegate::ingestion::v1::BatchPublishEventsResponse;
using ::tidegate::ingestion::v1::IngestionService;
using ::tidegate::testing::CertificateOptions;
using ::tidegate::testing::Issue;
using ::tidegate::testing::Issued;
using ::tidegate::testing::MakeAuthority;
using ::tidegate::testing::TemporaryFolder;

// Answers as every handler does, and remembers who called.
class FakeService : public IngestionService::CallbackService {
 public:
  explicit FakeService(CallerCorps callers) : callers_(std::move(callers)) {}

  grpc::ServerUnaryReactor* BatchPublishEvents(grpc::CallbackServerContext* context,
                                               const BatchPublishEventsRequest* request,
                                               BatchPublishEventsResponse*) override {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      identity_ = Identity(*context);
    }
    const config::Corp* const corp = FindCorp(*context, corps_, callers_, request->corp());
    return Finish(context, corp == nullptr ? UnknownCorp() : grpc::Status::OK);
  }

  std::string identity() {
    std::lock_guard<std::mutex> lock(mutex_);
    return identity_;
  }

 private:
  const CallerCorps callers_;
  const config::Corps corps_{{{.corp_id = "a"}, {.corp_id = "b"}}};
  std::mutex mutex_;
  std::string identity_;
};

const std::vector<config::CallerIdentity>& Rows() {
  static const std::vector<config::CallerIdentity> rows = {
      {"spiffe://acme/shop", {"a"}},         {"spiffe://acme/till", {"a"}},
      {"spiffe://acme/till", {"b"}},         {"spiffe://acme/tidegate", {"*"}},
      {"spiffe://acme/nothing", {}},         {"", {"*"}},
      {"spiffe://acme/elsewhere", {"other"}}};
  return rows;
}

class CallerTest : public ::testing::Test {
 protected:
  void Start(CallerCorps callers, bool tls) {
    service_ = std::make_unique<FakeService>(std::move(callers));
    const Issued server = Issue(authority_, {.names = "IP:127.0.0.1"});
    const TlsFiles files{.cert_file = folder_.Write("crt", server.CertificatePem()),
                         .key_file = folder_.Write("key", server.KeyPem()),
                         .ca_file = folder_.Write("ca", authority_.CertificatePem())};
    const auto credentials = ServerCredentials(tls ? files : TlsFiles{});
    ASSERT_TRUE(credentials.ok()) << credentials.status();
    auto runner = ServerRunner::Start("127.0.0.1:0", {service_.get()}, *credentials);
    ASSERT_TRUE(runner.ok()) << runner.status();
    runner_ = *std::move(runner);
  }

  std::shared_ptr<grpc::Channel> ChannelOf(const CertificateOptions& options) const {
    const Issued own = Issue(authority_, options);
    return grpc::CreateChannel(runner_->address(),
                               grpc::SslCredentials({.pem_root_certs = authority_.CertificatePem(),
                                                     .pem_private_key = own.KeyPem(),
                                                     .pem_cert_chain = own.CertificatePem()}));
  }

  std::shared_ptr<grpc::Channel> Plaintext() const {
    return grpc::CreateChannel(runner_->address(), grpc::InsecureChannelCredentials());
  }

  static grpc::Status Call(const std::shared_ptr<grpc::Channel>& channel, const std::string& corp,
                           const std::string& authority = "") {
    const auto stub = IngestionService::NewStub(channel);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    if (!authority.empty()) context.set_authority(authority);
    BatchPublishEventsRequest request;
    request.set_corp(corp);
    BatchPublishEventsResponse response;
    return stub->BatchPublishEvents(&context, request, &response);
  }

  const TemporaryFolder folder_;
  const Issued authority_ = MakeAuthority("one");
  std::unique_ptr<FakeService> service_;
  std::unique_ptr<ServerRunner> runner_;  // stops before the service goes
};

TEST_F(CallerTest, OnlyTheOneUriOfTheCertificateCounts) {
  Start(CallerCorps(Rows(), /*enforced=*/true), /*tls=*/true);
  const struct {
    std::string name;
    CertificateOptions certificate;
    std::string identity;
    bool may_a, may_b;
  } kCases[] = {
      {"one corp", {.names = "URI:spiffe://acme/shop"}, "spiffe://acme/shop", true, false},
      {"two rows", {.names = "URI:spiffe://acme/till"}, "spiffe://acme/till", true, true},
      {"all", {.names = "URI:spiffe://acme/tidegate"}, "spiffe://acme/tidegate", true, true},
      {"no corp", {.names = "URI:spiffe://acme/nothing"}, "spiffe://acme/nothing", false, false},
      {"unknown corp",
       {.names = "URI:spiffe://acme/elsewhere"},
       "spiffe://acme/elsewhere",
       false,
       false},
      {"unknown", {.names = "URI:spiffe://acme/shop2"}, "spiffe://acme/shop2", false, false},
      {"other case", {.names = "URI:spiffe://acme/SHOP"}, "spiffe://acme/SHOP", false, false},
      {"with names",
       {.names = "DNS:shop,URI:spiffe://acme/shop,IP:10.0.0.1"},
       "spiffe://acme/shop",
       true,
       false},
      {"two URIs",
       {.names = "URI:spiffe://acme/shop,URI:spiffe://acme/tidegate"},
       "grpc",
       false,
       false},
      {"the same twice",
       {.names = "URI:spiffe://acme/shop,URI:spiffe://acme/shop"},
       "grpc",
       false,
       false},
      {"common name only", {.common_name = "spiffe://acme/tidegate"}, "grpc", false, false},
      {"as a DNS name", {.names = "DNS:spiffe://acme/tidegate"}, "grpc", false, false},
      {"as an address of mail", {.names = "email:spiffe@acme.tidegate"}, "grpc", false, false},
      {"with a blank", {.names = "URI:spiffe://acme/ shop"}, "grpc", false, false},
      {"the star itself", {.names = "URI:*"}, "*", false, false},
  };
  for (const auto& c : kCases) {
    const auto channel = ChannelOf(c.certificate);
    const grpc::Status a = Call(channel, "a");
    EXPECT_EQ(a.error_code(), c.may_a ? grpc::StatusCode::OK : grpc::StatusCode::NOT_FOUND)
        << c.name << ": " << a.error_message();
    EXPECT_EQ(service_->identity(), c.identity) << c.name;
    const grpc::Status b = Call(channel, "b");
    EXPECT_EQ(b.error_code(), c.may_b ? grpc::StatusCode::OK : grpc::StatusCode::NOT_FOUND)
        << c.name << ": " << b.error_message();
  }
}

TEST_F(CallerTest, AForbiddenCorpAnswersLikeOneThatIsNotThere) {
  Start(CallerCorps(Rows(), /*enforced=*/true), /*tls=*/true);
  const auto shop = ChannelOf({.names = "URI:spiffe://acme/shop"});
  const auto all = ChannelOf({.names = "URI:spiffe://acme/tidegate"});
  const grpc::Status not_there = Call(all, "c");
  ASSERT_EQ(not_there.error_code(), grpc::StatusCode::NOT_FOUND);
  for (const std::string corp : {"b", "c", "", "*"}) {
    const grpc::Status refused = Call(shop, corp);
    EXPECT_EQ(refused.error_code(), not_there.error_code()) << corp;
    EXPECT_EQ(refused.error_message(), not_there.error_message()) << corp;
    EXPECT_EQ(refused.error_details(), not_there.error_details()) << corp;
  }
}

TEST_F(CallerTest, TheProcessItselfMayUseEveryCorp) {
  for (const bool tls : {true, false}) {
    Start(CallerCorps({}, /*enforced=*/true), tls);
    EXPECT_TRUE(Call(runner_->InProcessChannel(), "a").ok()) << tls;
    EXPECT_EQ(service_->identity(), "grpc") << tls;
    EXPECT_EQ(Call(runner_->InProcessChannel(), "c").error_code(), grpc::StatusCode::NOT_FOUND);
    runner_.reset();
  }
}

TEST_F(CallerTest, APlaintextCallerIsNotTakenForTheProcessItself) {
  Start(CallerCorps(Rows(), /*enforced=*/true), /*tls=*/false);
  EXPECT_EQ(Call(Plaintext(), "a").error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Call(Plaintext(), "a", "inproc.authority").error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(service_->identity(), "grpc");
}

TEST_F(CallerTest, WithoutEnforcementEveryCallerMayUseEveryCorp) {
  Start(CallerCorps(), /*tls=*/false);
  EXPECT_TRUE(Call(Plaintext(), "a").ok());
  EXPECT_TRUE(Call(runner_->InProcessChannel(), "b").ok());
  EXPECT_EQ(Call(Plaintext(), "c").error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(service_->identity(), "grpc");
}

}  // namespace
}  // namespace tidegate::rpc
