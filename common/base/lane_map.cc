#include "common/base/lane_map.h"

#include <utility>

#include "common/base/partitioner.h"

namespace tidegate {

LaneMap::LaneMap(uint32_t lanes, Given given) : lanes_(lanes), given_(std::move(given)) {}

uint32_t LaneMap::Of(absl::string_view corp) const { return OfRecord(ToRecord(corp), corp); }

std::optional<uint32_t> LaneMap::ToRecord(absl::string_view corp) const {
  const auto found = given_.find(corp);
  if (found == given_.end()) return std::nullopt;
  return found->second;
}

uint32_t LaneMap::OfRecord(std::optional<uint32_t> recorded, absl::string_view corp) const {
  return recorded.has_value() ? *recorded : PartitionOf(corp, lanes_);
}

}  // namespace tidegate
