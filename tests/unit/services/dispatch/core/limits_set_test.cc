// Limits of a corp that an operator sets while its calls are under way, in the ledger.
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/dispatch/core/dispatch_core.h"

namespace tidegate::dispatch {
namespace {

using ::tidegate::log::v1::Command;
using ::tidegate::log::v1::Fence;
using ::tidegate::log::v1::LedgerRecord;
using ::tidegate::log::v1::RecordHeader;

class LimitsSetTest : public ::testing::Test {
 protected:
  void SetUp() override { Start(&core_); }
  // What a process has before it reads the journal.
  void Start(DispatchCore* core) {
    for (int i = 0; i < 600; ++i) {
      Command command;
      command.set_corp("ww1");
      command.set_member("m");
      command.set_customer(absl::StrCat("wm", i));
      command.mutable_mark_tag()->add_add("tag");
      log::StoredRecord record{.offset = static_cast<uint64_t>(i)};
      record.record.value = command.SerializeAsString();
      RecordHeader header;
      header.mutable_source()->set_journal("tidegate.profiles/0");
      header.mutable_source()->set_out_seq(static_cast<uint64_t>(i) + 1);
      core->Fold({log::Topic::kCommands, 0}, record, header);
    }
    Fence fence;
    fence.set_owner("a");
    fence.set_boot_id("boot");
    fence.set_predecessor_dead(true);
    fence.set_wall_time_ns(now_.wall_ns);
    fence.set_raw_time_ns(now_.raw_ns);
    core->ApplyFence(fence, 1);
    core->OnCalls([this](std::vector<CallToMake> calls) {
      for (CallToMake& call : calls) calls_.push_back(std::move(call));
    });
  }
  void Apply(const core::Decision& decision) {
    std::vector<core::OutboxRecord> outbox;
    core_.Apply("", decision.value, {.epoch = 1, .live = true}, &outbox);
    core_.EndBatch();
    core_.Release(now_);
    journal_.push_back(decision);
  }
  // Calls that may leave now.
  size_t Leave() {
    const size_t before = calls_.size();
    while (const auto decision = core_.Decide({}, now_)) Apply(*decision);
    return calls_.size() - before;
  }
  void Answer(const CallToMake& call, const std::string& body) {
    CallAnswer answer;
    answer.call_id = call.call_id;
    answer.attempt = call.attempt;
    answer.bytes_written = answer.answered = true;
    answer.http_status = 200;
    answer.body = body;
    answer.completed = now_;
    Apply(core_.Decide({.local = &answer}, now_).value());
  }
  void AnswerAll() {
    for (; answered_ < calls_.size(); ++answered_) Answer(calls_[answered_], R"({"errcode":0})");
  }
  void SetWindow(int64_t amount, int64_t window_ms, int64_t in_flight) {
    OperatorWish wish;
    auto* set = wish.record.mutable_limits_set();
    set->set_corp("ww1");
    auto* window = set->mutable_limits()->add_windows();
    window->set_api("mark_tag");
    window->set_amount(amount);
    window->set_window_ms(window_ms);
    auto* at_once = set->mutable_limits()->add_in_flight();
    at_once->set_api("mark_tag");
    at_once->set_amount(in_flight);
    Apply(core_.Decide({.local = &wish}, now_).value());
  }
  void Pass(int64_t ns) {
    now_.wall_ns += ns;
    now_.raw_ns += ns;
    now_.boot_ns += ns;
  }
  std::string HashOf(const DispatchCore& core) const {
    core::StateHash hash;
    core.AddStateTo(&hash, now_.raw_ns + kNanosPerSecond);
    return hash.Hex();
  }

  const wecom_table::Limits limits_ = wecom_table::DefaultLimits();
  const DispatchOptions options_{.lane = 0, .partitions = 1, .agent_ids = {{"ww1", "1000002"}}};
  DispatchCore core_{options_, &limits_};
  Now now_{.wall_ns = 1'790'000'000 * kNanosPerSecond,
           .raw_ns = 1000 * kNanosPerSecond,
           .boot_ns = 1000 * kNanosPerSecond};
  std::vector<CallToMake> calls_;
  size_t answered_ = 0;
  std::vector<core::Decision> journal_;
};

TEST_F(LimitsSetTest, HoldFromTheirRecordOnAndAreWokenFor) {
  EXPECT_EQ(Leave(), 5u);  // mark_tag: 5 at once
  AnswerAll();
  SetWindow(6, 60'000, 5);
  EXPECT_EQ(Leave(), 1u) << "five of six are used";
  AnswerAll();
  EXPECT_EQ(Leave(), 0u);
  SetWindow(20, 60'000, 9);
  EXPECT_EQ(Leave(), 9u) << "nothing waits for the old window's end";
  AnswerAll();
  EXPECT_EQ(Leave(), 5u);
}

TEST_F(LimitsSetTest, AReplayHasTheSameStateAndTheSameLimits) {
  for (int i = 0; i < 12; ++i) {
    SetWindow(3 + i % 5, 1000 + 700 * (i % 3), 2 + i % 4);
    for (int turn = 0; turn < 5; ++turn) {
      Leave();
      AnswerAll();
      Pass(kNanosPerSecond);
    }
  }
  Pass(10 * kNanosPerSecond);
  ASSERT_GT(Leave(), 0u);
  Answer(calls_[answered_++], R"({"errcode":45009})");
  DispatchCore replayed(options_, &limits_);
  now_ = {.wall_ns = 1'790'000'000 * kNanosPerSecond,
          .raw_ns = 1000 * kNanosPerSecond,
          .boot_ns = 1000 * kNanosPerSecond};
  Start(&replayed);
  for (const core::Decision& decision : journal_) {
    std::vector<core::OutboxRecord> outbox;
    replayed.Apply("", decision.value, {.epoch = 1, .live = false}, &outbox);
  }
  Pass(60 * kNanosPerSecond);
  EXPECT_EQ(HashOf(replayed), HashOf(core_));
  const auto row = replayed.buckets().Rows("ww1", now_.raw_ns)[1];
  EXPECT_EQ(row.configured, 3 + 11 % 5) << "as set last";
  EXPECT_EQ(row.capacity, 2 + 11 % 5) << "as the refusal has taught";
}

TEST_F(LimitsSetTest, ARefusalBelowTheLimitIsLearntFromItsRecord) {
  SetWindow(20, 60'000, 100);
  EXPECT_EQ(Leave(), 20u);
  for (int i = 0; i < 14; ++i) Answer(calls_[answered_++], R"({"errcode":0})");
  Pass(kNanosPerSecond);
  for (; answered_ < 20; ++answered_) Answer(calls_[answered_], R"({"errcode":45009})");
  const auto row = core_.buckets().Rows("ww1", now_.raw_ns)[1];
  EXPECT_EQ(row.configured, 20);
  EXPECT_EQ(row.capacity, 19);
  LedgerRecord record;
  ASSERT_TRUE(record.ParseFromString(journal_.back().value));
  EXPECT_EQ(record.outcome().learnt().scope(), "corp");
  EXPECT_EQ(record.outcome().learnt().amount(), 19);
}

TEST_F(LimitsSetTest, ARefusedTokenTeachesNothing) {
  SetWindow(20, 60'000, 100);
  EXPECT_EQ(Leave(), 20u);
  CallAnswer answer;
  answer.call_id = calls_[0].call_id;
  answer.attempt = calls_[0].attempt;
  answer.token_errcode = 45009;
  answer.completed = now_;
  Apply(core_.Decide({.local = &answer}, now_).value());
  EXPECT_EQ(core_.buckets().Rows("ww1", now_.raw_ns)[1].configured, 0);
}

}  // namespace
}  // namespace tidegate::dispatch
