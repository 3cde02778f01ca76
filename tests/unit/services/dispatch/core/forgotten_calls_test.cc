// Months of one lane: what nobody needs any more is forgotten, and nothing else.
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/unit/services/dispatch/core/one_lane.h"

namespace tidegate::dispatch {
namespace {

namespace json = boost::json;
using Phase = CampaignCallState::Phase;

constexpr int64_t kSecond = kNanosPerSecond;
constexpr int64_t kHour = 3600 * kSecond;
constexpr int64_t kDay = 24 * kHour;

wecom_table::Limits NoReceiveQuota() {
  wecom_table::Limits limits = wecom_table::DefaultLimits();
  limits.receive_quota = wecom_table::ReceiveQuota::kNone;
  return limits;
}

class ForgottenCallsTest : public ::testing::Test {
 protected:
  // One batch; messages of one text share a call.
  void Send(const std::string& text, const std::string& key, int messages) {
    ::tidegate::log::v1::Command command;
    command.set_corp(OneLane::kCorp);
    auto* batch = command.mutable_message_batch();
    batch->set_received_ns(lane_.now().wall_ns);
    auto* content = batch->add_contents();
    content->set_text(text);
    content->set_link_url("https://example.com/");
    content->set_link_title("look");
    for (int i = 0; i < messages; ++i) {
      auto* message = batch->add_messages();
      message->set_key(absl::StrCat(key, "/", i));
      message->set_customer(absl::StrCat("wm", i));
      message->set_sender("m1");
      message->set_message_class(::tidegate::log::v1::MESSAGE_CLASS_BULK);
    }
    lane_.Fold(log::Topic::kCommands, command.SerializeAsString());
  }
  // Creates are accepted, with every customer in fail_list: that is the end of each touch.
  std::string AnswerTo(const CallToMake& call) const {
    if (call.api == "get_groupmsg_list_v2") return list_;
    if (call.api != "add_msg_template") return R"({"errcode":41063})";
    if (!creates_answered_) return "";
    const json::object body = json::parse(call.body).as_object();
    return json::serialize(json::object{
        {"errcode", 0}, {"msgid", call.call_id}, {"fail_list", body.at("external_userid")}});
  }
  void Settle() {
    for (auto calls = lane_.Calls(); !calls.empty(); calls = lane_.Calls()) {
      for (const CallToMake& call : calls) lane_.Answer(call, AnswerTo(call));
    }
  }
  void Pass(int64_t ns) {
    lane_.Pass(ns);
    Settle();
  }
  void PassDays(int days) {
    for (int day = 0; day < days; ++day) {
      Pass(kDay);
      Pass(kSecond);
    }
  }
  const CampaignState& Bulk() { return *lane_.core().campaigns().Find({OneLane::kCorp, "@bulk"}); }

  std::string list_ = R"({"errcode":0,"next_cursor":"","group_msg_list":[]})";
  bool creates_answered_ = true;
  OneLane lane_{NoReceiveQuota()};
};

TEST_F(ForgottenCallsTest, ALaneThatSendsForMonthsKeepsThoseOfAMonth) {
  constexpr int kCallsOfDay = 10;
  constexpr int kDays = 100;
  size_t most = 0;
  for (int day = 0; day < kDays; ++day) {
    for (int call = 0; call < kCallsOfDay; ++call) {
      Send(absl::StrCat("text ", call), absl::StrCat(day, "/", call), 50);
    }
    for (int second = 0; second < 60; ++second) Pass(kSecond);
    lane_.Pass(kDay);
    Settle();
    most = std::max(most, Bulk().calls.kept());
    if (day == 60) lane_.TakeOver("b");
  }
  EXPECT_EQ(Bulk().calls.next(), uint32_t{kDays * kCallsOfDay});
  EXPECT_GT(most, size_t{31 * kCallsOfDay});
  EXPECT_LT(most, size_t{36 * kCallsOfDay});
  EXPECT_EQ(lane_.core().messages().calls(), Bulk().calls.kept());
  EXPECT_LT(lane_.core().messages().batches().size(), size_t{4 * kCallsOfDay});
  EXPECT_TRUE(Bulk().open.empty());
  EXPECT_TRUE(Bulk().audience.empty());
  lane_.ExpectReplayGivesTheSame();
}

TEST_F(ForgottenCallsTest, AKeyIsKnownForADayAndIsANewMessageAfterItsCallWasForgotten) {
  Send("text", "key", 1);
  Pass(2 * kSecond);
  Pass(23 * kHour);
  Send("text", "key", 1);
  Pass(2 * kSecond);
  EXPECT_EQ(Bulk().calls.next(), 1u);
  const std::string first = Bulk().calls[0].call_id;
  PassDays(34);
  EXPECT_EQ(Bulk().calls.kept(), 0u);
  Send("text", "key", 1);
  Pass(2 * kSecond);
  ASSERT_EQ(Bulk().calls.next(), 2u);
  EXPECT_NE(Bulk().calls[1].call_id, first);
  lane_.ExpectReplayGivesTheSame();
}

TEST_F(ForgottenCallsTest, ACallThatIsParkedStays) {
  Send("before", "before", 1);
  Pass(2 * kSecond);
  creates_answered_ = false;
  list_ = R"({"errcode":-1,"errmsg":"system busy"})";
  Send("parked", "parked", 1);
  for (int passed = 0; passed < 3600; passed += 10) Pass(10 * kSecond);
  ASSERT_EQ(Bulk().calls[1].phase, Phase::kParked);
  PassDays(100);
  EXPECT_EQ(Bulk().calls.kept(), 1u);
  EXPECT_EQ(Bulk().calls[1].phase, Phase::kParked);
  EXPECT_EQ(Bulk().open, std::set<uint32_t>{1});
  lane_.ExpectReplayGivesTheSame();
}

TEST_F(ForgottenCallsTest, OneThatIsParkedKeepsNoOther) {
  constexpr int kDays = 60;
  creates_answered_ = false;
  list_ = R"({"errcode":-1,"errmsg":"system busy"})";
  Send("parked", "parked", 1);
  for (int passed = 0; passed < 3600; passed += 10) Pass(10 * kSecond);
  ASSERT_EQ(Bulk().calls[0].phase, Phase::kParked);
  creates_answered_ = true;
  list_ = R"({"errcode":0,"next_cursor":"","group_msg_list":[]})";
  size_t most_batches = 0, most_calls = 0;
  for (int day = 0; day < kDays; ++day) {
    for (int call = 0; call < 10; ++call) {
      Send(absl::StrCat("text ", call), absl::StrCat(day, "/", call), 5);
    }
    for (int second = 0; second < 10; ++second) Pass(kSecond);
    Pass(kDay);
    Pass(kSecond);
    most_batches = std::max(most_batches, lane_.core().messages().batches().size());
    most_calls = std::max(most_calls, Bulk().calls.kept());
    if (day == 30) lane_.TakeOver("b");
  }
  EXPECT_EQ(Bulk().calls.next(), uint32_t{1 + 10 * kDays});
  EXPECT_LE(most_batches, size_t{1 + 2 * 10});
  EXPECT_LT(most_calls, size_t{1 + 36 * 10});
  EXPECT_EQ(lane_.core().messages().calls(), Bulk().calls.kept());
  const auto& messages = lane_.core().messages();
  const auto parked = messages.Find(OneLane::kCorp, "parked/0");
  ASSERT_TRUE(parked.has_value());
  EXPECT_EQ(messages.BatchOf(*parked).touches[0].state, MessageState::kParked);
  lane_.ExpectReplayGivesTheSame();

  OperatorWish wish;
  auto* resolved = wish.record.mutable_doubt_resolved();
  *resolved->mutable_call() = CallName({OneLane::kCorp, "@bulk"}, 0);
  resolved->set_attempt(Bulk().calls[0].attempts);
  resolved->set_settlement(::tidegate::log::v1::SETTLEMENT_ABANDONED);
  resolved->set_actor("li");
  lane_.Decide({.local = &wish});
  EXPECT_EQ(messages.BatchOf(*parked).touches[0].state, MessageState::kAbandoned);
  Pass(kSecond);
  EXPECT_FALSE(messages.Find(OneLane::kCorp, "parked/0").has_value());
  EXPECT_TRUE(Bulk().open.empty());
  lane_.ExpectReplayGivesTheSame();
}

// WeCom's list has the mass sends of 31 days.
TEST_F(ForgottenCallsTest, ALateDuplicateIsRecognisedForAMonth) {
  Send("text", "key", 1);
  Pass(2 * kSecond);
  const std::string marker = Bulk().calls[0].marker;
  PassDays(29);
  const auto listed = [&](const std::string& msgid) {
    return absl::StrCat(R"({"errcode":0,"next_cursor":"","group_msg_list":[{"msgid":")", msgid,
                        R"(","create_time":1,"attachments":[{"link":{"url":)",
                        R"("https://example.com/?tg=)", marker, R"("}}]}]})");
  };
  list_ = listed("late");
  PassDays(2);
  EXPECT_EQ(lane_.core().ghosts().found(), 1u);
  EXPECT_EQ(Bulk().calls.kept(), 1u);
  lane_.ExpectReplayGivesTheSame();
}

TEST_F(ForgottenCallsTest, ACompletedCampaignKeepsItsCountsAndLetsGoOfItsCustomers) {
  const CampaignKey key{OneLane::kCorp, "spring"};
  lane_.Launch("spring", 2, 3);
  Pass(2 * kSecond);
  PassDays(62);
  const CampaignState& campaign = *lane_.core().campaigns().Find(key);
  EXPECT_EQ(campaign.phase, ::tidegate::log::v1::CAMPAIGN_PHASE_COMPLETED);
  EXPECT_EQ(campaign.audience.size(), 6u) << "results closed 31 days ago";
  PassDays(3);
  EXPECT_TRUE(campaign.audience.empty());
  EXPECT_EQ(campaign.calls.kept(), 0u);
  EXPECT_EQ(campaign.calls.next(), 2u);
  EXPECT_EQ(campaign.AudienceSize(), 6u);
  EXPECT_EQ(campaign.forgotten.accepted, 2u);
  EXPECT_EQ(campaign.forgotten.touches[kTouchFailList], 6u);
  PassDays(2);
  lane_.TakeOver("b");
  Settle();
  EXPECT_EQ(campaign.AudienceSize(), 6u);
  lane_.ExpectReplayGivesTheSame();
}

}  // namespace
}  // namespace tidegate::dispatch
