// One customer partition of segmentation as the handler sees it.
#pragma once

#include <cstdint>
#include <memory>

#include "common/runtime/partition_thread.h"
#include "common/runtime/wait_list.h"
#include "services/segmentation/core/segmentation_core.h"

namespace tidegate::segmentation {

struct Shard {
  uint32_t partition = 0;
  std::unique_ptr<SegmentationCore> core;
  // Questions that wait until the shard has read far enough. The shard's thread only.
  std::unique_ptr<runtime::WaitList> waiting;
  std::unique_ptr<runtime::PartitionThread> thread;
};

}  // namespace tidegate::segmentation
