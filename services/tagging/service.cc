#include "services/tagging/service.h"

#include <set>
#include <string>
#include <utility>

namespace tidegate::tagging {

using runtime::PartitionRunner;

namespace {

std::set<std::string> CorpIds(const config::Corps& corps) {
  std::set<std::string> ids;
  for (const config::Corp& corp : corps.corps) ids.insert(corp.corp_id);
  return ids;
}

}  // namespace

process::ServiceSpec Spec() {
  return {"tagging", [](const process::Environment& environment) {
            const Config config{.partitions = environment.partitions()};
            return std::make_unique<Service>(config, environment);
          }};
}

Service::Service(const Config& config, const process::Environment& environment)
    : handler_(environment.edge()) {
  for (uint32_t p = 0; p < config.partitions; ++p) {
    if (!environment.replicas->own().Owns(p)) continue;
    Partition partition;
    partition.core =
        std::make_unique<TaggingCore>(TaggingOptions{.partition = p,
                                                     .lanes = environment.lane_map(),
                                                     .welcome_valid_ns = config.welcome_valid_ns,
                                                     .corps = CorpIds(*environment.corps)});
    runtime::RunnerOptions options = process::OwnedRunner(environment, {log::Topic::kProfiles, p});
    options.folded_inputs = {{.at = {log::Topic::kDefinitions, 0}}};
    options.decided_inputs = {{.at = {log::Topic::kEvents, p}}};
    options.after_turn = [core = partition.core.get(), stage = environment.metrics->MakeStage(
                                                           "tagging", p)](const Now&) mutable {
      const TaggingCounters& counters = core->counters();
      stage.Set(counters.events, counters.events - counters.repeats - counters.dead_letters,
                counters.dead_letters, counters.last_event_age_ns);
    };
    partition.thread = std::make_unique<runtime::PartitionThread>(
        std::move(options), environment.log, partition.core.get(), environment.clock,
        environment.on_end);
    partitions_.push_back(std::move(partition));
  }
}

void Service::Start() {
  for (Partition& partition : partitions_) partition.thread->Start();
}

void Service::Stop() {
  for (Partition& partition : partitions_) partition.thread->Stop();
}

std::vector<const PartitionRunner*> Service::runners() const {
  std::vector<const PartitionRunner*> runners;
  for (const Partition& partition : partitions_) runners.push_back(&partition.thread->runner());
  return runners;
}

}  // namespace tidegate::tagging
