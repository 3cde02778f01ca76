// A campaign from outside: its life over gRPC, and what the simulated WeCom saw of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/integration/product.h"

namespace tidegate {
namespace {

using dispatch::v1::Campaign;
using dispatch::v1::DispatchService;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
namespace v1 = ::tidegate::dispatch::v1;

constexpr char kCampaign[] = "spring";

class CampaignTest : public ProductTest {
 protected:
  void SetUp() override {
    ProductTest::SetUp();
    if (HasFatalFailure()) return;
    ingestion::v1::BatchPublishEventsRequest request;
    request.set_corp(kCorp);
    request.set_source("crm");
    for (int c = 0; c < kCustomers; ++c) {
      auto* event = request.add_events();
      event->set_event_id(absl::StrCat(c));
      event->set_customer(absl::StrCat("wm", c));
      event->mutable_event_time()->set_seconds(1'767'225'600);
      event->mutable_customer_imported()->set_owner(absl::StrCat("m", c % kMembers));
    }
    ingestion::v1::BatchPublishEventsResponse response;
    ASSERT_TRUE(Call(*ingestion_, &ingestion::v1::IngestionService::Stub::BatchPublishEvents,
                     request, &response)
                    .ok());
    ASSERT_EQ(Count("all"), kCustomers);
  }

  grpc::Status Create(bool validate_only) {
    v1::CreateCampaignRequest request;
    request.set_corp(kCorp);
    if (!validate_only) request.set_request_id(NewRequestId());
    request.set_validate_only(validate_only);
    request.mutable_campaign()->set_campaign_id(kCampaign);
    request.mutable_campaign()->set_audience_expression("all");
    auto* variant = request.mutable_campaign()->add_variants();
    variant->set_text("Spring is here");
    variant->set_link_url("https://example.com/spring");
    variant->set_link_title("Spring");
    created_.Clear();
    return Call(*dispatch_, &DispatchService::Stub::CreateCampaign, request, &created_);
  }

  template <typename Request, typename Response>
  grpc::StatusCode Change(grpc::Status (DispatchService::Stub::*method)(grpc::ClientContext*,
                                                                        const Request&, Response*),
                          const std::string& reason = "") {
    Request request;
    request.set_corp(kCorp);
    request.set_campaign_id(kCampaign);
    request.set_request_id(NewRequestId());
    if constexpr (requires { request.set_reason(reason); }) request.set_reason(reason);
    Response response;
    return Call(*dispatch_, method, request, &response).error_code();
  }
  grpc::StatusCode Launch() { return Change(&DispatchService::Stub::LaunchCampaign); }
  grpc::StatusCode Pause() { return Change(&DispatchService::Stub::PauseCampaign, "test"); }
  grpc::StatusCode Resume() { return Change(&DispatchService::Stub::ResumeCampaign, "test"); }

  Campaign Get() {
    v1::GetCampaignRequest request;
    request.set_corp(kCorp);
    request.set_campaign_id(kCampaign);
    v1::GetCampaignResponse response;
    EXPECT_TRUE(Call(*dispatch_, &DispatchService::Stub::GetCampaign, request, &response).ok());
    return response.campaign();
  }

  std::vector<v1::Doubt> Doubts() {
    v1::ListDoubtsRequest request;
    request.set_corp(kCorp);
    v1::ListDoubtsResponse response;
    EXPECT_TRUE(Call(*dispatch_, &DispatchService::Stub::ListDoubts, request, &response).ok());
    return {response.doubts().begin(), response.doubts().end()};
  }

  // The bucket of creates in this scope.
  v1::Bucket BucketOf(const std::string& scope) {
    v1::ListBucketsRequest request;
    request.set_corp(kCorp);
    v1::ListBucketsResponse response;
    EXPECT_TRUE(Call(*quota_, &v1::QuotaService::Stub::ListBuckets, request, &response).ok());
    for (const v1::Bucket& bucket : response.buckets()) {
      EXPECT_GE(bucket.tokens(), 0) << bucket.ShortDebugString();
      EXPECT_LE(bucket.tokens(), bucket.capacity()) << bucket.ShortDebugString();
      if (bucket.api() == "add_msg_template" && bucket.scope() == scope) return bucket;
    }
    ADD_FAILURE() << "no " << scope << " bucket in " << response.ShortDebugString();
    return {};
  }

  // The last message of a stream that must end by itself.
  Campaign WatchToTheEnd() {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
    v1::WatchCampaignRequest request;
    request.set_corp(kCorp);
    request.set_campaign_id(kCampaign);
    auto stream = dispatch_->WatchCampaign(&context, request);
    Campaign last;
    for (v1::WatchCampaignResponse response; stream->Read(&response);) {
      EXPECT_NE(last.state(), v1::CAMPAIGN_STATE_COMPLETED) << "told after its end";
      last = response.campaign();
      EXPECT_EQ(last.audience(), last.touches_planned() + last.touches_skipped())
          << last.ShortDebugString();
    }
    const grpc::Status status = stream->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    return last;
  }

  // Everybody has an end, and WeCom was told of everybody once.
  void ExpectAllReachedOnce(const Campaign& campaign) {
    const std::string shown = campaign.ShortDebugString();
    EXPECT_EQ(campaign.state(), v1::CAMPAIGN_STATE_COMPLETED) << shown;
    EXPECT_EQ(campaign.audience(), kCustomers) << shown;
    EXPECT_EQ(campaign.calls(), kMembers) << shown;
    EXPECT_EQ(campaign.calls_accepted(), kMembers) << shown;
    EXPECT_EQ(campaign.touches_planned(), kCustomers) << shown;
    EXPECT_EQ(campaign.touches_sent() + campaign.touches_failed() + campaign.touches_unconfirmed(),
              kCustomers)
        << shown;
    EXPECT_EQ(campaign.touches_waiting() + campaign.touches_parked(), 0) << shown;
    std::vector<std::string> everybody;
    for (int c = 0; c < kCustomers; ++c) everybody.push_back(absl::StrCat("wm", c));
    std::sort(everybody.begin(), everybody.end());
    EXPECT_EQ(Reached(), everybody);
    EXPECT_THAT(Doubts(), IsEmpty());
  }

  // The next creates stay without an answer for so long.
  void HoldCreates(int next) {
    Control("/control/hold", {{"api", "add_msg_template"}, {"next", next}, {"ms", 1000}});
  }
  // Until the simulator has executed a create and not answered it yet.
  void WaitForUnansweredCreate() {
    const auto answer =
        Http(wecom_address_, "GET", "/control/wait_create?timeout_ms=10000&extend_ms=150");
    ASSERT_EQ(answer.http_status, 200) << answer.body;
    ASSERT_TRUE(boost::json::parse(answer.body).at("received").as_bool()) << answer.body;
  }

  v1::CreateCampaignResponse created_;
};

TEST_F(CampaignTest, GoesFromDraftToCompletedAndRefusesWhatItsStateForbids) {
  ASSERT_TRUE(Create(true).ok());
  EXPECT_EQ(created_.plan().audience(), kCustomers);
  EXPECT_EQ(created_.plan().calls(), kMembers);
  EXPECT_EQ(created_.plan().senders(), kMembers);
  EXPECT_THAT(created_.plan().customers_per_variant(), ElementsAre(kCustomers));
  EXPECT_EQ(Launch(), grpc::StatusCode::NOT_FOUND) << "validate_only has stored it";

  ASSERT_TRUE(Create(false).ok());
  EXPECT_EQ(Create(false).error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(Create(true).error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(Get().state(), v1::CAMPAIGN_STATE_DRAFT);
  EXPECT_EQ(Pause(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(Resume(), grpc::StatusCode::FAILED_PRECONDITION);

  HoldCreates(kMembers);
  EXPECT_EQ(Launch(), grpc::StatusCode::OK);
  EXPECT_EQ(Launch(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(Resume(), grpc::StatusCode::FAILED_PRECONDITION);
  WaitForUnansweredCreate();
  EXPECT_EQ(Change(&DispatchService::Stub::PauseCampaign, ""), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Pause(), grpc::StatusCode::OK);
  EXPECT_EQ(Pause(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(Get().state(), v1::CAMPAIGN_STATE_PAUSED);
  // Three may be in flight: they end, and the fourth does not begin in their place.
  Eventually("the calls in flight end", [&] { return BucketOf("in_flight").tokens() == 3; });
  const Campaign paused = Get();
  EXPECT_EQ(paused.state(), v1::CAMPAIGN_STATE_PAUSED);
  EXPECT_LT(paused.calls_accepted(), kMembers);
  EXPECT_EQ(static_cast<int64_t>(Reached().size()),
            paused.calls_accepted() * kCustomers / kMembers);
  EXPECT_EQ(Resume(), grpc::StatusCode::OK);
  ExpectAllReachedOnce(WatchToTheEnd());
  EXPECT_EQ(Get().doubts_opened(), 0);
  EXPECT_EQ(Launch(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(Pause(), grpc::StatusCode::FAILED_PRECONDITION) << "it is over";

  EXPECT_EQ(BucketOf("in_flight").capacity(), 3);
  EXPECT_EQ(BucketOf("in_flight").tokens(), 3);
  EXPECT_EQ(BucketOf("corp").capacity(), 5);
  EXPECT_EQ(BucketOf("corp").window_seconds(), 1);
  EXPECT_EQ(BucketOf("corp").lockout_seconds(), 0);
}

TEST_F(CampaignTest, ACallWithoutAnAnswerIsFoundInWecomsListAndNotRepeated) {
  Control("/control/faults",
          {{"api", "add_msg_template"}, {"kind", "EXEC_THEN_CLOSE"}, {"next", 1}});
  ASSERT_TRUE(Create(false).ok());
  ASSERT_EQ(Launch(), grpc::StatusCode::OK);
  std::vector<v1::Doubt> doubts;
  Eventually("a doubt is listed", [&] { return !(doubts = Doubts()).empty(); });
  ASSERT_EQ(doubts.size(), 1u);
  EXPECT_EQ(doubts[0].campaign_id(), kCampaign);
  EXPECT_EQ(doubts[0].attempt(), 1);
  EXPECT_EQ(doubts[0].touches(), kCustomers / kMembers);
  const Campaign campaign = WatchToTheEnd();
  ExpectAllReachedOnce(campaign);
  EXPECT_EQ(campaign.doubts_opened(), 1);
  EXPECT_EQ(campaign.doubts_accepted(), 1);
  EXPECT_EQ(campaign.doubts_not_executed(), 0);
}

TEST_F(CampaignTest, AStopWaitsForTheAnswersAndTheNextStartGoesOn) {
  HoldCreates(1);
  ASSERT_TRUE(Create(false).ok());
  ASSERT_EQ(Launch(), grpc::StatusCode::OK);
  ASSERT_NO_FATAL_FAILURE(WaitForUnansweredCreate());
  const auto exit_code = server_->Terminate(absl::Seconds(15));
  ASSERT_TRUE(exit_code.ok()) << exit_code.status();
  EXPECT_EQ(*exit_code, 0);
  ASSERT_NO_FATAL_FAILURE(StartServer());
  const Campaign campaign = WatchToTheEnd();
  ExpectAllReachedOnce(campaign);
  EXPECT_EQ(campaign.doubts_opened(), 0) << "the answer on its way was not waited for";
}

TEST_F(CampaignTest, AKillLeavesADoubtThatTheNextStartSettles) {
  HoldCreates(1);
  ASSERT_TRUE(Create(false).ok());
  ASSERT_EQ(Launch(), grpc::StatusCode::OK);
  ASSERT_NO_FATAL_FAILURE(WaitForUnansweredCreate());
  server_->Kill();
  ASSERT_NO_FATAL_FAILURE(StartServer());
  const Campaign campaign = WatchToTheEnd();
  ExpectAllReachedOnce(campaign);
  EXPECT_GE(campaign.doubts_accepted(), 1);
}

}  // namespace
}  // namespace tidegate
