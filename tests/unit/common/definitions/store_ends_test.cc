// What the store makes of a log that tells its end late, not at all, or before it shows the
// records: a read must not miss, and a wish must not be judged without, what others were told was
// accepted.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/definitions/definition_store.h"
#include "common/log/memory_log.h"
#include "tests/unit/common/log/lagging_log.h"

namespace tidegate::definitions {
namespace {

using ::tidegate::log::v1::Definition;
using ::tidegate::log::v1::Proposal;
using EndAnswer = log::MemoryLog::EndAnswer;
using Result = absl::StatusOr<AcceptedRequest>;

constexpr log::TopicPartition kTopic{log::Topic::kDefinitions, 0};
constexpr auto kPatience = std::chrono::seconds(20);

// Stands still until the test moves it.
class ManualClock : public Clock {
 public:
  Now Read() const override { return {.wall_ns = 1, .raw_ns = raw_ns_, .boot_ns = 1}; }
  void Pass(int64_t ns) { raw_ns_ += ns; }

 private:
  std::atomic<int64_t> raw_ns_{1};
};

// The answers to one call; there must be one.
template <typename T>
struct Answers {
  void Put(T value) {
    std::lock_guard lock(mu);
    values.push_back(std::move(value));
  }
  size_t count() {
    std::lock_guard lock(mu);
    return values.size();
  }
  T Only() {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (count() == 0 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    std::lock_guard lock(mu);
    EXPECT_EQ(values.size(), 1u);
    return values.empty() ? T(absl::InternalError("no answer")) : values.front();
  }

  std::mutex mu;
  std::vector<T> values;
};

class StoreEndsTest : public ::testing::Test {
 protected:
  // What another process was told is accepted.
  void Accept(uint64_t expected_revision) {
    Proposal proposal;
    proposal.set_corp("ww1");
    proposal.set_expected_revision(expected_revision);
    proposal.set_request_id(absl::StrCat("other ", expected_revision));
    proposal.set_proposal_id(absl::StrCat("other ", expected_revision));
    memory_.InjectRaw(kTopic, {.key = "ww1", .header = "", .value = proposal.SerializeAsString()});
  }
  void Open() { store_ = std::make_unique<DefinitionStore>(&log_, &clock_); }
  // The store, once it has read that many changes.
  void OpenAndRead(uint64_t revision) {
    Open();
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (store_->Corp("ww1")->revision < revision &&
           std::chrono::steady_clock::now() < deadline) {
      std::this_thread::yield();
    }
    ASSERT_EQ(store_->Corp("ww1")->revision, revision);
  }
  // The store's thread has looked at the log and at who waits, at least once since the call.
  void LetStoreLook() {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    for (int turn = 0; turn < 2; ++turn) {
      const uint64_t before = log_.reads();
      log_.Wake(kTopic);
      while (log_.reads() == before && std::chrono::steady_clock::now() < deadline) {
        std::this_thread::yield();
      }
      ASSERT_GT(log_.reads(), before);
    }
  }
  std::shared_ptr<Answers<absl::Status>> WhenCurrent() {
    auto answers = std::make_shared<Answers<absl::Status>>();
    store_->WhenCurrent([answers](absl::Status status) { answers->Put(std::move(status)); });
    return answers;
  }
  std::shared_ptr<Answers<Result>> Propose(const std::string& id) {
    auto answers = std::make_shared<Answers<Result>>();
    store_->Propose(
        {.corp = "ww1", .caller = "cli", .request_id = id, .body_hash = "body", .reason = ""},
        [this](const CorpDefinitions& corp) -> absl::StatusOr<std::vector<Definition>> {
          ++builds_;
          built_on_ = corp.revision;
          Definition definition;
          definition.set_id("vip");
          definition.mutable_rule()->set_event_kind("order");
          return std::vector<Definition>{definition};
        },
        [answers](Result result) { answers->Put(std::move(result)); });
    return answers;
  }

  ManualClock clock_;
  log::MemoryLog memory_{log::MemoryLogOptions{.manual_ends = true}};
  log::LaggingLog log_{&memory_};
  std::atomic<int> builds_{0};
  std::atomic<uint64_t> built_on_{0};
  std::unique_ptr<DefinitionStore> store_;
};

TEST_F(StoreEndsTest, IsNotCurrentBeforeTheEndIsAnswered) {
  Accept(0);
  OpenAndRead(1);
  const auto answers = WhenCurrent();
  EXPECT_EQ(answers->count(), 0u);
  ASSERT_TRUE(memory_.AnswerEnd(0, EndAnswer::kAsAsked));
  EXPECT_TRUE(answers->Only().ok());
}

TEST_F(StoreEndsTest, AskedForItIsCurrentOnlyWhenAllUpToTheEndIsFolded) {
  Accept(0);
  log_.Hide(kTopic, 1);
  OpenAndRead(1);
  Accept(1);
  const auto answers = WhenCurrent();
  ASSERT_TRUE(memory_.AnswerEnd(0, EndAnswer::kAsAsked));
  LetStoreLook();
  EXPECT_EQ(answers->count(), 0u);
  log_.Show(kTopic);
  EXPECT_TRUE(answers->Only().ok());
  EXPECT_EQ(store_->Corp("ww1")->revision, 2u);
}

// What came after the question need not be waited for.
TEST_F(StoreEndsTest, WhatCameAfterTheQuestionIsNotWaitedFor) {
  Accept(0);
  log_.Hide(kTopic, 1);
  OpenAndRead(1);
  const auto answers = WhenCurrent();
  Accept(1);
  ASSERT_TRUE(memory_.AnswerEnd(0, EndAnswer::kAsAsked));
  EXPECT_TRUE(answers->Only().ok());
}

TEST_F(StoreEndsTest, AnEndThatIsNotAnsweredIsUnavailable) {
  Open();
  const auto answers = WhenCurrent();
  ASSERT_TRUE(memory_.AnswerEnd(0, EndAnswer::kError));
  EXPECT_TRUE(absl::IsUnavailable(answers->Only()));
  // The next call asks anew.
  const auto again = WhenCurrent();
  ASSERT_TRUE(memory_.AnswerEnd(0, EndAnswer::kAsAsked));
  EXPECT_TRUE(again->Only().ok());
}

TEST_F(StoreEndsTest, AnEndThatIsNotReachedInTenSecondsIsUnavailable) {
  log_.Hide(kTopic, 0);
  Accept(0);
  Open();
  const auto answers = WhenCurrent();
  ASSERT_TRUE(memory_.AnswerEnd(0, EndAnswer::kAsAsked));
  clock_.Pass(10 * kNanosPerSecond - 1);
  LetStoreLook();
  EXPECT_EQ(answers->count(), 0u);
  clock_.Pass(1);
  EXPECT_TRUE(absl::IsUnavailable(answers->Only()));
  // It was the one that gave up, not the store.
  log_.Show(kTopic);
  const auto again = WhenCurrent();
  ASSERT_TRUE(memory_.AnswerEnd(0, EndAnswer::kAsAsked));
  EXPECT_TRUE(again->Only().ok());
}

TEST_F(StoreEndsTest, TooManyWhoWaitAreRejected) {
  Open();
  std::vector<std::shared_ptr<Answers<absl::Status>>> waiting;
  for (int i = 0; i < 10'000; ++i) waiting.push_back(WhenCurrent());
  EXPECT_TRUE(absl::IsResourceExhausted(WhenCurrent()->Only()));
  EXPECT_EQ(waiting.front()->count(), 0u);
  ASSERT_TRUE(memory_.AnswerEnd(0, EndAnswer::kAsAsked));
  EXPECT_TRUE(waiting.front()->Only().ok());
  const auto next = WhenCurrent();
  EXPECT_EQ(next->count(), 0u) << "there is room again";
  while (memory_.AnswerEnd(0, EndAnswer::kError)) {
  }
  EXPECT_TRUE(absl::IsUnavailable(next->Only()));
}

TEST_F(StoreEndsTest, ATopicThatCannotBeReadEndsAllThatWait) {
  log_.Hide(kTopic, 0);
  Accept(0);
  Open();
  const auto answers = WhenCurrent();
  ASSERT_TRUE(memory_.AnswerEnd(0, EndAnswer::kAsAsked));
  log_.FailReads(absl::DataLossError("corrupt"));
  log_.Show(kTopic);
  EXPECT_TRUE(absl::IsDataLoss(answers->Only()));
  const auto later = WhenCurrent();
  ASSERT_TRUE(memory_.AnswerEnd(0, EndAnswer::kAsAsked));
  EXPECT_TRUE(absl::IsDataLoss(later->Only()));
}

TEST_F(StoreEndsTest, WhoWaitsAtTheEndHearsOfIt) {
  log_.Hide(kTopic, 0);
  Accept(0);
  Open();
  const auto waiting = WhenCurrent();
  ASSERT_TRUE(memory_.AnswerEnd(0, EndAnswer::kAsAsked));
  const auto asking = WhenCurrent();
  const auto proposing = Propose("r1");
  store_.reset();
  EXPECT_TRUE(absl::IsUnavailable(waiting->Only()));
  EXPECT_EQ(asking->count(), 0u);
  // A log that closes answers what is still asked after the store is gone.
  ASSERT_TRUE(memory_.AnswerEnd(0, EndAnswer::kAsAsked));
  ASSERT_TRUE(memory_.AnswerEnd(0, EndAnswer::kError));
  EXPECT_TRUE(absl::IsUnavailable(asking->Only()));
  EXPECT_TRUE(absl::IsUnavailable(proposing->Only().status()));
  EXPECT_EQ(builds_, 0);
}

TEST_F(StoreEndsTest, AWishIsJudgedByWhatOthersWereToldBeforeIt) {
  Accept(0);
  log_.Hide(kTopic, 1);
  OpenAndRead(1);
  Accept(1);
  const auto answers = Propose("r1");
  EXPECT_EQ(builds_, 0);
  ASSERT_TRUE(memory_.AnswerEnd(0, EndAnswer::kAsAsked));
  LetStoreLook();
  EXPECT_EQ(builds_, 0);
  log_.Show(kTopic);
  const Result result = answers->Only();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->revision, 3u);
  EXPECT_EQ(builds_, 1) << "no race was lost";
  EXPECT_EQ(built_on_, 2u);
}

TEST_F(StoreEndsTest, AWishIsUnavailableWhenTheEndIsNotAnsweredOrNotReached) {
  log_.Hide(kTopic, 0);
  Accept(0);
  Open();
  const auto unanswered = Propose("r1");
  ASSERT_TRUE(memory_.AnswerEnd(0, EndAnswer::kError));
  EXPECT_TRUE(absl::IsUnavailable(unanswered->Only().status()));
  const auto unreached = Propose("r2");
  ASSERT_TRUE(memory_.AnswerEnd(0, EndAnswer::kAsAsked));
  clock_.Pass(10 * kNanosPerSecond);
  EXPECT_TRUE(absl::IsUnavailable(unreached->Only().status()));
  EXPECT_EQ(builds_, 0);
  EXPECT_EQ(memory_.End(kTopic), 1u) << "nothing was stored";
}

// The same request again, after it was refused: as if it were new.
TEST_F(StoreEndsTest, AWishThatWasUnavailableMayBeRepeated) {
  Open();
  const auto first = Propose("r1");
  ASSERT_TRUE(memory_.AnswerEnd(0, EndAnswer::kError));
  EXPECT_TRUE(absl::IsUnavailable(first->Only().status()));
  const auto second = Propose("r1");
  ASSERT_TRUE(memory_.AnswerEnd(0, EndAnswer::kAsAsked));
  const Result result = second->Only();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->revision, 1u);
}

// The bound holds for those too that wait for an end.
TEST_F(StoreEndsTest, RefusesMoreThanAThousandThatWaitForTheEnd) {
  Open();
  std::vector<std::shared_ptr<Answers<Result>>> waiting;
  for (int i = 0; i < 1000; ++i) waiting.push_back(Propose(absl::StrCat("r", i)));
  EXPECT_TRUE(absl::IsResourceExhausted(Propose("one more")->Only().status()));
  EXPECT_EQ(memory_.PendingEnds().size(), 1000u);
  ASSERT_TRUE(memory_.AnswerEnd(999, EndAnswer::kError));
  EXPECT_TRUE(absl::IsUnavailable(waiting[999]->Only().status()));
  // There is room for one again.
  const auto last = Propose("another");
  EXPECT_EQ(memory_.PendingEnds().size(), 1000u);
  while (memory_.AnswerEnd(0, EndAnswer::kError)) {
  }
  EXPECT_TRUE(absl::IsUnavailable(last->Only().status()));
}

TEST_F(StoreEndsTest, WaitUntilReadAsksAgain) {
  Accept(0);
  Open();
  std::atomic<bool> read{false};
  std::thread waiting([&] {
    EXPECT_TRUE(store_->WaitUntilRead().ok());
    read = true;
  });
  const auto answer_next = [&](EndAnswer answer) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (memory_.PendingEnds().empty() && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::yield();
    }
    EXPECT_FALSE(read);
    EXPECT_TRUE(memory_.AnswerEnd(0, answer));
  };
  for (int i = 0; i < 3; ++i) answer_next(EndAnswer::kError);
  answer_next(EndAnswer::kAsAsked);
  waiting.join();
  EXPECT_EQ(store_->Corp("ww1")->revision, 1u);
}

}  // namespace
}  // namespace tidegate::definitions
