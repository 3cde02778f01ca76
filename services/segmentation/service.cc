#include "services/segmentation/service.h"

#include <utility>

#include "services/segmentation/core/scan_index.h"

namespace tidegate::segmentation {

using runtime::PartitionRunner;

process::ServiceSpec Spec() {
  return {"segmentation", [](const process::Environment& environment) {
            const Config config{.partitions = environment.partitions()};
            return std::make_unique<Service>(config, environment);
          }};
}

Service::Service(const Config& config, const process::Environment& environment) {
  for (uint32_t p = 0; p < config.partitions; ++p) {
    if (!environment.replicas->own().Owns(p)) continue;
    Shard shard;
    shard.partition = p;
    shard.core = std::make_unique<SegmentationCore>(
        SegmentationOptions{
            .partition = p, .partitions = config.partitions, .lanes = environment.lane_map()},
        std::make_unique<ScanIndex>());
    shard.waiting = std::make_unique<runtime::WaitList>();
    runtime::RunnerOptions options =
        process::OwnedRunner(environment, {log::Topic::kMemberships, p});
    options.folded_inputs = {{.at = {log::Topic::kDefinitions, 0}},
                             {.at = {log::Topic::kProfiles, p}, .is_journal = true}};
    options.after_turn = [core = shard.core.get(), waiting = shard.waiting.get(),
                          stage = environment.metrics->MakeStage("segmentation", p),
                          folded = uint64_t{0}](const Now& now) mutable {
      waiting->Check(now);
      if (core->profiles_folded() == folded) return;
      folded = core->profiles_folded();
      stage.Set(folded, folded, 0, now.wall_ns - core->last_profile_time_ns());
    };
    shard.thread = std::make_unique<runtime::PartitionThread>(std::move(options), environment.log,
                                                              shard.core.get(), environment.clock,
                                                              environment.on_end);
    shards_.push_back(std::move(shard));
  }
  handler_ = std::make_unique<Handler>(environment.edge(), environment.log, environment.clock,
                                       config.partitions, &shards_);
}

void Service::Start() {
  for (Shard& shard : shards_) shard.thread->Start();
}

void Service::Stop() {
  for (Shard& shard : shards_) {
    shard.thread->Stop();
    shard.waiting.reset();  // answers those who still wait
  }
}

std::vector<const PartitionRunner*> Service::runners() const {
  std::vector<const PartitionRunner*> runners;
  for (const Shard& shard : shards_) runners.push_back(&shard.thread->runner());
  return runners;
}

}  // namespace tidegate::segmentation
