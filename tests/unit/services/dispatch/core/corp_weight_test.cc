// Which corp's calls leave: as its limits weigh it, and as what waits of it does. And that another
// process knows the urgent calls that were made.
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/dispatch/core/dispatch_core.h"

namespace tidegate::dispatch {
namespace {

using ::tidegate::log::v1::Command;
using ::tidegate::log::v1::Fence;
using ::tidegate::log::v1::LedgerRecord;
using ::tidegate::log::v1::RecordHeader;

class CorpWeightTest : public ::testing::Test {
 protected:
  void SetUp() override { Own(&core_); }
  static void Own(DispatchCore* core) {
    Fence fence;
    fence.set_owner("a");
    fence.set_boot_id("boot");
    fence.set_raw_time_ns(1000 * kNanosPerSecond);
    fence.set_predecessor_dead(true);
    core->ApplyFence(fence, 1);
  }
  void Fold(const Command& command) {
    log::StoredRecord record{.offset = inputs_.size()};
    record.record.value = command.SerializeAsString();
    RecordHeader header;
    header.mutable_source()->set_journal("tidegate.profiles/0");
    core_.Fold({log::Topic::kCommands, 0}, record, header);
    inputs_.push_back(record);
  }
  void Wish(const std::string& corp, int calls) {
    for (int i = 0; i < calls; ++i) {
      Command command;
      command.set_corp(corp);
      command.set_member("m");
      command.set_customer(absl::StrCat("wm", inputs_.size()));
      command.mutable_mark_tag()->add_add("tag");
      Fold(command);
    }
  }
  void Apply(const LedgerRecord& record) {
    std::vector<core::OutboxRecord> outbox;
    core_.Apply("", record.SerializeAsString(), {.epoch = 1, .live = true}, &outbox);
    core_.EndBatch();
    journal_.push_back(record);
  }
  // The corps of the next attempts.
  std::map<std::string, int> Attempts(int most) {
    std::map<std::string, int> calls;
    while (most-- > 0) {
      const auto decision = core_.Decide({}, now_);
      if (!decision.has_value()) break;
      LedgerRecord record;
      EXPECT_TRUE(record.ParseFromString(decision->value));
      if (record.has_attempt()) ++calls[record.attempt().target().mark_tag().corp()];
      Apply(record);
    }
    return calls;
  }

  const wecom_table::Limits limits_ = *wecom_table::ParseLimits(
      R"({"limits":[{"api":"*","scope":"corp","amount":60,"window_ms":60000},
                    {"api":"*","scope":"ip","amount":1000,"window_ms":60000}],
          "in_flight":[{"api":"mark_tag","amount":1000}]})");
  const DispatchOptions options_{
      .lane = 0,
      .partitions = 1,
      .agent_ids = {{"ww1", "1000002"}, {"ww2", "1000002"}, {"ww3", "1000002"}}};
  DispatchCore core_{options_, &limits_};
  Now now_{.wall_ns = 1'790'000'000 * kNanosPerSecond,
           .raw_ns = 1000 * kNanosPerSecond,
           .boot_ns = 1000 * kNanosPerSecond};
  std::vector<log::StoredRecord> inputs_;
  std::vector<LedgerRecord> journal_;
};

TEST_F(CorpWeightTest, EqualCorpsTakeTurns) {
  Wish("ww1", 50);
  Wish("ww2", 50);
  EXPECT_EQ(Attempts(40)["ww1"], 20);
}

TEST_F(CorpWeightTest, AWeightOfTheCorpsLimitsCountsFromItsRecordOn) {
  Wish("ww1", 50);
  Wish("ww2", 50);
  EXPECT_EQ(Attempts(10)["ww2"], 5);
  LedgerRecord record;
  record.mutable_limits_set()->set_corp("ww2");
  record.mutable_limits_set()->mutable_limits()->set_weight(3);
  Apply(record);
  EXPECT_EQ(Attempts(40)["ww2"], 30);
}

TEST_F(CorpWeightTest, ACorpWithMoreWaitingThanItsWindowLetsThroughWeighsMore) {
  Wish("ww1", 50);
  Wish("ww2", 5000);
  Wish("ww3", 50);
  // 5000 are 2.9 times the mean: two of four turns.
  EXPECT_EQ(Attempts(20)["ww2"], 10);
}

TEST_F(CorpWeightTest, AnotherProcessKnowsTheUrgentCallsThatWereMade) {
  Command command;
  command.set_corp("ww1");
  command.set_member("m");
  command.set_customer("wm");
  command.mutable_welcome()->set_welcome_code("code");
  command.mutable_welcome()->set_expires_ns(now_.wall_ns + kNanosPerSecond);
  Wish("ww2", 3);
  Fold(command);
  Attempts(4);
  DispatchCore other(options_, &limits_);
  Own(&other);
  RecordHeader header;
  header.mutable_source()->set_journal("tidegate.profiles/0");
  for (const auto& record : inputs_) other.Fold({log::Topic::kCommands, 0}, record, header);
  std::vector<core::OutboxRecord> outbox;
  for (const LedgerRecord& record : journal_) {
    other.Apply("", record.SerializeAsString(), {.epoch = 1, .live = false}, &outbox);
  }
  core::StateHash hashes[2];
  core_.AddStateTo(&hashes[0], now_.raw_ns);
  other.AddStateTo(&hashes[1], now_.raw_ns);
  EXPECT_EQ(hashes[0].Hex(), hashes[1].Hex());
}

}  // namespace
}  // namespace tidegate::dispatch
