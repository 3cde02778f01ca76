#include "services/ingestion/adapters/callback_endpoint.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/log/memory_log.h"
#include "tidegate/log/v1/events.pb.h"

namespace tidegate::ingestion {
namespace {

namespace fs = std::filesystem;
using ::tidegate::log::v1::CustomerEvent;

constexpr char kKey[] = "K7mQ2xV9bT4nR8wY3cF6hJ1sD5gL0pZaXeUiOqWtBvC";
constexpr int64_t kSeconds = 1'790'000'000;

class FixedClock final : public Clock {
 public:
  Now Read() const override { return {.wall_ns = kSeconds * kNanosPerSecond}; }
};

// An endpoint whose log keeps appends back until the test delivers them.
class CallbackEndpointTest : public ::testing::Test {
 protected:
  CallbackEndpointTest() {
    folder_ = fs::temp_directory_path() / fs::path(::testing::TempDir()).filename() /
              absl::StrCat("callback_endpoint_", reinterpret_cast<uintptr_t>(this));
    fs::create_directories(folder_);
    const std::string path = folder_ / "aes";
    std::ofstream(path) << kKey;
    fs::permissions(path, fs::perms::owner_read | fs::perms::owner_write);
    const config::App app{.agent_id = "1", .token = "token", .aes_key_file = path};
    const config::Corps corps{.corps = {{.corp_id = "ww1", .apps = {app}}}};
    auto made = CallbackEndpoint::Create(
        {.partitions = 1}, corps,
        {.log = &log_, .clock = &clock_, .definitions = &definitions_, .metrics = &metrics_});
    EXPECT_TRUE(made.ok()) << made.status();
    endpoint_ = *std::move(made);
  }
  ~CallbackEndpointTest() override { fs::remove_all(folder_); }

  static std::string Text(const std::string& customer) {
    return absl::StrCat("<xml><CreateTime>", kSeconds,
                        "</CreateTime><MsgType>event</MsgType>"
                        "<Event>change_external_contact</Event>"
                        "<ChangeType>del_follow_user</ChangeType><UserID>m1</UserID>"
                        "<ExternalUserID>",
                        customer, "</ExternalUserID></xml>");
  }
  // As WeCom sends it; its answers go to answers_.
  void Deliver(const std::string& text, const std::string& nonce, const std::string& random) {
    const auto crypto = wecom::CallbackCrypto::Create("token", kKey, "ww1");
    const std::string cipher = crypto->Encrypt(text, random);
    const std::string timestamp = absl::StrCat(kSeconds);
    http::Request request;
    request.method = "POST";
    request.target =
        absl::StrCat("/callback/ww1/1?msg_signature=", crypto->Sign(timestamp, nonce, cipher),
                     "&timestamp=", timestamp, "&nonce=", nonce);
    request.body = absl::StrCat("<xml><Encrypt>", cipher, "</Encrypt></xml>");
    endpoint_->Handle(request,
                      [this](const http::Response& answer) { answers_.push_back(answer.status); });
  }
  std::vector<CustomerEvent> Stored() {
    log_.DeliverAll();
    std::vector<log::StoredRecord> records;
    EXPECT_TRUE(log_.Read({log::Topic::kEvents, 0}, 0, 100, 1 << 20, &records).ok());
    std::vector<CustomerEvent> events;
    for (const log::StoredRecord& record : records) {
      EXPECT_TRUE(events.emplace_back().ParseFromString(record.record.value));
    }
    return events;
  }

  fs::path folder_;
  log::MemoryLog log_{{.manual = true}};
  FixedClock clock_;
  definitions::DefinitionStore definitions_{&log_, &clock_};
  metrics::Metrics metrics_;
  std::unique_ptr<CallbackEndpoint> endpoint_;
  std::vector<int> answers_;
};

TEST_F(CallbackEndpointTest, AnswersOnlyWhenTheLogHasIt) {
  Deliver(Text("wm1"), "n1", "0123456789abcdef");
  EXPECT_TRUE(answers_.empty());
  EXPECT_EQ(Stored().size(), 1u);
  EXPECT_EQ(answers_, std::vector<int>{200});
}

TEST_F(CallbackEndpointTest, AsksForARepeatWhenTheLogFails) {
  Deliver(Text("wm1"), "n1", "0123456789abcdef");
  ASSERT_TRUE(log_.FailNext(absl::UnavailableError("broker")));
  EXPECT_EQ(answers_, std::vector<int>{503});
}

// WeCom delivers again under another nonce and cipher text; a nonce may come twice.
TEST_F(CallbackEndpointTest, KnowsARepeatByItsTextAndNotByItsNonce) {
  Deliver(Text("wm1"), "n1", "0123456789abcdef");
  Deliver(Text("wm1"), "n2", "fedcba9876543210");
  Deliver(Text("wm2"), "n1", "0123456789abcdef");
  const auto events = Stored();
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].event_id(), events[1].event_id());
  EXPECT_NE(events[0].event_id(), events[2].event_id());
}

}  // namespace
}  // namespace tidegate::ingestion
