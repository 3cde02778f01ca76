// What a process hands to each of its services, and what follows from it for every partition.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/base/lane_map.h"
#include "common/base/replica.h"
#include "common/config/corps.h"
#include "common/config/settings.h"
#include "common/definitions/definition_store.h"
#include "common/grpc/caller.h"
#include "common/grpc/edge.h"
#include "common/grpc/replicas.h"
#include "common/log/log.h"
#include "common/metrics/metrics.h"
#include "common/runtime/partition_runner.h"
#include "common/wecom_table/limits.h"

namespace tidegate::process {

// Nothing is owned; all outlives the services.
struct Environment {
  const config::Settings* settings;
  const config::Corps* corps;
  const wecom_table::Limits* limits;
  log::Log* log;
  const Clock* clock;
  definitions::DefinitionStore* definitions;
  metrics::Metrics* metrics;
  const rpc::CallerCorps* callers;
  const rpc::Replicas* replicas;  // of this service
  std::string owner;              // this process, as its fences name it; see former_owner.h
  bool predecessor_dead;          // whoever owned the partitions before cannot act any more
  // A partition ended by itself: kFenced or kFailed. On the partition's thread.
  std::function<void(runtime::PartitionRunner::State)> on_end;

  rpc::Edge edge() const {
    return {.corps = corps, .callers = callers, .replicas = replicas, .definitions = definitions};
  }
  uint32_t partitions() const { return static_cast<uint32_t>(settings->partitions); }
  LaneMap lane_map() const { return corps->Lanes(lanes()); }
  uint32_t lanes() const { return static_cast<uint32_t>(settings->lanes); }
};

// Options of a runner of this process, but for its inputs.
inline runtime::RunnerOptions OwnedRunner(const Environment& environment,
                                          log::TopicPartition journal) {
  runtime::RunnerOptions options;
  options.journal = journal;
  options.owner = environment.owner;
  options.boot_id = BootId();
  options.fence_token = RandomBytes(16);
  options.predecessor_dead = environment.predecessor_dead;
  return options;
}

}  // namespace tidegate::process
