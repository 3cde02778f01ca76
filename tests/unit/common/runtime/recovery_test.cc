// Recovery with a store that is elsewhere: ends are answered late or not at all, records are shown
// later than their ends are known, and a former owner still appends until the fence.
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/seeded_random.h"
#include "common/core/header_codec.h"
#include "common/log/memory_log.h"
#include "common/runtime/partition_runner.h"
#include "tests/unit/common/log/lagging_log.h"

namespace tidegate::runtime {
namespace {

using log::TopicPartition;
using ::tidegate::log::v1::RECORD_KIND_DECISION;
using ::tidegate::log::v1::RECORD_KIND_FENCE;
using ::tidegate::log::v1::RecordHeader;
using EndAnswer = log::MemoryLog::EndAnswer;
using State = PartitionRunner::State;

constexpr TopicPartition kJournal{log::Topic::kLedger, 0};
constexpr TopicPartition kOne{log::Topic::kDefinitions, 0};
constexpr TopicPartition kOther{log::Topic::kAudiences, 0};
constexpr int64_t kAskAgainNs = 5 * kNanosPerMilli;

// A journal record's value says how many records of kOne it was decided on.
class ReferringCore : public core::Core {
 public:
  void Fold(TopicPartition from, const log::StoredRecord&, const RecordHeader&) override {
    (from == kOne ? folded_one : folded_other)++;
  }
  std::optional<core::Decision> Decide(const core::Input&, const Now&) override {
    if (!decides) return std::nullopt;
    decides = false;
    return core::Decision{.key = "", .value = absl::StrCat(folded_one)};
  }
  void Apply(absl::string_view, absl::string_view value, const core::ApplyContext&,
             std::vector<core::OutboxRecord>*) override {
    applied.emplace_back(value);
    if (std::atoi(applied.back().c_str()) > folded_one) ++applied_too_early;
  }
  void ApplyFence(const ::tidegate::log::v1::Fence&, uint64_t) override { ++fences; }
  void EndBatch() override {}
  void Release(const Now&) override { ++releases; }

  int folded_one = 0;
  int folded_other = 0;
  std::vector<std::string> applied;
  int applied_too_early = 0;
  int fences = 0;
  int releases = 0;
  bool decides = false;
};

class RecoveryTest : public ::testing::Test {
 protected:
  void Start() {
    RunnerOptions options;
    options.journal = kJournal;
    options.folded_inputs = {{.at = kOne}, {.at = kOther}};
    options.owner = options.fence_token = "new";
    options.boot_id = "boot";
    options.wake = [this] { ++wakes_; };
    runner_ = std::make_unique<PartitionRunner>(std::move(options), &log_, &core_);
  }
  // Turns until nothing moves.
  void Turn() {
    for (int i = 0; i < 1000 && runner_->Turn(now_); ++i) {
    }
  }
  void Answer(size_t index, EndAnswer answer = EndAnswer::kAsAsked) {
    ASSERT_TRUE(memory_.AnswerEnd(index, answer));
  }
  // Answers one round of questions, journal and inputs, and turns.
  void AnswerRound() {
    Turn();
    ASSERT_EQ(memory_.PendingEnds(), std::vector<TopicPartition>{kJournal});
    Answer(0);
    Turn();
    ASSERT_EQ(memory_.PendingEnds(), (std::vector<TopicPartition>{kOne, kOther}));
    Answer(0);
    Answer(0);
    Turn();
  }
  void PutOne() { memory_.InjectRaw(kOne, {.key = "", .header = "", .value = "x"}); }
  // What the former owner appends.
  void PutFence(uint64_t epoch, const std::string& token) {
    RecordHeader header;
    header.set_kind(RECORD_KIND_FENCE);
    header.set_epoch(epoch);
    header.mutable_fence()->set_owner(token);
    header.mutable_fence()->set_token(token);
    memory_.InjectRaw(kJournal, {.key = "", .header = core::EncodeHeader(header), .value = ""});
  }
  void PutDecision(uint64_t epoch, uint64_t seq, int refers_to) {
    RecordHeader header;
    header.set_kind(RECORD_KIND_DECISION);
    header.set_epoch(epoch);
    header.set_seq(seq);
    memory_.InjectRaw(
        kJournal,
        {.key = "", .header = core::EncodeHeader(header), .value = absl::StrCat(refers_to)});
  }
  // Of the former owner: a fence, one folded record, one decision on it.
  void PutHistory() {
    PutOne();
    PutFence(1, "old");
    PutDecision(1, 1, 1);
  }
  int Fences() {
    std::vector<log::StoredRecord> records;
    EXPECT_TRUE(memory_.Read(kJournal, 0, 100'000, 1 << 30, &records).ok());
    int fences = 0;
    for (const auto& record : records) {
      fences += core::DecodeHeader(record.record.header)->kind() == RECORD_KIND_FENCE;
    }
    return fences;
  }

  log::MemoryLog memory_{log::MemoryLogOptions{.manual = true, .manual_ends = true}};
  log::LaggingLog log_{&memory_};
  ReferringCore core_;
  Now now_{.wall_ns = kNanosPerSecond, .raw_ns = kNanosPerSecond, .boot_ns = kNanosPerSecond};
  int wakes_ = 0;
  std::unique_ptr<PartitionRunner> runner_;
};

TEST_F(RecoveryTest, AsksForTheJournalThenForTheInputsAndOnceMoreAfterItsFence) {
  PutHistory();
  Start();
  AnswerRound();
  EXPECT_EQ(core_.applied, std::vector<std::string>{"1"});
  ASSERT_EQ(memory_.Pending(), std::vector<TopicPartition>{kJournal});
  EXPECT_TRUE(memory_.PendingEnds().empty());
  memory_.DeliverAll();
  AnswerRound();
  EXPECT_EQ(runner_->state(), State::kLive);
  EXPECT_EQ(core_.fences, 2);
  EXPECT_EQ(core_.releases, 1);
}

TEST_F(RecoveryTest, WaitsForEachAnswerAndIsWokenByTheLastOfARound) {
  PutHistory();
  Start();
  Turn();
  EXPECT_FALSE(runner_->Turn(now_));
  EXPECT_EQ(runner_->NextWakeRawNs(), std::nullopt);
  EXPECT_EQ(core_.folded_one, 0);
  Answer(0);
  EXPECT_EQ(wakes_, 1);
  Turn();
  // The other input first.
  Answer(1);
  EXPECT_EQ(wakes_, 1);
  EXPECT_FALSE(runner_->Turn(now_));
  EXPECT_EQ(core_.folded_one, 0);
  EXPECT_TRUE(core_.applied.empty());
  Answer(0);
  EXPECT_EQ(wakes_, 2);
  Turn();
  EXPECT_EQ(core_.folded_one, 1);
  EXPECT_EQ(core_.applied.size(), 1u);
  EXPECT_EQ(runner_->state(), State::kRecovering);
}

TEST_F(RecoveryTest, AnErrorIsAskedAgainAfterAPause) {
  PutHistory();
  Start();
  Turn();
  for (int i = 0; i < 3; ++i) {
    Answer(0, EndAnswer::kError);
    Turn();
    EXPECT_TRUE(memory_.PendingEnds().empty()) << i;
    EXPECT_EQ(runner_->NextWakeRawNs(), now_.raw_ns + kAskAgainNs) << i;
    now_.raw_ns += kAskAgainNs - 1;
    Turn();
    EXPECT_TRUE(memory_.PendingEnds().empty()) << i;
    now_.raw_ns += 1;
    Turn();
    EXPECT_EQ(memory_.PendingEnds(), std::vector<TopicPartition>{kJournal}) << i;
  }
  AnswerRound();
  EXPECT_EQ(core_.applied.size(), 1u);
  EXPECT_EQ(memory_.Pending().size(), 1u);
}

// What was known of the journal is too old then: it is asked for first again.
TEST_F(RecoveryTest, AnErrorOfOneInputAsksForAllAgain) {
  PutHistory();
  for (const size_t failed : {0u, 1u}) {
    Start();
    Turn();
    Answer(0);
    Turn();
    Answer(failed, EndAnswer::kError);
    Turn();
    ASSERT_EQ(memory_.PendingEnds().size(), 1u) << "the other input is still asked for";
    Answer(0);
    Turn();
    EXPECT_TRUE(memory_.PendingEnds().empty());
    EXPECT_TRUE(core_.applied.empty());
    now_.raw_ns += kAskAgainNs;
    Turn();
    EXPECT_EQ(memory_.PendingEnds(), std::vector<TopicPartition>{kJournal});
    Answer(0, EndAnswer::kError);
  }
}

TEST_F(RecoveryTest, AnAnswerThatComesAfterTheRunnerIsGoneIsHarmless) {
  Start();
  Turn();
  runner_.reset();
  Answer(0);
  EXPECT_EQ(wakes_, 1);
}

// The end is known before the records are there.
TEST_F(RecoveryTest, InputsAreFoldedUpToTheirEndsBeforeTheJournalIsRead) {
  PutHistory();
  log_.Hide(kOne, 0);
  Start();
  AnswerRound();
  EXPECT_FALSE(runner_->Turn(now_));
  EXPECT_EQ(core_.fences, 0);
  EXPECT_TRUE(core_.applied.empty());
  log_.Show(kOne);
  Turn();
  EXPECT_EQ(core_.applied, std::vector<std::string>{"1"});
  EXPECT_EQ(core_.applied_too_early, 0);
}

// The former owner folds and appends on while we recover.
TEST_F(RecoveryTest, WhatTheFormerOwnerDecidedAfterTheFirstQuestionIsAppliedAfterWhatItRefersTo) {
  PutHistory();
  Start();
  Turn();
  Answer(0);  // the journal's end
  PutOne();
  PutDecision(1, 2, 2);
  Turn();
  // The new input is durable, and not shown here yet.
  log_.Hide(kOne, 1);
  Answer(0);
  Answer(0);
  Turn();
  EXPECT_TRUE(core_.applied.empty()) << "the inputs' ends are of after the second decision";
  log_.Show(kOne);
  Turn();
  EXPECT_EQ(core_.applied, std::vector<std::string>{"1"}) << "not beyond the end asked for";
  // Ours waits to be appended; the former owner is faster once more.
  PutOne();
  PutDecision(1, 3, 3);
  log_.Hide(kOne, 2);
  memory_.DeliverAll();
  AnswerRound();
  EXPECT_EQ(core_.applied, std::vector<std::string>{"1"});
  EXPECT_EQ(runner_->state(), State::kRecovering);
  log_.Show(kOne);
  Turn();
  EXPECT_EQ(core_.applied, (std::vector<std::string>{"1", "2", "3"}));
  EXPECT_EQ(core_.applied_too_early, 0);
  EXPECT_EQ(runner_->state(), State::kLive);
  // After our fence it is too late.
  PutDecision(1, 4, 4);
  Turn();
  EXPECT_EQ(core_.applied.size(), 3u);
  EXPECT_EQ(core_.applied_too_early, 0);
}

TEST_F(RecoveryTest, AFenceThatIsAcknowledgedButNotShownIsWaitedFor) {
  PutHistory();
  Start();
  AnswerRound();
  log_.Hide(kJournal, 2);
  memory_.DeliverAll();
  AnswerRound();
  for (int i = 0; i < 20; ++i) {
    now_.raw_ns += kNanosPerSecond;
    EXPECT_FALSE(runner_->Turn(now_));
  }
  EXPECT_EQ(runner_->state(), State::kRecovering);
  EXPECT_EQ(core_.releases, 0);
  log_.Show(kJournal);
  Turn();
  EXPECT_EQ(runner_->state(), State::kLive);
  EXPECT_EQ(Fences(), 2) << "no second one";
}

// Against its contract, the store answers an end that lacks what it acknowledged.
TEST_F(RecoveryTest, AnEndWithoutTheAcknowledgedFenceIsAskedForAgain) {
  PutHistory();
  Start();
  AnswerRound();
  memory_.DeliverAll();
  // Of the journal it lacks the fence; the inputs have as many.
  log_.AnswerEndsWith(2);
  PutOne();
  memory_.InjectRaw(kOther, {});
  memory_.InjectRaw(kOther, {});
  Turn();
  EXPECT_EQ(runner_->state(), State::kRecovering);
  EXPECT_EQ(runner_->NextWakeRawNs(), now_.raw_ns + kAskAgainNs);
  log_.AnswerEndsWith(std::nullopt);
  now_.raw_ns += kAskAgainNs;
  AnswerRound();
  EXPECT_EQ(runner_->state(), State::kLive);
  EXPECT_EQ(Fences(), 2) << "no second one";
}

TEST_F(RecoveryTest, AFenceOfAnotherBetweenOursAndTheAnswersEndsIt) {
  PutHistory();
  Start();
  AnswerRound();
  memory_.DeliverAll();
  Turn();
  PutFence(3, "newer");
  Answer(0, EndAnswer::kAsNow);
  Turn();
  Answer(0);
  Answer(0);
  Turn();
  EXPECT_EQ(runner_->state(), State::kFenced);
  EXPECT_EQ(core_.releases, 0);
}

TEST_F(RecoveryTest, ALostRaceForTheEpochEndsIt) {
  PutHistory();
  Start();
  AnswerRound();
  PutFence(2, "faster");
  memory_.DeliverAll();
  AnswerRound();
  EXPECT_EQ(runner_->state(), State::kFenced);
  EXPECT_EQ(core_.releases, 0);
}

TEST_F(RecoveryTest, AnAppendErrorAsksForAllEndsAgain) {
  PutHistory();
  Start();
  AnswerRound();
  memory_.DeliverAll();
  AnswerRound();
  ASSERT_EQ(runner_->state(), State::kLive);
  core_.decides = true;
  Turn();
  ASSERT_TRUE(memory_.FailNext(absl::InternalError("broker"), 1, kJournal));
  Turn();
  EXPECT_EQ(runner_->state(), State::kRecovering);
  AnswerRound();
  EXPECT_EQ(core_.applied.size(), 2u) << "what was stored counts";
  ASSERT_EQ(memory_.Pending().size(), 1u);
  memory_.DeliverAll();
  AnswerRound();
  EXPECT_EQ(runner_->state(), State::kLive);
  EXPECT_EQ(Fences(), 3);
}

TEST_F(RecoveryTest, AFailedFenceAsksForAllEndsAgain) {
  PutHistory();
  Start();
  AnswerRound();
  ASSERT_TRUE(memory_.FailNext(absl::InternalError("broker"), 0, kJournal));
  AnswerRound();
  ASSERT_EQ(memory_.Pending().size(), 1u) << "another fence";
  memory_.DeliverAll();
  AnswerRound();
  EXPECT_EQ(runner_->state(), State::kLive);
}

TEST_F(RecoveryTest, AnUnreadableStoreFailsThePartition) {
  PutHistory();
  Start();
  log_.FailReads(absl::DataLossError("corrupt"));
  AnswerRound();
  EXPECT_EQ(runner_->state(), State::kFailed);
  EXPECT_TRUE(absl::IsDataLoss(runner_->failure()));
}

// All of it at random: a former owner that goes on until our fence, ends late, wrong or in any
// order, records shown late. Nothing is applied before what it refers to, everything that counts is
// applied.
TEST(RecoverySchedulesTest, NothingIsAppliedBeforeWhatItRefersTo) {
  int raced = 0;
  for (uint64_t seed = 1; seed <= 2000; ++seed) {
    SeededRandom random(seed);
    log::MemoryLog memory{log::MemoryLogOptions{.manual = true, .manual_ends = true}};
    log::LaggingLog log(&memory);
    ReferringCore core;
    RunnerOptions options;
    options.journal = kJournal;
    options.folded_inputs = {{.at = kOne}, {.at = kOther}};
    options.owner = options.fence_token = "new";
    options.wake = [] {};
    PartitionRunner runner(std::move(options), &log, &core);
    Now now{.wall_ns = 1, .raw_ns = 1, .boot_ns = 1};
    std::vector<std::string> decided;
    int durable = 0;
    bool fenced = false;
    RecordHeader fence;
    fence.set_kind(RECORD_KIND_FENCE);
    fence.set_epoch(1);
    fence.mutable_fence()->set_token("old");
    memory.InjectRaw(kJournal, {.key = "", .header = core::EncodeHeader(fence), .value = ""});
    bool asked = false;
    for (int step = 0; step < 4000 && runner.state() != State::kLive; ++step) {
      now.raw_ns += static_cast<int64_t>(random.Below(3)) * kNanosPerMilli;
      switch (random.Below(8)) {
        case 0:
          memory.InjectRaw(kOne, {.key = "", .header = "", .value = "x"});
          ++durable;
          break;
        case 1: {
          if (step > 200) break;  // it ends at last
          RecordHeader header;
          header.set_kind(RECORD_KIND_DECISION);
          header.set_epoch(1);
          header.set_seq(decided.size() + 1);
          memory.InjectRaw(
              kJournal,
              {.key = "", .header = core::EncodeHeader(header), .value = absl::StrCat(durable)});
          if (fenced) break;  // too late: void
          decided.push_back(absl::StrCat(durable));
          raced += asked;
          break;
        }
        case 2: {
          const size_t waiting = memory.PendingEnds().size();
          if (waiting == 0) break;
          memory.AnswerEnd(random.Below(waiting), random.Chance(0.1)   ? EndAnswer::kError
                                                  : random.Chance(0.5) ? EndAnswer::kAsAsked
                                                                       : EndAnswer::kAsNow);
          break;
        }
        case 3:
          if (random.Chance(0.3) && !memory.Pending().empty()) {
            memory.DeliverAll();
            fenced = true;
          }
          break;
        case 4: {
          const TopicPartition at = random.Chance(0.5) ? kOne : kJournal;
          log.Hide(at, random.Below(memory.End(at) + 1));
          break;
        }
        case 5:
          log.Show(random.Chance(0.5) ? kOne : kJournal);
          break;
        default:
          runner.Turn(now);
          asked |= !memory.PendingEnds().empty();
          break;
      }
    }
    ASSERT_EQ(runner.state(), State::kLive) << "seed " << seed;
    ASSERT_EQ(core.applied_too_early, 0) << "seed " << seed;
    ASSERT_EQ(core.applied, decided) << "seed " << seed;
  }
  EXPECT_GT(raced, 1000);
}

}  // namespace
}  // namespace tidegate::runtime
