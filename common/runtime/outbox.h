// Sends what applied records have for other topics: in order per target, numbered by out_seq, again
// after a takeover from the journaled mark on. One append per target is under way at a time.
//
// Used by the partition's thread; only Acknowledge's arguments cross threads (through `acks`).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/core/core.h"
#include "common/log/log.h"

namespace tidegate::runtime {

class Outbox {
 public:
  // `journal` is the name that readers know the source by. `wake` is called when an append ended.
  Outbox(std::string journal, log::Log* log, std::function<void()> wake);

  // From apply: numbers the record and keeps it unless the mark says that it was acknowledged.
  void Add(core::OutboxRecord record);
  // From apply: a journaled mark.
  void ApplyMark(const ::tidegate::log::v1::RecordHeader& header);

  // Takes note of ended appends and starts new ones. True if anything moved.
  bool Pump();
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
  size_t size_ = 0;
  uint64_t unmarked_ = 0;
};

}  // namespace tidegate::runtime
