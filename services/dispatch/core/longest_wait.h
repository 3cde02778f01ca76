// How long the last of many calls waits at least, when each leaves as soon as every window has
// room and all windows are empty at first.
//
// A call waits for the one that left a window's amount of calls before it, and then one window
// more. So the last call waits as long as the longest chain of such steps back to the first calls:
// each step passes over the amount of a window and lasts as long as the window. It is found by how
// often each window stands in the chain, not call by call.
//
// Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace tidegate::dispatch {

struct WaitStep {
  int64_t calls = 0;  // of a window, from 1 on
  int64_t wait_ns = 0;
};

struct LongestWait {
  double seconds = 0;
  // The first of the steps that stand in the chain; nullopt: the last call need not wait.
  std::optional<size_t> binding;
};
// The search ends after so many looks; what it has found by then is a time before which the last
// call cannot leave either.
inline constexpr int kWaitLooksMax = 20'000;
LongestWait FindLongestWait(const std::vector<WaitStep>& steps, int64_t calls);

}  // namespace tidegate::dispatch
