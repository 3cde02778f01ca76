#include "common/core/source_filter.h"

namespace tidegate::core {

using ::tidegate::log::v1::Cover;
using ::tidegate::log::v1::RecordHeader;

SourceFilter::Verdict SourceFilter::Judge(const RecordHeader& header) const {
  if (!header.has_source()) return Verdict::kTake;
  const auto it = last_out_seq_.find(header.source().journal());
  const uint64_t last = it == last_out_seq_.end() ? 0 : it->second;
  if (header.source().out_seq() <= last) return Verdict::kRepeat;
  return header.source().out_seq() == last + 1 ? Verdict::kTake : Verdict::kGap;
}

void SourceFilter::Take(const RecordHeader& header) {
  if (header.has_source()) last_out_seq_[header.source().journal()] = header.source().out_seq();
}

void SourceFilter::Restore(const Cover& cover) {
  last_out_seq_.clear();
  for (const auto& source : cover.sources()) last_out_seq_[source.journal()] = source.out_seq();
}

void SourceFilter::WriteTo(Cover* cover) const {
  for (const auto& [journal, out_seq] : last_out_seq_) {
    auto* source = cover->add_sources();
    source->set_journal(journal);
    source->set_out_seq(out_seq);
  }
}

}  // namespace tidegate::core
