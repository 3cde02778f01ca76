// Timers by number: which is due next. To set, cancel or fire one takes no more steps where there
// are many: a hierarchical timing wheel (Varghese and Lauck: 1987, scheme 7).
//
// A time is read as a number of seven digits to the base of 1,024, and each digit has a wheel of
// 1,024 slots: of 1 ns, 1 us, 1 ms, 1 s, 18 minutes, 13 days and 36 years, about. A timer is in the
// wheel of the highest digit in which it differs from now, in the slot of its digit there; now is
// where the wheel stands, at the time that was due last. So
//
//   - in a wheel timers are due by slot, and before all those of the wheels above it. Bitmaps say
//     which slot is the first
//   - when a slot of several is due they go down, each to where it differs from then: six times in
//     its life at most. One alone in its slot fires where it is
//   - nothing turns while nothing is due: a jump of a year costs as much as one of a millisecond
//   - the last wheel reaches as far as the clock: nothing lies beyond
//
// Timers fire at their exact times and in the order of these; those of one nanosecond in the order
// in which they were set. What exactness costs is the two finest wheels, which put in order what is
// due within a millisecond. A large slot goes down in parts, one for each question, so that nothing
// else waits for all of it; what is due then is late by so much (docs/dispatch.md has figures).
//
// 16 bytes for each number up to the highest one that was ever set, and 115 kB. Nothing is
// allocated but for a number that is higher than all before.
//
// Times are of any clock that does not go backwards, in nanoseconds, >= 0. Not thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "services/dispatch/core/token_buckets.h"

namespace tidegate::dispatch {

class TimingWheel {
 public:
  using Id = uint32_t;  // numbers from 0, without large gaps

  // Replaces the time that it had. `at_ns` < kNever. A time that PopDue() was asked of already may
  // count as a later one, which it was asked of too.
  void Set(Id id, int64_t at_ns);
  void Cancel(Id id);
  // kNever: it is not set.
  int64_t AtNs(Id id) const { return id < nodes_.size() ? nodes_[id].at_ns : kNever; }

  struct Due {
    int64_t at_ns;
    Id id;
  };
  // The first timer, if its time is `now_ns` or before; it is not set any more then. nullopt: none
  // is due; or a large slot goes down, and NextNs() is not after `now_ns`: ask again.
  std::optional<Due> PopDue(int64_t now_ns);
  // When to ask PopDue(); kNever: nothing is set. Never after the first timer. Before it only where
  // its slot had an earlier one, which was cancelled or replaced: the next question finds nothing,
  // and this is exact afterwards; and while a large slot goes down.
  int64_t NextNs() const;

  size_t size() const { return size_; }  // timers that are set

 private:
  static constexpr uint32_t kDigitBits = 10;
  static constexpr uint32_t kSlots = 1u << kDigitBits;
  static constexpr uint32_t kWheels = 7;
  static_assert(kWheels * kDigitBits >= std::numeric_limits<int64_t>::digits);
  static constexpr Id kNone = std::numeric_limits<Id>::max();

  // A timer in the list of its slot, or one that is not set.
  struct Node {
    int64_t at_ns = kNever;
    Id previous = kNone;
    Id next = kNone;
  };
  struct Slot {
    int64_t min_ns = kNever;  // no timer of it is earlier
    Id first = kNone;
    Id last = kNone;
  };
  // Which slots of a wheel have timers: a bit for each, and one for each word that is not 0.
  struct Occupied {
    std::array<uint64_t, kSlots / 64> slots = {};
    uint32_t words = 0;
  };

  // Of all wheels, one behind the other.
  static uint32_t SlotOf(int64_t at_ns, int64_t now_ns);
  uint32_t FirstSlot() const;
  void Append(Id id, Slot* slot);
  // In the slot where it belongs.
  void Place(Id id);
  void Remove(Id id);
  void Unlink(Id id, Slot* slot);
  void MarkEmpty(uint32_t slot);
  // Places the next ones of those that go down; whether these were the last.
  bool GoDown();

  std::vector<Node> nodes_;  // by number
  std::vector<Slot> slots_ = std::vector<Slot>(kWheels * kSlots);
  std::array<Occupied, kWheels> occupied_;
  Slot going_down_;      // those that are in no wheel, while a slot goes down
  uint32_t wheels_ = 0;  // bits of those that have timers
  int64_t now_ns_ = 0;   // where it stands; no timer is earlier
  size_t size_ = 0;
};

}  // namespace tidegate::dispatch
