#include "common/log/memory_log.h"

#include <algorithm>
#include <utility>

namespace tidegate::log {

MemoryLog::MemoryLog(const Options& options)
    : manual_(options.manual),
      manual_ends_(options.manual_ends),
      budget_(options.queue_bytes_max, options.queue_records_max) {}

void MemoryLog::Append(TopicPartition at, std::vector<Record> records, AppendDone done) {
  size_t bytes = 0;
  absl::Status status = MeasureRecords(at, records, &bytes);
  Fate fate;
  bool settle_now = false;
  PendingAppend append;
  if (status.ok()) {
    std::lock_guard lock(mu_);
    status = budget_.Take(bytes, records.size());
    if (status.ok()) {
      append = PendingAppend{at, std::move(records), std::move(done), bytes};
      if (manual_) {
        pending_.push_back(std::move(append));
      } else {
        settle_now = true;
        const auto fault = std::find_if(armed_.begin(), armed_.end(), [at](const ArmedFault& f) {
          return !f.at.has_value() || *f.at == at;
        });
        if (fault != armed_.end()) {
          fate = std::move(fault->fate);
          armed_.erase(fault);
        }
      }
    }
  }
  if (!status.ok()) {
    if (done) done(status);
    return;
  }
  if (settle_now) Settle(std::move(append), fate);
}

absl::Status MemoryLog::Read(TopicPartition at, uint64_t offset, size_t records_max,
                             size_t bytes_max, std::vector<StoredRecord>* out) {
  out->clear();
  std::lock_guard lock(mu_);
  const auto found = durable_.find(at);
  if (found == durable_.end()) return absl::OkStatus();
  const std::vector<Record>& records = found->second;
  size_t bytes = 0;
  for (; offset < records.size() && out->size() < records_max; ++offset) {
    out->push_back({offset, records[offset]});
    bytes += RecordBytes(records[offset]);
    if (bytes >= bytes_max) break;
  }
  return absl::OkStatus();
}

uint64_t MemoryLog::End(TopicPartition at) {
  std::lock_guard lock(mu_);
  const auto found = durable_.find(at);
  return found == durable_.end() ? 0 : found->second.size();
}

void MemoryLog::QueryEnd(TopicPartition at, const EndDone& done) {
  const uint64_t end = End(at);
  if (!manual_ends_) return done(end);
  std::lock_guard lock(mu_);
  end_questions_.push_back({at, end, done});
}

std::vector<TopicPartition> MemoryLog::PendingEnds() const {
  std::lock_guard lock(mu_);
  std::vector<TopicPartition> partitions;
  partitions.reserve(end_questions_.size());
  for (const EndQuestion& question : end_questions_) partitions.push_back(question.at);
  return partitions;
}

bool MemoryLog::AnswerEnd(size_t index, EndAnswer answer) {
  EndQuestion question;
  {
    std::lock_guard lock(mu_);
    if (index >= end_questions_.size()) return false;
    const auto found = end_questions_.begin() + static_cast<ptrdiff_t>(index);
    question = std::move(*found);
    end_questions_.erase(found);
  }
  switch (answer) {
    case EndAnswer::kAsAsked:
      question.done(question.end);
      break;
    case EndAnswer::kAsNow:
      question.done(End(question.at));
      break;
    case EndAnswer::kError:
      question.done(absl::UnavailableError("the end is not known now"));
      break;
  }
  return true;
}

uint64_t MemoryLog::Watch(TopicPartition at, std::function<void()> wake) {
  return watches_.Add(at, std::move(wake));
}

void MemoryLog::Unwatch(uint64_t watch_id) { watches_.Remove(watch_id); }

std::vector<TopicPartition> MemoryLog::Pending() const {
  std::lock_guard lock(mu_);
  std::vector<TopicPartition> partitions;
  partitions.reserve(pending_.size());
  for (const PendingAppend& append : pending_) partitions.push_back(append.at);
  return partitions;
}

size_t MemoryLog::Deliver(size_t appends) {
  size_t delivered = 0;
  while (delivered < appends) {
    std::optional<PendingAppend> append = TakePending(std::nullopt);
    if (!append.has_value()) break;
    Settle(*std::move(append), Fate());
    ++delivered;
  }
  return delivered;
}

size_t MemoryLog::DeliverAll() { return Deliver(Pending().size()); }

bool MemoryLog::DeliverOldest(TopicPartition at) {
  std::optional<PendingAppend> append = TakePending(at);
  if (!append.has_value()) return false;
  Settle(*std::move(append), Fate());
  return true;
}

size_t MemoryLog::CrashDropPending() {
  // Destroyed after the lock: what the callbacks captured may have destructors of its own.
  std::deque<PendingAppend> lost;
  {
    std::lock_guard lock(mu_);
    lost.swap(pending_);
    for (const PendingAppend& append : lost) budget_.Return(append.bytes, append.records.size());
  }
  return lost.size();
}

bool MemoryLog::FailNext(absl::Status status, size_t records_persisted,
                         std::optional<TopicPartition> at) {
  return Apply(Fate{.status = std::move(status), .records_kept = records_persisted}, at);
}

bool MemoryLog::DuplicateNext(std::optional<TopicPartition> at) {
  return Apply(Fate{.copies = 2}, at);
}

bool MemoryLog::GapNext(size_t record_dropped, absl::Status status,
                        std::optional<TopicPartition> at) {
  return Apply(Fate{.status = std::move(status), .record_dropped = record_dropped}, at);
}

uint64_t MemoryLog::InjectRaw(TopicPartition at, Record record) {
  uint64_t offset = 0;
  {
    std::lock_guard lock(mu_);
    std::vector<Record>& durable = durable_[at];
    offset = durable.size();
    durable.push_back(std::move(record));
  }
  watches_.Wake(at);
  return offset;
}

bool MemoryLog::Apply(Fate fate, std::optional<TopicPartition> at) {
  if (!manual_) {
    std::lock_guard lock(mu_);
    armed_.push_back({at, std::move(fate)});
    return true;
  }
  std::optional<PendingAppend> append = TakePending(at);
  if (!append.has_value()) return false;
  Settle(*std::move(append), fate);
  return true;
}

std::optional<MemoryLog::PendingAppend> MemoryLog::TakePending(std::optional<TopicPartition> at) {
  std::lock_guard lock(mu_);
  const auto found = std::find_if(
      pending_.begin(), pending_.end(),
      [at](const PendingAppend& append) { return !at.has_value() || append.at == *at; });
  if (found == pending_.end()) return std::nullopt;
  std::optional<PendingAppend> append(std::move(*found));
  pending_.erase(found);
  return append;
}

void MemoryLog::Settle(PendingAppend append, const Fate& fate) {
  bool moved = false;
  {
    std::lock_guard lock(mu_);
    std::vector<Record>& durable = durable_[append.at];
    const size_t kept = std::min(fate.records_kept, append.records.size());
    for (int copy = 0; copy < fate.copies; ++copy) {
      for (size_t i = 0; i < kept; ++i) {
        if (i == fate.record_dropped) continue;
        durable.push_back(append.records[i]);
        moved = true;
      }
    }
    budget_.Return(append.bytes, append.records.size());
  }
  if (append.done) append.done(fate.status);
  if (moved) watches_.Wake(append.at);
}

}  // namespace tidegate::log
