// Which egress lane a corp is in: the one that the corps file gives it, else one by its id's hash.
// All services of a deployment ask this, with the same file.
//
// A value; constant, so any thread may read it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace tidegate {

class LaneMap {
 public:
  using Given = std::map<std::string, uint32_t, std::less<>>;  // corp -> lane

  // `lanes`: how many there are, at least 1. Those given are below it.
  explicit LaneMap(uint32_t lanes, Given given = {});

  uint32_t Of(absl::string_view corp) const;
  // What a journal keeps with a decision that goes to the corp's lane: the lane that the file gives
  // it; nothing = by the hash. So a replay sends to the same lane, whatever the file says then.
  std::optional<uint32_t> ToRecord(absl::string_view corp) const;
  // The lane of what was recorded so.
  uint32_t OfRecord(std::optional<uint32_t> recorded, absl::string_view corp) const;

 private:
  uint32_t lanes_;
  Given given_;
};

}  // namespace tidegate
