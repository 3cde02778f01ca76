#include "services/tidegate/client/campaign_text.h"

#include <gtest/gtest.h>

#include <string>

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

}  // namespace
}  // namespace tidegate::client
