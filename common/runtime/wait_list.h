// Questions that a partition answers later: when it has read far enough, for example. Bounded;
// policy when full: refuse. Checked after each turn.
//
// The partition's thread only.
#pragma once

#include <cstddef>
#include <functional>
#include <list>

#include "absl/status/status.h"
#include "common/base/clock.h"

namespace tidegate::runtime {

class WaitList {
 public:
  using Ready = std::function<bool()>;
  using Done = std::function<void(absl::Status, const Now&)>;

  explicit WaitList(size_t waiting_max = 10'000) : waiting_max_(waiting_max) {}
  // The rest is answered UNAVAILABLE.
  ~WaitList();

  // Calls `done` once: OK as soon as `ready` says so (at once where it does already);
  // DEADLINE_EXCEEDED after `deadline_raw_ns`; RESOURCE_EXHAUSTED if the list is full.
  void Add(const Now& now, int64_t deadline_raw_ns, Ready ready, Done done);
  void Check(const Now& now);

 private:
  struct Entry {
    int64_t deadline_raw_ns;
    Ready ready;
    Done done;
  };
  const size_t waiting_max_;
  std::list<Entry> entries_;
};

}  // namespace tidegate::runtime
