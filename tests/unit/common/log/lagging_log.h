// For tests: a log that passes all on to a MemoryLog, but shows records late, as a remote store
// does: End and QueryEnd know of records that Read does not give yet.
//
//   LaggingLog log(&memory);
//   log.Hide(at, 5);   // offsets 5, 6, ... are not shown
//   log.Show(at);      // now they are; who watches is woken
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "common/log/memory_log.h"

namespace tidegate::log {

// Thread-safe.
class LaggingLog final : public Log {
 public:
  explicit LaggingLog(MemoryLog* log) : log_(log) {}

  void Hide(TopicPartition at, uint64_t from) {
    std::lock_guard lock(mu_);
    hidden_from_[at] = from;
  }
  void Show(TopicPartition at) {
    {
      std::lock_guard lock(mu_);
      hidden_from_.erase(at);
    }
    Wake(at);
  }
  // Wakes who watches, though nothing came.
  void Wake(TopicPartition at) {
    std::map<uint64_t, std::function<void()>> woken;
    {
      std::lock_guard lock(mu_);
      woken = wakes_[at];
    }
    for (const auto& [id, wake] : woken) wake();
  }
  // How often Read was called.
  uint64_t reads() const {
    std::lock_guard lock(mu_);
    return reads_;
  }
  // What Read answers from now on; OK: as before.
  void FailReads(absl::Status status) {
    std::lock_guard lock(mu_);
    read_status_ = std::move(status);
  }
  // Questions are answered with this end instead, at once, by a store that is behind.
  void AnswerEndsWith(std::optional<uint64_t> end) {
    std::lock_guard lock(mu_);
    end_ = end;
  }

  void Append(TopicPartition at, std::vector<Record> records, AppendDone done) override {
    log_->Append(at, std::move(records), std::move(done));
  }
  absl::Status Read(TopicPartition at, uint64_t offset, size_t records_max, size_t bytes_max,
                    std::vector<StoredRecord>* out) override {
    {
      std::lock_guard lock(mu_);
      ++reads_;
      if (!read_status_.ok()) return read_status_;
      if (const auto hidden = hidden_from_.find(at); hidden != hidden_from_.end()) {
        out->clear();
        if (offset >= hidden->second) return absl::OkStatus();
        records_max = std::min<size_t>(records_max, hidden->second - offset);
      }
    }
    return log_->Read(at, offset, records_max, bytes_max, out);
  }
  uint64_t End(TopicPartition at) override { return log_->End(at); }
  void QueryEnd(TopicPartition at, const EndDone& done) override {
    std::optional<uint64_t> end;
    {
      std::lock_guard lock(mu_);
      end = end_;
    }
    if (end.has_value()) return done(*end);
    log_->QueryEnd(at, done);
  }
  uint64_t Watch(TopicPartition at, std::function<void()> wake) override {
    const uint64_t id = log_->Watch(at, wake);
    std::lock_guard lock(mu_);
    wakes_[at][id] = std::move(wake);
    return id;
  }
  void Unwatch(uint64_t id) override {
    {
      std::lock_guard lock(mu_);
      for (auto& [at, wakes] : wakes_) wakes.erase(id);
    }
    log_->Unwatch(id);
  }

 private:
  MemoryLog* const log_;
  mutable std::mutex mu_;
  std::map<TopicPartition, uint64_t> hidden_from_;
  std::map<TopicPartition, std::map<uint64_t, std::function<void()>>> wakes_;
  std::optional<uint64_t> end_;
  absl::Status read_status_;
  uint64_t reads_ = 0;
};

}  // namespace tidegate::log
