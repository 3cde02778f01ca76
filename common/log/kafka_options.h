// Settings of the Kafka log. Defaults are those of docs/configuration.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace tidegate::log {

struct KafkaOptions {
  std::string bootstrap_servers;  // host:port,host:port
  std::string topic_prefix = "tidegate.";
  uint32_t partitions = 4;  // of the customer topics
  uint32_t lanes = 1;       // partitions of the lane topics
  // Of topics that are made here; of existing ones it is checked.
  int replication = 3;
  int min_insync_replicas = 2;
  // An append that is not acknowledged in this time fails with DEADLINE_EXCEEDED.
  int append_timeout_ms = 120'000;
  // The bound of what waits for its acknowledgement, per partition: one that has no leader must not
  // hold up the others. Policy when full: reject with RESOURCE_EXHAUSTED. One append larger than
  // the whole queue is INVALID_ARGUMENT.
  size_t queue_bytes_max = size_t{32} << 20;
  size_t queue_records_max = 100'000;
  // How long the destructor goes on sending what is queued; the rest then fails with UNAVAILABLE.
  int close_wait_ms = 5'000;
  // How long a start waits for the cluster to answer.
  int start_timeout_ms = 30'000;
  // PEM files; all empty = plaintext. ca_file alone = the broker is verified; with cert and key =
  // mutual TLS.
  std::string ca_file, cert_file, key_file;
};

}  // namespace tidegate::log
