#include "common/log/kafka_topics.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"

namespace tidegate::log {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kRetryPause(100);
// Of one request: a broker that just came back may leave one unanswered.
constexpr int64_t kRequestTimeoutMs = 3'000;

int TimeoutBefore(steady_clock::time_point deadline) {
  const int64_t left =
      std::chrono::duration_cast<milliseconds>(deadline - steady_clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 1, kRequestTimeoutMs));
}

// Nothing is ever cut: a start replays journals and definitions from their beginning.
std::vector<std::pair<const char*, std::string>> WantedSettings(const KafkaOptions& options) {
  return {
      {"cleanup.policy", "delete"},
      {"retention.ms", "-1"},
      {"retention.bytes", "-1"},
      {"min.insync.replicas", absl::StrCat(options.min_insync_replicas)},
      {"message.timestamp.type", "LogAppendTime"},
      {"unclean.leader.election.enable", "false"},
      // The largest record and its envelope.
      {"max.message.bytes", absl::StrCat(kRecordBytesMax + 100'000)},
  };
}

struct ResourceTypes {
  using NewTopic = std::unique_ptr<rd_kafka_NewTopic_t, KafkaDeleter<rd_kafka_NewTopic_destroy>>;
  using Config =
      std::unique_ptr<rd_kafka_ConfigResource_t, KafkaDeleter<rd_kafka_ConfigResource_destroy>>;
  using Options =
      std::unique_ptr<rd_kafka_AdminOptions_t, KafkaDeleter<rd_kafka_AdminOptions_destroy>>;
};

ResourceTypes::Options AdminOptions(rd_kafka_t* client, rd_kafka_admin_op_t operation,
                                    int timeout_ms) {
  ResourceTypes::Options options(rd_kafka_AdminOptions_new(client, operation));
  char text[256];
  rd_kafka_AdminOptions_set_request_timeout(options.get(), timeout_ms, text, sizeof text);
  return options;
}

// What metadata tells of one topic.
struct Found {
  bool exists = false;
  int partitions = 0;
  int replication = 0;
};

// `answered_by`: the broker that told it.
absl::Status ReadMetadata(rd_kafka_t* client, const KafkaOptions& options, int timeout_ms,
                          std::map<std::string, Found>* found, int32_t* answered_by) {
  const rd_kafka_metadata_t* metadata = nullptr;
  const rd_kafka_resp_err_t error = rd_kafka_metadata(client, 1, nullptr, &metadata, timeout_ms);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return absl::UnavailableError(absl::StrCat("Kafka at ", options.bootstrap_servers,
                                               " does not answer: ", KafkaErrorText(error)));
  }
  found->clear();
  *answered_by = metadata->orig_broker_id;
  for (int i = 0; i < metadata->topic_cnt; ++i) {
    const rd_kafka_metadata_topic_t& topic = metadata->topics[i];
    if (topic.err != RD_KAFKA_RESP_ERR_NO_ERROR || topic.partition_cnt == 0) continue;
    (*found)[topic.topic] = {.exists = true,
                             .partitions = topic.partition_cnt,
                             .replication = topic.partitions[0].replica_cnt};
  }
  rd_kafka_metadata_destroy(metadata);
  return absl::OkStatus();
}

absl::Status MakeMissing(rd_kafka_t* client, const KafkaOptions& options,
                         const std::map<std::string, Found>& found, int timeout_ms) {
  std::vector<ResourceTypes::NewTopic> missing;
  char text[512];
  for (const Topic topic : AllTopics()) {
    const std::string name = KafkaTopicName(options, topic);
    if (found.contains(name)) continue;
    ResourceTypes::NewTopic fresh(
        rd_kafka_NewTopic_new(name.c_str(), static_cast<int>(KafkaPartitionCount(options, topic)),
                              options.replication, text, sizeof text));
    if (fresh == nullptr) return absl::InvalidArgumentError(absl::StrCat(name, ": ", text));
    for (const auto& [setting, value] : WantedSettings(options)) {
      rd_kafka_NewTopic_set_config(fresh.get(), setting, value.c_str());
    }
    missing.push_back(std::move(fresh));
  }
  if (missing.empty()) return absl::OkStatus();
  std::vector<rd_kafka_NewTopic_t*> raw;
  for (const auto& topic : missing) raw.push_back(topic.get());
  const KafkaQueueHandle queue(rd_kafka_queue_new(client));
  const auto admin = AdminOptions(client, RD_KAFKA_ADMIN_OP_CREATETOPICS, timeout_ms);
  rd_kafka_CreateTopics(client, raw.data(), raw.size(), admin.get(), queue.get());
  const KafkaEventHandle event(rd_kafka_queue_poll(queue.get(), timeout_ms));
  if (event == nullptr || rd_kafka_event_error(event.get()) != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return absl::UnavailableError(
        absl::StrCat("topics were not made: ",
                     event == nullptr ? "no answer" : rd_kafka_event_error_string(event.get())));
  }
  size_t count = 0;
  const rd_kafka_topic_result_t** results =
      rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event.get()), &count);
  for (size_t i = 0; i < count; ++i) {
    const rd_kafka_resp_err_t error = rd_kafka_topic_result_error(results[i]);
    // Another process of the deployment made it meanwhile: it is verified like any other.
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR || error == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {
      continue;
    }
    const std::string what =
        absl::StrCat("topic ", rd_kafka_topic_result_name(results[i]),
                     " was not made: ", rd_kafka_topic_result_error_string(results[i]));
    return error == RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR
               ? absl::FailedPreconditionError(absl::StrCat(
                     what, "; start enough brokers, or set log.kafka.replication lower"))
               : absl::UnavailableError(what);
  }
  return absl::OkStatus();
}

absl::Status CompareSettings(rd_kafka_t* client, const KafkaOptions& options, int timeout_ms,
                             int32_t broker, std::vector<std::string>* faults) {
  std::vector<ResourceTypes::Config> resources;
  std::vector<rd_kafka_ConfigResource_t*> raw;
  for (const Topic topic : AllTopics()) {
    resources.emplace_back(rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC,
                                                       KafkaTopicName(options, topic).c_str()));
    raw.push_back(resources.back().get());
  }
  const KafkaQueueHandle queue(rd_kafka_queue_new(client));
  const auto admin = AdminOptions(client, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, timeout_ms);
  // Every broker knows them. The one that the library would choose may be dead, and waited for.
  char text[256];
  if (broker >= 0) rd_kafka_AdminOptions_set_broker(admin.get(), broker, text, sizeof text);
  rd_kafka_DescribeConfigs(client, raw.data(), raw.size(), admin.get(), queue.get());
  const KafkaEventHandle event(rd_kafka_queue_poll(queue.get(), timeout_ms));
  if (event == nullptr || rd_kafka_event_error(event.get()) != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return absl::UnavailableError(
        absl::StrCat("settings of the topics are not known: ",
                     event == nullptr ? "no answer" : rd_kafka_event_error_string(event.get())));
  }
  size_t count = 0;
  const rd_kafka_ConfigResource_t** described = rd_kafka_DescribeConfigs_result_resources(
      rd_kafka_event_DescribeConfigs_result(event.get()), &count);
  for (size_t i = 0; i < count; ++i) {
    const char* name = rd_kafka_ConfigResource_name(described[i]);
    if (rd_kafka_ConfigResource_error(described[i]) != RD_KAFKA_RESP_ERR_NO_ERROR) {
      return absl::UnavailableError(
          absl::StrCat("settings of topic ", name,
                       " are not known: ", rd_kafka_ConfigResource_error_string(described[i])));
    }
    size_t entries = 0;
    const rd_kafka_ConfigEntry_t** entry = rd_kafka_ConfigResource_configs(described[i], &entries);
    std::map<std::string, std::string> values;
    for (size_t e = 0; e < entries; ++e) {
      const char* value = rd_kafka_ConfigEntry_value(entry[e]);
      values[rd_kafka_ConfigEntry_name(entry[e])] = value == nullptr ? "" : value;
    }
    for (const auto& [setting, wanted] : WantedSettings(options)) {
      if (values[setting] == wanted) continue;
      faults->push_back(absl::StrCat("topic ", name, ": ", setting, " is ", values[setting],
                                     ", wanted ", wanted));
    }
  }
  return absl::OkStatus();
}

void CompareShape(const KafkaOptions& options, const std::map<std::string, Found>& found,
                  std::vector<std::string>* faults) {
  for (const Topic topic : AllTopics()) {
    const std::string name = KafkaTopicName(options, topic);
    const Found& is = found.at(name);
    const auto partitions = static_cast<int>(KafkaPartitionCount(options, topic));
    if (is.partitions != partitions) {
      faults->push_back(
          absl::StrCat("topic ", name, ": partitions is ", is.partitions, ", wanted ", partitions));
    }
    if (is.replication != options.replication) {
      faults->push_back(absl::StrCat("topic ", name, ": replication is ", is.replication,
                                     ", wanted ", options.replication));
    }
  }
}

absl::Status TryOnce(rd_kafka_t* client, const KafkaOptions& options, int timeout_ms) {
  std::map<std::string, Found> found;
  int32_t broker = -1;
  RETURN_IF_ERROR(ReadMetadata(client, options, timeout_ms, &found, &broker));
  RETURN_IF_ERROR(MakeMissing(client, options, found, timeout_ms));
  RETURN_IF_ERROR(ReadMetadata(client, options, timeout_ms, &found, &broker));
  for (const Topic topic : AllTopics()) {
    const std::string name = KafkaTopicName(options, topic);
    if (!found.contains(name)) {
      return absl::UnavailableError(absl::StrCat("topic ", name, " is not known to all yet"));
    }
  }
  std::vector<std::string> faults;
  CompareShape(options, found, &faults);
  RETURN_IF_ERROR(CompareSettings(client, options, timeout_ms, broker, &faults));
  if (faults.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("topics on Kafka differ from the configuration; change one of the two:\n",
                   absl::StrJoin(faults, "\n")));
}

}  // namespace

absl::Status MakeOrVerifyTopics(rd_kafka_t* client, const KafkaOptions& options) {
  const auto deadline = steady_clock::now() + milliseconds(options.start_timeout_ms);
  // Right after a topic was made, some brokers do not know it yet.
  while (true) {
    absl::Status status = TryOnce(client, options, TimeoutBefore(deadline));
    if (!absl::IsUnavailable(status) || steady_clock::now() + kRetryPause > deadline) return status;
    std::this_thread::sleep_for(kRetryPause);
  }
}

}  // namespace tidegate::log
