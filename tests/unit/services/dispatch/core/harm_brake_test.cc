#include "services/dispatch/core/harm_brake.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/unit/services/dispatch/core/one_lane.h"

namespace tidegate::dispatch {
namespace {

using ::tidegate::log::v1::Command;
using ::tidegate::log::v1::LedgerRecord;
using ::tidegate::log::v1::SendingBlocked;

constexpr int64_t kSecond = kNanosPerSecond;
constexpr int64_t kHour = 3600 * kSecond;
constexpr int kSenders = 3;
constexpr int kCustomers = 200;  // of each

// One create an hour, so that the campaign has calls left while its first touches do harm.
wecom_table::Limits OneCreateAnHour(int64_t min_deletions) {
  wecom_table::Limits limits = wecom_table::DefaultLimits();
  limits.windows.push_back(
      {.api = "add_msg_template", .amount = 1, .window_ns = kHour, .lockout_ns = kHour});
  limits.harm.min_deletions = min_deletions;
  return limits;
}

class HarmBrakeTest : public ::testing::Test {
 protected:
  void Begin(int64_t min_deletions) {
    lane_.emplace(OneCreateAnHour(min_deletions));
    lane_->Launch("spring", kSenders, kCustomers);
  }
  // Answers what leaves within so long; its creates, and who sends them.
  std::vector<int> Serve(int64_t ns) {
    std::vector<int> senders;
    for (int64_t passed = 0; passed < ns; passed += 10 * kSecond, lane_->Pass(10 * kSecond)) {
      for (auto calls = lane_->Calls(); !calls.empty(); calls = lane_->Calls()) {
        for (const CallToMake& call : calls) {
          int sender = -1;
          for (int i = 0; i < kSenders; ++i) {
            if (absl::StrContains(call.body, absl::StrCat("\"m", i, "\""))) sender = i;
          }
          if (call.api == "add_msg_template") {
            senders.push_back(sender);
            lane_->Answer(call, absl::StrCat(R"({"errcode":0,"msgid":"msg)", sender, "\"}"));
          } else if (call.api == "get_groupmsg_task") {
            const size_t at = call.body.find("msgid\":\"msg");
            lane_->Answer(call,
                          absl::StrCat(R"({"errcode":0,"task_list":[{"userid":"m)",
                                       call.body.substr(at + 11, 1), R"(","status":)",
                                       call.body[at + 11] - '0' < confirming_ ? 2 : 0, "}]}"));
            ++reads_;
          } else if (call.api == "remind_groupmsg_send") {
            lane_->Answer(call, R"({"errcode":0})");
            ++reminders_;
          } else {
            std::string list;
            for (int i = 0; i < kCustomers; ++i) {
              absl::StrAppend(&list, i == 0 ? "" : ",", R"({"external_userid":")",
                              OneLane::Customer(sender, i), R"(","status":1})");
            }
            lane_->Answer(call, absl::StrCat(R"({"errcode":0,"send_list":[)", list, "]}"));
          }
        }
      }
    }
    return senders;
  }
  void Leave(const std::string& member, const std::string& customer) {
    Command command;
    command.set_corp(OneLane::kCorp);
    command.set_member(member);
    command.set_customer(customer);
    command.mutable_customer_left()->set_time_ns(lane_->now().wall_ns / kSecond * kSecond);
    lane_->Fold(log::Topic::kCommands, command.SerializeAsString());
  }
  void TouchedLeave(int sender, int first, int count) {
    for (int i = first; i < first + count; ++i) {
      Leave(OneLane::Sender(sender), OneLane::Customer(sender, i));
    }
  }
  // Of customers whom no campaign has touched.
  void OthersLeave(int count) {
    for (int i = 0; i < count; ++i) Leave("m9", absl::StrCat("other", lane_->now().raw_ns, i));
  }
  const SendingBlocked* Block() {
    lane_->Decide();
    return lane_->core().blocks().Find(kKey, lane_->now().wall_ns);
  }
  int64_t Deletions() { return lane_->core().harm().Deletions(kKey); }

  const CampaignKey kKey{OneLane::kCorp, "spring"};
  std::optional<OneLane> lane_;
  int confirming_ = kSenders;  // members who confirm their task: the first so many
  int reads_ = 0;              // of tasks
  int reminders_ = 0;
};

TEST_F(HarmBrakeTest, BlocksACampaignAfterWhoseTouchesManyLeaveAndNothingOfItLeavesAnyMore) {
  Begin(20);
  ASSERT_EQ(Serve(10 * 60 * kSecond).size(), 1u);
  TouchedLeave(0, 0, 19);
  EXPECT_EQ(Block(), nullptr) << "below the minimum";
  TouchedLeave(0, 19, 1);
  const SendingBlocked* block = Block();
  ASSERT_NE(block, nullptr);
  EXPECT_EQ(block->actor(), "harm brake");
  EXPECT_EQ(block->until_ns(), 0);
  EXPECT_EQ(block->reason(),
            "20 of 200 touches in 24 h were followed by the customer removing the member: 10.00 %, "
            "usual is 0.10 % a day, the limit 3 times that; held back now: calls 2, reminders of "
            "tasks 0; tasks that members may still confirm: 0");
  EXPECT_EQ(Deletions(), 20);
  EXPECT_TRUE(Serve(5 * kHour).empty());
  lane_->ExpectReplayGivesTheSame();
}

// A reminder makes a member confirm, and so sends.
TEST_F(HarmBrakeTest, ABlockInABatchThatBecomesVoidIsToldOnce) {
  Begin(20);
  ASSERT_EQ(Serve(10 * 60 * kSecond).size(), 1u);
  TouchedLeave(0, 0, 20);
  const auto told = [](const std::string& log) { return absl::StrContains(log, "harm_brake"); };
  // Of what is decided, all but the block is applied.
  ::testing::internal::CaptureStderr();
  for (LedgerRecord decided; !decided.has_sending_blocked();) {
    const auto decision = lane_->core().Decide({}, lane_->now());
    ASSERT_TRUE(decision.has_value());
    ASSERT_TRUE(decided.ParseFromString(decision->value));
    if (!decided.has_sending_blocked()) lane_->Commit(*decision);
  }
  EXPECT_FALSE(told(::testing::internal::GetCapturedStderr()));
  lane_->TakeOver("b");
  ::testing::internal::CaptureStderr();
  ASSERT_NE(Block(), nullptr);
  EXPECT_TRUE(told(::testing::internal::GetCapturedStderr()));
  ::testing::internal::CaptureStderr();
  lane_->ExpectReplayGivesTheSame();
  EXPECT_FALSE(told(::testing::internal::GetCapturedStderr()));
}

TEST_F(HarmBrakeTest, BlocksWhenAllCreatesAreOutAndRemindersStopButReadingsGoOn) {
  wecom_table::Limits limits = wecom_table::DefaultLimits();
  limits.harm.min_deletions = 20;
  lane_.emplace(limits);
  lane_->Launch("spring", kSenders, kCustomers, /*reminders=*/2);
  confirming_ = 1;
  ASSERT_EQ(Serve(10 * 60 * kSecond).size(), 3u);
  ASSERT_EQ(lane_->core().campaigns().Find(kKey)->phase,
            ::tidegate::log::v1::CAMPAIGN_PHASE_COLLECTING);
  TouchedLeave(0, 0, 20);
  ASSERT_NE(Block(), nullptr);
  EXPECT_TRUE(absl::EndsWith(Block()->reason(),
                             "held back now: calls 0, reminders of tasks 2; tasks that members may "
                             "still confirm: 2"))
      << Block()->reason();
  const int reads = reads_;
  Serve(5 * kHour);
  EXPECT_EQ(reminders_, 0);
  EXPECT_GT(reads_, reads);
  confirming_ = 2;
  Serve(kHour);
  EXPECT_EQ(lane_->core().campaigns().Find(kKey)->calls[1].statuses[0], kTouchSent);

  OperatorWish wish;
  auto* ended = wish.record.mutable_sending_unblocked();
  ended->set_corp(OneLane::kCorp);
  ended->set_campaign("spring");
  lane_->Decide({.local = &wish});
  Serve(kHour);
  EXPECT_EQ(reminders_, 1) << "of the one who has not confirmed";
  lane_->ExpectReplayGivesTheSame();
}

TEST_F(HarmBrakeTest, ACampaignThatHasEndedIsNotBlocked) {
  Begin(20);
  ASSERT_EQ(Serve(3 * kHour).size(), 3u);
  ASSERT_EQ(lane_->core().campaigns().Find(kKey)->phase,
            ::tidegate::log::v1::CAMPAIGN_PHASE_COMPLETED);
  TouchedLeave(0, 0, 20);
  EXPECT_EQ(Block(), nullptr);
}

// 600 customers, three others leave on the first day: 0.5 % is usual, so 1.5 % of 200 is the limit.
TEST_F(HarmBrakeTest, BlocksAboveTheFactorAndNotAtIt) {
  Begin(1);
  ASSERT_EQ(Serve(10 * 60 * kSecond).size(), 1u);
  OthersLeave(3);
  TouchedLeave(0, 0, 3);
  EXPECT_EQ(Block(), nullptr);
  TouchedLeave(0, 3, 1);
  ASSERT_NE(Block(), nullptr);
  EXPECT_TRUE(absl::StrContains(Block()->reason(), "4 of 200")) << Block()->reason();
  EXPECT_TRUE(absl::StrContains(Block()->reason(), "usual is 0.50 %")) << Block()->reason();
}

TEST_F(HarmBrakeTest, WhatIsUsualIsTheMeanOfSevenDays) {
  Begin(1);
  OthersLeave(30);  // 5 % of 600: taken as 1 %
  lane_->Decide();
  lane_->Pass(6 * 24 * kHour);
  Serve(10 * 60 * kSecond);
  TouchedLeave(0, 0, 5);  // 30 in 7 days are 0.71 % a day; 2.5 % is above three times that
  ASSERT_NE(Block(), nullptr);
  EXPECT_TRUE(absl::StrContains(Block()->reason(), "usual is 0.71 %")) << Block()->reason();
}

TEST_F(HarmBrakeTest, OthersWhoLeaveNeverExcuseMoreThanTheMost) {
  Begin(1);
  Serve(10 * 60 * kSecond);
  OthersLeave(300);
  TouchedLeave(0, 0, 6);
  EXPECT_EQ(Block(), nullptr) << "3 % is three times 1 %";
  TouchedLeave(0, 6, 1);
  ASSERT_NE(Block(), nullptr);
}

// Results are read a minute and more after the customers have got the message.
TEST_F(HarmBrakeTest, CountsThoseWhoLeaveBeforeTheResultIsRead) {
  Begin(20);
  ASSERT_EQ(Serve(20 * kSecond).size(), 1u);
  TouchedLeave(0, 0, 20);
  EXPECT_EQ(Block(), nullptr);
  EXPECT_EQ(Deletions(), 0);
  Serve(10 * 60 * kSecond);
  ASSERT_NE(Block(), nullptr);
  EXPECT_EQ(Deletions(), 20);
  EXPECT_TRUE(absl::StrContains(Block()->reason(), "usual is 0.10 %")) << "none left untouched";
  lane_->ExpectReplayGivesTheSame();
}

// What a customer left after is the newest touch, even if it becomes known last.
TEST_F(HarmBrakeTest, ARemovalIsTheDoingOfTheNewestTouch) {
  Begin(20);
  ASSERT_EQ(Serve(3 * kHour).size(), 3u);
  lane_->Pass(2 * kHour);
  lane_->Launch("summer", kSenders, kCustomers);
  const CampaignKey summer{OneLane::kCorp, "summer"};
  ASSERT_EQ(Serve(20 * kSecond).size(), 1u);
  TouchedLeave(0, 0, 25);
  lane_->Decide();
  EXPECT_EQ(Deletions(), 25);
  EXPECT_EQ(lane_->core().harm().Deletions(summer), 0);
  Serve(10 * 60 * kSecond);
  EXPECT_EQ(Deletions(), 0);
  EXPECT_EQ(lane_->core().harm().Deletions(summer), 25);
  EXPECT_EQ(Block(), nullptr);
  ASSERT_NE(lane_->core().blocks().Find(summer, lane_->now().wall_ns), nullptr);
  lane_->ExpectReplayGivesTheSame();
}

TEST_F(HarmBrakeTest, ADayLaterTheTouchIsNoReasonAnyMore) {
  Begin(20);
  Serve(10 * 60 * kSecond);
  lane_->Pass(24 * kHour);
  TouchedLeave(0, 0, 40);
  EXPECT_EQ(Block(), nullptr);
  EXPECT_EQ(Deletions(), 0);
  lane_->ExpectReplayGivesTheSame();
}

TEST_F(HarmBrakeTest, ACustomerCountsOnceAndOnlyForTheMemberWhoSent) {
  Begin(2);
  Serve(10 * 60 * kSecond);
  TouchedLeave(0, 0, 1);
  TouchedLeave(0, 0, 1);
  Leave("m1", OneLane::Customer(0, 1));
  EXPECT_EQ(Block(), nullptr);
  EXPECT_EQ(Deletions(), 1);
}

TEST_F(HarmBrakeTest, AnOperatorEndsTheBlockForGood) {
  Begin(20);
  Serve(10 * 60 * kSecond);
  TouchedLeave(0, 0, 20);
  ASSERT_NE(Block(), nullptr);
  OperatorWish wish;
  auto* ended = wish.record.mutable_sending_unblocked();
  ended->set_corp(OneLane::kCorp);
  ended->set_campaign("spring");
  lane_->Decide({.local = &wish});
  TouchedLeave(0, 20, 20);
  EXPECT_EQ(Block(), nullptr);
  EXPECT_EQ(Serve(3 * kHour).size(), 2u);
  EXPECT_EQ(Deletions(), 40);
  lane_->ExpectReplayGivesTheSame();
}

// After a crash the records of the last batch may be missing: all is decided again.
TEST_F(HarmBrakeTest, WhatABatchDidNotMakeDurableIsDecidedAgain) {
  Begin(20);
  Serve(10 * 60 * kSecond);
  TouchedLeave(0, 0, 20);
  int decided = 0;
  while (lane_->core().Decide({}, lane_->now()).has_value()) ++decided;
  EXPECT_GE(decided, 1);
  lane_->core().EndBatch();
  lane_->TakeOver("a");
  ASSERT_NE(Block(), nullptr);
  EXPECT_EQ(Deletions(), 20);
  lane_->ExpectReplayGivesTheSame();
}

// Those of messages never end: what an operator has looked at does not count again.
TEST(HarmBrakeOfMessagesTest, BeginsAnewWhenTheBlockIsEnded) {
  const wecom_table::Limits limits = wecom_table::DefaultLimits();
  const CampaignKey key{"ww1", "@bulk"};
  const CorpLimits corp_limits(&limits);
  ReceiveQuotas quotas(&corp_limits);
  CampaignBook book(&limits, 1, &quotas, [](const FlowName&) {});
  BlockList blocks;
  HarmBrake brake(&limits);
  Now now{.wall_ns = 1'790'000'000 * kSecond};
  std::vector<core::OutboxRecord> outbox;
  uint64_t position = 0;
  for (uint32_t batch = 0; batch < 2; ++batch) {
    CampaignBook::MessageCall call{.sender = "m1"};
    for (int i = 0; i < 40; ++i) call.customers.push_back(absl::StrCat("wm", batch, "x", i));
    book.AddMessageCall(CallName(key, batch), call);
    ::tidegate::log::v1::Result result;
    *result.mutable_call() = CallName(key, batch);
    result.set_statuses(std::string(40, kTouchSent));
    book.OnResult(result, now.wall_ns, &outbox);
    brake.OnResult(result, book, now.wall_ns);
    for (int i = 0; i < 20; ++i) {
      ASSERT_EQ(brake.NextBlock(book, blocks, now), std::nullopt) << batch << " " << i;
      Command command;
      command.set_corp("ww1");
      command.set_member("m1");
      command.set_customer(call.customers[i]);
      command.mutable_customer_left()->set_time_ns(now.wall_ns);
      brake.Fold(position++, command);
      brake.OnCounted(brake.NextCounted()->commands_dropped(), now.wall_ns);
    }
    const auto record = brake.NextBlock(book, blocks, now);
    ASSERT_TRUE(record.has_value());
    EXPECT_TRUE(absl::StartsWith(record->sending_blocked().reason(), "20 of 40"));
    brake.OnBlocked(record->sending_blocked(), /*live=*/false);
    ::tidegate::log::v1::SendingUnblocked ended;
    ended.set_corp("ww1");
    ended.set_campaign("@bulk");
    brake.OnUnblocked(ended);
  }
  EXPECT_EQ(brake.Deletions(key), 40);
  EXPECT_EQ(brake.waiting(), 0u);
}

// Messages of the app to members are of the same campaign: no customer gets them.
TEST(HarmBrakeOfMessagesTest, TouchesToMembersDoNotDiluteThoseToCustomers) {
  wecom_table::Limits limits = wecom_table::DefaultLimits();
  limits.harm.min_deletions = 2;
  const CampaignKey key{"ww1", "@bulk"};
  const CorpLimits corp_limits(&limits);
  ReceiveQuotas quotas(&corp_limits);
  CampaignBook book(&limits, 1, &quotas, [](const FlowName&) {});
  HarmBrake brake(&limits);
  const Now now{.wall_ns = 1'790'000'000 * kSecond};
  std::vector<core::OutboxRecord> outbox;
  CampaignBook::MessageCall to_customers{.sender = "m1"};
  for (int i = 0; i < 40; ++i) to_customers.customers.push_back(absl::StrCat("wm", i));
  CampaignBook::MessageCall to_members{.channel = Channel::kMembers};
  for (int i = 0; i < 1000; ++i) to_members.customers.push_back(absl::StrCat("m", i));
  uint32_t batch = 0;
  for (const auto* call : {&to_customers, &to_members}) {
    book.AddMessageCall(CallName(key, batch), *call);
    ::tidegate::log::v1::Result result;
    *result.mutable_call() = CallName(key, batch++);
    result.set_statuses(std::string(call->customers.size(), kTouchSent));
    book.OnResult(result, now.wall_ns, &outbox);
    brake.OnResult(result, book, now.wall_ns);
  }
  for (uint64_t i = 0; i < 2; ++i) {
    Command command;
    command.set_corp("ww1");
    command.set_member("m1");
    command.set_customer(to_customers.customers[i]);
    command.mutable_customer_left()->set_time_ns(now.wall_ns);
    brake.Fold(i, command);
  }
  brake.OnCounted(brake.NextCounted()->commands_dropped(), now.wall_ns);
  const auto record = brake.NextBlock(book, BlockList(), now);
  ASSERT_TRUE(record.has_value()) << "2 of 1040 are below the limit";
  EXPECT_TRUE(absl::StartsWith(record->sending_blocked().reason(), "2 of 40 "));
}

}  // namespace
}  // namespace tidegate::dispatch
