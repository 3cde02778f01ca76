// Settings of segmentation. Defaults are the documented ones (README.md).
#pragma once

#include <cstdint>

namespace tidegate::segmentation {

struct Config {
  uint32_t partitions = 4;
};

}  // namespace tidegate::segmentation
