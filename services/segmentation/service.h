// Wiring of segmentation: one core and one thread per customer partition, and the RPC handler.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/process/service.h"
#include "common/runtime/partition_thread.h"
#include "services/segmentation/config.h"
#include "services/segmentation/handler.h"
#include "services/segmentation/shard.h"

namespace tidegate::segmentation {

class Service final : public process::Service {
 public:
  Service(const Config& config, const process::Environment& environment);
  ~Service() override { Stop(); }

  // Replays profiles and journals of its partitions, then answers.
  void Start() override;
  void Stop() override;

  std::vector<RpcHandler> rpc_handlers() override {
    return {
        {::tidegate::segmentation::v1::SegmentationService::service_full_name(), handler_.get()}};
  }
  std::vector<const runtime::PartitionRunner*> runners() const override;

 private:
  std::vector<Shard> shards_;
  std::unique_ptr<Handler> handler_;
};

// How a process makes it.
process::ServiceSpec Spec();

}  // namespace tidegate::segmentation
