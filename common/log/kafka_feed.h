// One reading position in one topic partition on Kafka: a queue of librdkafka that is filled in the
// background, and a window of what was taken from it and may be asked for again.
//
// Not thread-safe: the partition's lock guards it. Only `wake` runs on another thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/log/kafka_client.h"

namespace tidegate::log {

class KafkaFeed {
 public:
  // Starts reading at `offset`. `consumer` and `topic` outlive the feed, and no other feed of the
  // same consumer reads this partition. `wake` is called when records arrive; it must not call
  // back.
  static absl::StatusOr<std::unique_ptr<KafkaFeed>> Open(rd_kafka_t* consumer,
                                                         rd_kafka_topic_t* topic, TopicPartition at,
                                                         uint64_t offset,
                                                         std::function<void()> wake);
  ~KafkaFeed();
  KafkaFeed(const KafkaFeed&) = delete;
  KafkaFeed& operator=(const KafkaFeed&) = delete;

  // Whether a read at `offset` can go on here.
  bool Holds(uint64_t offset) const { return offset >= begin_ && offset <= next_; }
  // The offset after the last record that arrived.
  uint64_t next() const { return next_; }

  // As Log::Read; `offset` is one that the feed holds. OUT_OF_RANGE: there is no such offset in the
  // partition (any more, or yet).
  absl::Status Read(uint64_t offset, size_t records_max, size_t bytes_max,
                    std::vector<StoredRecord>* out);

 private:
  KafkaFeed(rd_kafka_t* consumer, rd_kafka_topic_t* topic, TopicPartition at, uint64_t offset,
            std::function<void()> wake);

  // Takes what has arrived; true if anything had.
  absl::StatusOr<bool> Pull();
  absl::Status Take(const rd_kafka_message_t& message);
  void Trim(uint64_t read_to);

  rd_kafka_topic_t* const topic_;
  const TopicPartition at_;
  const std::function<void()> wake_;
  const KafkaQueueHandle queue_;
  std::deque<StoredRecord> window_;  // offsets [begin_, next_)
  size_t window_bytes_ = 0;
  uint64_t begin_;
  uint64_t next_;
};

}  // namespace tidegate::log
