// Settings of tagging. Defaults are the documented ones (README.md).
#pragma once

#include <cstdint>

#include "common/base/clock.h"

namespace tidegate::tagging {

struct Config {
  uint32_t partitions = 4;
  int64_t welcome_valid_ns = 20 * kNanosPerSecond;
};

}  // namespace tidegate::tagging
