// Sends what applied records have for other topics: in order per target, numbered by out_seq, again
// after a takeover from the journaled mark on. One append per target is under way at a time.
//
// Used by the partition's thread; only Acknowledge's arguments cross threads (through `acks`).
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/base/clock.h"
#include "common/core/core.h"
#include "common/log/log.h"

namespace tidegate::runtime {

// How long an append to a full log waits before it is tried again.
inline constexpr int64_t kFullLogRetryNs = 10 * kNanosPerMilli;

class Outbox {
 public:
  // `journal` is the name that readers know the source by. `wake` is called when an append ended.
  Outbox(std::string journal, log::Log* log, std::function<void()> wake);

  // From apply: numbers the record and keeps it unless the mark says that it was acknowledged.
  void Add(core::OutboxRecord record);
  // From apply: a journaled mark.
  void ApplyMark(const ::tidegate::log::v1::RecordHeader& header);

  // Takes note of ended appends and starts new ones. True if anything moved. A full log is asked
  // again a little later, see RetryRawNs().
  bool Pump(const Now& now);
  // Not OK: what is here can never be sent; the partition must end.
  const absl::Status& failure() const { return failure_; }
  // When to call Pump again after a full log; nothing = no need.
  std::optional<int64_t> RetryRawNs() const { return retry_raw_ns_; }
  // Writes the targets acknowledged beyond their journaled mark; false if there are none.
  bool WriteMark(::tidegate::log::v1::RecordHeader* header) const;

  // Records not acknowledged.
  size_t size() const { return size_; }
  // Acknowledged beyond the journaled mark.
  uint64_t unmarked() const { return unmarked_; }

 private:
  struct Target {
    log::TopicPartition at;
    std::deque<log::Record> unacknowledged;  // the first has out_seq acknowledged + 1
    uint64_t last_out_seq = 0;
    uint64_t acknowledged = 0;
    uint64_t marked = 0;
    size_t under_way = 0;  // records of the append under way
  };
  struct Acks;

  const std::string journal_;
  log::Log* const log_;
  const std::shared_ptr<Acks> acks_;
  std::map<std::string, Target> targets_;
  absl::Status failure_;
  std::optional<int64_t> retry_raw_ns_;
  size_t size_ = 0;
  uint64_t unmarked_ = 0;
};

}  // namespace tidegate::runtime
