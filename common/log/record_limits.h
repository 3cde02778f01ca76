// What every log checks before it takes an append: the size of each record and the bound of its
// queue. Not for callers of a log, who only need kRecordBytesMax.
#pragma once

#include <cstddef>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/log/log.h"

namespace tidegate::log {

inline size_t RecordBytes(const Record& record) {
  return record.key.size() + record.header.size() + record.value.size();
}

// Adds up an append. INVALID_ARGUMENT when one record is larger than kRecordBytesMax.
inline absl::Status MeasureRecords(TopicPartition at, const std::vector<Record>& records,
                                   size_t* bytes) {
  *bytes = 0;
  for (const Record& record : records) {
    const size_t record_bytes = RecordBytes(record);
    if (record_bytes > kRecordBytesMax) {
      return absl::InvalidArgumentError(absl::StrCat("record too large for ", Name(at), ": ",
                                                     record_bytes, " bytes, at most ",
                                                     kRecordBytesMax));
    }
    *bytes += record_bytes;
  }
  return absl::OkStatus();
}

// The bound of an append queue; what is being written counts until it is settled. Policy when full:
// reject. Not thread-safe: its owner's lock guards it.
class QueueBudget {
 public:
  QueueBudget(size_t bytes_max, size_t records_max)
      : bytes_max_(bytes_max), records_max_(records_max) {}

  // RESOURCE_EXHAUSTED: it does not fit now. INVALID_ARGUMENT: it would not fit an empty queue.
  absl::Status Take(size_t bytes, size_t records) {
    if (bytes > bytes_max_ || records > records_max_) {
      return absl::InvalidArgumentError(
          absl::StrCat("append too large: ", records, " records, ", bytes, " bytes; the queue of ",
                       "this log holds ", records_max_, " records, ", bytes_max_, " bytes"));
    }
    if (bytes > bytes_max_ - bytes_ || records > records_max_ - records_) {
      return absl::ResourceExhaustedError(
          absl::StrCat("append queue full: ", records_, " records, ", bytes_, " bytes wait"));
    }
    bytes_ += bytes;
    records_ += records;
    return absl::OkStatus();
  }

  void Return(size_t bytes, size_t records) {
    bytes_ -= bytes;
    records_ -= records;
  }

 private:
  const size_t bytes_max_;
  const size_t records_max_;
  size_t bytes_ = 0;
  size_t records_ = 0;
};

}  // namespace tidegate::log
