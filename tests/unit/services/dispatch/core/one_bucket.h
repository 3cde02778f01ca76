// One bucket of TokenBuckets by itself, for tests.
#pragma once

#include <cstdint>

#include "services/dispatch/core/token_buckets.h"

namespace tidegate::dispatch {

class OneBucket {
 public:
  OneBucket(int64_t capacity, int64_t window_ns, int64_t slots)
      : OneBucket({.windows = {BucketLimits::MakeWindow(capacity, window_ns, slots),
                               BucketLimits::Window{}}}) {}
  static OneBucket InFlight(int64_t limit) { return OneBucket(BucketLimits{.in_flight = limit}); }

  void Take(int64_t cost) { buckets_.Take(id_, cost); }
  void Complete(int64_t cost, int64_t completed_ns, bool success = true) {
    buckets_.Complete(id_, cost, completed_ns, success);
  }
  void ReturnUnused(int64_t cost) { buckets_.ReturnUnused(id_, cost); }
  void HoldUntil(int64_t cost, int64_t until_ns) {
    buckets_.HoldUntil(id_, cost, until_ns, /*pressing=*/false);
  }
  int64_t EarliestNs(int64_t cost, int64_t now_ns) {
    return buckets_.WaitOf(id_, cost, now_ns).earliest_ns;
  }
  bool Allows(int64_t cost, int64_t now_ns) { return buckets_.Allows(id_, cost, now_ns); }
  int64_t Used(int64_t now_ns) { return buckets_.Used(id_, 0, now_ns); }
  void SetCapacity(int64_t capacity) { buckets_.limits_of(id_).windows[0].capacity = capacity; }
  void Rebase(int64_t now_ns, int64_t held_until_ns = 0) {
    buckets_.Rebase(id_, now_ns, held_until_ns, 0);
  }
  // Of a call that is refused, and has ended so.
  void Refuse(int64_t sent_ns, int64_t at_ns) {
    buckets_.LowerCeiling(id_, sent_ns, at_ns);
    Complete(1, at_ns, false);
  }
  int64_t ceiling() const { return buckets_.ceiling(id_); }
  int64_t under_way() const { return buckets_.under_way(id_); }
  size_t rings_in_use() const { return buckets_.rings_in_use(); }

 private:
  explicit OneBucket(const BucketLimits& limits) : id_(buckets_.Make(buckets_.AddLimits(limits))) {}

  TokenBuckets buckets_;
  TokenBuckets::Id id_;
};

}  // namespace tidegate::dispatch
