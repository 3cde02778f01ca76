#include "common/log/kafka_client.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"

namespace tidegate::log {
namespace {

using KafkaConf = std::unique_ptr<rd_kafka_conf_t, KafkaDeleter<rd_kafka_conf_destroy>>;

absl::Status Set(rd_kafka_conf_t* conf, const char* name, const std::string& value) {
  char text[512];
  if (rd_kafka_conf_set(conf, name, value.c_str(), text, sizeof text) == RD_KAFKA_CONF_OK) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("Kafka client setting ", name, ": ", text));
}

// Syslog levels: 3 is an error, 4 a warning.
void OnLibraryLog(const rd_kafka_t*, int level, const char* facility, const char* text) {
  LogEvent(level <= 3 ? LogLevel::kError : LogLevel::kWarning, "kafka_client",
           {{"facility", facility}, {"text", text}});
}

}  // namespace

std::string KafkaTopicName(const KafkaOptions& options, Topic topic) {
  const absl::string_view name = TopicName(topic);
  return absl::StrCat(options.topic_prefix, name.substr(name.find('.') + 1));
}

uint32_t KafkaPartitionCount(const KafkaOptions& options, Topic topic) {
  switch (topic) {
    case Topic::kEvents:
    case Topic::kProfiles:
    case Topic::kMemberships:
    case Topic::kDeadLetters:
      return options.partitions;
    case Topic::kLedger:
    case Topic::kAudiences:
    case Topic::kCommands:
      return options.lanes;
    case Topic::kDefinitions:
      return 1;
  }
  return 0;
}

absl::StatusOr<KafkaHandle> MakeKafkaClient(
    rd_kafka_type_t type, const KafkaOptions& options, const KafkaSettings& settings,
    void (*error_cb)(rd_kafka_t*, int, const char*, void*),
    void (*dr_msg_cb)(rd_kafka_t*, const rd_kafka_message_t*, void*), void* opaque) {
  KafkaConf conf(rd_kafka_conf_new());
  KafkaSettings all = {
      {"bootstrap.servers", options.bootstrap_servers},
      {"client.id", "tidegate"},
      // The library sleeps up to this between connects: a broker that is back is found soon.
      {"reconnect.backoff.ms", "50"},
      {"reconnect.backoff.max.ms", "500"},
      // A broker that vanished without a word: what it holds is asked of others after this, not
      // after a minute.
      {"socket.timeout.ms", "10000"},
      {"socket.connection.setup.timeout.ms", "5000"},
      // A new leader is heard of soon.
      {"topic.metadata.refresh.interval.ms", "10000"},
      {"topic.metadata.refresh.fast.interval.ms", "100"},
      {"socket.nagle.disable", "true"},
      {"log.connection.close", "false"},
      {"allow.auto.create.topics", "false"},
  };
  if (!options.ca_file.empty()) {
    all.insert(all.end(), {{"security.protocol", "ssl"}, {"ssl.ca.location", options.ca_file}});
  }
  if (!options.cert_file.empty()) {
    all.insert(all.end(), {{"ssl.certificate.location", options.cert_file},
                           {"ssl.key.location", options.key_file}});
  }
  all.insert(all.end(), settings.begin(), settings.end());
  for (const auto& [name, value] : all) RETURN_IF_ERROR(Set(conf.get(), name, value));
  rd_kafka_conf_set_opaque(conf.get(), opaque);
  rd_kafka_conf_set_log_cb(conf.get(), OnLibraryLog);
  if (error_cb != nullptr) rd_kafka_conf_set_error_cb(conf.get(), error_cb);
  if (dr_msg_cb != nullptr) rd_kafka_conf_set_dr_msg_cb(conf.get(), dr_msg_cb);
  char text[512];
  KafkaHandle client(rd_kafka_new(type, conf.get(), text, sizeof text));
  if (client == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("cannot make a Kafka client: ", text));
  }
  conf.release();  // the client owns it now
  return client;
}

KafkaClient WithTopics(KafkaHandle client, const KafkaOptions& options) {
  KafkaClient all{.client = std::move(client), .topics = {}};
  for (const Topic topic : AllTopics()) {
    all.topics[topic].reset(
        rd_kafka_topic_new(all.client.get(), KafkaTopicName(options, topic).c_str(), nullptr));
  }
  return all;
}

std::string KafkaErrorText(rd_kafka_resp_err_t error) {
  return absl::StrCat(rd_kafka_err2str(error), " (", rd_kafka_err2name(error), ")");
}

}  // namespace tidegate::log
