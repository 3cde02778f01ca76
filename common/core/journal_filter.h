// The one validity rule of every journal, for every reader: a record counts if and only if its
// epoch is that of the newest fence before it, and its seq is the last counted one + 1. The first
// fence of an epoch wins. Repeats, zombies' records, torn, gapped and replayed ones do not count.
//
// Pure; one per reader and journal; not thread-safe.
#pragma once

#include <cstdint>
#include <string>

#include "tidegate/log/v1/header.pb.h"

namespace tidegate::core {

class JournalFilter {
 public:
  enum class Verdict {
    kFence,    // starts a new epoch
    kCounted,  // fold it
    kVoid,     // ignore it
  };
  // To be asked once per record, in log order.
  Verdict Admit(const ::tidegate::log::v1::RecordHeader& header);

  // Continues behind a record that was read under this epoch, with this last counted seq.
  void Restore(uint64_t epoch, uint64_t seq);

  uint64_t epoch() const { return epoch_; }
  uint64_t seq() const { return seq_; }
  // Token of the fence that started the current epoch; empty if Restore skipped it.
  const std::string& fence_token() const { return fence_token_; }
  uint64_t void_records() const { return void_records_; }
  uint64_t fences() const { return fences_; }

 private:
  uint64_t epoch_ = 0;
  uint64_t seq_ = 0;
  std::string fence_token_;
  uint64_t void_records_ = 0;
  uint64_t fences_ = 0;
};

}  // namespace tidegate::core
