// Wiring of segmentation: one core and one thread per customer partition, and the RPC handler.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/runtime/environment.h"
#include "common/runtime/partition_thread.h"
#include "services/segmentation/config.h"
#include "services/segmentation/handler.h"
#include "services/segmentation/shard.h"

namespace tidegate::segmentation {

class Service {
 public:
  Service(const Config& config, const runtime::Environment& environment);
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
