#include "common/runtime/partition_thread.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace tidegate::runtime {

namespace {

constexpr int64_t kWaitMaxNs = kNanosPerSecond;

}  // namespace

void PartitionThread::Signal::Raise() {
  std::lock_guard lock(mu);
  raised = true;
  wake.notify_one();
}

PartitionThread::PartitionThread(RunnerOptions options, log::Log* log, core::Core* core,
                                 const Clock* clock,
                                 std::function<void(PartitionRunner::State)> on_end)
    : log_(log), clock_(clock), on_end_(std::move(on_end)), signal_(std::make_shared<Signal>()) {
  options.wake = [signal = signal_] { signal->Raise(); };
  std::vector<log::TopicPartition> watched = {options.journal};
  for (const auto& input : options.folded_inputs) watched.push_back(input.at);
  for (const auto& input : options.decided_inputs) watched.push_back(input.at);
  runner_ = std::make_unique<PartitionRunner>(std::move(options), log, core);
  for (const auto& at : watched) {
    watches_.push_back(log_->Watch(at, [signal = signal_] { signal->Raise(); }));
  }
}

PartitionThread::~PartitionThread() { Stop(); }

void PartitionThread::Start() {
  thread_ = std::thread([this] { Run(); });
}

void PartitionThread::Stop() {
  {
    std::lock_guard lock(signal_->mu);
    signal_->stopping = true;
    signal_->wake.notify_one();
  }
  if (thread_.joinable()) thread_.join();
  for (const uint64_t id : watches_) log_->Unwatch(id);
  watches_.clear();
}

void PartitionThread::Run() {
  while (true) {
    {
      std::lock_guard lock(signal_->mu);
      if (signal_->stopping) break;
      signal_->raised = false;
    }
    const Now now = clock_->Read();
    if (runner_->Turn(now)) continue;
    const auto state = runner_->state();
    if (state == PartitionRunner::State::kFenced || state == PartitionRunner::State::kFailed) {
      on_end_(state);
      break;
    }
    int64_t wait_ns = kWaitMaxNs;
    if (const auto at = runner_->NextWakeRawNs()) {
      wait_ns = std::clamp<int64_t>(*at - now.raw_ns, 0, kWaitMaxNs);
    }
    std::unique_lock lock(signal_->mu);
    signal_->wake.wait_for(lock, std::chrono::nanoseconds(wait_ns),
                           [this] { return signal_->raised || signal_->stopping; });
  }
  runner_->Stop();
}

}  // namespace tidegate::runtime
