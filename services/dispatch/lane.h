// One egress lane as the handler and the service see it.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/lane_map.h"
#include "common/grpc/replicas.h"
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

// Has the lane decide something and waits until it shows. `make` gives the input; once more four
// times a second, since an input is gone if its record was void. `ready` and `done` run on the
// lane's thread. `done`: OK once ready; DEADLINE_EXCEEDED, UNAVAILABLE. `clock` outlives the wait.
void PostUntil(Lane* lane, const Clock* clock, absl::Time deadline,
               std::function<std::unique_ptr<core::LocalInput>()> make, std::function<bool()> ready,
               std::function<void(absl::Status)> done);

// Which lane a corp is in, and whether this replica owns it. Thread-safe; constant.
class Lanes {
 public:
  // `owned`: those of this replica, in rising order; it and `replicas` outlive the object.
  Lanes(LaneMap map, const rpc::Replicas* replicas, std::vector<Lane>* owned)
      : map_(std::move(map)), replicas_(replicas), owned_(owned) {}

  uint32_t NumberOf(const std::string& corp) const { return map_.Of(corp); }
  bool Owns(const std::string& corp) const { return replicas_->own().Owns(NumberOf(corp)); }
  // Requires Owns(corp).
  Lane& Of(const std::string& corp) const {
    return (*owned_)[replicas_->own().PlaceOf(NumberOf(corp))];
  }
  std::vector<Lane>& owned() const { return *owned_; }

 private:
  const LaneMap map_;
  const rpc::Replicas* const replicas_;
  std::vector<Lane>* const owned_;
};

}  // namespace tidegate::dispatch
