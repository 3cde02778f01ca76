// Time as a value. Cores are handed a Now; only shells read a Clock.
#pragma once

#include <cstdint>

namespace tidegate {

inline constexpr int64_t kNanosPerMilli = 1'000'000;
inline constexpr int64_t kNanosPerSecond = 1'000'000'000;

// One reading of the three clocks. Windows of token buckets run on raw_ns (CLOCK_MONOTONIC_RAW: no
// NTP slewing), deadlines and ages across a restart on boot_ns (CLOCK_BOOTTIME), calendars and
// what people see on wall_ns (Unix time).
struct Now {
  int64_t wall_ns = 0;
  int64_t raw_ns = 0;
  int64_t boot_ns = 0;
};

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual Now Read() const = 0;
};

// The clocks of this machine.
class SystemClock : public Clock {
 public:
  Now Read() const override;
};

// The kernel's boot id: raw_ns and boot_ns of two processes compare only under an equal one.
// Empty where it cannot be read.
const char* BootId();

}  // namespace tidegate
