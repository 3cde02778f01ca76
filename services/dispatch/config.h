// Settings of dispatch. Defaults are the documented ones (README.md); limits and waits are data of
// their own (common/wecom_table/limits.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/config/egress.h"
#include "common/wecom_table/limits.h"

namespace tidegate::dispatch {

struct Config {
  uint32_t partitions = 4;
  uint32_t lanes = 1;
  std::string wecom_url = "https://qyapi.weixin.qq.com";
  std::vector<std::string> egress;  // as the setting
  bool send = true;                 // false: no call is ever decided
  wecom_table::Limits limits;

  // Where a lane's calls leave from.
  config::Egress EgressOf(uint32_t lane) const {
    if (egress.empty()) return {};
    return config::ParseEgress(egress[lane]).value_or(config::Egress());
  }
};

}  // namespace tidegate::dispatch
