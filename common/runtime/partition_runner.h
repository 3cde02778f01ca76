// Runs one core partition: recover, then decide, append, apply, release, for ever.
// docs/runtime.md tells the rules and why they hold.
//
// It does nothing by itself: each Turn() goes as far as it can without waiting. A PartitionThread
// turns it in production, the simulation turns many of them in one thread.
//
//   PartitionRunner runner(options, log, core);
//   while (runner.Turn(clock.Read())) {}
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/core/core.h"
#include "common/core/journal_filter.h"
#include "common/log/log.h"
#include "common/runtime/log_input.h"
#include "common/runtime/outbox.h"

namespace tidegate::runtime {

struct RunnerOptions {
  log::TopicPartition journal;
  struct Input {
    log::TopicPartition at;
    bool is_journal = false;  // apply the validity rule when reading it
  };
  // Folded from 0 at each start, always further than the journal records that refer to them; never
  // decided on.
  std::vector<Input> folded_inputs;
  // Decided on, record by record; continued from the journal's covers.
  std::vector<Input> decided_inputs;

  std::string owner;  // host and process, for people
  std::string boot_id;
  std::string fence_token;        // random, unique per runner
  bool predecessor_dead = false;  // the former owner cannot act any more

  size_t batch_records_max = 1000;
  size_t batch_bytes_max = 4 << 20;
  // Bounds and what happens when full: local inputs are refused; with too many outbox records no
  // input is read and no tick is decided.
  size_t local_inputs_max = 10'000;
  size_t queries_max = 10'000;
  size_t outbox_records_max = 200'000;
  // An empty record covers inputs that needed none, after so many or so long without one.
  uint64_t cover_inputs_max = 1000;
  int64_t cover_after_ns = 100 * kNanosPerMilli;
  // The outbox mark is journaled after so many acknowledged records or so long.
  uint64_t mark_records_max = 1000;
  int64_t mark_after_ns = 1000 * kNanosPerMilli;

  std::function<void()> wake;                  // a Turn would get further; any thread
  std::function<void(const Now&)> after_turn;  // on the runner's thread, after each Turn while live
};

class PartitionRunner {
 public:
  enum class State {
    kRecovering,
    kLive,
    kFenced,  // another owner has this partition; nothing is released any more
    kFailed,  // see failure()
    kStopped,
  };
  // Answers a query; not OK: the partition is not live (UNAVAILABLE), the query never ran.
  using Query = std::function<void(absl::Status, const Now&)>;

  // `log` and `core` outlive the runner.
  PartitionRunner(RunnerOptions options, log::Log* log, core::Core* core);
  // Queries that wait are answered UNAVAILABLE.
  ~PartitionRunner();

  // True if it moved and should be called again. The runner's thread only.
  bool Turn(const Now& now);
  // Ends: nothing is decided or released any more; queries are refused. The runner's thread only.
  void Stop();
  // When to call Turn again without a wake; nothing = only after a wake. The runner's thread only.
  std::optional<int64_t> NextWakeRawNs() const { return next_wake_raw_ns_; }

  // Any thread. RESOURCE_EXHAUSTED: the queue is full (policy: refuse). UNAVAILABLE: not live; a
  // local input is taken while the partition recovers too, and decided when it is live.
  // A local input whose decision was void, or still waits at the end, is gone: nobody repeats it.
  absl::Status PostLocal(std::unique_ptr<core::LocalInput> input);
  absl::Status PostQuery(Query query) const;

  // Any thread.
  State state() const { return state_.load(std::memory_order_acquire); }
  uint64_t records_applied() const { return records_applied_.load(std::memory_order_relaxed); }
  uint64_t void_records() const { return void_records_.load(std::memory_order_relaxed); }
  uint64_t fences() const { return fences_.load(std::memory_order_relaxed); }
  struct Progress {
    uint64_t journal_position = 0;
    uint64_t journal_end = 0;  // as this process knows it
  };
  Progress progress() const {
    const uint64_t position = read_position_.load(std::memory_order_relaxed);
    return {position, std::max(position, log_->End(options_.journal))};
  }
  struct InputProgress {
    log::TopicPartition at;
    uint64_t left = 0;  // records not taken, as this process knows it
    // Raw time at which all of it had been taken last, or the partition became live.
    int64_t caught_up_raw_ns = 0;
  };
  // How far a folded input has been taken; 0 if it is none.
  uint64_t FoldedPosition(log::TopicPartition at) const;
  // Of the folded inputs, then of the decided ones.
  std::vector<InputProgress> input_progress() const;
  uint64_t outbox_records() const { return outbox_records_.load(std::memory_order_relaxed); }
  uint64_t inputs_taken() const { return inputs_taken_.load(std::memory_order_relaxed); }
  // After kFailed.
  absl::Status failure() const;
  const RunnerOptions& options() const { return options_; }
  // Inside a query only.
  const core::Core& core() const { return *core_; }

 private:
  // A former owner, perhaps still alive until our fence, decided its records on folded inputs that
  // were durable before them. So the ends of the folded inputs are asked for after the journal's,
  // and reached before the journal is read up to there: once up to its end, once more up to our
  // fence.
  enum class Recovery {
    kAskJournalEnd,
    kAwaitJournalEnd,
    kAwaitInputEnds,
    kFoldInputs,
    kReadJournal,
    kAppendFence,
    kAwaitFence,
  };
  struct AppendResult;
  struct EndAnswers;
  struct Batch {
    std::vector<log::Record> records;
    size_t bytes = 0;
    uint64_t last_seq = 0;
  };

  bool Recover(const Now& now);
  void AskEnds(const std::vector<log::TopicPartition>& of);
  bool TakeEnds(const Now& now, std::vector<uint64_t>* ends);
  void AskAgainLater(const Now& now);
  bool InputsFolded() const;
  void AppendFence(const Now& now);
  bool FinishFence(const Now& now);
  bool FoldInputs(const Now& now);
  bool ReadJournal(uint64_t until);
  void TakeJournalRecord(const log::StoredRecord& record);
  void ApplyCounted(const ::tidegate::log::v1::RecordHeader& header,
                    const log::StoredRecord& record);
  void OnFence(const ::tidegate::log::v1::RecordHeader& header);
  void BecomeLive(const Now& now);
  bool RunLive(const Now& now);
  bool FinishBatch(const Now& now);
  void VoidBatch();
  bool RunQueries(const Now& now);
  void FillBatch(const Now& now);
  void DecideLocalInputs(const Now& now);
  void DecideLogInputs(const Now& now);
  void DecideTicks(const Now& now);
  void AddMarkAndCover(const Now& now);
  void AddRecord(::tidegate::log::v1::RecordKind kind, core::Decision decision, const Now& now,
                 ::tidegate::log::v1::RecordHeader header);
  void AppendBatch();
  bool BatchFull() const;
  // Turns again at that time at the latest.
  void WakeBy(int64_t raw_ns);
  void TellAppendFailed(const absl::Status& status) const;
  void Fail(absl::Status status);
  void RefuseQueries(const absl::Status& status);
  const ::tidegate::log::v1::Cover* AppliedCover(const std::string& input) const;

  // Constant after construction.
  const RunnerOptions options_;
  log::Log* const log_;
  core::Core* const core_;
  const std::shared_ptr<AppendResult> append_result_;
  const std::shared_ptr<EndAnswers> end_answers_;

  // The runner's thread.
  Recovery recovery_ = Recovery::kAskJournalEnd;
  uint64_t journal_end_ = 0;          // as asked for last
  std::vector<uint64_t> input_ends_;  // of folded_, asked for after journal_end_
  bool fence_appended_ = false;
  int64_t ask_not_before_raw_ns_ = INT64_MIN;
  std::deque<LogInput> folded_;
  std::deque<LogInput> decided_;
  Outbox outbox_;
  core::JournalFilter filter_;
  uint64_t journal_position_ = 0;
  uint64_t epoch_ = 0;
  std::vector<::tidegate::log::v1::Cover> applied_covers_;
  uint64_t next_seq_ = 0;
  std::optional<Batch> batch_;
  bool batch_under_way_ = false;
  uint64_t uncovered_inputs_ = 0;
  int64_t uncovered_since_raw_ns_ = 0;
  int64_t unmarked_since_raw_ns_ = 0;
  int64_t fence_not_before_raw_ns_ = INT64_MIN;
  std::optional<int64_t> next_wake_raw_ns_;
  std::vector<core::OutboxRecord> outbox_scratch_;
  std::vector<log::StoredRecord> journal_scratch_;

  std::atomic<State> state_{State::kRecovering};
  std::atomic<uint64_t> records_applied_{0};
  std::atomic<uint64_t> void_records_{0};
  std::atomic<uint64_t> fences_{0};
  std::atomic<uint64_t> inputs_taken_{0};
  // For other threads: journal_position_ and outbox_.size().
  std::atomic<uint64_t> read_position_{0};
  std::atomic<uint64_t> outbox_records_{0};

  mutable std::mutex mu_;
  // Guarded by mu_.
  std::deque<std::unique_ptr<core::LocalInput>> local_inputs_;
  mutable std::deque<Query> queries_;  // a question changes nothing
  absl::Status failure_;
};

}  // namespace tidegate::runtime
