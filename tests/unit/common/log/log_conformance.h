// What every implementation of Log does. A test of an implementation instantiates the suite with a
// harness that makes it, breaks it and opens it again:
//
//   INSTANTIATE_TEST_SUITE_P(MemoryLog, LogConformanceTest,
//   ::testing::Values(HarnessFactory{...}));
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/seeded_random.h"
#include "common/log/log.h"
#include "gtest/gtest.h"

namespace tidegate::log {

class LogHarness {
 public:
  virtual ~LogHarness() = default;
  virtual Log& log() = 0;
  // Closes and opens again. False: this log does not outlive its object.
  virtual bool Reopen() { return false; }
  // Between the two, appends are taken but nothing becomes durable.
  virtual void Hold() = 0;
  virtual void Release() = 0;
  // The next append fails after it was queued.
  virtual void FailNextAppend() = 0;
  // How many partitions this log was made with.
  virtual uint32_t PartitionCount(Topic) { return UINT32_MAX; }
};

struct HarnessLimits {
  size_t queue_bytes_max = size_t{64} << 20;
  size_t queue_records_max = 200'000;
};

using HarnessFactory = std::function<std::unique_ptr<LogHarness>(HarnessLimits)>;

// Far beyond what any log needs: a hang fails the test instead of the whole run.
inline constexpr std::chrono::seconds kPatience(30);

// An append whose outcome can be waited for.
class PendingResult {
 public:
  Log::AppendDone Callback() {
    return [state = state_](absl::Status status) {
      std::lock_guard lock(state->mu);
      ++state->calls;
      state->status = std::move(status);
      state->called.notify_all();
    };
  }
  absl::Status Wait() {
    std::unique_lock lock(state_->mu);
    if (!state_->called.wait_for(lock, kPatience, [this] { return state_->calls > 0; })) {
      return absl::DeadlineExceededError("the append was never settled");
    }
    return state_->status;
  }
  int calls() {
    std::lock_guard lock(state_->mu);
    return state_->calls;
  }

 private:
  struct State {
    std::mutex mu;
    std::condition_variable called;
    int calls = 0;
    absl::Status status;
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

inline absl::Status AppendAndWait(Log& log, TopicPartition at, std::vector<Record> records) {
  PendingResult result;
  log.Append(at, std::move(records), result.Callback());
  return result.Wait();
}

inline std::vector<Record> Values(std::initializer_list<const char*> values) {
  std::vector<Record> records;
  for (const char* value : values) records.push_back({"k", "h", value});
  return records;
}

// As the store tells it, not only as this object knows. A store that does not answer yet is asked
// again.
inline uint64_t AskedEnd(Log& log, TopicPartition at) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  absl::StatusOr<uint64_t> end;
  do {
    auto answer = std::make_shared<std::promise<absl::StatusOr<uint64_t>>>();
    std::future<absl::StatusOr<uint64_t>> future = answer->get_future();
    log.QueryEnd(at, [answer](absl::StatusOr<uint64_t> e) { answer->set_value(std::move(e)); });
    EXPECT_EQ(future.wait_for(kPatience), std::future_status::ready);
    end = future.get();
  } while (absl::IsUnavailable(end.status()) && std::chrono::steady_clock::now() < deadline);
  EXPECT_TRUE(end.ok()) << end.status();
  return end.value_or(0);
}

// Records [offset, end), waiting for those that are on their way; checks that offsets are
// contiguous.
inline std::vector<StoredRecord> ReadUntil(Log& log, TopicPartition at, uint64_t offset,
                                           uint64_t end) {
  struct Signal {
    std::mutex mu;
    std::condition_variable wake;
    bool raised = false;
  };
  auto signal = std::make_shared<Signal>();
  const uint64_t id = log.Watch(at, [signal] {
    std::lock_guard lock(signal->mu);
    signal->raised = true;
    signal->wake.notify_all();
  });
  std::vector<StoredRecord> all;
  std::vector<StoredRecord> batch;
  while (offset < end) {
    const absl::Status status = log.Read(at, offset, 1000, 1 << 20, &batch);
    EXPECT_TRUE(status.ok()) << status;
    if (!status.ok()) break;
    for (StoredRecord& stored : batch) {
      EXPECT_EQ(stored.offset, offset);
      all.push_back(std::move(stored));
      ++offset;
    }
    if (!batch.empty()) continue;
    std::unique_lock lock(signal->mu);
    const bool came = signal->wake.wait_for(lock, kPatience, [&] { return signal->raised; });
    EXPECT_TRUE(came) << "nothing came at offset " << offset << " of " << Name(at);
    if (!came) break;
    signal->raised = false;
  }
  log.Unwatch(id);
  return all;
}

// The values from `offset` to the end.
inline std::vector<std::string> ReadValues(Log& log, TopicPartition at, uint64_t offset = 0) {
  std::vector<std::string> values;
  for (StoredRecord& stored : ReadUntil(log, at, offset, AskedEnd(log, at))) {
    values.push_back(std::move(stored.record.value));
  }
  return values;
}

class LogConformanceTest : public ::testing::TestWithParam<HarnessFactory> {
 protected:
  static constexpr TopicPartition kAt = {Topic::kEvents, 3};

  void Make(HarnessLimits limits = {}) { harness_ = GetParam()(limits); }
  Log& log() {
    if (harness_ == nullptr) Make();
    return harness_->log();
  }
  LogHarness& harness() {
    if (harness_ == nullptr) Make();
    return *harness_;
  }
  // One read, when all has arrived that it may return.
  std::vector<StoredRecord> Read(uint64_t offset, size_t records_max, size_t bytes_max) {
    ReadUntil(log(), kAt, offset, log().End(kAt));
    std::vector<StoredRecord> out(1);
    const absl::Status status = log().Read(kAt, offset, records_max, bytes_max, &out);
    EXPECT_TRUE(status.ok()) << status;
    return out;
  }

 private:
  std::unique_ptr<LogHarness> harness_;
};

TEST_P(LogConformanceTest, StartsEmpty) {
  EXPECT_EQ(log().End(kAt), 0u);
  EXPECT_TRUE(Read(0, 10, 1000).empty());
  EXPECT_TRUE(Read(7, 10, 1000).empty());
}

TEST_P(LogConformanceTest, KeepsOrderWithOffsetsFromZero) {
  ASSERT_TRUE(AppendAndWait(log(), kAt, Values({"a", "b"})).ok());
  EXPECT_EQ(log().End(kAt), 2u);
  ASSERT_TRUE(AppendAndWait(log(), kAt, Values({"c"})).ok());
  EXPECT_EQ(log().End(kAt), 3u);
  EXPECT_EQ(ReadValues(log(), kAt), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(ReadValues(log(), kAt, 2), (std::vector<std::string>{"c"}));
}

TEST_P(LogConformanceTest, SettlesAnEmptyAppend) {
  PendingResult result;
  log().Append(kAt, {}, result.Callback());
  EXPECT_TRUE(result.Wait().ok());
  EXPECT_EQ(log().End(kAt), 0u);
}

TEST_P(LogConformanceTest, StopsReadingAtRecordsMax) {
  ASSERT_TRUE(AppendAndWait(log(), kAt, Values({"a", "b", "c"})).ok());
  EXPECT_EQ(Read(0, 2, 1000).size(), 2u);
  EXPECT_EQ(Read(0, 0, 1000).size(), 0u);
  EXPECT_EQ(Read(1, 3, 1000).size(), 2u);
}

TEST_P(LogConformanceTest, StopsReadingAfterTheRecordThatReachesBytesMax) {
  // 10 bytes each: key 1, header 1, value 8.
  ASSERT_TRUE(AppendAndWait(log(), kAt, Values({"aaaaaaaa", "bbbbbbbb", "cccccccc"})).ok());
  EXPECT_EQ(Read(0, 10, 0).size(), 1u);
  EXPECT_EQ(Read(0, 10, 10).size(), 1u);
  EXPECT_EQ(Read(0, 10, 11).size(), 2u);
  EXPECT_EQ(Read(0, 10, 20).size(), 2u);
  EXPECT_EQ(Read(0, 10, 21).size(), 3u);
}

TEST_P(LogConformanceTest, ReadReplacesWhatTheCallerHadInTheVector) {
  ASSERT_TRUE(AppendAndWait(log(), kAt, Values({"a"})).ok());
  ReadUntil(log(), kAt, 0, 1);
  std::vector<StoredRecord> out(5);
  ASSERT_TRUE(log().Read(kAt, 0, 10, 1000, &out).ok());
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].record.value, "a");
}

TEST_P(LogConformanceTest, ContinuesAReadAcrossLaterAppends) {
  ASSERT_TRUE(AppendAndWait(log(), kAt, Values({"a", "b", "c"})).ok());
  EXPECT_EQ(Read(0, 1, 1000).at(0).record.value, "a");
  ASSERT_TRUE(AppendAndWait(log(), kAt, Values({"d", "e"})).ok());
  EXPECT_EQ(Read(1, 3, 1000).size(), 3u);
  EXPECT_EQ(Read(4, 10, 1000).at(0).record.value, "e");
  EXPECT_EQ(Read(1, 1, 1000).at(0).record.value, "b");
}

TEST_P(LogConformanceTest, ReturnsEveryByteAsItWasAppended) {
  std::string binary;
  for (int i = 0; i < 256; ++i) binary.push_back(static_cast<char>(i));
  std::vector<Record> records = {{"", "", ""},
                                 {"key", "", ""},
                                 {"", "header", ""},
                                 {"", "", "value"},
                                 {binary, binary, binary},
                                 {std::string(127, 'k'), std::string(128, 'h'), ""},
                                 {std::string(20'000, 'k'), std::string(1, '\0'), binary},
                                 {"k", "h", std::string(kRecordBytesMax - 2, 'v')}};
  ASSERT_TRUE(AppendAndWait(log(), kAt, records).ok());
  const std::vector<StoredRecord> stored = Read(0, 100, size_t{8} << 20);
  ASSERT_EQ(stored.size(), records.size());
  for (size_t i = 0; i < records.size(); ++i) {
    EXPECT_EQ(stored[i].record.key, records[i].key) << i;
    EXPECT_EQ(stored[i].record.header, records[i].header) << i;
    EXPECT_EQ(stored[i].record.value, records[i].value) << i;
  }
}

TEST_P(LogConformanceTest, KeepsRepeatsInOrder) {
  ASSERT_TRUE(AppendAndWait(log(), kAt, Values({"a", "b"})).ok());
  ASSERT_TRUE(AppendAndWait(log(), kAt, Values({"a", "b"})).ok());
  EXPECT_EQ(ReadValues(log(), kAt), (std::vector<std::string>{"a", "b", "a", "b"}));
}

TEST_P(LogConformanceTest, RefusesATooLargeRecordAndWritesNothing) {
  std::vector<Record> records = Values({"before"});
  records.push_back({"k", "h", std::string(kRecordBytesMax - 1, 'v')});
  EXPECT_EQ(AppendAndWait(log(), kAt, std::move(records)).code(),
            absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(AppendAndWait(log(), kAt, Values({"after"})).ok());
  EXPECT_EQ(ReadValues(log(), kAt), (std::vector<std::string>{"after"}));
}

TEST_P(LogConformanceTest, KeepsTopicsAndPartitionsApart) {
  std::vector<TopicPartition> places = {{Topic::kEvents, 0},    {Topic::kEvents, 1},
                                        {Topic::kEvents, 255},  {Topic::kEvents, 256},
                                        {Topic::kProfiles, 0},  {Topic::kLedger, UINT32_MAX},
                                        {Topic::kAudiences, 0}, {Topic::kDeadLetters, 1}};
  std::erase_if(places, [this](TopicPartition at) {
    return at.partition >= harness().PartitionCount(at.topic);
  });
  for (int round = 0; round < 3; ++round) {
    for (const TopicPartition at : places) {
      const std::string value = absl::StrCat(Name(at), "#", round);
      ASSERT_TRUE(AppendAndWait(log(), at, {{"k", "", value}}).ok());
    }
  }
  for (const TopicPartition at : places) {
    EXPECT_EQ(log().End(at), 3u) << Name(at);
    EXPECT_EQ(ReadValues(log(), at),
              (std::vector<std::string>{absl::StrCat(Name(at), "#0"), absl::StrCat(Name(at), "#1"),
                                        absl::StrCat(Name(at), "#2")}));
  }
  EXPECT_EQ(log().End({Topic::kEvents, 2}), 0u);
  EXPECT_EQ(log().End({Topic::kCommands, 0}), 0u);
}

TEST_P(LogConformanceTest, ShowsOnlyWhatIsDurable) {
  ASSERT_TRUE(AppendAndWait(log(), kAt, Values({"a"})).ok());
  EXPECT_EQ(Read(0, 10, 1000).size(), 1u);
  harness().Hold();
  PendingResult result;
  log().Append(kAt, Values({"b"}), result.Callback());
  EXPECT_EQ(log().End(kAt), 1u);
  EXPECT_EQ(Read(0, 10, 1000).size(), 1u);
  EXPECT_EQ(result.calls(), 0);
  harness().Release();
  EXPECT_TRUE(result.Wait().ok());
  EXPECT_EQ(ReadValues(log(), kAt), (std::vector<std::string>{"a", "b"}));
}

TEST_P(LogConformanceTest, RefusesWhenTheQueueHoldsTooManyRecords) {
  Make({.queue_records_max = 3});
  harness().Hold();
  PendingResult first, second, third;
  log().Append(kAt, Values({"a", "b"}), first.Callback());
  log().Append(kAt, Values({"c", "d"}), second.Callback());
  log().Append(kAt, Values({"e"}), third.Callback());
  EXPECT_EQ(second.Wait().code(), absl::StatusCode::kResourceExhausted);
  harness().Release();
  EXPECT_TRUE(first.Wait().ok());
  EXPECT_TRUE(third.Wait().ok());
  // The room is free again, all of it.
  ASSERT_TRUE(AppendAndWait(log(), kAt, Values({"f", "g", "h"})).ok());
  EXPECT_EQ(ReadValues(log(), kAt), (std::vector<std::string>{"a", "b", "e", "f", "g", "h"}));
}

TEST_P(LogConformanceTest, RefusesWhenTheQueueHoldsTooManyBytes) {
  Make({.queue_bytes_max = 100});
  harness().Hold();
  PendingResult first, second;
  log().Append(kAt, {{"", "", std::string(60, 'a')}}, first.Callback());
  log().Append(kAt, {{"", "", std::string(41, 'b')}}, second.Callback());
  EXPECT_EQ(second.Wait().code(), absl::StatusCode::kResourceExhausted);
  harness().Release();
  EXPECT_TRUE(first.Wait().ok());
  ASSERT_TRUE(AppendAndWait(log(), kAt, {{"", "", std::string(100, 'c')}}).ok());
  EXPECT_EQ(log().End(kAt), 2u);
}

TEST_P(LogConformanceTest, RefusesForGoodAnAppendLargerThanTheQueue) {
  Make({.queue_records_max = 2});
  EXPECT_EQ(AppendAndWait(log(), kAt, Values({"a", "b", "c"})).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(log().End(kAt), 0u);
}

TEST_P(LogConformanceTest, KeepsNoMoreThanAPrefixOfAFailedAppend) {
  ASSERT_TRUE(AppendAndWait(log(), kAt, Values({"a"})).ok());
  harness().FailNextAppend();
  EXPECT_FALSE(AppendAndWait(log(), kAt, Values({"b", "c", "d"})).ok());
  harness().Reopen();
  const std::vector<std::string> all = {"a", "b", "c", "d"};
  const std::vector<std::string> values = ReadValues(log(), kAt);
  ASSERT_GE(values.size(), 1u);
  ASSERT_LE(values.size(), all.size());
  EXPECT_EQ(values, std::vector<std::string>(all.begin(), all.begin() + values.size()));
  EXPECT_EQ(AskedEnd(log(), kAt), values.size());
}

TEST_P(LogConformanceTest, CallsDoneExactlyOnce) {
  PendingResult good, refused, failed;
  log().Append(kAt, Values({"a"}), good.Callback());
  ASSERT_TRUE(good.Wait().ok()) << good.Wait();
  log().Append(kAt, {{"", "", std::string(kRecordBytesMax + 1, 'v')}}, refused.Callback());
  ASSERT_FALSE(refused.Wait().ok());
  harness().FailNextAppend();
  log().Append(kAt, Values({"b"}), failed.Callback());
  ASSERT_FALSE(failed.Wait().ok());
  harness().Reopen();
  EXPECT_EQ(good.calls(), 1);
  EXPECT_EQ(refused.calls(), 1);
  EXPECT_EQ(failed.calls(), 1);
}

TEST_P(LogConformanceTest, WakesTheWatcherAfterTheEndMoved) {
  std::promise<void> woken;
  std::once_flag once;
  const uint64_t id = log().Watch(kAt, [&] { std::call_once(once, [&] { woken.set_value(); }); });
  ASSERT_TRUE(AppendAndWait(log(), kAt, Values({"a"})).ok());
  ASSERT_EQ(woken.get_future().wait_for(kPatience), std::future_status::ready);
  EXPECT_EQ(log().End(kAt), 1u);
  log().Unwatch(id);
}

TEST_P(LogConformanceTest, WakesOnlyForItsOwnPartition) {
  std::atomic<int> other_wakes = 0;
  std::promise<void> woken;
  std::once_flag once;
  const uint64_t other = log().Watch({Topic::kEvents, 4}, [&] { ++other_wakes; });
  const uint64_t own = log().Watch(kAt, [&] { std::call_once(once, [&] { woken.set_value(); }); });
  ASSERT_TRUE(AppendAndWait(log(), kAt, Values({"a"})).ok());
  ASSERT_EQ(woken.get_future().wait_for(kPatience), std::future_status::ready);
  log().Unwatch(own);
  log().Unwatch(other);
  EXPECT_EQ(other_wakes, 0);
}

TEST_P(LogConformanceTest, NeverWakesAfterUnwatch) {
  std::atomic<int> wakes = 0;
  std::promise<void> woken;
  std::once_flag once;
  const uint64_t stopped = log().Watch(kAt, [&] { ++wakes; });
  log().Unwatch(stopped);
  log().Unwatch(stopped);
  const uint64_t kept = log().Watch(kAt, [&] { std::call_once(once, [&] { woken.set_value(); }); });
  EXPECT_NE(stopped, kept);
  ASSERT_TRUE(AppendAndWait(log(), kAt, Values({"a"})).ok());
  ASSERT_EQ(woken.get_future().wait_for(kPatience), std::future_status::ready);
  log().Unwatch(kept);
  EXPECT_EQ(wakes, 0);
}

TEST_P(LogConformanceTest, KeepsTheOrderOfEachConcurrentAppender) {
  constexpr int kAppenders = 4;
  constexpr int kAppends = 200;
  Log& shared = log();
  std::vector<std::thread> threads;
  std::vector<PendingResult> last(kAppenders);
  for (int appender = 0; appender < kAppenders; ++appender) {
    threads.emplace_back([&shared, &last, appender] {
      for (int i = 0; i < kAppends; ++i) {
        const Record record = {std::to_string(appender), "", std::to_string(i)};
        shared.Append(kAt, {record},
                      i + 1 < kAppends ? [](absl::Status) {} : last[appender].Callback());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (PendingResult& result : last) ASSERT_TRUE(result.Wait().ok());

  const std::vector<StoredRecord> stored = Read(0, 100'000, size_t{8} << 20);
  ASSERT_EQ(stored.size(), size_t{kAppenders} * kAppends);
  std::map<std::string, int> next;
  for (size_t i = 0; i < stored.size(); ++i) {
    EXPECT_EQ(stored[i].offset, i);
    EXPECT_EQ(stored[i].record.value, std::to_string(next[stored[i].record.key]++));
  }
}

TEST_P(LogConformanceTest, AgreesWithAPlainModel) {
  constexpr uint64_t kSeed = 20240611;
  SCOPED_TRACE(absl::StrCat("seed ", kSeed));
  SeededRandom random(kSeed);
  std::map<TopicPartition, std::vector<std::string>> model;
  for (int step = 0; step < 300; ++step) {
    const auto topic = static_cast<Topic>(1 + random.Below(8));
    const TopicPartition at = {
        topic, static_cast<uint32_t>(random.Below(std::min(3u, harness().PartitionCount(topic))))};
    if (random.Below(3) > 0) {
      std::vector<Record> records;
      for (uint64_t n = random.Below(6); n > 0; --n) {
        const std::string value(random.Below(300), static_cast<char>(random.Below(256)));
        records.push_back({"k", "", value});
        model[at].push_back(value);
      }
      ASSERT_TRUE(AppendAndWait(log(), at, std::move(records)).ok());
    } else {
      const std::vector<std::string>& expected = model[at];
      const uint64_t from = random.Below(expected.size() + 1);
      EXPECT_EQ(ReadValues(log(), at, from),
                std::vector<std::string>(expected.begin() + from, expected.end()));
    }
    if (step % 100 == 99) harness().Reopen();
  }
  for (const auto& [at, expected] : model) EXPECT_EQ(ReadValues(log(), at), expected);
}

TEST_P(LogConformanceTest, SeesEverythingAcknowledgedAfterReopen) {
  ASSERT_TRUE(AppendAndWait(log(), kAt, Values({"a", "b"})).ok());
  ASSERT_TRUE(AppendAndWait(log(), {Topic::kLedger, 0}, Values({"x"})).ok());
  if (!harness().Reopen()) GTEST_SKIP() << "not a durable log";
  EXPECT_EQ(AskedEnd(log(), kAt), 2u);
  EXPECT_EQ(ReadValues(log(), kAt), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(ReadValues(log(), {Topic::kLedger, 0}), (std::vector<std::string>{"x"}));
  ASSERT_TRUE(AppendAndWait(log(), kAt, Values({"c"})).ok());
  EXPECT_EQ(ReadValues(log(), kAt), (std::vector<std::string>{"a", "b", "c"}));
}

}  // namespace tidegate::log
