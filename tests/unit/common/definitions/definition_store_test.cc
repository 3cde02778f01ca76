#include "common/definitions/definition_store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/log/memory_log.h"

namespace tidegate::definitions {
namespace {

using ::tidegate::log::v1::Definition;
using ::tidegate::log::v1::Proposal;
using Result = absl::StatusOr<AcceptedRequest>;

constexpr log::TopicPartition kTopic{log::Topic::kDefinitions, 0};
constexpr auto kPatience = std::chrono::seconds(20);

class FixedClock : public Clock {
 public:
  Now Read() const override { return {.wall_ns = 1, .raw_ns = 1, .boot_ns = 1}; }
};

// A value that another thread puts in once.
template <typename T>
class Box {
 public:
  void Put(T value) {
    std::lock_guard lock(mu_);
    value_ = std::move(value);
    ++puts_;
    put_.notify_all();
  }
  // Fails the test, and gives nothing, if nothing comes.
  std::optional<T> Take() {
    std::unique_lock lock(mu_);
    EXPECT_TRUE(put_.wait_for(lock, kPatience, [this] { return value_.has_value(); }));
    return std::exchange(value_, std::nullopt);
  }
  int puts() {
    std::lock_guard lock(mu_);
    return puts_;
  }

 private:
  std::mutex mu_;
  std::condition_variable put_;
  std::optional<T> value_;
  int puts_ = 0;
};

// Passes all on to a MemoryLog, and can refuse to read.
class UnreadableLog : public log::Log {
 public:
  explicit UnreadableLog(log::MemoryLog* log) : log_(log) {}
  void Append(log::TopicPartition at, std::vector<log::Record> records, AppendDone done) override {
    log_->Append(at, std::move(records), std::move(done));
  }
  absl::Status Read(log::TopicPartition at, uint64_t offset, size_t records_max, size_t bytes_max,
                    std::vector<log::StoredRecord>* out) override {
    if (offset >= readable_) return absl::DataLossError("corrupt");
    return log_->Read(at, offset, std::min(records_max, readable_ - offset), bytes_max, out);
  }
  uint64_t End(log::TopicPartition at) override { return log_->End(at); }
  uint64_t Watch(log::TopicPartition at, std::function<void()> wake) override {
    return log_->Watch(at, std::move(wake));
  }
  void Unwatch(uint64_t id) override { log_->Unwatch(id); }

 private:
  log::MemoryLog* const log_;
  const size_t readable_ = 0;  // records
};

class DefinitionStoreTest : public ::testing::Test {
 protected:
  DefinitionStoreTest() { Reopen(); }
  void Reopen() {
    store_.reset();
    store_ = std::make_unique<DefinitionStore>(log_.get(), &clock_);
    ASSERT_TRUE(store_->WaitUntilRead().ok());
  }
  void UseManualLog() {
    store_.reset();
    log_ = std::make_unique<log::MemoryLog>(log::MemoryLogOptions{.manual = true});
    Reopen();
  }
  static DefinitionStore::Request Request(const std::string& id, const std::string& body = "body") {
    return {.corp = "ww1", .caller = "cli", .request_id = id, .body_hash = body, .reason = "test"};
  }
  // Stores a rule; counts how often its meaning was checked.
  DefinitionStore::Build PutRule(const std::string& id) {
    return [this, id](const CorpDefinitions& corp) -> absl::StatusOr<std::vector<Definition>> {
      ++builds_;
      last_revision_built_on_ = corp.revision;
      Definition definition;
      definition.set_id(id);
      definition.mutable_rule()->set_event_kind("order");
      return std::vector<Definition>{definition};
    };
  }
  static DefinitionStore::Done Into(std::shared_ptr<Box<Result>> box) {
    return [box](Result result) { box->Put(std::move(result)); };
  }
  Result Propose(const std::string& request_id, const std::string& rule,
                 const std::string& body = "body") {
    auto box = std::make_shared<Box<Result>>();
    store_->Propose(Request(request_id, body), PutRule(rule), Into(box));
    auto result = box->Take();
    return result.has_value() ? *result : Result(absl::InternalError("no result"));
  }
  // What another process gets in first.
  void OtherProcessPuts(uint64_t expected_revision) {
    Proposal proposal;
    proposal.set_corp("ww1");
    proposal.set_expected_revision(expected_revision);
    proposal.set_caller("other");
    proposal.set_request_id(absl::StrCat("other ", expected_revision));
    proposal.set_proposal_id(absl::StrCat("other ", expected_revision));
    log_->InjectRaw(kTopic, {.key = "ww1", .header = "", .value = proposal.SerializeAsString()});
  }
  void WaitForPendingAppend() {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (log_->Pending().empty()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline);
      std::this_thread::yield();
    }
  }

  FixedClock clock_;
  std::unique_ptr<log::MemoryLog> log_ = std::make_unique<log::MemoryLog>();
  std::unique_ptr<DefinitionStore> store_;
  std::atomic<int> builds_{0};
  std::atomic<uint64_t> last_revision_built_on_{0};
};

TEST_F(DefinitionStoreTest, AnAcceptedProposalIsDurableAndReadable) {
  const Result result = Propose("r1", "vip");
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->revision, 1u);
  EXPECT_EQ(store_->Corp("ww1")->revision, 1u);
  EXPECT_TRUE(store_->Corp("ww1")->rules.contains("vip"));
  EXPECT_EQ(log_->End(kTopic), 1u);
  EXPECT_EQ(store_->Corp("unknown")->revision, 0u);
}

TEST_F(DefinitionStoreTest, IsNotAcceptedBeforeItIsDurable) {
  UseManualLog();
  auto box = std::make_shared<Box<Result>>();
  store_->Propose(Request("r1"), PutRule("vip"), Into(box));
  EXPECT_EQ(box->puts(), 0);
  EXPECT_EQ(store_->Corp("ww1")->revision, 0u);
  log_->DeliverAll();
  EXPECT_TRUE(box->Take()->ok());
}

TEST_F(DefinitionStoreTest, ASnapshotDoesNotChange) {
  const auto before = store_->Corp("ww1");
  ASSERT_TRUE(Propose("r1", "vip").ok());
  const auto after = store_->Corp("ww1");
  ASSERT_TRUE(Propose("r2", "other").ok());
  EXPECT_TRUE(before->rules.empty());
  EXPECT_EQ(after->rules.size(), 1u);
}

TEST_F(DefinitionStoreTest, ARepeatedRequestGetsItsFirstResult) {
  ASSERT_TRUE(Propose("r1", "vip").ok());
  ASSERT_TRUE(Propose("r2", "other").ok());
  const Result again = Propose("r1", "vip");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->revision, 1u);
  EXPECT_EQ(builds_.load(), 2);
  EXPECT_EQ(log_->End(kTopic), 2u);
}

TEST_F(DefinitionStoreTest, ARepeatedRequestGetsItsFirstResultAfterAReopening) {
  ASSERT_TRUE(Propose("r1", "vip").ok());
  Reopen();
  EXPECT_TRUE(store_->Corp("ww1")->rules.contains("vip"));
  const Result again = Propose("r1", "vip");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->revision, 1u);
  EXPECT_EQ(again->proposal.definitions(0).id(), "vip");
  EXPECT_EQ(log_->End(kTopic), 1u);
}

TEST_F(DefinitionStoreTest, AnotherBodyUnderAUsedRequestIdIsInvalid) {
  ASSERT_TRUE(Propose("r1", "vip", "one").ok());
  EXPECT_EQ(Propose("r1", "vip", "two").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(log_->End(kTopic), 1u);
}

TEST_F(DefinitionStoreTest, TwoOfOneRequestIdAtOnceBothGetTheOneResult) {
  UseManualLog();
  auto first = std::make_shared<Box<Result>>();
  auto second = std::make_shared<Box<Result>>();
  store_->Propose(Request("r1"), PutRule("vip"), Into(first));
  store_->Propose(Request("r1"), PutRule("vip"), Into(second));
  log_->DeliverAll();
  const auto a = first->Take();
  const auto b = second->Take();
  ASSERT_TRUE(a.has_value() && a->ok());
  ASSERT_TRUE(b.has_value() && b->ok());
  EXPECT_EQ((*a)->revision, 1u);
  EXPECT_EQ((*b)->revision, 1u);
  EXPECT_EQ(store_->Corp("ww1")->revision, 1u);
}

TEST_F(DefinitionStoreTest, ErrorsOfTheCheckAreGivenBackAndNothingIsStored) {
  auto box = std::make_shared<Box<Result>>();
  store_->Propose(
      Request("r1"),
      [](const CorpDefinitions&) -> absl::StatusOr<std::vector<Definition>> {
        return absl::FailedPreconditionError("no such channel");
      },
      Into(box));
  EXPECT_EQ(box->Take()->status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(log_->End(kTopic), 0u);
}

TEST_F(DefinitionStoreTest, ALostRaceIsCheckedAgainOnWhatWon) {
  UseManualLog();
  auto box = std::make_shared<Box<Result>>();
  store_->Propose(Request("r1"), PutRule("vip"), Into(box));
  OtherProcessPuts(0);
  log_->Deliver(1);
  WaitForPendingAppend();
  log_->DeliverAll();
  const auto result = box->Take();
  ASSERT_TRUE(result.has_value() && result->ok());
  EXPECT_EQ((*result)->revision, 2u);
  EXPECT_EQ(builds_.load(), 2);
  EXPECT_EQ(last_revision_built_on_.load(), 1u);
}

TEST_F(DefinitionStoreTest, IsAbortedAfterFiveLostRaces) {
  UseManualLog();
  auto box = std::make_shared<Box<Result>>();
  store_->Propose(Request("r1"), PutRule("vip"), Into(box));
  for (int race = 0; race < kRacesMax; ++race) {
    EXPECT_EQ(box->puts(), 0) << race;
    WaitForPendingAppend();
    OtherProcessPuts(race);
    log_->Deliver(1);
  }
  EXPECT_EQ(box->Take()->status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(builds_.load(), kRacesMax);
}

TEST_F(DefinitionStoreTest, AFailedAppendIsUnavailableAndMayBeRepeated) {
  log_->FailNext(absl::InternalError("disk"));
  EXPECT_EQ(Propose("r1", "vip").status().code(), absl::StatusCode::kUnavailable);
  const Result again = Propose("r1", "vip");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->revision, 1u);
}

TEST_F(DefinitionStoreTest, AnAppendThatFailedButIsThereIsAccepted) {
  log_->FailNext(absl::InternalError("lost answer"), 1);
  const Result result = Propose("r1", "vip");
  if (!result.ok()) {
    // The failure may be seen first; a repeat must then find what is there.
    EXPECT_EQ(result.status().code(), absl::StatusCode::kUnavailable);
    ASSERT_TRUE(Propose("r1", "vip").ok());
  }
  EXPECT_EQ(store_->Corp("ww1")->revision, 1u);
}

TEST_F(DefinitionStoreTest, RefusesMoreThanAThousandThatWait) {
  UseManualLog();
  auto waiting = std::make_shared<Box<Result>>();
  for (int i = 0; i < 1000; ++i) {
    store_->Propose(Request(absl::StrCat("r", i)), PutRule("vip"), Into(waiting));
  }
  auto refused = std::make_shared<Box<Result>>();
  store_->Propose(Request("one more"), PutRule("vip"), Into(refused));
  EXPECT_EQ(refused->Take()->status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(waiting->puts(), 0);
  log_->CrashDropPending();
}

TEST_F(DefinitionStoreTest, WhatWaitsAtTheEndIsUnavailable) {
  UseManualLog();
  auto box = std::make_shared<Box<Result>>();
  store_->Propose(Request("r1"), PutRule("vip"), Into(box));
  store_.reset();
  EXPECT_EQ(box->Take()->status().code(), absl::StatusCode::kUnavailable);
}

// A log that closes fails what is still queued: after the store is gone.
TEST_F(DefinitionStoreTest, AnAppendMayFailAfterTheStoreIsGone) {
  UseManualLog();
  auto box = std::make_shared<Box<Result>>();
  store_->Propose(Request("r1"), PutRule("vip"), Into(box));
  store_.reset();
  EXPECT_TRUE(log_->FailNext(absl::UnavailableError("the log closed"), 0));
  EXPECT_EQ(box->puts(), 1);
}

TEST_F(DefinitionStoreTest, NothingWaitsForALogThatCannotBeRead) {
  store_.reset();
  log_ = std::make_unique<log::MemoryLog>(log::MemoryLogOptions{.manual = true});
  UnreadableLog unreadable(log_.get());
  DefinitionStore store(&unreadable, &clock_);
  auto box = std::make_shared<Box<Result>>();
  store.Propose(Request("r1"), PutRule("vip"), Into(box));
  log_->DeliverAll();
  EXPECT_EQ(box->Take()->status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(DefinitionStoreTest, AnUnreadableRecordIsSkipped) {
  log_->InjectRaw(kTopic, {.key = "ww1", .header = "", .value = "\xff\xff not a proposal"});
  const Result result = Propose("r1", "vip");
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->revision, 1u);
}

TEST_F(DefinitionStoreTest, TellsOfAcceptedChangesOnly) {
  auto box = std::make_shared<Box<std::string>>();
  store_->OnChange([box](const std::string& corp) { box->Put(corp); });
  OtherProcessPuts(9);  // lost its race
  ASSERT_TRUE(Propose("r1", "vip").ok());
  EXPECT_EQ(box->Take(), "ww1");
  // The next change is told after all that came before it.
  ASSERT_TRUE(Propose("r2", "vip").ok());
  EXPECT_EQ(box->Take(), "ww1");
  EXPECT_EQ(box->puts(), 2);
}

}  // namespace
}  // namespace tidegate::definitions
