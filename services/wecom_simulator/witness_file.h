// The witness log on disk: lines are appended in order and made durable in groups, each group by
// one fdatasync, by a thread of its own.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/statusor.h"

namespace tidegate::wecom_simulator {

// Thread-safe.
class WitnessFile {
 public:
  // Told after each group, on the file's thread: every line up to `seq` is durable. After a failed
  // write it is told {0, error} once and nothing more is written.
  using OnSynced = std::function<void(uint64_t seq, const absl::Status& status)>;

  // Errors: ALREADY_EXISTS the file holds lines of another run; UNAVAILABLE it cannot be opened.
  static absl::StatusOr<std::unique_ptr<WitnessFile>> Open(const std::string& path,
                                                           OnSynced on_synced);
  // Makes durable what was appended, then stops.
  ~WitnessFile();

  // Never blocks. The queue is bounded by its users: one line per open request, and the server
  // bounds those by its connections.
  void Append(std::string line, uint64_t seq);

 private:
  WitnessFile(int descriptor, OnSynced on_synced);
  void Run();

  const int descriptor_;
  const OnSynced on_synced_;
  std::mutex mu_;
  std::condition_variable changed_;
  std::string lines_;      // guarded by mu_
  uint64_t last_seq_ = 0;  // guarded by mu_
  bool stopping_ = false;  // guarded by mu_
  std::thread thread_;
};

}  // namespace tidegate::wecom_simulator
