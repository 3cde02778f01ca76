// One thread that turns one PartitionRunner: woken by its log inputs, posts and timers.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "common/base/clock.h"
#include "common/runtime/partition_runner.h"

namespace tidegate::runtime {

class PartitionThread {
 public:
  // Sets options.wake. Nothing is owned; all outlive the thread. `on_end` is called once on the
  // thread if the runner ends by itself: kFenced or kFailed.
  PartitionThread(RunnerOptions options, log::Log* log, core::Core* core, const Clock* clock,
                  std::function<void(PartitionRunner::State)> on_end);
  // Stops and joins. What is appended stays; what is not is not.
  ~PartitionThread();

  // Any thread. UNAVAILABLE while it recovers.
  PartitionRunner& runner() { return *runner_; }
  void Start();
  void Stop();

 private:
  // Lives as long as anybody may still wake us.
  struct Signal {
    std::mutex mu;
    std::condition_variable wake;
    bool raised = false;
    bool stopping = false;
    void Raise();
  };
  void Run();

  log::Log* const log_;
  const Clock* const clock_;
  const std::function<void(PartitionRunner::State)> on_end_;
  const std::shared_ptr<Signal> signal_;
  std::unique_ptr<PartitionRunner> runner_;
  std::vector<uint64_t> watches_;
  std::thread thread_;
};

}  // namespace tidegate::runtime
