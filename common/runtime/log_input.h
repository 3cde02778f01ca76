// Reads one input partition in order, applying the validity rule (for journals) and the outbox rule
// (for what other journals send), and remembers how far it came.
//
// Used by the partition's thread only.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/core/journal_filter.h"
#include "common/core/source_filter.h"
#include "common/log/log.h"

namespace tidegate::runtime {

class LogInput {
 public:
  struct Item {
    const log::StoredRecord* record;
    const ::tidegate::log::v1::RecordHeader* header;
  };

  LogInput(log::TopicPartition at, bool is_journal) : at_(at), is_journal_(is_journal) {}

  log::TopicPartition at() const { return at_; }
  // The offset of the next record to take. Any thread.
  uint64_t position() const { return position_.load(std::memory_order_relaxed); }
  // When all of it had been taken last, by the caller's word. Any thread.
  int64_t caught_up_raw_ns() const { return caught_up_raw_ns_.load(std::memory_order_relaxed); }
  void SetCaughtUp(int64_t raw_ns) { caught_up_raw_ns_.store(raw_ns, std::memory_order_relaxed); }

  // The next record to take, or null fields at the end. Stays the next one until Take(). One whose
  // header cannot be read comes with an empty header; of a journal it does not come at all.
  // DATA_LOSS: a source sent a gap. Valid until the next call.
  absl::StatusOr<Item> Peek(log::Log* log);
  void Take();

  // Goes back to (or on from) a cover; without one, to offset 0.
  void Restore(const ::tidegate::log::v1::Cover* cover);
  void WriteTo(::tidegate::log::v1::Cover* cover) const;

 private:
  // Filters the record at the head of the buffer; false if it is to be skipped.
  absl::StatusOr<bool> Admit();
  void Skip();

  const log::TopicPartition at_;
  const bool is_journal_;
  core::JournalFilter journal_filter_;
  core::SourceFilter source_filter_;
  // Of journal_filter_ at position_: it may have admitted the head already.
  uint64_t epoch_ = 0;
  uint64_t seq_ = 0;
  std::atomic<uint64_t> position_{0};
  std::atomic<int64_t> caught_up_raw_ns_{0};
  std::vector<log::StoredRecord> buffer_;
  size_t next_ = 0;
  bool admitted_ = false;  // the head passed the filters and waits for Take
  ::tidegate::log::v1::RecordHeader header_;
};

}  // namespace tidegate::runtime
