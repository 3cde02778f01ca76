// What every part of the Kafka log needs of librdkafka: owners for its handles, one way to
// configure a client, names of topics, and its errors as absl::Status. Not for anybody outside
// common/log.
#pragma once

#include <librdkafka/rdkafka.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/log/kafka_options.h"
#include "common/log/log.h"

namespace tidegate::log {

template <auto kDestroy>
struct KafkaDeleter {
  template <typename T>
  void operator()(T* handle) const {
    kDestroy(handle);
  }
};
using KafkaHandle = std::unique_ptr<rd_kafka_t, KafkaDeleter<rd_kafka_destroy>>;
using KafkaTopicHandle = std::unique_ptr<rd_kafka_topic_t, KafkaDeleter<rd_kafka_topic_destroy>>;
using KafkaQueueHandle = std::unique_ptr<rd_kafka_queue_t, KafkaDeleter<rd_kafka_queue_destroy>>;
using KafkaEventHandle = std::unique_ptr<rd_kafka_event_t, KafkaDeleter<rd_kafka_event_destroy>>;
using KafkaPartitionList = std::unique_ptr<rd_kafka_topic_partition_list_t,
                                           KafkaDeleter<rd_kafka_topic_partition_list_destroy>>;

// The only header a record has on Kafka: Record::header, left out when empty.
inline constexpr char kKafkaHeaderName[] = "tidegate";

// The name on Kafka: the prefix in place of "tidegate.".
std::string KafkaTopicName(const KafkaOptions& options, Topic topic);
uint32_t KafkaPartitionCount(const KafkaOptions& options, Topic topic);

using KafkaSettings = std::vector<std::pair<const char*, std::string>>;
// A client of this type with the common settings and `settings`. `error_cb` and `dr_msg_cb` may be
// null; `opaque` is handed to them. INVALID_ARGUMENT: librdkafka refuses a setting, with its words.
absl::StatusOr<KafkaHandle> MakeKafkaClient(
    rd_kafka_type_t type, const KafkaOptions& options, const KafkaSettings& settings,
    void (*error_cb)(rd_kafka_t*, int, const char*, void*),
    void (*dr_msg_cb)(rd_kafka_t*, const rd_kafka_message_t*, void*), void* opaque);

// A client and a handle for each topic: a topic that a client does not know yet delays its first
// record by a second.
struct KafkaClient {
  KafkaHandle client;
  std::map<Topic, KafkaTopicHandle> topics;  // destroyed first
};
KafkaClient WithTopics(KafkaHandle client, const KafkaOptions& options);

// "Broker: Not enough in-sync replicas".
std::string KafkaErrorText(rd_kafka_resp_err_t error);

}  // namespace tidegate::log
