#include "common/core/journal_filter.h"

namespace tidegate::core {

using ::tidegate::log::v1::RECORD_KIND_FENCE;
using ::tidegate::log::v1::RECORD_KIND_UNSPECIFIED;
using ::tidegate::log::v1::RecordHeader;

JournalFilter::Verdict JournalFilter::Admit(const RecordHeader& header) {
  if (header.kind() == RECORD_KIND_FENCE) {
    if (header.epoch() <= epoch_) {
      ++void_records_;
      return Verdict::kVoid;
    }
    epoch_ = header.epoch();
    fence_token_ = header.fence().token();
    ++fences_;
    return Verdict::kFence;
  }
#if TIDEGATE_MUTANT == 21
  const bool counts = header.kind() != RECORD_KIND_UNSPECIFIED;
#elif TIDEGATE_MUTANT == 24
  const bool counts = header.kind() != RECORD_KIND_UNSPECIFIED && epoch_ != 0 &&
                      header.epoch() == epoch_ && header.seq() > seq_;
#else
  const bool counts = header.kind() != RECORD_KIND_UNSPECIFIED && epoch_ != 0 &&
                      header.epoch() == epoch_ && header.seq() == seq_ + 1;
#endif
  if (!counts) {
    ++void_records_;
    return Verdict::kVoid;
  }
  seq_ = header.seq();
  return Verdict::kCounted;
}

void JournalFilter::Restore(uint64_t epoch, uint64_t seq) {
  epoch_ = epoch;
  seq_ = seq;
  fence_token_.clear();
}

}  // namespace tidegate::core
