#include "tests/sim/optimum.h"

#include <algorithm>

#include "common/base/clock.h"

namespace tidegate::sim {

int64_t Optimum::At(int64_t call) {
  while (static_cast<int64_t>(at_.size()) <= call) {
    const auto k = static_cast<int64_t>(at_.size());
    int64_t at = k > 0 ? at_.back() : 0;
    for (const auto& limit : limits_) {
      if (k < limit.amount) continue;
      at = std::max(at,
                    at_[static_cast<size_t>(k - limit.amount)] + limit.window_ms * kNanosPerMilli);
    }
    at_.push_back(at);
  }
  return at_[static_cast<size_t>(call)];
}

int64_t Optimum::LastNs(int64_t calls) { return calls > 0 ? At(calls - 1) : 0; }

int64_t Optimum::CallsBy(int64_t ns) {
  int64_t calls = 0;
  while (At(calls) <= ns) ++calls;
  return calls;
}

}  // namespace tidegate::sim
