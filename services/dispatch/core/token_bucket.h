// One limit of WeCom: at most `capacity` calls in any window. A token is taken when a call is sent
// and returns one window after the call completed; nothing trickles. (A bucket that refills by a
// trickle lets twice its capacity through in one window, which WeCom answers with a lockout.)
//
// Why no window of any kind or phase ever sees more (dispatch.md Q1): WeCom counts a call somewhere
// between its first byte and its answer. Take any window and the last call admitted into it: every
// other call counted in it completed less than one window before, or is still under way, so all of
// them held tokens at that admission.
//
// Integers only; a ring of slots; no allocation per call but for calls in doubt. Times are
// CLOCK_MONOTONIC_RAW in nanoseconds and never go back: an earlier one is taken as the latest seen.
// Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace tidegate::dispatch {

// "Only an answer can free a token."
inline constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

class TokenBucket {
 public:
  // capacity in [1, 10^9]; window_ns >= slots >= 20: a token returns up to window / slots late.
  TokenBucket(int64_t capacity, int64_t window_ns, int64_t slots);

  // A call is sent.
  void Take(int64_t cost);
  // It ended at `completed_ns`.
  void Complete(int64_t cost, int64_t completed_ns);
  // It was never sent: no byte was written.
  void ReturnUnused(int64_t cost);
  // Nobody saw its end; it cannot take effect after `until_ns`, and counts as completed then.
  void HoldUntil(int64_t cost, int64_t until_ns);

  // The earliest time at which `cost` tokens are there; `now_ns` or before if they are. kNever
  // while only the end of calls under way can free them, or if the cost exceeds the capacity.
  int64_t EarliestNs(int64_t cost, int64_t now_ns);
  // Tokens not there now; may exceed the capacity after it was lowered.
  int64_t Used(int64_t now_ns);

  // Keeps the history: lowering below the present use means waiting.
  void SetCapacity(int64_t capacity) { capacity_ = capacity; }
  // The clock began anew (another boot): everything completed counts as completed now, and what is
  // held as completed at `held_until_ns`, if that is later.
  void Rebase(int64_t now_ns, int64_t held_until_ns = 0);

  // What holds tokens, as it will be at `at_ns`, not before the latest time seen: equal for equal
  // histories, whenever the bucket was looked at. Empty if nothing does.
  std::vector<int64_t> StateAt(int64_t at_ns) const;

  int64_t capacity() const { return capacity_; }
  int64_t window_ns() const { return window_ns_; }

 private:
  struct Held {
    int64_t until_ns;
    int64_t cost;
  };
  void Advance(int64_t now_ns);
  void AddCompleted(int64_t cost, int64_t completed_ns);
  int64_t SlotOf(int64_t time_ns) const { return time_ns / slot_ns_; }
  // When what completed in a slot returns.
  int64_t ReturnOf(int64_t slot) const { return (slot + 1) * slot_ns_ + window_ns_; }
  uint32_t& At(int64_t slot) { return ring_[static_cast<size_t>(slot) % ring_.size()]; }

  int64_t capacity_;
  int64_t window_ns_;
  int64_t slot_ns_;
  int64_t under_way_ = 0;    // held ones too
  int64_t completed_ = 0;    // sum of the ring
  int64_t oldest_slot_ = 0;  // first slot of the ring that has not returned
  int64_t last_ns_ = 0;
  std::vector<uint32_t> ring_;  // calls by slot; 972 bytes at 240 slots
  std::vector<Held> held_;      // ascending by until_ns
};

// Calls of one kind under way at once. Learns a lower ceiling from 45033 and grows back by one per
// round of successes.
class InFlight {
 public:
  explicit InFlight(int64_t limit) : limit_(limit), ceiling_thousandths_(limit * 1000) {}

  void Take() { ++under_way_; }
  void End(bool success);
  // It may still be served until then.
  void HoldUntil(int64_t until_ns);
  // 45033 answered the call that has just ended.
  void LowerCeiling();
  // As TokenBucket::EarliestNs.
  int64_t EarliestNs(int64_t cost, int64_t now_ns);
  // When nothing is under way any more; `now_ns` if nothing is, kNever if only an answer can tell.
  int64_t IdleNs(int64_t now_ns);
  // Another boot: what is held stays so until then.
  void Rebase(int64_t held_until_ns);
  // As TokenBucket::StateAt; a lowered ceiling too.
  std::vector<int64_t> StateAt(int64_t at_ns) const;

  int64_t ceiling() const { return ceiling_thousandths_ / 1000; }
  int64_t under_way() const { return under_way_; }

 private:
  void Advance(int64_t now_ns);

  const int64_t limit_;
  int64_t ceiling_thousandths_;
  int64_t under_way_ = 0;
  std::vector<int64_t> held_;  // ascending
};

}  // namespace tidegate::dispatch
