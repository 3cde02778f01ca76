#include "services/dispatch/plan_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tidegate/log/v1/audiences.pb.h"
#include "tidegate/log/v1/ledger.pb.h"

namespace tidegate::dispatch {
namespace {

namespace v1 = ::tidegate::dispatch::v1;
using ::testing::ElementsAre;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;
using ::tidegate::common::v1::RECEIVE_QUOTA_ONE_PER_DAY;
using ::tidegate::log::v1::AudienceChunk;
using ::tidegate::log::v1::CAMPAIGN_PHASE_FREEZING;
using ::tidegate::log::v1::CAMPAIGN_PHASE_RUNNING;
using ::tidegate::log::v1::LedgerRecord;
using ::tidegate::log::v1::RecordHeader;

constexpr char kLimits[] =
    R"({"limits": [{"api": "add_msg_template", "scope": "corp", "amount": 2, "window_ms": 5000},
                   {"api": "add_msg_template", "scope": "ip", "amount": 100, "window_ms": 60000}]})";

class PlanViewTest : public ::testing::Test {
 protected:
  PlanViewTest() {
    limits_.receive_quota = wecom_table::ReceiveQuota::kOnePerDay;
    request_.set_corp("ww1");
    request_.mutable_campaign()->set_campaign_id("spring");
    request_.mutable_campaign()->add_variants();
  }
  // Another campaign has the customer's unit.
  void Reserve(const std::string& customer) {
    AudienceChunk chunk;
    chunk.set_corp("ww1");
    chunk.set_audience("other");
    chunk.set_round(1);
    chunk.set_shards(1);
    chunk.add_customers()->set_customer(customer);
    chunk.mutable_customers(0)->set_owner("m");
    chunk.mutable_manifest()->set_chunks(1);
    log::StoredRecord record;
    record.record.value = chunk.SerializeAsString();
    RecordHeader header;
    header.mutable_source();
    core_.Fold({log::Topic::kAudiences, 0}, record, header);
    LedgerRecord ledger;
    auto* planned = ledger.mutable_planned();
    planned->set_corp("ww1");
    planned->set_campaign("other");
    planned->add_rounds(1);
    planned->add_variant_texts("hello");
    planned->add_variant_link_urls("https://example.com/");
    planned->add_variant_link_titles("look");
    planned->set_plan_hash(
        MakePlan("other", std::vector<AudienceCustomer>{{customer, "m"}}, 1).hash);
    planned->set_time_ns(now_.wall_ns);
    planned->set_receive_quota(RECEIVE_QUOTA_ONE_PER_DAY);
    std::vector<core::OutboxRecord> outbox;
    core_.Apply("", ledger.SerializeAsString(), {.decided_time_ns = now_.wall_ns}, &outbox);
  }

  wecom_table::Limits limits_ = *wecom_table::ParseLimits(kLimits);
  DispatchCore core_{{.lane = 0, .partitions = 1, .agent_ids = {{"ww1", "1"}}}, &limits_};
  Now now_{.wall_ns = 1'790'000'000 * kNanosPerSecond, .raw_ns = 1000 * kNanosPerSecond};
  v1::CreateCampaignRequest request_;
  const std::vector<AudienceCustomer> audience_ = {
      {"wm0", "m1"}, {"wm1", "m2"}, {"wm2", ""}, {"wm3", "m3"}, {"wm4", "m1"}};
};

TEST_F(PlanViewTest, TellsSkipsAndNeedsAndWhatDecidesTheTime) {
  Reserve("wm4");
  core_.buckets().Take(core_.buckets().RouteOf("ww1", "add_msg_template"));
  const v1::CampaignPlan plan = ToPlan(request_, audience_, &core_, now_);
  EXPECT_EQ(plan.audience(), 5);
  EXPECT_THAT(plan.skipped_by_reason(),
              UnorderedElementsAre(Pair("no_sender", 1), Pair("over_quota", 1)));
  EXPECT_EQ(plan.calls(), 3);
  EXPECT_EQ(plan.senders(), 3);
  EXPECT_THAT(plan.customers_per_variant(), ElementsAre(3));
  EXPECT_EQ(plan.binding_limit(), "add_msg_template corp 2/5s");
  EXPECT_DOUBLE_EQ(plan.forecast_seconds(), 5);
  ASSERT_EQ(plan.needs_size(), 2);
  EXPECT_EQ(plan.needs(0).bucket(), "add_msg_template corp 2/5s");
  EXPECT_EQ(plan.needs(0).needed(), 3);
  EXPECT_EQ(plan.needs(0).left(), 1);
  EXPECT_EQ(plan.needs(1).bucket(), "add_msg_template ip 100/60s");
  EXPECT_EQ(plan.needs(1).left(), 99);
}

TEST_F(PlanViewTest, ExplainsCustomersInTheOrderOfTheQuestion) {
  Reserve("wm0");
  for (const char* customer : {"wm2", "nobody", "wm0", "wm3"}) {
    request_.add_explain_customers(customer);
  }
  const v1::CampaignPlan plan = ToPlan(request_, audience_, &core_, now_);
  std::vector<std::string> told;
  for (const v1::PlannedTouch& touch : plan.touches()) {
    told.push_back(absl::StrCat(touch.customer(), " ", touch.sender(), " ", touch.skipped()));
  }
  EXPECT_THAT(
      told, ElementsAre("wm2  no_sender", "nobody  not_in_audience", "wm0  over_quota", "wm3 m3 "));
}

TEST_F(PlanViewTest, APlanThatIsOnlyShownReservesNothing) {
  EXPECT_EQ(ToPlan(request_, audience_, &core_, now_).skipped_by_reason().count("over_quota"), 0u);
  EXPECT_EQ(ToPlan(request_, audience_, &core_, now_).skipped_by_reason().count("over_quota"), 0u);
  EXPECT_FALSE(core_.quotas().plan_undecided());
}

TEST_F(PlanViewTest, ACustomerOfALaunchedCampaignHasItsCallItsStateAndTheReason) {
  CampaignState campaign;
  v1::GetCampaignTouchResponse response;
  EXPECT_TRUE(absl::IsFailedPrecondition(FindCampaignTouch(nullptr, "wm0", &response)));
  campaign.phase = CAMPAIGN_PHASE_FREEZING;
  EXPECT_TRUE(absl::IsFailedPrecondition(FindCampaignTouch(&campaign, "wm0", &response)));
  campaign.phase = CAMPAIGN_PHASE_RUNNING;
  campaign.audience = audience_;
  campaign.calls.Add();
  campaign.calls[0].sender = "m1";
  campaign.calls[0].call_id = "cafe";
  campaign.calls[0].customers = {0, 3};
  campaign.calls[0].statuses = {kTouchOpen, kTouchFailList};
  EXPECT_TRUE(absl::IsNotFound(FindCampaignTouch(&campaign, "nobody", &response)));
  const auto told = [&](const std::string& customer) {
    v1::GetCampaignTouchResponse found;
    EXPECT_TRUE(FindCampaignTouch(&campaign, customer, &found).ok());
    return absl::StrCat(found.touch().sender(), " ", found.touch().skipped(), " ",
                        v1::TouchState_Name(found.state()), " ", found.reason(), " ",
                        found.call_id());
  };
  EXPECT_EQ(told("wm0"), "m1  TOUCH_STATE_QUEUED  cafe");
  EXPECT_EQ(told("wm3"), "m1  TOUCH_STATE_FAILED fail_list cafe");
  EXPECT_EQ(told("wm2"), " no_sender TOUCH_STATE_SKIPPED no_sender ");
  EXPECT_EQ(told("wm1"), " over_quota TOUCH_STATE_SKIPPED over_quota ");
  campaign.forgotten.time_ns = 1;
  EXPECT_TRUE(absl::IsFailedPrecondition(FindCampaignTouch(&campaign, "wm0", &response)));
}

}  // namespace
}  // namespace tidegate::dispatch
