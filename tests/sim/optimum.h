// The best that any schedule can do that is safe for every kind of window: call k leaves when, for
// each limit, the call `amount` places before it left one window ago. No later start of one call
// makes another one earlier, so greedy is optimal. Shares no code with the product.
#pragma once

#include <cstdint>
#include <vector>

#include "services/wecom_simulator/core/limits.h"

namespace tidegate::sim {

class Optimum {
 public:
  // Those of one corp and of its address count together.
  explicit Optimum(std::vector<wecom_simulator::LimitRow> limits) : limits_(std::move(limits)) {}

  // When the last of `calls` calls leaves, nanoseconds after the first could.
  int64_t LastNs(int64_t calls);
  // Calls that may have left by then.
  int64_t CallsBy(int64_t ns);

 private:
  int64_t At(int64_t call);

  const std::vector<wecom_simulator::LimitRow> limits_;
  std::vector<int64_t> at_;
};

}  // namespace tidegate::sim
