// Trying again until it holds, for conditions that nothing tells of.
#pragma once

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace tidegate::testing {

// Far beyond what anything here needs: a hang fails the test instead of the whole run.
inline constexpr absl::Duration kPatience = absl::Seconds(20);

// Until `holds` or patience ends; each try opens connections, so there is nothing to wait for.
template <typename Condition>
bool Eventually(Condition holds) {
  const absl::Time deadline = absl::Now() + kPatience;
  while (!holds()) {
    if (absl::Now() > deadline) return false;
  }
  return true;
}

}  // namespace tidegate::testing
