// Who wants to hear that the end of a topic partition moved: Log::Watch and Log::Unwatch for the
// implementations. Not for users of a log.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <utility>

#include "common/log/log.h"

namespace tidegate::log {

// Thread-safe. `wake` runs under the lock of this list, which is what makes Remove wait for it.
class WatchList {
 public:
  uint64_t Add(TopicPartition at, std::function<void()> wake) {
    std::lock_guard lock(mu_);
    const uint64_t id = next_id_++;
    wakes_[at].emplace(id, std::move(wake));
    partition_of_.emplace(id, at);
    return id;
  }

  // After it returned, the wake of this id neither runs nor will. An unknown id is ignored.
  void Remove(uint64_t id) {
    std::lock_guard lock(mu_);
    const auto found = partition_of_.find(id);
    if (found == partition_of_.end()) return;
    wakes_[found->second].erase(id);
    partition_of_.erase(found);
  }

  void Wake(TopicPartition at) {
    std::lock_guard lock(mu_);
    const auto found = wakes_.find(at);
    if (found == wakes_.end()) return;
    for (const auto& [id, wake] : found->second) wake();
  }

 private:
  std::mutex mu_;
  uint64_t next_id_ = 1;
  std::map<TopicPartition, std::map<uint64_t, std::function<void()>>> wakes_;
  std::map<uint64_t, TopicPartition> partition_of_;
};

}  // namespace tidegate::log
