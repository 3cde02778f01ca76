#include "tests/sim/policies.h"

#include <algorithm>
#include <deque>
#include <limits>

#include "services/dispatch/core/token_buckets.h"

namespace tidegate::sim {
namespace {

constexpr int64_t kBurst = 50;
constexpr int64_t kNow = std::numeric_limits<int64_t>::min();

// Tokens trickle in at rate / window up to a capacity: KumoMTA's and bucket4j's default.
class Refilling : public Policy {
 public:
  Refilling(int64_t capacity, int64_t rate, int64_t window_ns)
      : capacity_(capacity), rate_(rate), window_ns_(window_ns), units_(capacity * window_ns) {}
  int64_t EarliestNs(int64_t now_ns) override {
    Refill(now_ns);
    const __int128 missing = static_cast<__int128>(window_ns_) - units_;
    if (missing <= 0) return kNow;
    return now_ns + static_cast<int64_t>((missing + rate_ - 1) / rate_);
  }
  void OnSend(int64_t now_ns) override {
    Refill(now_ns);
    units_ -= window_ns_;
  }
  void OnAnswer(int64_t) override {}

 private:
  // A token is window_ns_ units; rate_ units come each nanosecond.
  void Refill(int64_t now_ns) {
    const __int128 full = static_cast<__int128>(capacity_) * window_ns_;
    units_ = std::min(full, units_ + static_cast<__int128>(rate_) * (now_ns - last_ns_));
    last_ns_ = now_ns;
  }
  const int64_t capacity_;
  const int64_t rate_;
  const int64_t window_ns_;
  __int128 units_;
  int64_t last_ns_ = 0;
};

// L in every window of the own clock (envoyproxy/ratelimit), or of one that begins with the first
// call after the last window (gubernator).
class FixedWindow : public Policy {
 public:
  FixedWindow(int64_t limit, int64_t window_ns, bool from_first)
      : limit_(limit), window_ns_(window_ns), from_first_(from_first) {}
  int64_t EarliestNs(int64_t now_ns) override {
    Turn(now_ns);
    return count_ < limit_ ? kNow : begin_ns_ + window_ns_;
  }
  void OnSend(int64_t now_ns) override {
    Turn(now_ns);
    if (count_++ == 0 && from_first_) begin_ns_ = now_ns;
  }
  void OnAnswer(int64_t) override {}

 private:
  void Turn(int64_t now_ns) {
    if (now_ns < begin_ns_ + window_ns_) return;
    begin_ns_ = from_first_ ? now_ns : now_ns / window_ns_ * window_ns_;
    count_ = 0;
  }
  const int64_t limit_;
  const int64_t window_ns_;
  const bool from_first_;
  int64_t begin_ns_ = 0;
  int64_t count_ = 0;
};

// The generic cell rate algorithm: one call each window / rate, `burst` of them at once.
class Gcra : public Policy {
 public:
  Gcra(int64_t burst, int64_t rate, int64_t window_ns)
      : interval_ns_((window_ns + rate - 1) / rate), tolerance_ns_((burst - 1) * interval_ns_) {}
  int64_t EarliestNs(int64_t) override { return arrival_ns_ - tolerance_ns_; }
  void OnSend(int64_t now_ns) override {
    arrival_ns_ = std::max(arrival_ns_, now_ns) + interval_ns_;
  }
  void OnAnswer(int64_t) override {}

 private:
  const int64_t interval_ns_;
  const int64_t tolerance_ns_;
  int64_t arrival_ns_ = 0;
};

// No more than L sends in the last window, exactly.
class SlidingLog : public Policy {
 public:
  SlidingLog(int64_t limit, int64_t window_ns) : limit_(limit), window_ns_(window_ns) {}
  int64_t EarliestNs(int64_t now_ns) override {
    while (!sends_.empty() && sends_.front() <= now_ns - window_ns_) sends_.pop_front();
    return static_cast<int64_t>(sends_.size()) < limit_ ? kNow : sends_.front() + window_ns_;
  }
  void OnSend(int64_t now_ns) override { sends_.push_back(now_ns); }
  void OnAnswer(int64_t) override {}

 private:
  const int64_t limit_;
  const int64_t window_ns_;
  std::deque<int64_t> sends_;
};

// Ours: a token returns one window after its call completed.
class TokensBack : public Policy {
 public:
  TokensBack(int64_t limit, int64_t window_ns)
      : id_(buckets_.Make(buckets_.AddLimits(
            {.windows = {dispatch::BucketLimits::MakeWindow(limit, window_ns, 240),
                         dispatch::BucketLimits::Window{}}}))) {}
  int64_t EarliestNs(int64_t now_ns) override {
    return buckets_.WaitOf(id_, 1, now_ns).earliest_ns;
  }
  void OnSend(int64_t) override { buckets_.Take(id_, 1); }
  void OnAnswer(int64_t now_ns) override { buckets_.Complete(id_, 1, now_ns, true); }

 private:
  dispatch::TokenBuckets buckets_;
  dispatch::TokenBuckets::Id id_;
};

}  // namespace

std::vector<NamedPolicy> Policies() {
  return {
      {"token bucket that refills, capacity L",
       [](int64_t limit, int64_t window) {
         return std::make_unique<Refilling>(limit, limit, window);
       }},
      {"token bucket that refills, capacity L/2",
       [](int64_t limit, int64_t window) {
         return std::make_unique<Refilling>(limit / 2, limit / 2, window);
       }},
      {"fixed window, own clock",
       [](int64_t limit, int64_t window) {
         return std::make_unique<FixedWindow>(limit, window, false);
       }},
      {"fixed window from the first call",
       [](int64_t limit, int64_t window) {
         return std::make_unique<FixedWindow>(limit, window, true);
       }},
      {"GCRA, burst 1, L/W",
       [](int64_t limit, int64_t window) { return std::make_unique<Gcra>(1, limit, window); }},
      {"sliding log of sends",
       [](int64_t limit, int64_t window) { return std::make_unique<SlidingLog>(limit, window); }},
      {"GCRA, burst 50, (L-50)/W",
       [](int64_t limit, int64_t window) {
         return std::make_unique<Gcra>(kBurst, limit - kBurst, window);
       }},
      {"Tidegate: tokens return after completion",
       [](int64_t limit, int64_t window) { return std::make_unique<TokensBack>(limit, window); }},
  };
}

}  // namespace tidegate::sim
