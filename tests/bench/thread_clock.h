// CPU time of this thread, in nanoseconds: what else runs on the machine is not counted.
#pragma once

#include <cstdint>
#include <ctime>

#include "common/base/check.h"
#include "common/base/clock.h"

namespace tidegate::bench {

inline int64_t ThreadNs() {
  timespec time;
  CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time) == 0);
  return time.tv_sec * kNanosPerSecond + time.tv_nsec;
}

}  // namespace tidegate::bench
