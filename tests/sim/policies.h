// Ways to keep a limit of L calls a window, ours and others': each says when the next call may
// leave and is told of sends and answers. Pure; times in nanoseconds.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace tidegate::sim {

class Policy {
 public:
  virtual ~Policy() = default;
  // The earliest time for the next call, `now_ns` or before if it may leave now; INT64_MAX: only
  // after an answer.
  virtual int64_t EarliestNs(int64_t now_ns) = 0;
  virtual void OnSend(int64_t now_ns) = 0;
  virtual void OnAnswer(int64_t now_ns) = 0;
};

struct NamedPolicy {
  std::string name;
  std::function<std::unique_ptr<Policy>(int64_t limit, int64_t window_ns)> make;
};

// In the order of the table in docs/dispatch.md; ours last.
std::vector<NamedPolicy> Policies();

}  // namespace tidegate::sim
