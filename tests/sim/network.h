// How long things are on their way in a simulation.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

#include "common/base/seeded_random.h"

namespace tidegate::sim {

// A sample of the lognormal distribution (Box and Muller, 1958).
inline double Lognormal(SeededRandom* random, double median, double sigma) {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - random->Unit()));
  const double normal = radius * std::cos(2.0 * std::numbers::pi * random->Unit());
  return median * std::exp(sigma * normal);
}

// When what would arrive at this time does, if the last `stall_ns` of every `every_ns`, counted
// from 0, are a stall, whose arrivals come together at its end.
inline int64_t AfterStall(int64_t at_ns, int64_t every_ns, int64_t stall_ns) {
  const int64_t into = at_ns % every_ns;
  return into < every_ns - stall_ns ? at_ns : at_ns - into + every_ns;
}

}  // namespace tidegate::sim
