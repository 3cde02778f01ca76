#include "services/tidegate/client/journal_export.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <utility>

#include "absl/synchronization/notification.h"
#include "common/log/embedded_log.h"
#include "services/tidegate/client/client_clock.h"
#include "tidegate/log/v1/events.pb.h"
#include "tidegate/log/v1/header.pb.h"
#include "tidegate/log/v1/ledger.pb.h"

namespace tidegate::client {
namespace {

log::Record EventRecord(const std::string& key) {
  tidegate::log::v1::CustomerEvent event;
  event.set_corp("ww1");
  event.set_event_time_ns(1'795'492'800'000'000'000);
  event.mutable_order()->set_order_id("17");
  return {key, "", event.SerializeAsString()};
}

TEST(ExportLineTest, HasOffsetKeyHeaderAndValueInSnakeCase) {
  tidegate::log::v1::RecordHeader header;
  header.set_kind(tidegate::log::v1::RECORD_KIND_DECISION);
  header.set_seq(4);
  tidegate::log::v1::LedgerRecord value;
  value.mutable_attempt()->set_call_id("abc");
  value.mutable_attempt()->set_request_sha256("\x01\xFF");
  bool readable = false;
  const std::string line = ExportLine(
      log::Topic::kLedger,
      {12, {"ww1/\"k\"", header.SerializeAsString(), value.SerializeAsString()}}, &readable);
  EXPECT_TRUE(readable);
  const boost::json::object json = boost::json::parse(line).as_object();
  EXPECT_EQ(json.at("offset").as_int64(), 12);
  EXPECT_EQ(json.at("key").as_string(), "ww1/\"k\"");
  EXPECT_EQ(json.at("header").at("kind").as_string(), "RECORD_KIND_DECISION");
  EXPECT_EQ(json.at("header").at("seq").as_int64(), 4);
  EXPECT_EQ(json.at("value").at("attempt").at("call_id").as_string(), "abc");
  EXPECT_EQ(json.at("value").at("attempt").at("request_sha256").as_string(), "Af8=");
  EXPECT_EQ(json.at("value").at("attempt").at("attempt").as_int64(), 0);
}

TEST(ExportLineTest, ARecordWithoutValueHasAnEmptyObject) {
  bool readable = false;
  const std::string line = ExportLine(log::Topic::kProfiles, {0, {"k", "", ""}}, &readable);
  EXPECT_TRUE(readable);
  EXPECT_TRUE(boost::json::parse(line).at("value").as_object().empty());
}

TEST(ExportLineTest, AForeignValueIsKeptAsBase64) {
  bool readable = true;
  const std::string line =
      ExportLine(log::Topic::kEvents, {0, {"\xFF", "", "\xFF\xFF"}}, &readable);
  EXPECT_FALSE(readable);
  const boost::json::object json = boost::json::parse(line).as_object();
  EXPECT_TRUE(json.at("value").is_null());
  EXPECT_EQ(json.at("value_base64").as_string(), "//8=");
  EXPECT_EQ(json.at("key_base64").as_string(), "/w==");
}

class JournalExportTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "journal_XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  absl::Status Export() {
    SystemClientClock clock;
    Client client;
    client.out = &out_;
    client.err = &out_;
    client.json = true;
    client.clock = &clock;
    return JournalExport(client, {.data_dir = dir_ / "data", .out_dir = dir_ / "out"});
  }

  std::filesystem::path dir_;
  std::ostringstream out_;
};

TEST_F(JournalExportTest, WritesEveryPartitionBesideTheOwner) {
  std::filesystem::create_directory(dir_ / "data");
  const auto log = log::EmbeddedLog::Open((dir_ / "data").string());
  ASSERT_TRUE(log.ok()) << log.status();
  for (const uint32_t partition : {0u, 3u}) {
    std::vector<log::Record> records(partition + 1, EventRecord("ww1/wm1"));
    absl::Notification done;
    (*log)->Append({log::Topic::kEvents, partition}, std::move(records),
                   [&](absl::Status) { done.Notify(); });
    done.WaitForNotification();
  }
  const absl::Status status = Export();
  ASSERT_TRUE(status.ok()) << status;

  const boost::json::array files = boost::json::parse(out_.str()).at("files").as_array();
  ASSERT_EQ(files.size(), 2u);
  EXPECT_EQ(files[1].at("topic").as_string(), "tidegate.events");
  EXPECT_EQ(files[1].at("records").to_number<int>(), 4);
  std::ifstream file(dir_ / "out" / "tidegate.events-3.jsonl");
  int lines = 0;
  for (std::string line; std::getline(file, line); ++lines) {
    const boost::json::value json = boost::json::parse(line);
    EXPECT_EQ(json.at("offset").to_number<int>(), lines);
    EXPECT_EQ(json.at("value").at("order").at("order_id").as_string(), "17");
  }
  EXPECT_EQ(lines, 4);
  const std::filesystem::directory_iterator out_files(dir_ / "out");
  EXPECT_EQ(std::distance(begin(out_files), end(out_files)), 2);
}

TEST_F(JournalExportTest, WithoutALogIsNotFound) { EXPECT_TRUE(absl::IsNotFound(Export())); }

}  // namespace
}  // namespace tidegate::client
