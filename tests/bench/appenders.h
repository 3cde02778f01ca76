// What append_bench compares: the logs of the product, and the bare libraries below them doing the
// same work. Each runs appends of `batch` records for a while and tells what came of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/log/kafka_options.h"
#include "common/log/log.h"
#include "tests/bench/sample_records.h"

namespace tidegate::bench {

struct Load {
  size_t batch = 1;        // records in an append
  size_t outstanding = 1;  // appends at a time
  double seconds = 1;
};

struct Figures {
  uint64_t records = 0;
  double seconds = 0;
  std::vector<int64_t> latencies_ns;  // one per append, from the call to its durable end
};

class Appender {
 public:
  virtual ~Appender() = default;
  virtual Figures Run(const Load& load) = 0;
};

// Log::Append until its `done`.
std::unique_ptr<Appender> ForLog(log::Log* log, log::TopicPartition at, SampleRecords* records);

// Log::Append until the records came back through Log::Read, as a partition waits for its own
// decisions. One append at a time.
std::unique_ptr<Appender> ForReadBack(log::Log* log, log::TopicPartition at,
                                      SampleRecords* records);

// RocksDB in `directory`: one WriteBatch with sync per append; as many threads as appends at a
// time, so that RocksDB groups them.
std::unique_ptr<Appender> ForRocksDb(const std::string& directory, SampleRecords* records);

// librdkafka with the settings of the product, in a loop that produces and polls on one thread.
// `topic` exists and has a partition 0. With `transactional` each append is a transaction, one at a
// time.
std::unique_ptr<Appender> ForKafka(const log::KafkaOptions& options, const std::string& topic,
                                   bool transactional, SampleRecords* records);

}  // namespace tidegate::bench
