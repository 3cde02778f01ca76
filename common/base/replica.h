// Which of how many: this process is replica `ordinal` of `count` of its service, and owns every
// partition p with p mod count = ordinal. Fixed while the process runs.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"

namespace tidegate {

struct Replica {
  uint32_t ordinal = 0;
  uint32_t count = 1;

  uint32_t OwnerOf(uint32_t partition) const { return partition % count; }
  bool Owns(uint32_t partition) const { return OwnerOf(partition) == ordinal; }
  // Among the partitions that this replica owns, in rising order.
  uint32_t PlaceOf(uint32_t owned_partition) const { return owned_partition / count; }
  // "0/1".
  std::string Name() const { return absl::StrCat(ordinal, "/", count); }
};

}  // namespace tidegate
