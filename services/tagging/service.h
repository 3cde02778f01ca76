// Wiring of tagging: one core and one thread per customer partition, and the RPC handler.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/config/corps.h"
#include "common/definitions/definition_store.h"
#include "common/log/log.h"
#include "common/metrics/metrics.h"
#include "common/runtime/partition_thread.h"
#include "services/tagging/config.h"
#include "services/tagging/core/tagging_core.h"
#include "services/tagging/handler.h"

namespace tidegate::tagging {

class Service {
 public:
  // What the process hands in; all outlive the service.
  struct Environment {
    log::Log* log;
    const Clock* clock;
    const config::Corps* corps;
    definitions::DefinitionStore* definitions;
    metrics::Metrics* metrics;
    std::string owner;
    bool predecessor_dead;
    std::function<void(runtime::PartitionRunner::State)> on_end;
  };
  Service(const Config& config, const Environment& environment);
  ~Service() { Stop(); }

  // Replays the journals and begins to take events; returns at once. See Ready().
  void Start();
  bool Ready() const;
  void Stop();

  grpc::Service* handler() { return &handler_; }
  std::vector<const runtime::PartitionRunner*> runners() const;

 private:
  struct Partition {
    std::unique_ptr<TaggingCore> core;
    std::unique_ptr<runtime::PartitionThread> thread;
  };

  std::vector<Partition> partitions_;
  Handler handler_;
};

}  // namespace tidegate::tagging
