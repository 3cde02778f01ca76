// Wiring of tagging: one core and one thread per customer partition, and the RPC handler.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/process/service.h"
#include "common/runtime/partition_thread.h"
#include "services/tagging/config.h"
#include "services/tagging/core/tagging_core.h"
#include "services/tagging/handler.h"

namespace tidegate::tagging {

class Service final : public process::Service {
 public:
  Service(const Config& config, const process::Environment& environment);
  ~Service() override { Stop(); }

  // Replays the journals of its partitions and begins to take events.
  void Start() override;
  void Stop() override;

  std::vector<RpcHandler> rpc_handlers() override {
    return {{::tidegate::tagging::v1::TaggingService::service_full_name(), &handler_}};
  }
  std::vector<const runtime::PartitionRunner*> runners() const override;

 private:
  struct Partition {
    std::unique_ptr<TaggingCore> core;
    std::unique_ptr<runtime::PartitionThread> thread;
  };

  std::vector<Partition> partitions_;
  Handler handler_;
};

// How a process makes it.
process::ServiceSpec Spec();

}  // namespace tidegate::tagging
