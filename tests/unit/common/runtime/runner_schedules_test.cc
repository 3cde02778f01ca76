// Random schedules of turns, deliveries, faults, crashes and zombies, each from a seed: every input
// counts exactly once, and a reader of the outbox takes every change exactly once, in order.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/seeded_random.h"
#include "common/core/header_codec.h"
#include "common/core/source_filter.h"
#include "common/log/memory_log.h"
#include "common/runtime/partition_runner.h"
#include "tests/unit/common/runtime/sum_core.h"

namespace tidegate::runtime {
namespace {

constexpr int kSteps = 400;
constexpr int kKeys = 4;

struct Process {
  Process(log::MemoryLog* log, const std::string& token) {
    RunnerOptions options;
    options.journal = kJournal;
    options.folded_inputs = {{.at = kFolded}};
    options.decided_inputs = {{.at = kInput}};
    options.fence_token = token;
    options.batch_records_max = 7;
    options.mark_records_max = 5;
    options.wake = [] {};
    runner = std::make_unique<PartitionRunner>(std::move(options), log, &core);
  }
  SumCore core;
  std::unique_ptr<PartitionRunner> runner;
};

void RunSchedule(uint64_t seed) {
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  SeededRandom random(seed);
  log::MemoryLog log({.manual = true});
  Now now{.wall_ns = 1, .raw_ns = 1, .boot_ns = 1};
  int tokens = 0;
  auto start = [&] { return std::make_unique<Process>(&log, absl::StrCat("t", ++tokens)); };
  auto process = start();
  std::vector<std::unique_ptr<Process>> zombies;
  std::map<std::string, int> expected;

  for (int step = 0; step < kSteps; ++step) {
    now.raw_ns += static_cast<int64_t>(random.Below(50)) * kNanosPerMilli;
    switch (random.Below(16)) {
      case 0:
      case 1:
      case 2: {
        const std::string key = absl::StrCat("k", random.Below(kKeys));
        const int number = static_cast<int>(random.Below(4));  // 0 needs no record
        expected[key] += number;
        log.InjectRaw(kInput, {.key = key, .header = "", .value = absl::StrCat(number)});
        break;
      }
      case 3:
        log.FailNext(absl::InternalError("fault"), random.Below(4));
        break;
      case 4:
        log.DuplicateNext();
        break;
      case 5:
        // Only journals can bear a gap: elsewhere the log keeps a prefix.
        log.GapNext(random.Below(3), absl::InternalError("torn"), kJournal);
        break;
      case 6: {  // a kill
        process.reset();
        if (random.Chance(0.5)) log.Deliver(random.Below(3));
        log.CrashDropPending();
        process = start();
        break;
      }
      case 7:  // a takeover while the former owner lives on
        if (random.Chance(0.3)) {
          zombies.push_back(std::move(process));
          process = start();
        }
        break;
      case 8:
        for (auto& zombie : zombies) zombie->runner->Turn(now);
        break;
      default:
        process->runner->Turn(now);
        if (random.Chance(0.6)) log.Deliver(1 + random.Below(2));
        break;
    }
    // The loser of a race for an epoch ends; its supervisor starts it again.
    if (process->runner->state() == PartitionRunner::State::kFenced) process = start();
  }

  for (int i = 0; i < 10'000; ++i) {
    now.raw_ns += 200 * kNanosPerMilli;
    bool moved = process->runner->Turn(now);
    for (auto& zombie : zombies) zombie->runner->Turn(now);
    moved |= log.DeliverAll() > 0;
    if (process->runner->state() == PartitionRunner::State::kFenced) process = start();
    if (!moved && i > 50) break;
  }
  ASSERT_EQ(process->runner->state(), PartitionRunner::State::kLive);
  for (const auto& [key, sum] : expected) {
    if (sum != 0) {
      EXPECT_EQ(process->core.sums[key], sum) << key;
    }
  }

  std::vector<log::StoredRecord> sent;
  ASSERT_TRUE(log.Read(kTarget, 0, 1'000'000, 1 << 30, &sent).ok());
  core::SourceFilter filter;
  std::map<std::string, int> told;
  for (const auto& record : sent) {
    const auto header = *core::DecodeHeader(record.record.header);
    const auto verdict = filter.Judge(header);
    ASSERT_NE(verdict, core::SourceFilter::Verdict::kGap);
    if (verdict == core::SourceFilter::Verdict::kRepeat) continue;
    filter.Take(header);
    const int sum = std::atoi(record.record.value.c_str());
    EXPECT_GT(sum, told[record.record.key]) << "sums only grow, each told once";
    told[record.record.key] = sum;
  }
  for (const auto& [key, sum] : expected) EXPECT_EQ(told[key], sum) << key;
}

TEST(RunnerSchedulesTest, EveryInputCountsOnceWhateverHappens) {
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    RunSchedule(seed);
    if (HasFailure()) break;
  }
}

}  // namespace
}  // namespace tidegate::runtime
