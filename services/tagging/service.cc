#include "services/tagging/service.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "common/base/hash.h"

namespace tidegate::tagging {

using runtime::PartitionRunner;

Service::Service(const Config& config, const Environment& environment)
    : handler_(environment.corps, environment.definitions) {
  for (uint32_t p = 0; p < config.partitions; ++p) {
    Partition partition;
    partition.core = std::make_unique<TaggingCore>(TaggingOptions{
        .partition = p, .lanes = config.lanes, .welcome_valid_ns = config.welcome_valid_ns});
    runtime::RunnerOptions options;
    options.journal = {log::Topic::kProfiles, p};
    options.folded_inputs = {{.at = {log::Topic::kDefinitions, 0}}};
    options.decided_inputs = {{.at = {log::Topic::kEvents, p}}};
    options.owner = environment.owner;
    options.boot_id = BootId();
    options.fence_token = RandomBytes(16);
    options.predecessor_dead = environment.predecessor_dead;
    partition.thread = std::make_unique<runtime::PartitionThread>(
        std::move(options), environment.log, partition.core.get(), environment.clock, environment.on_end);
    partitions_.push_back(std::move(partition));
  }
}

void Service::Start() {
  for (Partition& partition : partitions_) partition.thread->Start();
}

bool Service::Ready() const {
  return std::all_of(partitions_.begin(), partitions_.end(), [](const Partition& partition) {
    return partition.thread->runner().state() == PartitionRunner::State::kLive;
  });
}

void Service::Stop() {
  for (Partition& partition : partitions_) partition.thread->Stop();
}

std::vector<const PartitionRunner*> Service::runners() const {
  std::vector<const PartitionRunner*> runners;
  for (const Partition& partition : partitions_) runners.push_back(&partition.thread->runner());
  return runners;
}

void Service::CollectStats(std::function<void(std::vector<PartitionStats>)> done) {
  struct Gathering {
    std::mutex mu;
    std::vector<PartitionStats> stats;
    size_t left;
    std::function<void(std::vector<PartitionStats>)> done;
    void Answer(const PartitionStats* answer) {
      std::unique_lock lock(mu);
      if (answer != nullptr) stats.push_back(*answer);
      if (--left > 0) return;
      lock.unlock();
      done(std::move(stats));
    }
  };
  auto gathering = std::make_shared<Gathering>();
  gathering->left = partitions_.size();
  gathering->done = std::move(done);
  for (uint32_t p = 0; p < partitions_.size(); ++p) {
    TaggingCore* core = partitions_[p].core.get();
    const absl::Status posted =
        partitions_[p].thread->runner().PostQuery([gathering, core, p](absl::Status status, const Now&) {
          const PartitionStats stats{.partition = p,
                                     .counters = status.ok() ? core->counters() : TaggingCounters(),
                                     .profiles = status.ok() ? core->profiles() : 0};
          gathering->Answer(status.ok() ? &stats : nullptr);
        });
    if (!posted.ok()) gathering->Answer(nullptr);
  }
}

}  // namespace tidegate::tagging
