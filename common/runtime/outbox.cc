#include "common/runtime/outbox.h"

#include <algorithm>
#include <utility>

#include "common/core/header_codec.h"

namespace tidegate::runtime {

using ::tidegate::log::v1::RecordHeader;

namespace {

constexpr size_t kAppendRecordsMax = 1000;

}  // namespace

// Outlives the outbox while an append is under way.
struct Outbox::Acks {
  std::mutex mu;
  std::vector<std::pair<std::string, absl::Status>> ended;  // by target
  std::function<void()> wake;
};

Outbox::Outbox(std::string journal, log::Log* log, std::function<void()> wake)
    : journal_(std::move(journal)), log_(log), acks_(std::make_shared<Acks>()) {
  acks_->wake = std::move(wake);
}

void Outbox::Add(core::OutboxRecord record) {
  Target& target = targets_[log::Name(record.target)];
  target.at = record.target;
  ++target.last_out_seq;
  if (target.last_out_seq <= target.acknowledged) return;
  RecordHeader header;
  header.mutable_source()->set_journal(journal_);
  header.mutable_source()->set_out_seq(target.last_out_seq);
  target.unacknowledged.push_back({.key = std::move(record.key),
                                   .header = core::EncodeHeader(header),
                                   .value = std::move(record.value)});
  ++size_;
}

void Outbox::ApplyMark(const RecordHeader& header) {
  for (const auto& mark : header.outbox_marks()) {
    Target& target = targets_[mark.target()];
    target.marked = std::max(target.marked, mark.out_seq());
    while (target.acknowledged < target.marked && !target.unacknowledged.empty()) {
      target.unacknowledged.pop_front();
      ++target.acknowledged;
      if (target.under_way > 0) --target.under_way;  // of an append whose end is still to come
      --size_;
    }
    target.acknowledged = std::max(target.acknowledged, target.marked);
  }
  unmarked_ = 0;
  for (const auto& [name, target] : targets_) unmarked_ += target.acknowledged - target.marked;
}

bool Outbox::Pump(const Now& now) {
  bool moved = false;
  std::vector<std::pair<std::string, absl::Status>> ended;
  {
    std::lock_guard lock(acks_->mu);
    ended.swap(acks_->ended);
  }
  for (const auto& [name, status] : ended) {
    Target& target = targets_[name];
    if (status.ok()) {
      for (size_t i = 0; i < target.under_way; ++i) target.unacknowledged.pop_front();
      target.acknowledged += target.under_way;
      unmarked_ += target.under_way;
      size_ -= target.under_way;
    } else if (absl::IsUnavailable(status) || absl::IsInvalidArgument(status)) {
      failure_ = status;  // a closed store or a record too large: no repeat ends otherwise
    } else if (absl::IsResourceExhausted(status)) {
      retry_raw_ns_ = now.raw_ns + kFullLogRetryNs;
    }
    target.under_way = 0;  // not durable: the same records go again, readers drop repeats
    moved = true;
  }
  if (!failure_.ok()) return moved;
  if (retry_raw_ns_.has_value()) {
    if (now.raw_ns < *retry_raw_ns_) return moved;
    retry_raw_ns_.reset();
  }
  for (auto& [name, target] : targets_) {
    if (target.under_way != 0 || target.unacknowledged.empty()) continue;
    target.under_way = std::min(target.unacknowledged.size(), kAppendRecordsMax);
    std::vector<log::Record> records(target.unacknowledged.begin(),
                                     target.unacknowledged.begin() + target.under_way);
    log_->Append(target.at, std::move(records), [acks = acks_, name = name](absl::Status status) {
      {
        std::lock_guard lock(acks->mu);
        acks->ended.emplace_back(name, std::move(status));
      }
      acks->wake();
    });
    moved = true;
  }
  return moved;
}

bool Outbox::WriteMark(RecordHeader* header) const {
  for (const auto& [name, target] : targets_) {
    if (target.acknowledged <= target.marked) continue;
    auto* mark = header->add_outbox_marks();
    mark->set_target(name);
    mark->set_out_seq(target.acknowledged);
  }
  return header->outbox_marks_size() > 0;
}

}  // namespace tidegate::runtime
