// The log: ordered, durable topic partitions. The one door to storage for every service.
//
// Implementations: MemoryLog (tests; injects duplicates, gaps, zombies, errors), EmbeddedLog
// (RocksDB on one machine), KafkaLog (many machines). All pass
// tests/unit/common/log/log_conformance.h.
//
// Not for: state of a core (that is folded from its journal), or consumer groups (there are none).
//
//   log->Append({Topic::kEvents, 3}, {Record{key, header, value}}, [](absl::Status s) { ... });
//   std::vector<StoredRecord> batch;
//   RETURN_IF_ERROR(log->Read({Topic::kEvents, 3}, offset, 1000, 1 << 20, &batch));
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tidegate::log {

// The topics of the product. The numbers are part of the embedded log's key format: never reuse
// one.
enum class Topic : uint8_t {
  kEvents = 1,
  kProfiles = 2,
  kMemberships = 3,
  kLedger = 4,
  kAudiences = 5,
  kCommands = 6,
  kDefinitions = 7,
  kDeadLetters = 8,
};

// In the order of their numbers.
const std::vector<Topic>& AllTopics();
// "tidegate.events" and so on: the name on Kafka, in headers and in exports.
const char* TopicName(Topic topic);

struct TopicPartition {
  Topic topic;
  uint32_t partition;
  friend auto operator<=>(const TopicPartition&, const TopicPartition&) = default;
};

// "tidegate.events/3".
std::string Name(TopicPartition at);

// What a writer hands in. `header` holds a serialised tidegate.log.v1.RecordHeader, or nothing.
// key + header + value is at most kRecordBytesMax.
struct Record {
  std::string key;
  std::string header;
  std::string value;
};
inline constexpr size_t kRecordBytesMax = 1'000'000;

struct StoredRecord {
  uint64_t offset = 0;
  Record record;
};

class Log {
 public:
  virtual ~Log() = default;

  // Called exactly once. OK: all records are durable, in order; next to each other unless another
  // process appended to the partition meanwhile.
  // Any error: a prefix of them may still be, or may become, readable (so an owner fences itself).
  // May run on a thread of the log, or inside Append; it must only note the result and wake
  // somebody.
  using AppendDone = std::function<void(absl::Status)>;

  // Appends in order. Never blocks for I/O.
  // Errors: INVALID_ARGUMENT a record is too large (nothing is written); RESOURCE_EXHAUSTED the
  // queue of this log is full, nothing is written (policy when full: reject; slow down and try
  // again); UNAVAILABLE the store failed and is closed for good; DEADLINE_EXCEEDED or ABORTED this
  // append failed, later ones may succeed. Any thread.
  virtual void Append(TopicPartition at, std::vector<Record> records, AppendDone done) = 0;

  // As Append, but `done` runs with DEADLINE_EXCEEDED when the store takes longer than
  // `patience_ms`, though the records may become durable later. For callers who cannot wait as long
  // as the store may be away; a store on this machine answers in time.
  virtual void AppendWithin(TopicPartition at, std::vector<Record> records, int64_t /*patience_ms*/,
                            AppendDone done) {
    Append(at, std::move(records), std::move(done));
  }

  // Replaces *out by durable records from `offset` on, in offset order without gaps: at most
  // `records_max`, and stops after the record that passes `bytes_max`. Empty when there is nothing
  // (yet) at `offset`: not an error. Never blocks; what a remote store holds may arrive a little
  // after End() moved, and a watcher is woken then.
  // Errors: UNAVAILABLE, DATA_LOSS (a gap or a corrupt record). Any thread.
  virtual absl::Status Read(TopicPartition at, uint64_t offset, size_t records_max,
                            size_t bytes_max, std::vector<StoredRecord>* out) = 0;

  // The offset after the last record that is known here to be durable: at least all that this
  // process appended and was acknowledged, or has read. Any thread.
  virtual uint64_t End(TopicPartition at) = 0;

  using EndDone = std::function<void(absl::StatusOr<uint64_t>)>;
  // Asks the store: `done` gets an end that is at least what any process had been acknowledged when
  // this was called. Never blocks; `done` runs once, perhaps inside the call, perhaps on a thread
  // of the log. Error: UNAVAILABLE the store does not answer; ask again. Any thread.
  virtual void QueryEnd(TopicPartition at, const EndDone& done) { done(End(at)); }

  // Calls `wake` after End(at) has moved or records of it have arrived, from any thread, until
  // Unwatch of the same id returned. What other processes append is noticed only in partitions that
  // this process reads. `wake` must not call back into the log.
  virtual uint64_t Watch(TopicPartition at, std::function<void()> wake) = 0;
  virtual void Unwatch(uint64_t watch_id) = 0;
};

}  // namespace tidegate::log
