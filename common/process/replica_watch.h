// The number of replicas of a running process, where it follows from names; see replica_count.h.
#pragma once

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "common/process/replica_count.h"

namespace tidegate::process {

// Which replica a process starts as. Asks for up to `patience`. Error: the names cannot be asked.
absl::StatusOr<Replica> FindReplica(const ReplicaRange& range,
                                    const std::vector<std::string>& peers, const AskName& ask,
                                    absl::Duration patience);

// Asks on a thread of its own until the number has changed, or until it is destroyed, which waits
// for a question that is being asked.
class ReplicaWatch {
 public:
  // `on_change` once, on that thread, when another number than own.count has lasted for `settle`.
  ReplicaWatch(ReplicaRange range, std::vector<std::string> peers, AskName ask, Replica own,
               absl::Duration settle, std::function<void()> on_change);
  ~ReplicaWatch();
  ReplicaWatch(const ReplicaWatch&) = delete;
  ReplicaWatch& operator=(const ReplicaWatch&) = delete;

 private:
  void Run();

  const ReplicaRange range_;
  const std::vector<std::string> peers_;
  const AskName ask_;
  const Replica own_;
  const absl::Duration settle_;
  const std::function<void()> on_change_;
  absl::Notification end_;
  std::thread thread_;
};

}  // namespace tidegate::process
