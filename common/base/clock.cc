#include "common/base/clock.h"

#include <ctime>
#include <fstream>
#include <string>

namespace tidegate {
namespace {

int64_t ReadNanos(clockid_t id) {
  timespec t;
  clock_gettime(id, &t);
  return t.tv_sec * kNanosPerSecond + t.tv_nsec;
}

}  // namespace

Now SystemClock::Read() const {
  return {.wall_ns = ReadNanos(CLOCK_REALTIME),
          .raw_ns = ReadNanos(CLOCK_MONOTONIC_RAW),
          .boot_ns = ReadNanos(CLOCK_BOOTTIME)};
}

const char* BootId() {
  static const std::string id = [] {
    std::string line;
    std::ifstream("/proc/sys/kernel/random/boot_id") >> line;
    return line;
  }();
  return id.c_str();
}

}  // namespace tidegate
