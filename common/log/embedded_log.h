// The log of one machine: RocksDB in DIR/log, one fsync per batch before anything is released; a
// batch is what queued during the last sync.
//
// Not for: several processes (the second Open is refused), or losing a disk (see the Kafka log).
//
//   ASSIGN_OR_RETURN(auto directory, DataDirectory::Open(path, 4, 1));
//   ASSIGN_OR_RETURN(auto log, EmbeddedLog::Open(directory->path()));
//   log->Append({Topic::kLedger, 0}, std::move(records), [](absl::Status s) { ... });
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/log/log.h"

namespace tidegate::log {

struct EmbeddedLogOptions {
  // The bound of what waits for its sync, all topics together. Policy when full: reject with
  // RESOURCE_EXHAUSTED. One append larger than the whole queue is INVALID_ARGUMENT.
  size_t queue_bytes_max = size_t{64} << 20;
  size_t queue_records_max = 200'000;
  // A batch takes no further append once it has this many bytes.
  size_t batch_bytes_max = size_t{4} << 20;
  // The bound of what a start has to replay from the write-ahead log (up to twice this, while one
  // buffer is being written out).
  size_t write_buffer_bytes = size_t{8} << 20;
  // How long the destructor goes on writing what is queued; the rest then fails with UNAVAILABLE.
  int64_t close_wait_ms = 5'000;
  // For tests: asked before the n-th batch (from 1) is written, on the appender thread. An error is
  // treated as a failed write; it may block, to hold the queue.
  std::function<absl::Status(size_t nth_batch)> write_fault;
};

// Thread-safe. `done` and `wake` run on the one appender thread, so they must be short.
//
// After any write error the store is closed for good: the appends of that batch and all later ones
// fail with UNAVAILABLE, and nothing is written or synced again (a second fsync after a failed one
// may report success for data that is gone). What was durable stays readable. The way on is to
// start the process again.
class EmbeddedLog final : public Log {
 public:
  using Options = EmbeddedLogOptions;

  // Opens DIR/log, making it when missing. A torn tail (never acknowledged) is discarded.
  // Errors: FAILED_PRECONDITION another owner has it open; DATA_LOSS the store is corrupt;
  // UNAVAILABLE the disk refuses.
  static absl::StatusOr<std::unique_ptr<EmbeddedLog>> Open(absl::string_view directory);
  static absl::StatusOr<std::unique_ptr<EmbeddedLog>> Open(absl::string_view directory,
                                                           const Options& options);

  // Opens DIR/log as it is now, also while another process writes to it: End() does not move, and
  // the last records may be ones whose sync is still under way. Writes nothing to the store.
  // Append fails with FAILED_PRECONDITION. Errors: NOT_FOUND there is no log; else as Open.
  static absl::StatusOr<std::unique_ptr<EmbeddedLog>> OpenReadOnly(absl::string_view directory);

  // Finishes what is queued (bounded by close_wait_ms), then closes. No other call may run.
  ~EmbeddedLog() override;

  void Append(TopicPartition at, std::vector<Record> records, AppendDone done) override;
  absl::Status Read(TopicPartition at, uint64_t offset, size_t records_max, size_t bytes_max,
                    std::vector<StoredRecord>* out) override;
  uint64_t End(TopicPartition at) override;
  uint64_t Watch(TopicPartition at, std::function<void()> wake) override;
  void Unwatch(uint64_t watch_id) override;

  // The topic partitions that hold a record, in order: what an export walks over.
  std::vector<TopicPartition> Partitions();

 private:
  class Store;

  explicit EmbeddedLog(std::unique_ptr<Store> store);

  const std::unique_ptr<Store> store_;
};

}  // namespace tidegate::log
