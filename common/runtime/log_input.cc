#include "common/runtime/log_input.h"

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"

namespace tidegate::runtime {

using ::tidegate::log::v1::Cover;

namespace {

constexpr size_t kReadRecordsMax = 2000;
constexpr size_t kReadBytesMax = 2 << 20;

}  // namespace

absl::StatusOr<bool> LogInput::Admit() {
  const log::StoredRecord& head = buffer_[next_];
  if (!header_.ParseFromString(head.record.header)) {
    LogEvent(LogLevel::kWarning, "input_header_unreadable",
             {{"input", log::Name(at_)}, {"offset", absl::StrCat(head.offset)}});
    // In a journal no owner wrote it, so it does not count. Elsewhere the core says what becomes of
    // a record that nobody is known to have sent; it sees the header's bytes.
    header_.Clear();
    return !is_journal_;
  }
  if (is_journal_) return journal_filter_.Admit(header_) == core::JournalFilter::Verdict::kCounted;
  switch (source_filter_.Judge(header_)) {
    case core::SourceFilter::Verdict::kTake:
      return true;
    case core::SourceFilter::Verdict::kRepeat:
      return false;
    case core::SourceFilter::Verdict::kGap:
      break;
  }
  return absl::DataLossError(absl::StrCat(
      log::Name(at_), " offset ", head.offset, ": ", header_.source().journal(), " sent out_seq ",
      header_.source().out_seq(), ", records before it are missing"));
}

absl::StatusOr<LogInput::Item> LogInput::Peek(log::Log* log) {
  while (true) {
    if (next_ == buffer_.size()) {
      next_ = 0;
      RETURN_IF_ERROR(log->Read(at_, position_, kReadRecordsMax, kReadBytesMax, &buffer_));
      if (buffer_.empty()) return Item{nullptr, nullptr};
    }
    if (!admitted_) {
      ASSIGN_OR_RETURN(admitted_, Admit());
      if (!admitted_) {
        Skip();
        continue;
      }
    }
    return Item{&buffer_[next_], &header_};
  }
}

void LogInput::Take() {
  if (!is_journal_) source_filter_.Take(header_);
  Skip();
}

void LogInput::Skip() {
  position_ = buffer_[next_].offset + 1;
  ++next_;
  admitted_ = false;
  epoch_ = journal_filter_.epoch();
  seq_ = journal_filter_.seq();
}

void LogInput::Restore(const Cover* cover) {
  buffer_.clear();
  next_ = 0;
  admitted_ = false;
  position_ = cover == nullptr ? 0 : cover->position();
  epoch_ = cover == nullptr ? 0 : cover->epoch();
  seq_ = cover == nullptr ? 0 : cover->seq();
  journal_filter_.Restore(epoch_, seq_);
  source_filter_.Restore(cover == nullptr ? Cover() : *cover);
}

void LogInput::WriteTo(Cover* cover) const {
  cover->set_input(log::Name(at_));
  cover->set_position(position_);
  if (is_journal_) {
    cover->set_epoch(epoch_);
    cover->set_seq(seq_);
  }
  source_filter_.WriteTo(cover);
}

}  // namespace tidegate::runtime
