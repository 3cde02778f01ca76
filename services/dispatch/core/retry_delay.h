// How long to wait before the same is tried again: twice as long each time. Pure.
#pragma once

#include <algorithm>
#include <cstdint>

namespace tidegate::dispatch {

// `first_ns` doubled `times` times, and never more than `most_ns`.
inline int64_t RetryDelayNs(int64_t first_ns, int64_t most_ns, uint32_t times) {
  constexpr uint32_t kDoublingsMax = 10;
  return std::min(most_ns, first_ns << std::min(times, kDoublingsMax));
}

}  // namespace tidegate::dispatch
