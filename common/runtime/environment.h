// What a process hands to each of its services, and what follows from it for every partition.
#pragma once

#include <functional>
#include <string>

#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/config/corps.h"
#include "common/definitions/definition_store.h"
#include "common/log/log.h"
#include "common/metrics/metrics.h"
#include "common/runtime/partition_runner.h"

namespace tidegate::runtime {

// Nothing is owned; all outlives the services.
struct Environment {
  log::Log* log;
  const Clock* clock;
  const config::Corps* corps;
  definitions::DefinitionStore* definitions;
  metrics::Metrics* metrics;
  std::string owner;      // host and process, for people
  bool predecessor_dead;  // whoever owned the partitions before cannot act any more
  // A partition ended by itself: kFenced or kFailed. On the partition's thread.
  std::function<void(PartitionRunner::State)> on_end;
};

// Options of a runner of this process, but for its inputs.
inline RunnerOptions OwnedRunner(const Environment& environment, log::TopicPartition journal) {
  RunnerOptions options;
  options.journal = journal;
  options.owner = environment.owner;
  options.boot_id = BootId();
  options.fence_token = RandomBytes(16);
  options.predecessor_dead = environment.predecessor_dead;
  return options;
}

}  // namespace tidegate::runtime
