// The ends of touches, as the events that go back to tagging.
#pragma once

#include <string>
#include <utility>

#include "common/core/core.h"

namespace tidegate::dispatch {

struct TouchEnd {
  std::string corp;
  std::string campaign;
  std::string id;  // of the touch, among all of the corp; never of two
  std::string customer;
  std::string kind;    // event kind
  std::string reason;  // empty for touch_sent
  std::string member;
  int64_t time_ns = 0;  // wall; 0 where the ledger does not know one
};

// A pure function of the end: what is sent again after a crash is equal.
core::OutboxRecord TouchEvent(const TouchEnd& end, uint32_t partitions);

// Event kind and reason of a TouchStatus.
std::pair<std::string, std::string> TouchKindOf(uint8_t status);

}  // namespace tidegate::dispatch
