#include "common/runtime/partition_runner.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/core/header_codec.h"
#include "common/log/memory_log.h"
#include "tests/unit/common/runtime/sum_core.h"

namespace tidegate::runtime {
namespace {

using ::tidegate::log::v1::RECORD_KIND_COVER;
using ::tidegate::log::v1::RECORD_KIND_DECISION;
using ::tidegate::log::v1::RECORD_KIND_FENCE;
using ::tidegate::log::v1::RECORD_KIND_OUTBOX_MARK;
using ::tidegate::log::v1::RecordHeader;
using State = PartitionRunner::State;

// A process with one runner. Its appends wait until the test delivers them.
class PartitionRunnerTest : public ::testing::Test {
 protected:
  struct Process {
    explicit Process(PartitionRunnerTest* test, const std::string& token) {
      RunnerOptions options;
      options.journal = kJournal;
      options.folded_inputs = {{.at = kFolded}};
      options.decided_inputs = {{.at = kInput}};
      options.fence_token = token;
      options.boot_id = "boot";
      options.local_inputs_max = 2;
      options.queries_max = 1;
      options.wake = [] {};
      runner = std::make_unique<PartitionRunner>(std::move(options), &test->log_, &core);
    }
    SumCore core;
    std::unique_ptr<PartitionRunner> runner;
  };

  std::unique_ptr<Process> StartProcess(const std::string& token) {
    return std::make_unique<Process>(this, token);
  }
  // Turns until nothing moves; delivers nothing.
  void Turn(Process& process) {
    for (int i = 0; i < 1000 && process.runner->Turn(now_); ++i) {
    }
  }
  // Turns and delivers until all is quiet.
  void Settle(Process& process) {
    for (int i = 0; i < 1000; ++i) {
      Turn(process);
      if (log_.DeliverAll() == 0) return;
    }
    FAIL() << "never quiet";
  }
  void Publish(const std::string& key, const std::string& value, RecordHeader header = {}) {
    log_.InjectRaw(kInput, {.key = key, .header = core::EncodeHeader(header), .value = value});
  }
  std::vector<RecordHeader> Headers(log::TopicPartition at) {
    std::vector<log::StoredRecord> records;
    EXPECT_TRUE(log_.Read(at, 0, 100000, 1 << 30, &records).ok());
    std::vector<RecordHeader> headers;
    for (const auto& record : records) headers.push_back(*core::DecodeHeader(record.record.header));
    return headers;
  }
  int CountKind(::tidegate::log::v1::RecordKind kind) {
    int count = 0;
    for (const RecordHeader& header : Headers(kJournal)) count += header.kind() == kind;
    return count;
  }

  log::MemoryLog log_{log::MemoryLogOptions{.manual = true}};
  Now now_{.wall_ns = 1'000'000'000, .raw_ns = 1'000'000'000, .boot_ns = 1'000'000'000};
};

TEST_F(PartitionRunnerTest, IsLiveOnlyAfterItsOwnFenceCameBack) {
  auto process = StartProcess("a");
  Turn(*process);
  EXPECT_EQ(process->runner->state(), State::kRecovering);
  log_.DeliverAll();
  Turn(*process);
  EXPECT_EQ(process->runner->state(), State::kLive);
  EXPECT_EQ(process->core.fences, 1);
}

TEST_F(PartitionRunnerTest, AppliesAndReleasesOnlyWhatCameBack) {
  auto process = StartProcess("a");
  Settle(*process);
  Publish("x", "5");
  Turn(*process);
  EXPECT_TRUE(process->core.sums.empty());
  EXPECT_TRUE(process->core.released.empty());
  log_.DeliverAll();
  Turn(*process);
  EXPECT_EQ(process->core.sums["x"], 5);
  EXPECT_EQ(process->core.released, std::vector<std::string>{"x=5"});
}

TEST_F(PartitionRunnerTest, DecidesOnPendingRecordsOfItsBatch) {
  auto process = StartProcess("a");
  Settle(*process);
  for (int i = 0; i < 3; ++i) Publish("x", "1");
  Settle(*process);
  EXPECT_EQ(process->core.sums["x"], 3);
}

// Kills at each point of a decision's way: no input is lost, none counts twice.
TEST_F(PartitionRunnerTest, SurvivesAKillAtEachCrashPoint) {
  enum class Point { kBeforeAppend, kInsideAppend, kAfterAppend, kAfterApply, kAfterRelease };
  int expected = 0;
  int token = 0;
  for (const Point point : {Point::kBeforeAppend, Point::kInsideAppend, Point::kAfterAppend,
                            Point::kAfterApply, Point::kAfterRelease}) {
    auto process = StartProcess(absl::StrCat("t", ++token));
    Settle(*process);
    for (int i = 0; i < 3; ++i) Publish("x", "1");
    expected += 3;
    switch (point) {
      case Point::kBeforeAppend:
        break;
      case Point::kInsideAppend:
        Turn(*process);
        log_.FailNext(absl::InternalError("killed"), 1, kJournal);
        break;
      case Point::kAfterAppend:
        Turn(*process);
        log_.DeliverAll();
        break;
      case Point::kAfterApply:
        Turn(*process);
        log_.DeliverAll();
        Turn(*process);
        break;
      case Point::kAfterRelease:
        Settle(*process);
        break;
    }
    process.reset();
    log_.CrashDropPending();
    auto next = StartProcess(absl::StrCat("n", ++token));
    Settle(*next);
    EXPECT_EQ(next->core.sums["x"], expected) << "crash point " << static_cast<int>(point);
  }
}

TEST_F(PartitionRunnerTest, FencesItselfAfterAnAppendErrorAndGoesOn) {
  auto process = StartProcess("a");
  Settle(*process);
  for (int i = 0; i < 4; ++i) Publish("x", "1");
  Turn(*process);
  log_.FailNext(absl::InternalError("broker"), 2, kJournal);
  Settle(*process);
  EXPECT_EQ(process->runner->state(), State::kLive);
  EXPECT_EQ(process->core.sums["x"], 4);
  EXPECT_EQ(CountKind(RECORD_KIND_FENCE), 2);
}

TEST_F(PartitionRunnerTest, IgnoresWhatAnAppendLeavesBehindLate) {
  auto process = StartProcess("a");
  Settle(*process);
  Publish("x", "1");
  Turn(*process);
  log_.FailNext(absl::InternalError("broker"), 0, kJournal);
  Settle(*process);
  // The failed batch turns up after the new fence, as a retried produce can.
  RecordHeader late;
  late.set_kind(RECORD_KIND_DECISION);
  late.set_epoch(1);
  late.set_seq(1);
  log_.InjectRaw(kJournal, {.key = "x", .header = core::EncodeHeader(late), .value = "77"});
  Settle(*process);
  EXPECT_EQ(process->core.sums["x"], 1);
  EXPECT_EQ(process->runner->void_records(), 1u);
}

TEST_F(PartitionRunnerTest, ARepeatedBatchCountsOnce) {
  auto process = StartProcess("a");
  Settle(*process);
  for (int i = 0; i < 3; ++i) Publish("x", "1");
  Turn(*process);
  log_.DuplicateNext(kJournal);
  Settle(*process);
  EXPECT_EQ(process->core.sums["x"], 3);
  auto next = StartProcess("b");
  Settle(*next);
  EXPECT_EQ(next->core.sums["x"], 3);
}

TEST_F(PartitionRunnerTest, AnOlderOwnerIsFencedAndReleasesNothingMore) {
  auto old_owner = StartProcess("old");
  Settle(*old_owner);
  Publish("x", "1");
  Turn(*old_owner);  // its batch waits for delivery
  auto new_owner = StartProcess("new");
  Turn(*new_owner);
  log_.DeliverOldest(kJournal);  // the old owner's batch
  log_.DeliverAll();             // the new owner's fence
  Settle(*new_owner);
  Publish("x", "1");
  Settle(*new_owner);
  Turn(*old_owner);
  EXPECT_EQ(old_owner->runner->state(), State::kFenced);
  const auto released = old_owner->core.released.size();
  Publish("x", "1");
  Settle(*new_owner);
  Turn(*old_owner);
  EXPECT_EQ(old_owner->core.released.size(), released);
  EXPECT_EQ(new_owner->core.sums["x"], 3);
}

TEST_F(PartitionRunnerTest, ABatchBehindANewFenceIsVoidAndDecidedByTheNewOwner) {
  auto old_owner = StartProcess("old");
  Settle(*old_owner);
  auto new_owner = StartProcess("new");
  Settle(*new_owner);
  Publish("x", "1");
  Turn(*old_owner);  // reads the newer fence before it decides anything
  EXPECT_EQ(old_owner->runner->state(), State::kFenced);
  Settle(*new_owner);
  EXPECT_EQ(new_owner->core.sums["x"], 1);
  EXPECT_TRUE(old_owner->core.released.empty());
}

TEST_F(PartitionRunnerTest, TheFirstFenceOfAnEpochWins) {
  auto first = StartProcess("first");
  auto second = StartProcess("second");
  Turn(*first);
  Turn(*second);  // both want epoch 1
  log_.DeliverAll();
  Turn(*first);
  Turn(*second);
  EXPECT_EQ(first->runner->state(), State::kLive);
  EXPECT_EQ(second->runner->state(), State::kFenced);
}

TEST_F(PartitionRunnerTest, SendsTheOutboxInOrderAndMarksItOnlyAfterTheAcknowledgement) {
  auto process = StartProcess("a");
  Settle(*process);
  Publish("x", "1");
  Publish("x", "1");
  Turn(*process);
  log_.DeliverOldest(kJournal);
  Turn(*process);  // applied; the outbox append waits
  now_.raw_ns += 10 * kNanosPerSecond;
  Turn(*process);
  EXPECT_EQ(CountKind(RECORD_KIND_OUTBOX_MARK), 0);
  log_.DeliverOldest(kTarget);
  Turn(*process);
  now_.raw_ns += 10 * kNanosPerSecond;
  Settle(*process);
  EXPECT_EQ(CountKind(RECORD_KIND_OUTBOX_MARK), 1);
  const auto sent = Headers(kTarget);
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_EQ(sent[0].source().out_seq(), 1u);
  EXPECT_EQ(sent[1].source().out_seq(), 2u);
  EXPECT_EQ(sent[1].source().journal(), "tidegate.profiles/0");
}

TEST_F(PartitionRunnerTest, SendsTheOutboxAgainFromTheMarkAfterACrash) {
  auto process = StartProcess("a");
  Settle(*process);
  Publish("x", "1");
  Turn(*process);
  log_.DeliverOldest(kJournal);
  Turn(*process);
  process.reset();
  log_.CrashDropPending();  // the outbox append is lost
  auto next = StartProcess("b");
  Settle(*next);
  ASSERT_EQ(Headers(kTarget).size(), 1u);
  EXPECT_EQ(Headers(kTarget)[0].source().out_seq(), 1u);
  // Marked now: a third owner sends nothing again.
  now_.raw_ns += 10 * kNanosPerSecond;
  Settle(*next);
  auto third = StartProcess("c");
  Settle(*third);
  EXPECT_EQ(Headers(kTarget).size(), 1u);
}

TEST_F(PartitionRunnerTest, AFailedOutboxAppendIsSentAgain) {
  auto process = StartProcess("a");
  Settle(*process);
  Publish("x", "1");
  Turn(*process);
  log_.DeliverOldest(kJournal);
  Turn(*process);
  log_.FailNext(absl::InternalError("broker"), 0, kTarget);
  Settle(*process);
  EXPECT_EQ(process->runner->state(), State::kLive);
  EXPECT_EQ(Headers(kTarget).size(), 1u);
}

TEST_F(PartitionRunnerTest, AnInputThatIsNotReadyIsHeldBackAndNotLost) {
  auto process = StartProcess("a");
  Settle(*process);
  RecordHeader from;
  from.mutable_source()->set_journal("other");
  from.mutable_source()->set_out_seq(1);
  Publish("x", "1");
  Publish("x", "wait", from);
  Settle(*process);
  EXPECT_EQ(process->core.decided, 1);
  // A crash while it is held back must not make the source's record look like a repeat.
  process.reset();
  auto next = StartProcess("b");
  Settle(*next);
  EXPECT_EQ(next->core.decided, 0);
  log_.InjectRaw(kFolded, {.key = "", .header = "", .value = "definition"});
  Settle(*next);
  EXPECT_EQ(next->core.decided, 1);
}

TEST_F(PartitionRunnerTest, ARepeatFromASourceIsDroppedAndAGapFailsLoudly) {
  auto process = StartProcess("a");
  Settle(*process);
  RecordHeader from;
  from.mutable_source()->set_journal("other");
  from.mutable_source()->set_out_seq(1);
  Publish("x", "1", from);
  Publish("x", "1", from);
  Settle(*process);
  EXPECT_EQ(process->core.sums["x"], 1);
  from.mutable_source()->set_out_seq(3);
  Publish("x", "1", from);
  Settle(*process);
  EXPECT_EQ(process->runner->state(), State::kFailed);
  EXPECT_EQ(process->runner->failure().code(), absl::StatusCode::kDataLoss);
}

TEST_F(PartitionRunnerTest, CoversInputsThatNeededNoRecordAfterAThousandOrAWhile) {
  auto process = StartProcess("a");
  Settle(*process);
  Publish("x", "0");
  Settle(*process);
  EXPECT_EQ(CountKind(RECORD_KIND_COVER), 0);
  now_.raw_ns += process->runner->options().cover_after_ns;
  Settle(*process);
  EXPECT_EQ(CountKind(RECORD_KIND_COVER), 1);
  EXPECT_EQ(Headers(kJournal).back().covers(0).position(), 1u);
  for (int i = 0; i < 1000; ++i) Publish("x", "0");
  Settle(*process);
  EXPECT_EQ(CountKind(RECORD_KIND_COVER), 2);
}

TEST_F(PartitionRunnerTest, FoldsItsStateInputsFromTheBeginningBeforeItIsLive) {
  log_.InjectRaw(kFolded, {.key = "", .header = "", .value = "one"});
  auto process = StartProcess("a");
  Settle(*process);
  log_.InjectRaw(kFolded, {.key = "", .header = "", .value = "two"});
  Settle(*process);
  EXPECT_EQ(process->core.folded, (std::vector<std::string>{"one", "two"}));
  auto next = StartProcess("b");
  Settle(*next);
  EXPECT_EQ(next->core.folded, (std::vector<std::string>{"one", "two"}));
}

// The former owner goes on until the fence, and decides on inputs that came after the new one
// started.
TEST_F(PartitionRunnerTest, FoldsInputsBeforeTheJournalRecordsThatReferToThem) {
  auto old_owner = StartProcess("old");
  Settle(*old_owner);
  auto new_owner = StartProcess("new");
  log_.InjectRaw(kFolded, {.key = "", .header = "", .value = "definition"});
  Publish("x", "wait");
  Publish("x", "1");
  Settle(*old_owner);
  new_owner->core.folded_before_apply = true;
  Settle(*new_owner);
  EXPECT_EQ(new_owner->core.sums["x"], 1);
  EXPECT_TRUE(new_owner->core.folded_before_apply);
}

TEST_F(PartitionRunnerTest, RefusesLocalInputsAndQueriesBeyondTheirBounds) {
  auto process = StartProcess("a");
  EXPECT_EQ(process->runner->PostQuery([](absl::Status, const Now&) {}).code(),
            absl::StatusCode::kUnavailable);
  Settle(*process);
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(process->runner->PostLocal(std::make_unique<AddLocally>()).ok());
  }
  EXPECT_EQ(process->runner->PostLocal(std::make_unique<AddLocally>()).code(),
            absl::StatusCode::kResourceExhausted);
  int answered = 0;
  EXPECT_TRUE(process->runner->PostQuery([&](absl::Status, const Now&) { ++answered; }).ok());
  EXPECT_EQ(process->runner->PostQuery([&](absl::Status, const Now&) { ++answered; }).code(),
            absl::StatusCode::kResourceExhausted);
  Settle(*process);
  EXPECT_EQ(answered, 1);
}

TEST_F(PartitionRunnerTest, AnswersWaitingQueriesUnavailableWhenItStops) {
  auto process = StartProcess("a");
  Settle(*process);
  absl::Status answer;
  ASSERT_TRUE(
      process->runner->PostQuery([&](absl::Status status, const Now&) { answer = status; }).ok());
  process->runner->Stop();
  EXPECT_EQ(answer.code(), absl::StatusCode::kUnavailable);
}

TEST_F(PartitionRunnerTest, LocalInputsAreDecidedLikeOthers) {
  auto process = StartProcess("a");
  Settle(*process);
  auto local = std::make_unique<AddLocally>();
  local->key = "y";
  local->number = 9;
  ASSERT_TRUE(process->runner->PostLocal(std::move(local)).ok());
  Settle(*process);
  EXPECT_EQ(process->core.sums["y"], 9);
}

}  // namespace
}  // namespace tidegate::runtime
