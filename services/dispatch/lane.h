// One egress lane as the handler and the service see it.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>

#include "common/base/clock.h"
#include "common/runtime/partition_thread.h"
#include "common/runtime/wait_list.h"
#include "services/dispatch/core/dispatch_core.h"

namespace tidegate::dispatch {

struct Lane {
  uint32_t number = 0;
  std::unique_ptr<DispatchCore> core;
  // The lane's thread only.
  std::unique_ptr<runtime::WaitList> waiting;
  // Called after each turn; false = no longer. The lane's thread only.
  std::unique_ptr<std::list<std::function<bool(const Now&)>>> watchers;
  std::unique_ptr<runtime::PartitionThread> thread;
};

}  // namespace tidegate::dispatch
