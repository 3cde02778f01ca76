// What `tidegate serve` is told on its command line.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace tidegate {

struct ServeOptions {
  std::string config_file;  // YAML; empty = none
  // (key, value) of settings that have a flag of their own, such as --data-dir.
  std::vector<std::pair<std::string, std::string>> named;
  std::vector<std::string> set;  // KEY=VALUE
  bool check_config = false;     // only check the settings
};

}  // namespace tidegate
