// What the runner does when appends fail, queues fill, owners change and processes end.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/core/header_codec.h"
#include "common/log/memory_log.h"
#include "common/runtime/partition_runner.h"
#include "tests/unit/common/runtime/sum_core.h"

namespace tidegate::runtime {
namespace {

using ::tidegate::log::v1::RECORD_KIND_DECISION;
using ::tidegate::log::v1::RECORD_KIND_FENCE;
using ::tidegate::log::v1::RecordHeader;
using State = PartitionRunner::State;

constexpr log::TopicPartition kElsewhere{log::Topic::kDeadLetters, 0};
constexpr log::TopicPartition kOtherJournal{log::Topic::kMemberships, 0};
constexpr int kTurnsMax = 1000;

// A SumCore that can also decide too large a record, and decides a tick at a time.
class TestCore : public SumCore {
 public:
  std::optional<core::Decision> Decide(const core::Input& input, const Now& now) override {
    if (input.record != nullptr && input.record->record.value == "huge") {
      return core::Decision{.key = "x", .value = std::string(log::kRecordBytesMax + 1, '1')};
    }
    if (input.record == nullptr && input.local == nullptr) {
      if (!tick_at_raw_ns.has_value() || now.raw_ns < *tick_at_raw_ns || tick_pending) {
        return std::nullopt;
      }
      tick_pending = true;
      return core::Decision{.key = "tick", .value = "1"};
    }
    return SumCore::Decide(input, now);
  }
  void Apply(absl::string_view key, absl::string_view value, const core::ApplyContext& context,
             std::vector<core::OutboxRecord>* outbox) override {
    if (key == "tick") tick_at_raw_ns.reset();
    SumCore::Apply(key, value, context, outbox);
  }
  void EndBatch() override {
    tick_pending = false;
    SumCore::EndBatch();
  }
  std::optional<int64_t> NextTickRawNs(const Now&) override { return tick_at_raw_ns; }

  std::optional<int64_t> tick_at_raw_ns;
  bool tick_pending = false;
};

class RunnerFaultsTest : public ::testing::Test {
 protected:
  using Change = std::function<void(RunnerOptions*)>;
  struct Process {
    TestCore core;
    std::unique_ptr<PartitionRunner> runner;
    State state() const { return runner->state(); }
  };
  std::unique_ptr<Process> StartProcess(const std::string& token, const Change& change = nullptr) {
    auto process = std::make_unique<Process>();
    RunnerOptions options;
    options.journal = kJournal;
    options.folded_inputs = {{.at = kFolded}};
    options.decided_inputs = {{.at = kInput}};
    options.fence_token = token;
    options.wake = [] {};
    if (change) change(&options);
    process->runner = std::make_unique<PartitionRunner>(std::move(options), &log_, &process->core);
    return process;
  }
  // Turns until nothing moves.
  void Turn(Process& process) {
    for (int i = 0; i < kTurnsMax; ++i) {
      if (!process.runner->Turn(now_)) return;
    }
    FAIL() << "turns without end";
  }
  void Settle(Process& process) {
    for (int i = 0; i < kTurnsMax; ++i) {
      Turn(process);
      if (log_.DeliverAll() == 0) return;
    }
    FAIL() << "never quiet";
  }
  void Publish(const std::string& value) {
    log_.InjectRaw(kInput, {.key = "x", .header = "", .value = value});
  }
  static std::unique_ptr<AddLocally> Local(int number) {
    auto local = std::make_unique<AddLocally>();
    local->key = "x";
    local->number = number;
    return local;
  }
  int Fences() {
    std::vector<log::StoredRecord> records;
    EXPECT_TRUE(log_.Read(kJournal, 0, 100'000, 1 << 30, &records).ok());
    int fences = 0;
    for (const auto& record : records) {
      fences += core::DecodeHeader(record.record.header)->kind() == RECORD_KIND_FENCE;
    }
    return fences;
  }
  void PutFence(uint64_t epoch, const std::string& token) {
    RecordHeader fence;
    fence.set_kind(RECORD_KIND_FENCE);
    fence.set_epoch(epoch);
    fence.mutable_fence()->set_token(token);
    log_.InjectRaw(kJournal, {.key = "", .header = core::EncodeHeader(fence), .value = ""});
  }

  log::MemoryLog log_{log::MemoryLogOptions{.manual = true, .queue_records_max = 100}};
  Now now_{.wall_ns = kNanosPerSecond, .raw_ns = kNanosPerSecond, .boot_ns = kNanosPerSecond};
};

TEST_F(RunnerFaultsTest, AVoidBatchDropsItsPendingDecisions) {
  auto process = StartProcess("a");
  Settle(*process);
  Publish("1");
  Turn(*process);
  EXPECT_EQ(process->core.pending["x"], 1);
  log_.FailNext(absl::InternalError("broker"), 0, kJournal);
  process->runner->Turn(now_);
  EXPECT_EQ(process->state(), State::kRecovering);
  EXPECT_TRUE(process->core.pending.empty());
  EXPECT_TRUE(process->core.released.empty());
  Settle(*process);
  EXPECT_EQ(process->core.sums["x"], 1);
  EXPECT_EQ(process->core.released, std::vector<std::string>{"x=1"});
}

TEST_F(RunnerFaultsTest, AKillInsideAnAppendLosesAndRepeatsNothingWhateverPrefixIsThere) {
  constexpr int kBatch = 5;
  int expected = 0;
  for (size_t persisted = 0; persisted <= kBatch; ++persisted) {
    auto process = StartProcess(absl::StrCat("a", persisted));
    Settle(*process);
    for (int i = 0; i < kBatch; ++i) Publish("1");
    expected += kBatch;
    Turn(*process);
    const uint64_t end = log_.End(kJournal);
    ASSERT_TRUE(log_.FailNext(absl::InternalError("killed"), persisted, kJournal));
    ASSERT_EQ(log_.End(kJournal), end + persisted);
    process.reset();
    log_.CrashDropPending();
    auto next = StartProcess(absl::StrCat("b", persisted));
    Settle(*next);
    EXPECT_EQ(next->core.sums["x"], expected) << persisted << " records persisted";
    EXPECT_EQ(next->core.released.size(), kBatch - persisted) << "only its own are released";
  }
}

TEST_F(RunnerFaultsTest, AReplayReleasesNothing) {
  auto process = StartProcess("a");
  Settle(*process);
  Publish("1");
  Settle(*process);
  process.reset();
  auto next = StartProcess("b");
  Settle(*next);
  EXPECT_EQ(next->core.sums["x"], 1);
  EXPECT_TRUE(next->core.released.empty());
}

TEST_F(RunnerFaultsTest, AClosedStoreEndsThePartition) {
  auto process = StartProcess("a");
  Settle(*process);
  absl::Status answer;
  ASSERT_TRUE(
      process->runner->PostQuery([&](absl::Status status, const Now&) { answer = status; }).ok());
  Turn(*process);
  EXPECT_TRUE(answer.ok());
  Publish("1");
  Turn(*process);
  log_.FailNext(absl::UnavailableError("closed"), 0, kJournal);
  ASSERT_TRUE(
      process->runner->PostQuery([&](absl::Status status, const Now&) { answer = status; }).ok());
  Turn(*process);
  EXPECT_EQ(process->state(), State::kFailed);
  EXPECT_EQ(process->runner->failure().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(answer.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(process->runner->PostLocal(Local(1)).code(), absl::StatusCode::kUnavailable);
}

// Deciding it again would end the same way, with one more fence each time.
TEST_F(RunnerFaultsTest, ARecordTooLargeEndsThePartition) {
  auto process = StartProcess("a");
  Settle(*process);
  Publish("huge");
  Turn(*process);
  EXPECT_EQ(process->state(), State::kFailed);
  EXPECT_EQ(process->runner->failure().code(), absl::StatusCode::kInvalidArgument);
  log_.DeliverAll();
  EXPECT_EQ(Fences(), 1);
}

TEST_F(RunnerFaultsTest, AFullLogDelaysTheFenceAndIsNotAskedInALoop) {
  log_.Append(kElsewhere, std::vector<log::Record>(100), nullptr);
  auto process = StartProcess("a");
  Turn(*process);
  EXPECT_EQ(process->state(), State::kRecovering);
  ASSERT_TRUE(process->runner->NextWakeRawNs().has_value());
  log_.DeliverAll();
  now_.raw_ns = *process->runner->NextWakeRawNs();
  Settle(*process);
  EXPECT_EQ(process->state(), State::kLive);
  EXPECT_EQ(Fences(), 1);
}

TEST_F(RunnerFaultsTest, AFullLogDelaysABatchAndIsNotAskedInALoop) {
  auto process = StartProcess("a");
  Settle(*process);
  log_.Append(kElsewhere, std::vector<log::Record>(100), nullptr);
  Publish("1");
  Turn(*process);
  EXPECT_EQ(process->state(), State::kRecovering);
  ASSERT_TRUE(process->runner->NextWakeRawNs().has_value());
  log_.DeliverAll();
  now_.raw_ns = *process->runner->NextWakeRawNs();
  Settle(*process);
  EXPECT_EQ(process->core.sums["x"], 1);
}

TEST_F(RunnerFaultsTest, AFullOutboxStopsInputsAndTicksButNoAnswers) {
  auto process = StartProcess("a", [](RunnerOptions* options) { options->outbox_records_max = 2; });
  Settle(*process);
  Publish("1");
  Publish("1");
  Turn(*process);
  log_.DeliverOldest(kJournal);
  Turn(*process);  // two records wait for the target
  Publish("1");
  process->core.tick_at_raw_ns = now_.raw_ns;
  Turn(*process);
  EXPECT_EQ(process->core.decided, 2);
  EXPECT_EQ(log_.Pending(), std::vector<log::TopicPartition>{kTarget});
  ASSERT_TRUE(process->runner->PostLocal(Local(5)).ok());
  Turn(*process);
  EXPECT_EQ(log_.Pending(), (std::vector<log::TopicPartition>{kTarget, kJournal}));
  Settle(*process);
  EXPECT_EQ(process->core.sums["x"], 8);
  EXPECT_EQ(process->core.sums["tick"], 1);
}

TEST_F(RunnerFaultsTest, AnOutboxRecordTooLargeEndsThePartition) {
  class TellsTooMuch : public TestCore {
   public:
    void Apply(absl::string_view, absl::string_view, const core::ApplyContext&,
               std::vector<core::OutboxRecord>* outbox) override {
      outbox->push_back({.target = kTarget, .value = std::string(log::kRecordBytesMax, 'x')});
    }
  };
  TellsTooMuch core;
  RunnerOptions options;
  options.journal = kJournal;
  options.decided_inputs = {{.at = kInput}};
  options.fence_token = "a";
  options.wake = [] {};
  PartitionRunner runner(std::move(options), &log_, &core);
  Publish("1");
  for (int i = 0; i < kTurnsMax && runner.state() != State::kFailed; ++i) {
    runner.Turn(now_);
    log_.DeliverAll();
  }
  EXPECT_EQ(runner.failure().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(RunnerFaultsTest, TicksAreDecidedWhenTheyAreDueAndWakeTheRunner) {
  auto process = StartProcess("a");
  Settle(*process);
  process->core.tick_at_raw_ns = now_.raw_ns + 500;
  Turn(*process);
  EXPECT_EQ(process->runner->NextWakeRawNs(), now_.raw_ns + 500);
  EXPECT_EQ(log_.DeliverAll(), 0u);
  now_.raw_ns += 500;
  Settle(*process);
  EXPECT_EQ(process->core.sums["tick"], 1);
}

TEST_F(RunnerFaultsTest, ANewerFenceAnswersWhatWaitsAndRefusesMore) {
  auto process = StartProcess("a");
  Settle(*process);
  absl::Status answer;
  ASSERT_TRUE(
      process->runner->PostQuery([&](absl::Status status, const Now&) { answer = status; }).ok());
  PutFence(2, "another");
  Turn(*process);
  EXPECT_EQ(process->state(), State::kFenced);
  EXPECT_EQ(answer.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(process->runner->PostQuery([](absl::Status, const Now&) {}).code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(process->runner->PostLocal(Local(1)).code(), absl::StatusCode::kUnavailable);
  process->runner->Stop();
  EXPECT_EQ(process->state(), State::kFenced);
}

// A foreign fence of a newer epoch takes the partition even between an append error and our next
// fence.
TEST_F(RunnerFaultsTest, ANewerFenceFoundWhileItRecoversEndsIt) {
  auto process = StartProcess("a");
  Settle(*process);
  Publish("1");
  Turn(*process);
  log_.FailNext(absl::InternalError("broker"), 0, kJournal);
  PutFence(2, "another");
  Settle(*process);
  EXPECT_EQ(process->state(), State::kFenced);
  EXPECT_EQ(Fences(), 2);
  EXPECT_TRUE(process->core.released.empty());
}

TEST_F(RunnerFaultsTest, AFenceThatFailedButIsThereIsPassedOver) {
  auto process = StartProcess("a");
  Turn(*process);
  log_.FailNext(absl::InternalError("lost answer"), 1, kJournal);
  Settle(*process);
  Publish("1");
  Settle(*process);
  EXPECT_EQ(process->state(), State::kLive);
  EXPECT_EQ(process->core.sums["x"], 1);
}

TEST_F(RunnerFaultsTest, AFenceThatComesLateAfterItsErrorDoesNotFenceItsOwner) {
  auto process = StartProcess("a");
  Turn(*process);
  log_.FailNext(absl::InternalError("timed out"), 0, kJournal);
  Turn(*process);  // the same epoch again
  PutFence(1, "a");
  Settle(*process);
  Publish("1");
  Settle(*process);
  EXPECT_EQ(process->state(), State::kLive);
  EXPECT_EQ(process->core.sums["x"], 1);
}

TEST_F(RunnerFaultsTest, ALocalInputIsTakenWhileItRecoversAndDecidedWhenItIsLive) {
  auto process = StartProcess("a");
  Turn(*process);
  ASSERT_EQ(process->state(), State::kRecovering);
  ASSERT_TRUE(process->runner->PostLocal(Local(4)).ok());
  Settle(*process);
  EXPECT_EQ(process->core.sums["x"], 4);
}

// Nobody reads it again, so it counts at most once: a core must take a lost answer as doubt.
TEST_F(RunnerFaultsTest, ALocalInputOfAVoidBatchIsGone) {
  auto process = StartProcess("a");
  Settle(*process);
  ASSERT_TRUE(process->runner->PostLocal(Local(4)).ok());
  Turn(*process);
  log_.FailNext(absl::InternalError("broker"), 0, kJournal);
  Settle(*process);
  EXPECT_EQ(process->state(), State::kLive);
  EXPECT_EQ(process->core.sums.count("x"), 0u);
}

TEST_F(RunnerFaultsTest, AQueryWaitsOutARecoveryOfItsOwner) {
  auto process = StartProcess("a");
  Settle(*process);
  Publish("1");
  Turn(*process);
  std::optional<absl::Status> answer;
  ASSERT_TRUE(
      process->runner->PostQuery([&](absl::Status status, const Now&) { answer = status; }).ok());
  log_.FailNext(absl::InternalError("broker"), 0, kJournal);
  process->runner->Turn(now_);
  ASSERT_EQ(process->state(), State::kRecovering);
  EXPECT_EQ(answer, std::nullopt);
  Settle(*process);
  EXPECT_EQ(answer, absl::OkStatus());
}

TEST_F(RunnerFaultsTest, AJournalAsDecidedInputIsContinuedAfterACrashAndAfterAVoidBatch) {
  const auto put = [&](uint64_t seq) {
    RecordHeader header;
    header.set_kind(RECORD_KIND_DECISION);
    header.set_epoch(1);
    header.set_seq(seq);
    log_.InjectRaw(kOtherJournal, {.key = "x", .header = core::EncodeHeader(header), .value = "1"});
  };
  const auto reads_journal = [](RunnerOptions* options) {
    options->decided_inputs = {{.at = kOtherJournal, .is_journal = true}};
  };
  RecordHeader fence;
  fence.set_kind(RECORD_KIND_FENCE);
  fence.set_epoch(1);
  log_.InjectRaw(kOtherJournal, {.key = "", .header = core::EncodeHeader(fence), .value = ""});
  auto process = StartProcess("a", reads_journal);
  put(1);
  Settle(*process);
  EXPECT_EQ(process->core.sums["x"], 1);
  process.reset();
  auto next = StartProcess("b", reads_journal);
  Settle(*next);
  put(2);
  Turn(*next);
  log_.FailNext(absl::InternalError("broker"), 0, kJournal);
  put(3);
  Settle(*next);
  EXPECT_EQ(next->core.sums["x"], 3);
}

TEST_F(RunnerFaultsTest, WorksOnALogThatIsDurableAtOnce) {
  log::MemoryLog log;
  SumCore core;
  RunnerOptions options;
  options.journal = kJournal;
  options.decided_inputs = {{.at = kInput}};
  options.fence_token = "a";
  options.wake = [] {};
  PartitionRunner runner(std::move(options), &log, &core);
  for (int i = 0; i < 5000; ++i) log.InjectRaw(kInput, {.key = "x", .header = "", .value = "1"});
  for (int i = 0; i < kTurnsMax && runner.Turn(now_); ++i) {
  }
  EXPECT_EQ(core.sums["x"], 5000);
  EXPECT_EQ(runner.inputs_taken(), 5000u);
  EXPECT_EQ(log.End(kTarget), 5000u);
}

TEST_F(RunnerFaultsTest, AStoppedRunnerDoesNothingMore) {
  auto process = StartProcess("a");
  Settle(*process);
  Publish("1");
  Turn(*process);
  process->runner->Stop();
  log_.DeliverAll();
  EXPECT_FALSE(process->runner->Turn(now_));
  EXPECT_TRUE(process->core.released.empty());
  EXPECT_EQ(process->runner->PostLocal(Local(1)).code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace tidegate::runtime
