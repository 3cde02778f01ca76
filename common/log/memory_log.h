// A log in memory, for unit and simulation tests: it holds, delays, fails, repeats and tears
// appends on demand. One object is shared by all owners of a simulation and outlives their
// restarts.
//
// Not for: keeping anything after the process.
//
//   MemoryLog log;                                      // immediate: durable inside Append
//   log.FailNext(absl::UnavailableError("broker"), 1);  // the next append keeps one record only
//
//   MemoryLog log({.manual = true});                    // appends wait for the test
//   log.Append(at, records, done);
//   log.Deliver(1);                                     // now durable; done(OK) runs here
//
//   MemoryLog log({.manual_ends = true});               // so do questions for ends
//   log.QueryEnd(at, done);
//   log.AnswerEnd(0, MemoryLog::EndAnswer::kAsAsked);   // done(end) runs here
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "common/log/log.h"
#include "common/log/record_limits.h"
#include "common/log/watch_list.h"

namespace tidegate::log {

struct MemoryLogOptions {
  // False: an append is durable, and done() runs, inside Append. True: it stays pending until the
  // test settles it with one of the calls below.
  bool manual = false;
  // True: a QueryEnd waits until the test answers it with AnswerEnd.
  bool manual_ends = false;
  size_t queue_bytes_max = size_t{64} << 20;
  size_t queue_records_max = 200'000;
};

// Thread-safe. Callbacks run on the thread that settles the append, outside the lock.
class MemoryLog final : public Log {
 public:
  using Options = MemoryLogOptions;

  MemoryLog() : MemoryLog(Options()) {}
  explicit MemoryLog(const Options& options);

  void Append(TopicPartition at, std::vector<Record> records, AppendDone done) override;
  absl::Status Read(TopicPartition at, uint64_t offset, size_t records_max, size_t bytes_max,
                    std::vector<StoredRecord>* out) override;
  uint64_t End(TopicPartition at) override;
  void QueryEnd(TopicPartition at, const EndDone& done) override;
  uint64_t Watch(TopicPartition at, std::function<void()> wake) override;
  void Unwatch(uint64_t watch_id) override;

  // --- Pending appends (manual mode) ---

  // The partition of each pending append, oldest first.
  std::vector<TopicPartition> Pending() const;
  // Makes the oldest `appends` pending appends durable. Returns how many there were.
  size_t Deliver(size_t appends);
  // All that are pending now; not those that their callbacks append.
  size_t DeliverAll();
  // The oldest pending append of one partition: order holds within a partition only, as on Kafka.
  // False when there is none.
  bool DeliverOldest(TopicPartition at);
  // The process of the appenders dies: what is pending vanishes and its callbacks never run.
  // Returns how many appends were lost.
  size_t CrashDropPending();

  // --- Questions for ends (manual_ends) ---

  enum class EndAnswer {
    kAsAsked,  // the end when it was asked for: no answer may be lower
    kAsNow,    // the end at the moment of the answer
    kError,    // UNAVAILABLE
  };
  // The partition of each question that waits, oldest first.
  std::vector<TopicPartition> PendingEnds() const;
  // Answers the question with this index among those that wait. False when there is none.
  bool AnswerEnd(size_t index, EndAnswer answer);

  // --- Faults ---
  // Manual mode: settles the oldest pending append (of partition `at`, when given) this way, now;
  // false when there is none. Immediate mode: arms the next append (to partition `at`), and is
  // true; several faults for one partition are used in the order they were armed.

  // done(status), after the first `records_persisted` records of the append became durable.
  bool FailNext(absl::Status status, size_t records_persisted = 0,
                std::optional<TopicPartition> at = std::nullopt);
  // All records durable twice, one whole copy after the other, then done(OK): a produce that was
  // retried although the first try had been executed.
  bool DuplicateNext(std::optional<TopicPartition> at = std::nullopt);
  // All records durable but the one with this index, then done(status): a torn batch.
  bool GapNext(size_t record_dropped, absl::Status status,
               std::optional<TopicPartition> at = std::nullopt);

  // Another process (a zombie) appends this record, durable at once, past everything pending.
  // Returns its offset.
  uint64_t InjectRaw(TopicPartition at, Record record);

 private:
  struct PendingAppend {
    TopicPartition at;
    std::vector<Record> records;
    AppendDone done;
    size_t bytes = 0;
  };
  struct EndQuestion {
    TopicPartition at;
    uint64_t end;  // when it was asked for
    EndDone done;
  };
  // What becomes of one append: `copies` times the records [0, records_kept) without
  // `record_dropped`, then done(status).
  struct Fate {
    absl::Status status;
    size_t records_kept = SIZE_MAX;
    size_t record_dropped = SIZE_MAX;
    int copies = 1;
  };
  struct ArmedFault {
    std::optional<TopicPartition> at;
    Fate fate;
  };

  bool Apply(Fate fate, std::optional<TopicPartition> at);
  std::optional<PendingAppend> TakePending(std::optional<TopicPartition> at);
  void Settle(PendingAppend append, const Fate& fate);

  const bool manual_;
  const bool manual_ends_;
  WatchList watches_;

  mutable std::mutex mu_;  // guards the rest
  QueueBudget budget_;
  std::map<TopicPartition, std::vector<Record>> durable_;
  std::deque<PendingAppend> pending_;
  std::deque<ArmedFault> armed_;
  std::deque<EndQuestion> end_questions_;
};

}  // namespace tidegate::log
