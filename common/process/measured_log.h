// A log whose appends are timed; everything else goes straight through.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "common/log/log.h"
#include "common/metrics/metrics.h"

namespace tidegate::process {

// Thread-safe, as the log below is.
class MeasuredLog final : public log::Log {
 public:
  // `metrics` outlives the log.
  MeasuredLog(std::unique_ptr<log::Log> log, metrics::Metrics* metrics);

  void Append(log::TopicPartition at, std::vector<log::Record> records, AppendDone done) override {
    log_->Append(at, std::move(records), Timed(at.topic, std::move(done)));
  }
  void AppendWithin(log::TopicPartition at, std::vector<log::Record> records, int64_t patience_ms,
                    AppendDone done) override {
    log_->AppendWithin(at, std::move(records), patience_ms, Timed(at.topic, std::move(done)));
  }
  absl::Status Read(log::TopicPartition at, uint64_t offset, size_t records_max, size_t bytes_max,
                    std::vector<log::StoredRecord>* out) override {
    return log_->Read(at, offset, records_max, bytes_max, out);
  }
  uint64_t End(log::TopicPartition at) override { return log_->End(at); }
  void QueryEnd(log::TopicPartition at, const EndDone& done) override { log_->QueryEnd(at, done); }
  uint64_t Watch(log::TopicPartition at, std::function<void()> wake) override {
    return log_->Watch(at, std::move(wake));
  }
  void Unwatch(uint64_t watch_id) override { log_->Unwatch(watch_id); }

 private:
  AppendDone Timed(log::Topic topic, AppendDone done) const;

  std::map<log::Topic, metrics::Metrics::Append> appends_;  // constant after construction
  const std::unique_ptr<log::Log> log_;  // destroyed first: what it still holds is told
};

}  // namespace tidegate::process
