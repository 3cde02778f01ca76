// Wiring of segmentation: one core and one thread per customer partition, and the RPC handler.
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
#include "services/segmentation/config.h"
#include "services/segmentation/handler.h"
#include "services/segmentation/shard.h"

namespace tidegate::segmentation {

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

  // Replays profiles and journals, then answers; returns at once. See Ready().
  void Start();
  bool Ready() const;
  void Stop();

  grpc::Service* handler() { return handler_.get(); }
  std::vector<const runtime::PartitionRunner*> runners() const;

 private:
  std::vector<Shard> shards_;
  std::unique_ptr<Handler> handler_;
};

}  // namespace tidegate::segmentation
