// Time as the client sees it: readings and sleeps, handed in so that tests need not wait.
#pragma once

#include <chrono>
#include <cstdint>
#include <thread>

#include "common/base/clock.h"

namespace tidegate::client {

// Thread-safe.
class ClientClock : public Clock {
 public:
  // Returns after about `ms` milliseconds.
  virtual void SleepMs(int64_t ms) = 0;
};

// The clocks of this machine.
class SystemClientClock final : public ClientClock {
 public:
  Now Read() const override { return clock_.Read(); }
  void SleepMs(int64_t ms) override { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

 private:
  SystemClock clock_;
};

}  // namespace tidegate::client
