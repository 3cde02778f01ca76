#include "services/tidegate/client/campaign_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/match.h"

namespace tidegate::client {
namespace {

TEST(ParseVariantTest, SplitsAtBarsAndKeepsEscapedOnes) {
  const auto variant = ParseVariant("a \\| b\\n|https://x.example/?q=1|Title");
  ASSERT_TRUE(variant.ok());
  EXPECT_EQ(variant->text(), "a | b\\n");
  EXPECT_EQ(variant->link_url(), "https://x.example/?q=1");
  EXPECT_EQ(variant->link_title(), "Title");
}

TEST(ParseVariantTest, TellsHowManyPartsItFound) {
  EXPECT_EQ(
      ParseVariant("only text").status().message(),
      "variant \"only text\" has 1 part; write TEXT|LINK_URL|LINK_TITLE, and \\| for a bar in "
      "the text");
  EXPECT_FALSE(ParseVariant("a|b|c|d").ok());
}

TEST(ParseCampaignFileTest, ReadsACampaign) {
  const auto spec = ParseCampaignFile(
      R"({"campaign_id": "spring", "audience": "all", "variants": [
          {"text": "Hi", "link_url": "https://x.example", "link_title": "X"}]})");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->campaign_id(), "spring");
  EXPECT_EQ(spec->audience_expression(), "all");
  ASSERT_EQ(spec->variants_size(), 1);
  EXPECT_EQ(spec->variants(0).link_title(), "X");
}

TEST(ParseCampaignFileTest, NamesWhatIsWrong) {
  const struct {
    const char* json;
    const char* message;
  } rows[] = {
      {"[]", "not a JSON object"},
      {R"({"campaign_id": "a", "audience": "all"})", "variants is not a list of objects"},
      {R"({"audience": "all", "variants": []})", "campaign_id is missing"},
      {R"({"campaign_id": 7, "audience": "all", "variants": []})", "campaign_id is not a string"},
      {R"({"campaign_id": "a", "audience": "all", "variants": [], "when": "now"})",
       "\"when\" is not a key; known are campaign_id, audience, variants, reminders"},
      {R"({"campaign_id": "a", "audience": "all", "variants": [], "reminders": -1})",
       "reminders is not a whole number from 0"},
      {R"({"campaign_id": "a", "audience": "all", "variants": [{"text": "x", "link_url": "y"}]})",
       "variants[0]: link_title is missing"},
  };
  for (const auto& row : rows) {
    EXPECT_EQ(ParseCampaignFile(row.json).status().message(), row.message) << row.json;
  }
  EXPECT_EQ(ParseCampaignFile("{").status().message().substr(0, 9), "not JSON:");
}

TEST(CampaignTableTest, TellsOfABlockAndOfRemovalsWhereThereAreAny) {
  dispatch::v1::Campaign campaign;
  const std::string usual = CampaignTable(campaign);
  EXPECT_FALSE(absl::StrContains(usual, "blocked"));
  EXPECT_FALSE(absl::StrContains(usual, "removals"));
  campaign.set_blocked_reason("harm: 7 removals");
  campaign.set_deletions(7);
  const std::string blocked = CampaignTable(campaign);
  EXPECT_TRUE(absl::StrContains(blocked, "\nblocked      harm: 7 removals\n")) << blocked;
  EXPECT_THAT(blocked, ::testing::ContainsRegex("\nremovals +7\n"));
}

TEST(PlanTableTest, ShowsSkipsNeedsAndTheCustomersWhoWereAskedAbout) {
  dispatch::v1::CampaignPlan plan;
  plan.set_audience(10);
  (*plan.mutable_skipped_by_reason())["over_quota"] = 2;
  (*plan.mutable_skipped_by_reason())["no_sender"] = 1;
  plan.set_calls(3);
  plan.set_senders(2);
  plan.add_customers_per_variant(4);
  plan.add_customers_per_variant(3);
  auto* need = plan.add_needs();
  need->set_bucket("add_msg_template corp 60/5s");
  need->set_needed(3);
  need->set_left(57);
  auto* sent = plan.add_touches();
  sent->set_customer("wm1");
  sent->set_sender("li");
  auto* skipped = plan.add_touches();
  skipped->set_customer("wm2");
  skipped->set_skipped("over_quota");
  EXPECT_EQ(PlanTable(plan),
            "customers                               10\n"
            "skipped      3 (no_sender 1, over_quota 2)\n"
            "senders                                  2\n"
            "per variant  4, 3\n"
            "calls                                    3\n"
            "forecast     0.0 s\n"
            "decided by   no limit\n"
            "\n"
            "BUCKET                       NEEDED  LEFT\n"
            "add_msg_template corp 60/5s       3    57\n"
            "\n"
            "CUSTOMER  SENDER  VARIANT  SKIPPED\n"
            "wm1       li            0  -\n"
            "wm2       -       -        over_quota\n");
}

TEST(TouchTableTest, TellsWhyThereIsNoCall) {
  dispatch::v1::GetCampaignTouchResponse response;
  response.mutable_touch()->set_customer("wm2");
  response.mutable_touch()->set_skipped("no_sender");
  response.set_state(dispatch::v1::TOUCH_STATE_SKIPPED);
  response.set_reason("no_sender");
  EXPECT_EQ(TouchTable(response),
            "customer  wm2\n"
            "state     skipped\n"
            "reason    no_sender\n");
}

}  // namespace
}  // namespace tidegate::client
