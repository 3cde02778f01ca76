// What leaves after WeCom said that a limit is reached (reliability 6, I-9).
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "services/dispatch/core/dispatch_core.h"

namespace tidegate::dispatch {
namespace {

using ::tidegate::log::v1::Command;
using ::tidegate::log::v1::Fence;
using ::tidegate::log::v1::LedgerRecord;
using ::tidegate::log::v1::RecordHeader;

class LimitRefusalTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Fence fence;
    fence.set_owner("a");
    fence.set_boot_id("boot");
    fence.set_predecessor_dead(true);
    core_.ApplyFence(fence, 1);
    core_.OnCalls([this](std::vector<CallToMake> calls) {
      for (CallToMake& call : calls) calls_.push_back(std::move(call));
    });
  }
  void Wish(const std::string& customer) {
    Command command;
    command.set_corp("ww1");
    command.set_member("m");
    command.set_customer(customer);
    command.mutable_mark_tag()->add_add("tag");
    log::StoredRecord record{.offset = position_++};
    record.record.value = command.SerializeAsString();
    RecordHeader header;
    header.mutable_source()->set_journal("tidegate.profiles/0");
    header.mutable_source()->set_out_seq(position_);
    core_.Fold({log::Topic::kCommands, 0}, record, header);
  }
  void Apply(const core::Decision& decision) {
    std::vector<core::OutboxRecord> outbox;
    core_.Apply("", decision.value, {.epoch = 1, .live = true}, &outbox);
    core_.EndBatch();
    core_.Release(now_);
  }
  // The first wish's call is answered with `body`; in the same batch a tick: whether it decides on
  // the second wish's call.
  bool TickAfterAnswer(const std::string& body) {
    Wish("wm1");
    Apply(core_.Decide({}, now_).value());
    Wish("wm2");
    CallAnswer answer;
    answer.call_id = calls_.at(0).call_id;
    answer.attempt = calls_.at(0).attempt;
    answer.bytes_written = answer.answered = true;
    answer.http_status = 200;
    answer.body = body;
    answer.completed = now_;
    outcome_ = core_.Decide({.local = &answer}, now_).value();
    return core_.Decide({}, now_).has_value();
  }

  const wecom_table::Limits limits_ = wecom_table::DefaultLimits();
  DispatchCore core_{{.lane = 0, .partitions = 1, .agent_ids = {{"ww1", "1000002"}}}, &limits_};
  Now now_{.wall_ns = 1'790'000'000 * kNanosPerSecond,
           .raw_ns = 1000 * kNanosPerSecond,
           .boot_ns = 1000 * kNanosPerSecond};
  uint64_t position_ = 0;
  std::vector<CallToMake> calls_;
  core::Decision outcome_;
};

TEST_F(LimitRefusalTest, ACallLeavesInTheBatchOfAnAnswerThatClosesNothing) {
  EXPECT_TRUE(TickAfterAnswer(R"({"errcode":0})"));
}

TEST_F(LimitRefusalTest, NoCallLeavesInTheBatchOfAnAnswerThatClosesItsApi) {
  EXPECT_FALSE(TickAfterAnswer(R"({"errcode":45009})"));
  Apply(outcome_);
  EXPECT_FALSE(core_.Decide({}, now_).has_value());  // the lockout
}

TEST_F(LimitRefusalTest, NoCallLeavesInTheBatchOfAnAnswerThatLowersItsCeiling) {
  EXPECT_FALSE(TickAfterAnswer(R"({"errcode":45033})"));
  Apply(outcome_);
  EXPECT_TRUE(core_.Decide({}, now_).has_value());
}

}  // namespace
}  // namespace tidegate::dispatch
