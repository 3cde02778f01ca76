#include "services/tidegate/client/output.h"

#include <gtest/gtest.h>

#include <string>

#include "tidegate/dispatch/v1/dispatch_service.pb.h"
#include "tidegate/log/v1/header.pb.h"
#include "tidegate/segmentation/v1/segmentation_service.pb.h"

namespace tidegate::client {
namespace {

TEST(ToJsonTest, AReportHasEveryFieldWithNumbersAsNumbers) {
  tidegate::dispatch::v1::Campaign campaign;
  campaign.mutable_spec()->set_campaign_id("spring");
  campaign.mutable_spec()->add_variants()->set_text("Hi");
  campaign.set_state(tidegate::dispatch::v1::CAMPAIGN_STATE_COMPLETED);
  campaign.set_touches_sent(7500);
  (*campaign.mutable_skipped_by_reason())["no_sender"] = 3;
  campaign.mutable_first_attempt_time()->set_seconds(1'795'492'800);
  campaign.mutable_first_attempt_time()->set_nanos(500'000'000);
  const boost::json::object json = ToJson(campaign).as_object();
  EXPECT_EQ(json.size(), static_cast<size_t>(campaign.GetDescriptor()->field_count()));
  EXPECT_EQ(json.at("spec").at("campaign_id").as_string(), "spring");
  EXPECT_EQ(json.at("spec").at("variants").as_array().at(0).at("text").as_string(), "Hi");
  EXPECT_EQ(json.at("state").as_string(), "CAMPAIGN_STATE_COMPLETED");
  EXPECT_EQ(json.at("touches_sent").as_int64(), 7500);
  EXPECT_EQ(json.at("touches_failed").as_int64(), 0);
  EXPECT_EQ(json.at("skipped_by_reason").at("no_sender").as_int64(), 3);
  EXPECT_TRUE(json.at("failed_by_reason").as_object().empty());
  EXPECT_EQ(json.at("first_attempt_time").as_string(), "2026-11-24T04:00:00.5+00:00");
  EXPECT_TRUE(json.at("last_accepted_time").is_null());
}

TEST(ToJsonTest, NumbersThatADoubleWouldBendAreStrings) {
  tidegate::log::v1::RecordHeader header;
  header.set_epoch((uint64_t{1} << 53) + 1);
  header.set_seq(uint64_t{1} << 53);
  header.set_decided_time_ns(-((int64_t{1} << 53) + 1));
  const boost::json::object json = ToJson(header).as_object();
  EXPECT_EQ(json.at("epoch").as_string(), "9007199254740993");
  EXPECT_EQ(json.at("seq").to_number<uint64_t>(), uint64_t{1} << 53);
  EXPECT_EQ(json.at("decided_time_ns").as_string(), "-9007199254740993");
}

TEST(ToJsonTest, BytesAreBase64) {
  tidegate::log::v1::RecordHeader header;
  header.mutable_fence()->set_token("\x01\xFF");
  EXPECT_EQ(ToJson(header).at("fence").at("token").as_string(), "Af8=");
}

TEST(RenderTableTest, AlignsByCodePointsAndPutsNumbersRight) {
  EXPECT_EQ(
      RenderTable({"ID", "SENT", "TEXT"}, {{"a", "5", "x\ny"}, {"\xC3\xA9t\xC3\xA9", "10", ""}}),
      "ID   SENT  TEXT\n"
      "a       5  x y\n"
      "\xC3\xA9t\xC3\xA9    10\n");
}

TEST(ShortenedTest, CutsBetweenCodePoints) {
  EXPECT_EQ(Shortened("abc", 3), "abc");
  EXPECT_EQ(Shortened("\xE4\xBD\xA0\xE5\xA5\xBD!", 2), "\xE4\xBD\xA0\xE5\xA5\xBD...");
}

}  // namespace
}  // namespace tidegate::client
