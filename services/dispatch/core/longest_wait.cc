#include "services/dispatch/core/longest_wait.h"

#include <algorithm>
#include <numeric>

namespace tidegate::dispatch {
namespace {

// Calls times a window in nanoseconds.
using Wide = __int128;

class Search {
 public:
  explicit Search(const std::vector<WaitStep>& steps)
      : steps_(steps), order_(steps.size()), longest_(steps.size()), taken_(steps.size()) {
    // Those that make a call wait longest first.
    std::iota(order_.begin(), order_.end(), size_t{0});
    std::stable_sort(order_.begin(), order_.end(), [&](size_t a, size_t b) {
      return Wide{steps[a].wait_ns} * steps[b].calls > Wide{steps[b].wait_ns} * steps[a].calls;
    });
    int64_t longest = 0;
    for (size_t at = steps.size(); at-- > 0;) {
      longest_[at] = longest;
      longest = std::max(longest, steps[order_[at]].calls);
    }
  }

  LongestWait Run(int64_t calls) {
    Try(0, calls - 1, 0);
    LongestWait found{.seconds = static_cast<double>(best_ns_) * 1e-9};
    for (size_t i = 0; i < best_.size() && !found.binding.has_value(); ++i) {
      if (best_[i] > 0) found.binding = i;
    }
    return found;
  }

 private:
  // With steps from order_[at] on over `left` calls.
  void Try(size_t at, int64_t left, Wide waited_ns) {
    if (waited_ns > best_ns_) {
      best_ns_ = waited_ns;
      best_ = taken_;
    }
    if (at == order_.size()) return;
    const WaitStep& step = steps_[order_[at]];
    int64_t& taken = taken_[order_[at]];
    const int64_t most = left / step.calls;
    // Of as many other steps as this one has calls, some pass over a multiple of its calls: this
    // one over the same calls waits no shorter.
    const int64_t least = std::max<int64_t>(0, most - longest_[at] - 1);
    for (taken = most; taken >= least && looks_ < kWaitLooksMax; --taken) {
      ++looks_;
      const int64_t rest = left - taken * step.calls;
      const Wide so_far_ns = waited_ns + Wide{taken} * step.wait_ns;
      if (at + 1 < order_.size()) {
        const WaitStep& next = steps_[order_[at + 1]];
        // Fewer of this one promise no more.
        if (so_far_ns + Wide{rest} * next.wait_ns / next.calls <= best_ns_) break;
      } else if (so_far_ns <= best_ns_) {
        break;
      }
      Try(at + 1, rest, so_far_ns);
    }
    taken = 0;
  }

  const std::vector<WaitStep>& steps_;
  std::vector<size_t> order_;
  std::vector<int64_t> longest_;  // by place in order_: the most calls of a step after it
  std::vector<int64_t> taken_;    // as steps_
  std::vector<int64_t> best_;
  Wide best_ns_ = 0;
  int looks_ = 0;
};

}  // namespace

LongestWait FindLongestWait(const std::vector<WaitStep>& steps, int64_t calls) {
  return Search(steps).Run(calls);
}

}  // namespace tidegate::dispatch
