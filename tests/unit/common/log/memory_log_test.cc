#include "common/log/memory_log.h"

#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/common/log/log_conformance.h"

namespace tidegate::log {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr TopicPartition kAt = {Topic::kLedger, 0};
constexpr TopicPartition kOther = {Topic::kEvents, 1};

// A manual log that delivers at once unless held, so that both modes pass the same suite.
class MemoryHarness final : public LogHarness {
 public:
  explicit MemoryHarness(HarnessLimits limits)
      : log_({.manual = true,
              .queue_bytes_max = limits.queue_bytes_max,
              .queue_records_max = limits.queue_records_max}),
        front_(this) {}
  Log& log() override { return front_; }
  void Hold() override { held_ = true; }
  void Release() override {
    held_ = false;
    log_.DeliverAll();
  }
  void FailNextAppend() override { fail_next_ = true; }

 private:
  class Front final : public Log {
   public:
    explicit Front(MemoryHarness* harness) : harness_(harness) {}
    void Append(TopicPartition at, std::vector<Record> records, AppendDone done) override {
      // Append and delivery as one step, or a thread could deliver another's append in its place.
      std::lock_guard lock(harness_->mu_);
      harness_->log_.Append(at, std::move(records), std::move(done));
      if (harness_->held_) return;
      if (std::exchange(harness_->fail_next_, false)) {
        harness_->log_.FailNext(absl::UnavailableError("told to fail"), 1);
      }
      harness_->log_.DeliverAll();
    }
    absl::Status Read(TopicPartition at, uint64_t offset, size_t records_max, size_t bytes_max,
                      std::vector<StoredRecord>* out) override {
      return harness_->log_.Read(at, offset, records_max, bytes_max, out);
    }
    uint64_t End(TopicPartition at) override { return harness_->log_.End(at); }
    uint64_t Watch(TopicPartition at, std::function<void()> wake) override {
      return harness_->log_.Watch(at, std::move(wake));
    }
    void Unwatch(uint64_t watch_id) override { harness_->log_.Unwatch(watch_id); }

   private:
    MemoryHarness* const harness_;
  };

  std::mutex mu_;
  bool held_ = false;
  bool fail_next_ = false;
  MemoryLog log_;
  Front front_;
};

INSTANTIATE_TEST_SUITE_P(MemoryLog, LogConformanceTest,
                         ::testing::Values(HarnessFactory([](HarnessLimits limits) {
                           return std::make_unique<MemoryHarness>(limits);
                         })),
                         [](const auto&) { return "Manual"; });

TEST(TopicNameTest, NamesAPartitionByTopicAndNumber) {
  EXPECT_EQ(Name({Topic::kEvents, 3}), "tidegate.events/3");
  EXPECT_EQ(Name({Topic::kDeadLetters, 0}), "tidegate.dead-letters/0");
  EXPECT_STREQ(TopicName(static_cast<Topic>(200)), "tidegate.unknown");
}

TEST(MemoryLogTest, IsDurableInsideAppendWhenImmediate) {
  MemoryLog log;
  bool done = false;
  log.Append(kAt, Values({"a"}), [&](absl::Status status) {
    EXPECT_TRUE(status.ok());
    EXPECT_EQ(log.End(kAt), 1u);
    done = true;
  });
  EXPECT_TRUE(done);
}

TEST(MemoryLogTest, ImmediateFaultMeetsTheNextAppendOnly) {
  MemoryLog log;
  ASSERT_TRUE(log.FailNext(absl::UnavailableError("broker"), 2));
  EXPECT_EQ(AppendAndWait(log, kAt, Values({"a", "b", "c"})), absl::UnavailableError("broker"));
  EXPECT_TRUE(AppendAndWait(log, kAt, Values({"d"})).ok());
  EXPECT_THAT(ReadValues(log, kAt), ElementsAre("a", "b", "d"));
}

TEST(MemoryLogTest, ImmediateFaultWaitsForItsPartition) {
  MemoryLog log;
  ASSERT_TRUE(log.FailNext(absl::UnavailableError("broker"), 0, kOther));
  EXPECT_TRUE(AppendAndWait(log, kAt, Values({"a"})).ok());
  EXPECT_FALSE(AppendAndWait(log, kOther, Values({"b"})).ok());
}

TEST(MemoryLogTest, HoldsAppendsUntilDelivered) {
  MemoryLog log({.manual = true});
  PendingResult first, second;
  log.Append(kAt, Values({"a"}), first.Callback());
  log.Append(kOther, Values({"b"}), second.Callback());
  EXPECT_THAT(log.Pending(), ElementsAre(kAt, kOther));
  EXPECT_EQ(log.Deliver(1), 1u);
  EXPECT_EQ(first.calls(), 1);
  EXPECT_EQ(second.calls(), 0);
  EXPECT_EQ(log.End(kOther), 0u);
  EXPECT_EQ(log.Deliver(5), 1u);
  EXPECT_EQ(second.calls(), 1);
}

TEST(MemoryLogTest, DeliversOnePartitionBeforeAnother) {
  MemoryLog log({.manual = true});
  PendingResult first, second;
  log.Append(kAt, Values({"a"}), first.Callback());
  log.Append(kOther, Values({"b"}), second.Callback());
  EXPECT_TRUE(log.DeliverOldest(kOther));
  EXPECT_FALSE(log.DeliverOldest(kOther));
  EXPECT_EQ(first.calls(), 0);
  EXPECT_EQ(second.calls(), 1);
}

TEST(MemoryLogTest, DeliverAllLeavesWhatItsCallbacksAppend) {
  MemoryLog log({.manual = true});
  log.Append(kAt, Values({"a"}),
             [&](absl::Status) { log.Append(kAt, Values({"b"}), [](absl::Status) {}); });
  EXPECT_EQ(log.DeliverAll(), 1u);
  EXPECT_THAT(log.Pending(), ElementsAre(kAt));
}

TEST(MemoryLogTest, FailsTheOldestPendingAppendWithAPrefix) {
  MemoryLog log({.manual = true});
  PendingResult first, second;
  log.Append(kAt, Values({"a", "b", "c"}), first.Callback());
  log.Append(kAt, Values({"d"}), second.Callback());
  EXPECT_TRUE(log.FailNext(absl::UnavailableError("timed out"), 2));
  EXPECT_EQ(first.Wait(), absl::UnavailableError("timed out"));
  EXPECT_EQ(second.calls(), 0);
  log.DeliverAll();
  EXPECT_THAT(ReadValues(log, kAt), ElementsAre("a", "b", "d"));
  EXPECT_FALSE(log.FailNext(absl::UnavailableError("nothing pending")));
}

TEST(MemoryLogTest, PersistsADuplicatedBatchTwiceAndReportsSuccess) {
  MemoryLog log({.manual = true});
  PendingResult result;
  log.Append(kAt, Values({"a", "b"}), result.Callback());
  EXPECT_TRUE(log.DuplicateNext());
  EXPECT_TRUE(result.Wait().ok());
  EXPECT_EQ(result.calls(), 1);
  EXPECT_THAT(ReadValues(log, kAt), ElementsAre("a", "b", "a", "b"));
}

TEST(MemoryLogTest, DropsOneRecordInsideATornBatchAndReportsTheError) {
  MemoryLog log({.manual = true});
  PendingResult result;
  log.Append(kAt, Values({"a", "b", "c"}), result.Callback());
  EXPECT_TRUE(log.GapNext(1, absl::UnavailableError("torn")));
  EXPECT_EQ(result.Wait(), absl::UnavailableError("torn"));
  EXPECT_THAT(ReadValues(log, kAt), ElementsAre("a", "c"));
}

TEST(MemoryLogTest, InjectsAZombiesRecordPastWhatIsPending) {
  MemoryLog log({.manual = true});
  log.Append(kAt, Values({"mine"}), [](absl::Status) {});
  int wakes = 0;
  const uint64_t id = log.Watch(kAt, [&] { ++wakes; });
  EXPECT_EQ(log.InjectRaw(kAt, {"k", "h", "zombie"}), 0u);
  EXPECT_EQ(wakes, 1);
  log.DeliverAll();
  log.Unwatch(id);
  EXPECT_THAT(ReadValues(log, kAt), ElementsAre("zombie", "mine"));
}

TEST(MemoryLogTest, CrashLosesPendingAppendsWithoutACallback) {
  MemoryLog log({.manual = true, .queue_records_max = 2});
  PendingResult lost, later;
  log.Append(kAt, Values({"a", "b"}), lost.Callback());
  EXPECT_EQ(log.CrashDropPending(), 1u);
  EXPECT_THAT(log.Pending(), IsEmpty());
  EXPECT_EQ(lost.calls(), 0);
  log.Append(kAt, Values({"c", "d"}), later.Callback());
  log.DeliverAll();
  EXPECT_TRUE(later.Wait().ok());
  EXPECT_THAT(ReadValues(log, kAt), ElementsAre("c", "d"));
}

}  // namespace
}  // namespace tidegate::log
