// One process of the deployment: settings, log, definitions, its services, gRPC, admin pages,
// ordered stop. `tidegate serve` runs all services in one, tidegate-SERVICE one of them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/config/settings.h"
#include "common/process/service.h"

namespace tidegate::process {

// Exit codes beside 0 and 1. Of the first, whoever started the process must see that it is over:
// its partitions belong to another one.
inline constexpr int kExitFenced = 75;
inline constexpr int kExitUsage = 2;

// Runs until SIGTERM or SIGINT, then drains. A second signal ends it at once; what is in flight
// becomes doubt. Errors: what kept it from being ready, with the setting, file or address named.
absl::Status Run(const std::string& name, const config::Settings& settings,
                 const std::vector<ServiceSpec>& services);

// The settings of a command line: the file, the environment, `--set KEY=VALUE` texts and named
// flags as (key, value). Errors: as config::LoadSettings.
absl::StatusOr<config::Settings> SettingsOf(const std::string& file,
                                            const std::vector<std::string>& set,
                                            std::vector<std::pair<std::string, std::string>> flags);

// What the settings alone cannot tell: that each service here has as many peers as replicas. Error:
// what to write.
absl::Status CheckPeers(const config::Settings& settings, const std::vector<ServiceSpec>& services);

// The whole main() of a binary that is one service: flags, settings, Run.
int Main(const std::string& name, const std::vector<ServiceSpec>& services, int argc, char** argv);

}  // namespace tidegate::process
