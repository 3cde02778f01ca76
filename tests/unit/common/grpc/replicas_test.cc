// Calls between the replicas of a service, over real connections.
#include "common/grpc/replicas.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/grpc/channels.h"
#include "common/grpc/credentials.h"
#include "common/grpc/errors.h"
#include "common/grpc/server_runner.h"
#include "common/grpc/stream_reader.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/support/certificates.h"
#include "tidegate/segmentation/v1/segmentation_service.grpc.pb.h"

namespace tidegate::rpc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::tidegate::segmentation::v1::ContainsCustomerRequest;
using ::tidegate::segmentation::v1::ContainsCustomerResponse;
using ::tidegate::segmentation::v1::CountCustomersRequest;
using ::tidegate::segmentation::v1::CountCustomersResponse;
using ::tidegate::segmentation::v1::PreviewAudienceRequest;
using ::tidegate::segmentation::v1::PreviewAudienceResponse;
using ::tidegate::segmentation::v1::SegmentationService;
using ::tidegate::testing::Issue;
using ::tidegate::testing::Issued;
using ::tidegate::testing::MakeAuthority;
using ::tidegate::testing::TemporaryFolder;

constexpr char kShop[] = "spiffe://acme/shop";
constexpr char kTidegate[] = "spiffe://acme/tidegate";
constexpr auto kPatience = std::chrono::seconds(20);

// What a replica saw of one call.
struct Seen {
  std::string caller;
  std::chrono::system_clock::time_point deadline;
};

// The customer of a request is the number of its partition; the expression says what the owner does
// with it: "ok", "hang" until it is cancelled, or an error.
class FakeService : public SegmentationService::CallbackService {
 public:
  void SetReplicas(const Replicas* replicas) { replicas_ = replicas; }

  grpc::ServerUnaryReactor* ContainsCustomer(grpc::CallbackServerContext* context,
                                             const ContainsCustomerRequest* request,
                                             ContainsCustomerResponse* response) override {
    uint32_t partition = 0;
    EXPECT_TRUE(absl::SimpleAtoi(request->customer(), &partition));
    if (!replicas_->own().Owns(partition)) {
      return replicas_->Forward(context, partition, request, response);
    }
    See(*context);
    response->set_contained(true);
    if (request->expression() == "hang") {
      auto* reactor = context->DefaultReactor();
      hanging_ = std::jthread([this, context, reactor] {
        const auto deadline = std::chrono::steady_clock::now() + kPatience;
        while (!context->IsCancelled() && std::chrono::steady_clock::now() < deadline) {
          std::this_thread::sleep_for(std::chrono::milliseconds(2));
        }
        cancelled_ += context->IsCancelled();
        reactor->Finish(grpc::Status::CANCELLED);
      });
      return reactor;
    }
    if (request->expression() == "not there") {
      return Finish(context, {grpc::StatusCode::NOT_FOUND, "no such thing"});
    }
    if (request->expression() == "not ready") {
      return Finish(context, ToGrpcStatus(absl::UnavailableError("recovers"), "SHARD_NOT_READY"));
    }
    return Finish(context, grpc::Status::OK);
  }

  // The sum of 10^ordinal over all replicas.
  grpc::ServerUnaryReactor* CountCustomers(grpc::CallbackServerContext* context,
                                           const CountCustomersRequest* request,
                                           CountCustomersResponse* response) override {
    bool hopped = false;
    grpc::Status status = replicas_->CheckHop(*context, &hopped);
    if (!status.ok()) return Finish(context, std::move(status));
    See(*context);
    const Replica& own = replicas_->own();
    int64_t count = 1;
    for (uint32_t i = 0; i < own.ordinal; ++i) count *= 10;
    response->set_count(count);
    if (hopped || own.count == 1) return Finish(context, grpc::Status::OK);
    struct Gathering {
      std::mutex mu;
      size_t waiting;
      int64_t count;
      grpc::Status status;
    };
    auto gathering = std::make_shared<Gathering>();
    gathering->waiting = own.count - 1;
    gathering->count = count;
    auto* reactor = context->DefaultReactor();
    replicas_->Scatter<CountCustomersRequest, CountCustomersResponse>(
        *context, *request,
        [gathering, reactor, response](grpc::Status ended, CountCustomersResponse& part) {
          std::lock_guard lock(gathering->mu);
          gathering->count += part.count();
          if (!ended.ok()) gathering->status = std::move(ended);
          if (--gathering->waiting > 0) return;
          response->set_count(gathering->count);
          reactor->Finish(gathering->status);
        });
    return reactor;
  }

  // Three messages, then "not ready" if the expression says so.
  grpc::ServerWriteReactor<PreviewAudienceResponse>* PreviewAudience(
      grpc::CallbackServerContext* context, const PreviewAudienceRequest* request) override {
    class Writer : public grpc::ServerWriteReactor<PreviewAudienceResponse> {
     public:
      explicit Writer(grpc::Status status) : status_(std::move(status)) { Next(); }
      void OnWriteDone(bool ok) override { ok ? Next() : Finish(grpc::Status::CANCELLED); }
      void OnDone() override { delete this; }

     private:
      void Next() {
        if (written_ == 3) return Finish(status_);
        message_.set_partition(++written_);
        StartWrite(&message_);
      }
      const grpc::Status status_;
      uint32_t written_ = 0;
      PreviewAudienceResponse message_;
    };
    See(*context);
    return new Writer(request->expression() == "not ready"
                          ? ToGrpcStatus(absl::UnavailableError("recovers"), "SHARD_NOT_READY")
                          : grpc::Status::OK);
  }

  std::vector<Seen> TakeSeen() {
    std::lock_guard lock(mu_);
    return std::exchange(seen_, {});
  }
  int cancelled() const { return cancelled_; }
  const Replicas* replicas() const { return replicas_; }

 private:
  void See(const grpc::CallbackServerContext& context) {
    std::lock_guard lock(mu_);
    seen_.push_back({replicas_->CallerOf(context), context.deadline()});
  }

  const Replicas* replicas_ = nullptr;
  std::atomic<int> cancelled_{0};
  std::mutex mu_;
  std::vector<Seen> seen_;
  std::jthread hanging_;
};

class ReplicasTest : public ::testing::Test {
 protected:
  struct Process {
    FakeService service;
    std::unique_ptr<Replicas> replicas;
    std::unique_ptr<ServerRunner> runner;
  };

  ~ReplicasTest() override {
    for (auto& process : processes_) process->runner.reset();
  }

  // Replica i believes to be owns[i].
  void Start(const std::vector<Replica>& owns, bool tls = false) {
    const Issued own = Issue(authority_, {.names = absl::StrCat("IP:127.0.0.1,URI:", kTidegate)});
    TlsFiles files;
    if (tls) {
      files = {.cert_file = folder_.Write("crt", own.CertificatePem()),
               .key_file = folder_.Write("key", own.KeyPem()),
               .ca_file = folder_.Write("ca", authority_.CertificatePem())};
      callers_ = CallerCorps({{kShop, {"a"}}, {kTidegate, {"*"}}}, /*enforced=*/true);
    }
    for (size_t i = 0; i < owns.size(); ++i) {
      processes_.push_back(std::make_unique<Process>());
      const auto credentials = ServerCredentials(files);
      ASSERT_TRUE(credentials.ok()) << credentials.status();
      auto runner = ServerRunner::Start("127.0.0.1:0", {&processes_.back()->service}, *credentials);
      ASSERT_TRUE(runner.ok()) << runner.status();
      processes_.back()->runner = *std::move(runner);
    }
    for (size_t i = 0; i < owns.size(); ++i) {
      Replicas::Channels channels;
      for (const auto& process : processes_) {
        channels.push_back(MakeChannel(process->runner->address(), ClientOf(tls ? kTidegate : "")));
      }
      processes_[i]->replicas =
          std::make_unique<Replicas>("segmentation", owns[i], std::move(channels), &callers_);
      processes_[i]->service.SetReplicas(processes_[i]->replicas.get());
    }
  }
  void StartAll(uint32_t count, bool tls = false) {
    std::vector<Replica> owns;
    for (uint32_t i = 0; i < count; ++i) owns.push_back({i, count});
    Start(owns, tls);
  }

  std::shared_ptr<grpc::ChannelCredentials> ClientOf(const std::string& identity) const {
    if (identity.empty()) return grpc::InsecureChannelCredentials();
    const Issued own = Issue(authority_, {.names = absl::StrCat("URI:", identity)});
    return grpc::SslCredentials({.pem_root_certs = authority_.CertificatePem(),
                                 .pem_private_key = own.KeyPem(),
                                 .pem_cert_chain = own.CertificatePem()});
  }
  std::unique_ptr<SegmentationService::Stub> StubOf(size_t replica,
                                                    const std::string& identity = "") {
    return SegmentationService::NewStub(
        grpc::CreateChannel(processes_[replica]->runner->address(), ClientOf(identity)));
  }
  struct Options {
    std::string expression = "ok";
    std::string identity;
    std::multimap<std::string, std::string> metadata;
    std::chrono::milliseconds patience = kPatience;
  };
  grpc::Status Ask(size_t replica, uint32_t partition, const Options& options) {
    grpc::ClientContext context;
    if (options.patience.count() > 0) {
      context.set_deadline(std::chrono::system_clock::now() + options.patience);
    }
    for (const auto& [name, value] : options.metadata) context.AddMetadata(name, value);
    ContainsCustomerRequest request;
    request.set_corp("a");
    request.set_customer(absl::StrCat(partition));
    request.set_expression(options.expression);
    ContainsCustomerResponse response;
    const auto status =
        StubOf(replica, options.identity)->ContainsCustomer(&context, request, &response);
    EXPECT_EQ(response.contained(), status.ok());
    return status;
  }
  grpc::Status Ask(size_t replica, uint32_t partition) { return Ask(replica, partition, {}); }
  // How often each replica was asked since the last call.
  std::vector<size_t> Asked() {
    std::vector<size_t> asked;
    for (auto& process : processes_) asked.push_back(process->service.TakeSeen().size());
    return asked;
  }

  // The details of an error; unset where there is none.
  static std::string ReasonOf(const grpc::Status& status) {
    google::rpc::Status details;
    EXPECT_TRUE(details.ParseFromString(status.error_details()));
    google::rpc::ErrorInfo info;
    for (const auto& detail : details.details()) {
      if (!detail.UnpackTo(&info)) continue;
      EXPECT_EQ(info.domain(), kErrorDomain);
    }
    return info.reason();
  }
  static bool HasRetryInfo(const grpc::Status& status) {
    google::rpc::Status details;
    EXPECT_TRUE(details.ParseFromString(status.error_details()));
    for (const auto& detail : details.details()) {
      google::rpc::RetryInfo retry;
      if (detail.UnpackTo(&retry)) return retry.retry_delay().seconds() > 0;
    }
    return false;
  }

  const TemporaryFolder folder_;
  const Issued authority_ = MakeAuthority("one");
  CallerCorps callers_;
  std::vector<std::unique_ptr<Process>> processes_;
};

TEST_F(ReplicasTest, ACallReachesTheOwnerOfItsPartitionWhereverItLands) {
  StartAll(3);
  for (size_t replica = 0; replica < 3; ++replica) {
    for (uint32_t partition = 0; partition < 7; ++partition) {
      const grpc::Status status = Ask(replica, partition);
      ASSERT_TRUE(status.ok()) << status.error_message();
      std::vector<size_t> asked(3);
      asked[partition % 3] = 1;
      EXPECT_EQ(Asked(), asked) << replica << " " << partition;
    }
  }
}

TEST_F(ReplicasTest, TheOnlyReplicaOwnsAll) {
  Start({{0, 1}});
  for (uint32_t partition = 0; partition < 5; ++partition) EXPECT_TRUE(Ask(0, partition).ok());
  EXPECT_THAT(Asked(), ElementsAre(5));
  EXPECT_TRUE(Replicas().own().Owns(7));
}

TEST_F(ReplicasTest, WhatIsLeftOfTheDeadlineIsPassedOn) {
  StartAll(2);
  const auto before = std::chrono::system_clock::now();
  ASSERT_TRUE(Ask(0, 1, {.patience = std::chrono::seconds(7)}).ok());
  const auto after = std::chrono::system_clock::now();
  auto seen = processes_[1]->service.TakeSeen();
  ASSERT_EQ(seen.size(), 1u);
  // On the wire it is a duration, cut to milliseconds or so.
  EXPECT_GT(seen[0].deadline, before + std::chrono::milliseconds(6500));
  EXPECT_LT(seen[0].deadline, after + std::chrono::milliseconds(7500));
  // Without one, a call between replicas has 30 s.
  ASSERT_TRUE(Ask(0, 1, {.patience = std::chrono::milliseconds(0)}).ok());
  seen = processes_[1]->service.TakeSeen();
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_GT(seen[0].deadline, before + std::chrono::seconds(29));
  EXPECT_LT(seen[0].deadline, std::chrono::system_clock::now() + std::chrono::seconds(31));
}

TEST_F(ReplicasTest, AnOwnerThatIsTooSlowIsCancelledAtTheCallersDeadline) {
  StartAll(2);
  const auto before = std::chrono::steady_clock::now();
  const auto status = Ask(0, 1, {.expression = "hang", .patience = std::chrono::milliseconds(300)});
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(5));
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (processes_[1]->service.cancelled() == 0 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
  }
  EXPECT_EQ(processes_[1]->service.cancelled(), 1);
}

TEST_F(ReplicasTest, ACallerThatGivesUpCancelsTheOwner) {
  StartAll(2);
  grpc::ClientContext context;
  std::thread caller([&] {
    ContainsCustomerRequest request;
    request.set_customer("1");
    request.set_expression("hang");
    ContainsCustomerResponse response;
    EXPECT_EQ(StubOf(0)->ContainsCustomer(&context, request, &response).error_code(),
              grpc::StatusCode::CANCELLED);
  });
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (processes_[1]->service.TakeSeen().empty() && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
  }
  context.TryCancel();
  caller.join();
  while (processes_[1]->service.cancelled() == 0 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
  }
  EXPECT_EQ(processes_[1]->service.cancelled(), 1);
}

TEST_F(ReplicasTest, AnUnreachableOwnerIsUnavailableWithAReasonAndATimeToRetry) {
  StartAll(2);
  processes_[1]->runner->Stop(absl::ZeroDuration());
  processes_[1]->runner.reset();
  for (int i = 0; i < 3; ++i) {
    const grpc::Status status = Ask(0, 1);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_THAT(status.error_message(), HasSubstr("segmentation 1/2 does not answer"));
    EXPECT_EQ(ReasonOf(status), "REPLICA_UNAVAILABLE");
    EXPECT_TRUE(HasRetryInfo(status));
  }
  EXPECT_TRUE(Ask(0, 0).ok()) << "the own partitions are served on";
}

TEST_F(ReplicasTest, ErrorsOfTheOwnerAreItsOwn) {
  StartAll(2);
  for (const std::string expression : {"not there", "not ready"}) {
    const grpc::Status direct = Ask(1, 1, {.expression = expression});
    const grpc::Status forwarded = Ask(0, 1, {.expression = expression});
    EXPECT_EQ(forwarded.error_code(), direct.error_code()) << expression;
    EXPECT_EQ(forwarded.error_message(), direct.error_message()) << expression;
    EXPECT_EQ(forwarded.error_details(), direct.error_details()) << expression;
  }
  EXPECT_EQ(ReasonOf(Ask(0, 1, {.expression = "not ready"})), "SHARD_NOT_READY");
}

TEST_F(ReplicasTest, ACallIsForwardedOnceAtMost) {
  StartAll(3);
  // Meant for this one, but it does not own the partition.
  const grpc::Status status = Ask(0, 1, {.metadata = {{"tidegate-hop", "0/3"}}});
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(ReasonOf(status), "REPLICAS_DIFFER");
  EXPECT_THAT(status.error_message(), HasSubstr("segmentation 0/3"));
  EXPECT_THAT(Asked(), ElementsAre(0, 0, 0));
}

TEST_F(ReplicasTest, ReplicasThatDisagreeAboutTheirNumberRefuse) {
  // The second one believes there are three.
  Start({{0, 2}, {1, 3}});
  // 3 % 2 = 1, but 3 % 3 = 0.
  const grpc::Status status = Ask(0, 3);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(ReasonOf(status), "REPLICAS_DIFFER");
  EXPECT_THAT(Asked(), ElementsAre(0, 0));
  // Asked for all, it is not the one that was meant either.
  grpc::ClientContext context;
  CountCustomersResponse response;
  const grpc::Status all = StubOf(0)->CountCustomers(&context, {}, &response);
  EXPECT_EQ(all.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(ReasonOf(all), "REPLICAS_DIFFER");
  EXPECT_THAT(Asked(), ElementsAre(1, 0));
}

TEST_F(ReplicasTest, AScatteredCallAsksEveryOtherReplicaOnce) {
  StartAll(3);
  for (size_t replica = 0; replica < 3; ++replica) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(7));
    CountCustomersResponse response;
    const auto before = std::chrono::system_clock::now();
    ASSERT_TRUE(StubOf(replica)->CountCustomers(&context, {}, &response).ok());
    EXPECT_EQ(response.count(), 111);
    for (auto& process : processes_) {
      const auto seen = process->service.TakeSeen();
      ASSERT_EQ(seen.size(), 1u);
      EXPECT_LT(seen[0].deadline, before + std::chrono::seconds(9));
    }
  }
}

TEST_F(ReplicasTest, AScatteredCallTellsOfEachReplicaThatDoesNotAnswer) {
  StartAll(3);
  processes_[2]->runner->Stop(absl::ZeroDuration());
  processes_[2]->runner.reset();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  CountCustomersResponse response;
  const grpc::Status status = StubOf(0)->CountCustomers(&context, {}, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(status), "REPLICA_UNAVAILABLE");
  EXPECT_TRUE(HasRetryInfo(status));
  EXPECT_THAT(status.error_message(), HasSubstr("segmentation 2/3"));
  EXPECT_THAT(Asked(), ElementsAre(1, 1, 0));
}

// Reads a stream of replica 1 as replica 0 does for one of its callers.
TEST_F(ReplicasTest, AStreamIsReadToItsEndAndItsErrorsAreExplained) {
  StartAll(2);
  struct Read {
    std::mutex mu;
    std::condition_variable ended;
    std::vector<uint32_t> partitions;
    std::vector<grpc::Status> ends;
  };
  const auto read = [&](const std::string& expression) {
    auto result = std::make_shared<Read>();
    const auto stub = SegmentationService::NewStub(processes_[0]->replicas->channel(1));
    PreviewAudienceRequest request;
    request.set_expression(expression);
    auto* reader = new StreamReader<PreviewAudienceResponse>(
        std::make_unique<grpc::ClientContext>(),
        [result](PreviewAudienceResponse&& message) {
          std::lock_guard lock(result->mu);
          result->partitions.push_back(message.partition());
        },
        [result, replicas = processes_[0]->replicas.get()](const grpc::Status& status) {
          std::lock_guard lock(result->mu);
          result->ends.push_back(replicas->Explain(status, 1));
          result->ended.notify_all();
        });
    reader->Start([&](grpc::ClientContext* context, auto* reactor) {
      stub->async()->PreviewAudience(context, &request, reactor);
    });
    std::unique_lock lock(result->mu);
    EXPECT_TRUE(result->ended.wait_for(lock, kPatience, [&] { return !result->ends.empty(); }));
    return result;
  };
  const auto whole = read("ok");
  EXPECT_THAT(whole->partitions, ElementsAre(1, 2, 3));
  ASSERT_EQ(whole->ends.size(), 1u);
  EXPECT_TRUE(whole->ends[0].ok());
  const auto failed = read("not ready");
  EXPECT_THAT(failed->partitions, ElementsAre(1, 2, 3));
  ASSERT_EQ(failed->ends.size(), 1u);
  EXPECT_EQ(ReasonOf(failed->ends[0]), "SHARD_NOT_READY");
  processes_[1]->runner->Stop(absl::ZeroDuration());
  const auto gone = read("ok");
  EXPECT_THAT(gone->partitions, IsEmpty());
  ASSERT_EQ(gone->ends.size(), 1u);
  EXPECT_EQ(gone->ends[0].error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(gone->ends[0]), "REPLICA_UNAVAILABLE");
}

TEST_F(ReplicasTest, TheOwnerHearsWhoCalledFirst) {
  StartAll(2, /*tls=*/true);
  for (const size_t replica : {0u, 1u}) {
    ASSERT_TRUE(Ask(replica, 1, {.identity = kShop}).ok());
    const auto seen = processes_[1]->service.TakeSeen();
    ASSERT_EQ(seen.size(), 1u);
    EXPECT_EQ(seen[0].caller, kShop) << replica;
  }
  // A call of the process itself.
  grpc::ClientContext context;
  ContainsCustomerRequest request;
  request.set_customer("1");
  ContainsCustomerResponse response;
  const auto stub = SegmentationService::NewStub(processes_[0]->runner->InProcessChannel());
  ASSERT_TRUE(stub->ContainsCustomer(&context, request, &response).ok());
  const auto seen = processes_[1]->service.TakeSeen();
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].caller, "grpc");
}

TEST_F(ReplicasTest, NobodyButTheDeploymentSpeaksForOthers) {
  StartAll(2, /*tls=*/true);
  // Without a hop the claim counts for nothing, and is not passed on.
  for (const size_t replica : {0u, 1u}) {
    ASSERT_TRUE(Ask(replica, 1,
                    {.identity = kShop, .metadata = {{"tidegate-caller", "spiffe://acme/boss"}}})
                    .ok());
    const auto seen = processes_[1]->service.TakeSeen();
    ASSERT_EQ(seen.size(), 1u);
    EXPECT_EQ(seen[0].caller, kShop) << replica;
  }
  // With one, the owner takes it as the shop's own call; where it must be judged it is refused.
  const std::multimap<std::string, std::string> forged = {
      {"tidegate-hop", "1/2"}, {"tidegate-caller", "spiffe://acme/boss"}};
  ASSERT_TRUE(Ask(1, 1, {.identity = kShop, .metadata = forged}).ok());
  auto seen = processes_[1]->service.TakeSeen();
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].caller, kShop);
  EXPECT_EQ(Ask(1, 0, {.identity = kShop, .metadata = forged}).error_code(),
            grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Ask(0, 1, {.identity = kShop, .metadata = forged}).error_code(),
            grpc::StatusCode::NOT_FOUND);
  grpc::ClientContext context;
  context.AddMetadata("tidegate-hop", "1/2");
  CountCustomersResponse response;
  EXPECT_EQ(StubOf(1, kShop)->CountCustomers(&context, {}, &response).error_code(),
            grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(Asked(), ElementsAre(0, 0));
  // A process of the deployment may.
  ASSERT_TRUE(Ask(1, 1, {.identity = kTidegate, .metadata = forged}).ok());
  seen = processes_[1]->service.TakeSeen();
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].caller, "spiffe://acme/boss");
}

}  // namespace
}  // namespace tidegate::rpc
