#include "common/log/kafka_feed.h"

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/log/record_limits.h"

namespace tidegate::log {
namespace {

// What stays of the records that were read, for the other readers of the partition.
constexpr size_t kWindowBytes = size_t{4} << 20;
constexpr size_t kPullRecords = 500;

std::string Text(const void* data, size_t size) {
  return data == nullptr ? std::string() : std::string(static_cast<const char*>(data), size);
}

std::string HeaderOf(const rd_kafka_message_t& message) {
  rd_kafka_headers_t* headers = nullptr;
  if (rd_kafka_message_headers(&message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR) return "";
  const void* value = nullptr;
  size_t size = 0;
  if (rd_kafka_header_get_last(headers, kKafkaHeaderName, &value, &size) !=
      RD_KAFKA_RESP_ERR_NO_ERROR) {
    return "";
  }
  return Text(value, size);
}

bool IsOutOfRange(rd_kafka_resp_err_t error) {
  return error == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE ||
         error == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET;
}

}  // namespace

absl::StatusOr<std::unique_ptr<KafkaFeed>> KafkaFeed::Open(rd_kafka_t* consumer,
                                                           rd_kafka_topic_t* topic,
                                                           TopicPartition at, uint64_t offset,
                                                           std::function<void()> wake) {
  std::unique_ptr<KafkaFeed> feed(new KafkaFeed(consumer, topic, at, offset, std::move(wake)));
  if (rd_kafka_consume_start_queue(topic, static_cast<int32_t>(at.partition),
                                   static_cast<int64_t>(offset), feed->queue_.get()) != 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot read ", Name(at), ": ", KafkaErrorText(rd_kafka_last_error())));
  }
  return feed;
}

KafkaFeed::KafkaFeed(rd_kafka_t* consumer, rd_kafka_topic_t* topic, TopicPartition at,
                     uint64_t offset, std::function<void()> wake)
    : topic_(topic),
      at_(at),
      wake_(std::move(wake)),
      queue_(rd_kafka_queue_new(consumer)),
      begin_(offset),
      next_(offset) {
  rd_kafka_queue_cb_event_enable(
      queue_.get(), [](rd_kafka_t*, void* opaque) { static_cast<KafkaFeed*>(opaque)->wake_(); },
      this);
}

KafkaFeed::~KafkaFeed() {
  rd_kafka_queue_cb_event_enable(queue_.get(), nullptr, nullptr);
  rd_kafka_consume_stop(topic_, static_cast<int32_t>(at_.partition));
}

absl::Status KafkaFeed::Take(const rd_kafka_message_t& message) {
  if (message.err != RD_KAFKA_RESP_ERR_NO_ERROR) {
    const std::string what =
        absl::StrCat(Name(at_), " offset ", next_, ": ", Text(message.payload, message.len));
    if (IsOutOfRange(message.err)) return absl::OutOfRangeError(what);
    if (message.err == RD_KAFKA_RESP_ERR__BAD_MSG) return absl::DataLossError(what);
    // A broker that is gone or a leader that moves: the library goes on by itself.
    LogEvent(LogLevel::kWarning, "kafka_read_delayed", {{"error", what}});
    return absl::OkStatus();
  }
  const auto offset = static_cast<uint64_t>(message.offset);
  if (offset < next_) return absl::OkStatus();
  if (offset > next_) {
    return absl::DataLossError(absl::StrCat(Name(at_), ": offset ", next_, " is missing, next is ",
                                            offset, "; the topic was cut, compacted or written by ",
                                            "a transaction"));
  }
  StoredRecord stored{.offset = offset,
                      .record = {.key = Text(message.key, message.key_len),
                                 .header = HeaderOf(message),
                                 .value = Text(message.payload, message.len)}};
  window_bytes_ += RecordBytes(stored.record);
  window_.push_back(std::move(stored));
  next_ = offset + 1;
  return absl::OkStatus();
}

absl::StatusOr<bool> KafkaFeed::Pull() {
  std::array<rd_kafka_message_t*, kPullRecords> messages;
  const ssize_t count =
      rd_kafka_consume_batch_queue(queue_.get(), 0, messages.data(), messages.size());
  absl::Status status;
  for (ssize_t i = 0; i < count; ++i) {
    if (status.ok()) status = Take(*messages[i]);
    rd_kafka_message_destroy(messages[i]);
  }
  if (!status.ok()) return status;
  return count > 0;
}

void KafkaFeed::Trim(uint64_t read_to) {
  while (window_bytes_ > kWindowBytes && begin_ < read_to) {
    window_bytes_ -= RecordBytes(window_.front().record);
    window_.pop_front();
    ++begin_;
  }
}

absl::Status KafkaFeed::Read(uint64_t offset, size_t records_max, size_t bytes_max,
                             std::vector<StoredRecord>* out) {
  size_t bytes = 0;
  while (out->size() < records_max) {
    if (offset == next_) {
      ASSIGN_OR_RETURN(const bool moved, Pull());
      if (!moved) break;
      continue;
    }
    const StoredRecord& stored = window_[offset - begin_];
    out->push_back(stored);
    ++offset;
    bytes += RecordBytes(stored.record);
    if (bytes >= bytes_max) break;
  }
  Trim(offset);
  return absl::OkStatus();
}

}  // namespace tidegate::log
