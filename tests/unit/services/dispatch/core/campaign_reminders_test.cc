// When members who have not confirmed are reminded, and what quiet hours hold back.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/civil_day.h"
#include "services/dispatch/core/dispatch_core.h"

namespace tidegate::dispatch {
namespace {

using ::tidegate::log::v1::AudienceChunk;
using ::tidegate::log::v1::CAMPAIGN_INTENT_PAUSE;
using ::tidegate::log::v1::CAMPAIGN_INTENT_RUN;
using ::tidegate::log::v1::CampaignIntent;
using ::tidegate::log::v1::Fence;
using ::tidegate::log::v1::Proposal;
using ::tidegate::log::v1::RecordHeader;

constexpr int64_t kHour = 3600 * kNanosPerSecond;
constexpr int64_t kMinute = 60 * kNanosPerSecond;
constexpr char kRemind[] = "remind_groupmsg_send";

// A campaign of one task, whose member confirms when a test says so, and its lane's days.
class CampaignRemindersTest : public ::testing::Test {
 protected:
  CampaignRemindersTest() {
    midnight_ns_ = StartOfCivilDay(20'000) * kNanosPerSecond;
    now_ = {.wall_ns = midnight_ns_, .raw_ns = 1000 * kNanosPerSecond, .boot_ns = 5};
  }
  void TearDown() override {
    // A replay of the ledger knows the same.
    DispatchCore replayed(Options(), &limits_);
    Feed(&replayed);
    for (const Entry& entry : ledger_) {
      if (entry.fence.has_value()) {
        replayed.ApplyFence(*entry.fence, 1);
      } else {
        std::vector<core::OutboxRecord> outbox;
        replayed.Apply("", entry.value, {.epoch = 1, .live = false}, &outbox);
      }
    }
    core::StateHash live, again;
    core_->AddStateTo(&live, now_.raw_ns);
    replayed.AddStateTo(&again, now_.raw_ns);
    EXPECT_EQ(live.Hex(), again.Hex());
  }

  static DispatchOptions Options() {
    return {.lane = 0, .partitions = 1, .agent_ids = {{"ww1", "1000002"}}};
  }
  void Feed(DispatchCore* core) {
    for (const auto& [topic, value] : inputs_) FeedOne(core, topic, value);
  }
  static void FeedOne(DispatchCore* core, log::Topic topic, const std::string& value) {
    log::StoredRecord record;
    record.record.value = value;
    RecordHeader header;
    header.mutable_source();
    core->Fold({topic, 0}, record, header);
  }
  void Fold(log::Topic topic, const std::string& value) {
    inputs_.emplace_back(topic, value);
    FeedOne(core_.get(), topic, value);
  }
  void SetIntent(CampaignIntent intent, uint32_t reminders) {
    Proposal proposal;
    proposal.set_corp("ww1");
    proposal.set_expected_revision(revision_++);
    proposal.set_request_id(absl::StrCat(revision_));
    auto* definition = proposal.add_definitions();
    definition->set_id("spring");
    definition->mutable_campaign()->set_intent(intent);
    definition->mutable_campaign()->set_reminders(reminders);
    definition->mutable_campaign()->add_variants()->set_text("spring");
    Fold(log::Topic::kDefinitions, proposal.SerializeAsString());
  }
  void Launch(uint32_t reminders) {
    limits_.audit.every_ns = 365 * 24 * kHour;  // no audit beside them
    core_ = std::make_unique<DispatchCore>(Options(), &limits_);
    core_->OnCalls([this](std::vector<CallToMake> calls) {
      for (CallToMake& call : calls) calls_.push_back(std::move(call));
    });
    Own();
    SetIntent(CAMPAIGN_INTENT_RUN, reminders);
    AudienceChunk chunk;
    chunk.set_corp("ww1");
    chunk.set_audience("spring");
    chunk.set_round(1);
    chunk.set_shards(1);
    chunk.add_customers()->set_customer("wm1");
    chunk.mutable_customers(0)->set_owner("m1");
    chunk.mutable_manifest()->set_chunks(1);
    Fold(log::Topic::kAudiences, chunk.SerializeAsString());
  }
  // The lane's owner begins, or loses the calls that are under way.
  void Own() {
    Fence fence;
    fence.set_owner("a");
    fence.set_boot_id("boot");
    fence.set_raw_time_ns(now_.raw_ns);
    fence.set_boot_time_ns(now_.boot_ns);
    fence.set_wall_time_ns(now_.wall_ns);
    fence.set_predecessor_dead(true);
    ledger_.push_back({.fence = fence});
    core_->ApplyFence(fence, 1);
  }

  void Take(const core::Decision& decision) {
    ledger_.push_back({.value = decision.value});
    std::vector<core::OutboxRecord> outbox;
    core_->Apply("", decision.value, {.epoch = 1, .live = true}, &outbox);
  }
  std::string AnswerTo(const CallToMake& call) {
    const bool confirmed = now_.wall_ns >= confirms_ns_;
    if (call.api == "add_msg_template") return R"({"errcode":0,"msgid":"task"})";
    if (call.api == "get_groupmsg_task") {
      return absl::StrCat(R"({"errcode":0,"task_list":[{"userid":"m1","status":)",
                          confirmed ? 2 : 0, "}]}");
    }
    if (call.api == "get_groupmsg_send_result") {
      return absl::StrCat(R"({"errcode":0,"send_list":[{"external_userid":"wm1","status":)",
                          confirmed ? 1 : 0, "}]}");
    }
    EXPECT_EQ(call.api, kRemind);
    EXPECT_EQ(call.body, R"({"msgid":"task"})");
    const size_t before = made_[kRemind].size();
    const int code = before <= remind_codes_.size() ? remind_codes_[before - 1] : 0;
    return code == kNoAnswer ? "" : absl::StrCat(R"({"errcode":)", code, "}");
  }
  // Goes on until then; each call is answered at once.
  void RunUntil(int64_t wall_ns) {
    while (true) {
      while (auto decision = core_->Decide({}, now_)) Take(*decision);
      core_->EndBatch();
      core_->Release(now_);
      std::vector<CallToMake> calls;
      calls.swap(calls_);
      for (const CallToMake& call : calls) {
        made_[call.api].push_back(
            absl::StrFormat("%d+%02d:%02d", Minutes() / 1440, Minutes() / 60 % 24, Minutes() % 60));
        if (call.api == kRemind && owner_dies_) {
          owner_dies_ = false;
          Own();
          continue;
        }
        CallAnswer answer;
        answer.call_id = call.call_id;
        answer.attempt = call.attempt;
        answer.body = AnswerTo(call);
        answer.bytes_written = true;
        answer.answered = !answer.body.empty();
        answer.http_status = answer.answered ? 200 : 0;
        answer.completed = now_;
        if (auto decision = core_->Decide({.local = &answer}, now_)) Take(*decision);
      }
      if (!calls.empty()) continue;
      const auto next = core_->NextTickRawNs(now_);
      const int64_t left_ns = wall_ns - now_.wall_ns;
      const int64_t step_ns =
          next.has_value() ? std::max<int64_t>(1, *next - now_.raw_ns) : left_ns;
      if (step_ns >= left_ns) return Pass(left_ns);
      Pass(step_ns);
    }
  }
  void Pass(int64_t ns) {
    now_.wall_ns += ns;
    now_.raw_ns += ns;
    now_.boot_ns += ns;
  }
  int64_t Minutes() const { return (now_.wall_ns - midnight_ns_) / kMinute; }
  // Of the first day.
  int64_t At(int64_t hour, int64_t minute = 0) const {
    return midnight_ns_ + hour * kHour + minute * kMinute;
  }
  const CampaignCallState& Call() { return core_->campaigns().Find({"ww1", "spring"})->calls[0]; }

  static constexpr int kNoAnswer = -99;
  struct Entry {
    std::optional<Fence> fence;
    std::string value;
  };
  wecom_table::Limits limits_ = wecom_table::DefaultLimits();
  int64_t midnight_ns_ = 0;
  Now now_;
  int64_t confirms_ns_ = kNever;
  std::vector<int> remind_codes_;  // of the first reminders; then 0
  bool owner_dies_ = false;        // when it has made the next reminder
  std::unique_ptr<DispatchCore> core_;
  std::vector<CallToMake> calls_;
  std::map<std::string, std::vector<std::string>> made_;  // day+hour:minute, by api
  std::vector<std::pair<log::Topic, std::string>> inputs_;
  std::vector<Entry> ledger_;
  uint64_t revision_ = 0;
};

using Times = std::vector<std::string>;

TEST_F(CampaignRemindersTest, AMemberWhoDoesNotConfirmIsRemindedThreeTimes) {
  Pass(9 * kHour);
  Launch(3);
  RunUntil(At(24 * 5));
  EXPECT_EQ(made_[kRemind], (Times{"0+11:00", "0+15:00", "1+10:00"}));
  EXPECT_EQ(Call().reminders.sent, 3u);
}

TEST_F(CampaignRemindersTest, OnlyAsOftenAsWanted) {
  Pass(9 * kHour);
  Launch(1);
  RunUntil(At(24 * 5));
  EXPECT_EQ(made_[kRemind], (Times{"0+11:00"}));
}

TEST_F(CampaignRemindersTest, WhoHasConfirmedIsNotReminded) {
  Pass(9 * kHour);
  // Just before the reading that goes before the first reminder.
  confirms_ns_ = At(10, 58);
  limits_.results.poll_ns = 24 * kHour;
  Launch(3);
  RunUntil(At(24 * 5));
  EXPECT_EQ(made_[kRemind], Times{});
  EXPECT_EQ(made_["get_groupmsg_task"], (Times{"0+09:01", "0+10:59"}));
}

TEST_F(CampaignRemindersTest, AfterTheConfirmationThereIsNoOther) {
  Pass(9 * kHour);
  confirms_ns_ = At(12);
  Launch(3);
  RunUntil(At(24 * 5));
  EXPECT_EQ(made_[kRemind], (Times{"0+11:00"}));
}

TEST_F(CampaignRemindersTest, NoneIsInQuietHoursNorTwoAtTheirEnd) {
  Pass(20 * kHour + 30 * kMinute);
  limits_.quiet_hours = {.from = 22 * 60, .to = 8 * 60};
  Launch(3);
  RunUntil(At(24 * 5));
  EXPECT_EQ(made_[kRemind], (Times{"1+08:00", "1+10:00", "1+12:00"}));
}

TEST_F(CampaignRemindersTest, ADoubtCountsAsUsed) {
  Pass(9 * kHour);
  remind_codes_ = {kNoAnswer, -1, kNoAnswer};
  Launch(3);
  RunUntil(At(24 * 5));
  EXPECT_EQ(made_[kRemind], (Times{"0+11:00", "0+15:00", "1+10:00"}));
  EXPECT_EQ(Call().reminders.sent, 0u);
}

TEST_F(CampaignRemindersTest, AReminderWhoseOwnerDiedIsNotSentAgain) {
  Pass(9 * kHour);
  owner_dies_ = true;
  Launch(2);
  RunUntil(At(24 * 5));
  EXPECT_EQ(made_[kRemind], (Times{"0+11:00", "0+15:00"}));
  EXPECT_EQ(Call().reminders.sent, 1u);
}

TEST_F(CampaignRemindersTest, TooManyWithinADayMeansADayLater) {
  Pass(9 * kHour);
  remind_codes_ = {41094};
  Launch(2);
  RunUntil(At(24 * 5));
  EXPECT_EQ(made_[kRemind], (Times{"0+11:00", "1+11:00"}));
  EXPECT_EQ(Call().reminders.sent, 1u);
}

TEST_F(CampaignRemindersTest, WhatWasNotExecutedIsTriedAgain) {
  Pass(9 * kHour);
  remind_codes_ = {45011, 40014};
  Launch(1);
  RunUntil(At(24 * 5));
  EXPECT_EQ(made_[kRemind], (Times{"0+11:00", "0+11:00", "0+11:01"}));
  EXPECT_EQ(Call().reminders.sent, 1u);
}

TEST_F(CampaignRemindersTest, ATaskThatIsGoneIsRemindedOfNoMore) {
  Pass(9 * kHour);
  remind_codes_ = {41093};
  Launch(3);
  RunUntil(At(24 * 5));
  EXPECT_EQ(made_[kRemind], (Times{"0+11:00"}));
}

TEST_F(CampaignRemindersTest, NoneAfterResultsHaveClosed) {
  Pass(9 * kHour);
  limits_.results.close_after_ns = 3 * kHour;
  Launch(3);
  RunUntil(At(24 * 5));
  EXPECT_EQ(made_[kRemind], (Times{"0+11:00"}));
}

TEST_F(CampaignRemindersTest, APausedCampaignWaitsWithThem) {
  Pass(9 * kHour);
  Launch(1);
  RunUntil(At(10));
  SetIntent(CAMPAIGN_INTENT_PAUSE, 1);
  RunUntil(At(13));
  EXPECT_EQ(made_[kRemind], Times{});
  SetIntent(CAMPAIGN_INTENT_RUN, 1);
  RunUntil(At(24));
  EXPECT_EQ(made_[kRemind], (Times{"0+13:00"}));
}

TEST_F(CampaignRemindersTest, ACampaignThatIsLaunchedInQuietHoursBeginsAtTheirEnd) {
  Pass(7 * kHour);
  limits_.quiet_hours = {.from = 22 * 60, .to = 8 * 60};
  Launch(0);
  RunUntil(At(9));
  EXPECT_EQ(made_["add_msg_template"], (Times{"0+08:00"}));
}

TEST_F(CampaignRemindersTest, WhatCouldStillTakeEffectInQuietHoursWaitsForTheirEnd) {
  Pass(21 * kHour + 59 * kMinute + 30 * kNanosPerSecond);
  limits_.quiet_hours = {.from = 22 * 60, .to = 8 * 60};
  Launch(0);
  RunUntil(At(34));
  EXPECT_EQ(made_["add_msg_template"], (Times{"1+08:00"}));
}

}  // namespace
}  // namespace tidegate::dispatch
