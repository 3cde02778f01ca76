// How many replicas a service has where the platform sets the number, as a scaler does.
//
// Kubernetes gives every pod of a StatefulSet a name and takes it back with the pod. So the highest
// peer whose name is known is the last replica. Processes may disagree for a while; fences keep
// that safe, and whoever runs with another number than the names tell ends and starts again.
//
//   replica 1/2-6: the second replica, of at least 2 and at most 6.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/base/replica.h"

namespace tidegate::process {

// The setting `replica`. 1 <= least <= most; ordinal < most.
struct ReplicaRange {
  uint32_t ordinal = 0;
  uint32_t least = 1;
  uint32_t most = 1;

  bool fixed() const { return least == most; }
};

// Of "1/2" or "1/2-6", which the settings have checked.
ReplicaRange ParseReplica(const std::string& text);

enum class Known { kYes, kNo, kUnsure };  // unsure: whom to ask did not answer
using AskName = std::function<Known(const std::string& host)>;

// The machine's own resolver. Blocks for as long as that does, often 10 s and more when no name
// server answers.
Known AskResolver(const std::string& host);

// Never less than `least` or than what makes the own ordinal exist. `peers` are host:port by
// ordinal, range.most of them. Nothing if a name could not be asked that would decide it.
std::optional<uint32_t> CountReplicas(const ReplicaRange& range,
                                      const std::vector<std::string>& peers, const AskName& ask);

// Whether a process that started with one number should start again. Not thread-safe.
class ReplicaCountWatch {
 public:
  ReplicaCountWatch(uint32_t count, absl::Duration settle) : count_(count), settle_(settle) {}

  // Takes what was found at `now`; true once it has been one and the same other number for
  // `settle`. Nothing found neither confirms nor contradicts.
  bool Look(std::optional<uint32_t> found, absl::Time now);

 private:
  const uint32_t count_;
  const absl::Duration settle_;
  uint32_t other_ = 0;
  absl::Time since_;
};

}  // namespace tidegate::process
