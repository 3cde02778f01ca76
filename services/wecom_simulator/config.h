// Settings of the simulator process: where it listens, what it writes, and its core's options.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "services/wecom_simulator/core/options.h"

namespace tidegate::wecom_simulator {

struct Config {
  std::string address = "127.0.0.1:7700";  // port 0 = any free one
  std::string limits_file;                 // empty = the documented limits
  std::string witness_file;                // empty = no witness log; must not exist or be empty
  std::string ports_file;                  // empty = none
  CoreOptions core;

  // Reads limits_file into core.limits and checks every value. Errors: INVALID_ARGUMENT or
  // NOT_FOUND with the name of the setting.
  absl::Status Complete();
};

}  // namespace tidegate::wecom_simulator
