// Settings of dispatch. Defaults are the documented ones (README.md); limits and waits are data of
// their own (common/wecom_table/limits.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/wecom_table/limits.h"

namespace tidegate::dispatch {

struct Config {
  uint32_t partitions = 4;
  uint32_t lanes = 1;
  std::string wecom_url = "https://qyapi.weixin.qq.com";
  std::vector<std::string> egress;  // as the setting
  bool send = true;                 // false: no call is ever decided
  wecom_table::Limits limits;

  // The address that a lane's calls leave from; empty = any.
  std::string SourceOf(uint32_t lane) const {
    return egress.empty() || egress[lane] == "any" ? "" : egress[lane];
  }
};

}  // namespace tidegate::dispatch
