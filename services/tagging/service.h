// Wiring of tagging: one core and one thread per customer partition, and the RPC handler.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/runtime/environment.h"
#include "common/runtime/partition_thread.h"
#include "services/tagging/config.h"
#include "services/tagging/core/tagging_core.h"
#include "services/tagging/handler.h"

namespace tidegate::tagging {

class Service {
 public:
  Service(const Config& config, const runtime::Environment& environment);
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
