// Token buckets in bulk. A bucket lets at most `capacity` tokens through in any window. A token is
// taken when a call is sent and returns one window after the call completed; nothing trickles. (A
// bucket that refills by a trickle lets twice its capacity through in one window, which WeCom
// answers with a lockout.)
//
// Why no window of any kind or phase ever sees more (docs/dispatch.md, "Never above"): WeCom counts
// a call somewhere between its first byte and its answer. Take any window and the last call
// admitted into it: every other call counted in it completed less than one window before, or is
// still under way, so all of them held tokens at that admission.
//
// A bucket is a head of one cache line. While tokens are on their way back it also has a ring,
// which counts them by slots of time; a token returns when its slot has wholly passed, up to one
// slot late; what a slot holds above 65,535 goes on to the next one. What few buckets have (a
// lockout, a lowered ceiling, calls in doubt) stands in a table beside them. Integers only; no
// allocation per call but for calls in doubt.
//
// Times are CLOCK_MONOTONIC_RAW in nanoseconds, >= 0. One that is earlier than one that a bucket
// was told before frees nothing. Not thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "services/dispatch/core/calls_at_once.h"

namespace tidegate::dispatch {

// "Only an answer can free a token."
inline constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
inline constexpr int64_t kUnlimited = 1'000'000'000;

// What binds the buckets of one kind. Shared by them: a changed limit keeps every history, and
// lowering it below the present use means waiting.
struct BucketLimits {
  static constexpr size_t kWindows = 2;
  struct Window {
    int64_t capacity = kUnlimited;  // in [1, 10^9]; without a limit the rest means nothing
    int64_t window_ns = 0;
    int64_t slot_ns = 1;
    bool operator==(const Window&) const = default;
  };
  // `slots` in [20, 240]: into how many a window is divided.
  static Window MakeWindow(int64_t capacity, int64_t window_ns, int64_t slots);

  std::array<Window, kWindows> windows;
  int64_t in_flight = kUnlimited;  // tokens under way at once
  // So many are served by what WeCom documents: where it refuses what is set above it, that is
  // looked for from here on.
  int64_t in_flight_documented = kUnlimited;
  bool in_flight_guessed = false;  // nobody knows the number
  // Within so long a call has its answer, or none.
  int64_t answered_ns = int64_t{10} * 1'000'000'000;
};

class TokenBuckets {
 public:
  using Id = uint32_t;
  static constexpr int64_t kSlotsMax = 240;

  // It is wanted soon.
  void Prefetch(Id id) const { __builtin_prefetch(&heads_[id], 1); }

  // The number that Make() wants.
  uint32_t AddLimits(const BucketLimits& limits);
  BucketLimits& limits_of(Id id) { return limits_[heads_[id].limits]; }
  // A full bucket; ids are consecutive.
  Id Make(uint32_t limits);

  // Tokens that completed in a time that ended then, or before.
  struct Past {
    int64_t ended_ns;
    int64_t tokens;
  };
  // Those of a window that are not back at `now_ns`, oldest first.
  std::vector<Past> PastOf(Id id, size_t window, int64_t now_ns);
  // What was learnt of a window.
  struct Learnt {
    int64_t amount = -1;   // -1: nothing
    int64_t of = 0;        // the most that was set since: it grows by parts of it, up to it
    int64_t hours = 0;     // in which it has grown, before this boot
    int64_t since_ns = 0;  // of this boot
    int64_t seen_ns = 0;   // when a call completed last
  };
  Learnt LearntOf(Id id, size_t window) const {
    const Special* special = FindSpecial(id);
    return special != nullptr ? special->learnt[window] : Learnt();
  }
  // Other limits bind the bucket, which no other one has: those of that number become these. Each
  // window has this past, and of it this was learnt. What is under way, held and reserved is as of
  // `like`, itself or another bucket.
  void Rebind(Id id, uint32_t number, const BucketLimits& limits, Id like,
              const std::array<std::vector<Past>, BucketLimits::kWindows>& past,
              const std::array<Learnt, BucketLimits::kWindows>& learnt);

  // Whether `cost` tokens are there, beside those that are reserved.
  bool Allows(Id id, int64_t cost, int64_t now_ns) {
    Head& head = heads_[id];
    if (now_ns >= head.next_change_ns) Advance(id, now_ns);
    if (head.special) return WaitOf(id, cost, now_ns).earliest_ns <= now_ns;
    const BucketLimits& limits = limits_[head.limits];
    const int64_t wanted = head.under_way + head.reserved + cost;
    return (wanted <= limits.in_flight) & (wanted + head.back[0] <= limits.windows[0].capacity) &
           (wanted + head.back[1] <= limits.windows[1].capacity);
  }
  enum class Cause : uint8_t { kNone, kWindow, kInFlight, kLockout, kCanary };
  struct Wait {
    int64_t earliest_ns = 0;  // now or before: allowed; kNever: only an answer can tell
    Cause cause = Cause::kNone;
    uint8_t window = 0;  // of Cause::kWindow
  };
  // When the cost is allowed at the earliest, and what of it binds last.
  Wait WaitOf(Id id, int64_t cost, int64_t now_ns);
  // The same of one window alone, and of calls at once alone.
  int64_t FreeAtNs(Id id, size_t window, int64_t tokens, int64_t now_ns);
  int64_t PermitsAtNs(Id id, int64_t calls, int64_t now_ns);
  // Tokens of a window that are not there now, the reserved ones left out; may exceed a capacity
  // that was lowered.
  int64_t Used(Id id, size_t window, int64_t now_ns);
  int64_t under_way(Id id) const { return heads_[id].under_way; }
  // Of them those that have a place among the calls at once.
  int64_t at_once(Id id) const { return AtOnce(id, FindSpecial(id)); }
  // Of them those that are held.
  int64_t in_doubt(Id id) const;
  // Of a window: what was set, or what was learnt.
  int64_t capacity(Id id, size_t window, int64_t now_ns) const {
    return CapacityOf(heads_[id], FindSpecial(id), window, now_ns);
  }
  int64_t ceiling(Id id) const;
  // The same for a call, or for a grant of several.
  int64_t ceiling_of(Id id, int64_t calls, int64_t now_ns) const;
  // The ceiling without the one more that is tried.
  int64_t served_at_once(Id id) const;

  // Of a call that is decided and not sent yet; negative: no more.
  void Reserve(Id id, int64_t cost) { heads_[id].reserved += static_cast<int32_t>(cost); }
  int64_t reserved(Id id) const { return heads_[id].reserved; }

  // A call is sent.
  void Take(Id id, int64_t cost) { heads_[id].under_way += static_cast<int32_t>(cost); }
  // It ended. `success`: it was served, so more at once may be.
  void Complete(Id id, int64_t cost, int64_t completed_ns, bool success);
  // It was never sent: no byte was written.
  void ReturnUnused(Id id, int64_t cost) { heads_[id].under_way -= static_cast<int32_t>(cost); }
  // Nobody saw its end; it cannot take effect after `until_ns`, and counts as completed then.
  // `pressing`: its repeat cannot wait for that. Where the number of calls at once is a guess, and
  // none was refused for it, it has no place among them any more, and a call that is refused before
  // `until_ns` for too many at once lowers no ceiling: those without a place may be the reason.
  void HoldUntil(Id id, int64_t cost, int64_t until_ns, bool pressing);

  // The window seems to have this capacity only, below the one that was set. It grows by half a
  // per cent of that one each hour, until it is as that was. A lower one that is set meanwhile
  // binds, and makes nothing forgotten.
  void Learn(Id id, size_t window, int64_t amount, int64_t now_ns);

  // Of a call that ends now, without success: it was sent then, and too many were in flight.
  void LowerCeiling(Id id, int64_t sent_ns, int64_t completed_ns);
  // Nothing goes until then, and afterwards one call at a time until EndCanary().
  void Lockout(Id id, int64_t until_ns);
  int64_t lockout_until_ns(Id id) const;
  void EndCanary(Id id);

  // The clock began anew (another boot): everything completed counts as completed now, and what is
  // held as completed at `held_until_ns`, if that is later; a lockout begins once more, for
  // `lockout_ns`.
  void Rebase(Id id, int64_t now_ns, int64_t held_until_ns, int64_t lockout_ns);

  // What holds tokens back, as it will be at `at_ns`, not before the latest time seen: equal for
  // equal histories, whenever the bucket was looked at. Empty if nothing does.
  std::vector<int64_t> StateAt(Id id, int64_t at_ns) const;

  // Bytes of a bucket without and with tokens on their way back.
  static const size_t kIdleBytes;
  static const size_t kActiveBytes;
  size_t rings_in_use() const { return rings_.size() - free_rings_.size(); }

 private:
  static constexpr uint32_t kNoRing = std::numeric_limits<uint32_t>::max();

  struct alignas(64) Head {
    int64_t next_change_ns = kNever;  // until then no token returns and no held call ends
    // Until then none of the second window, the longer one, returns.
    int64_t second_return_ns = kNever;
    // The newest slot that a call completed in, and how many tokens did; older slots are in the
    // ring.
    std::array<int64_t, BucketLimits::kWindows> open_slot = {0, 0};
    std::array<int32_t, BucketLimits::kWindows> open = {0, 0};
    std::array<int32_t, BucketLimits::kWindows> back = {0, 0};  // completed, not returned yet
    int32_t under_way = 0;                                      // the held ones too
    int32_t reserved = 0;
    uint32_t ring = kNoRing;
    uint32_t limits : 31 = 0;
    uint32_t special : 1 = 0;  // it has an entry in specials_
  };
  static_assert(sizeof(Head) == 64);
  // Tokens by slot: that of slot s is at s modulo kSlotsMax.
  struct Ring {
    std::array<std::array<uint16_t, kSlotsMax>, BucketLimits::kWindows> tokens = {};
  };
  struct Held {
    int64_t until_ns;
    int64_t cost;
    int64_t places;  // among the calls at once
  };
  struct Special {
    std::vector<Held> held;  // ascending by until_ns
    std::array<Learnt, BucketLimits::kWindows> learnt;
    std::optional<CallsAtOnce> at_once;  // empty: as many as set
    int64_t placeless_until_ns = 0;      // a call without a place may be at WeCom; 0: none
    int64_t lockout_until_ns = 0;
    bool canary = false;
  };
  using Window = BucketLimits::Window;

  static int64_t ReturnOf(const Window& window, int64_t slot) {
    return (slot + 1) * window.slot_ns + window.window_ns;
  }
  static bool Limits(const Window& window) { return window.capacity < kUnlimited; }

  void Advance(Id id, int64_t now_ns);
  // Returns what is due of one window; when the next of it is due.
  int64_t ReturnDue(Head* head, size_t window, int64_t now_ns);
  void AddCompleted(Head* head, size_t window, int64_t cost, int64_t completed_ns);
  Ring& RingOf(Head* head);
  Wait WaitOfWindow(const Head& head, const Special* special, size_t window, int64_t cost,
                    int64_t now_ns) const;
  // To what it has grown.
  static int64_t GrownTo(const Learnt& learnt, int64_t at_ns);
  int64_t CapacityOf(const Head& head, const Special* special, size_t window, int64_t at_ns) const;
  void CompleteSpecial(Id id, int64_t cost, int64_t completed_ns, bool success);
  // 0: they are there.
  int64_t PermitsOf(Id id, const Special* special, int64_t calls, int64_t ceiling) const;
  // Slots of the ring that hold something, oldest first: visit(slot, tokens) until it says false.
  template <typename Visit>
  void VisitClosed(const Head& head, size_t window, Visit visit) const;
  static int64_t InDoubt(const std::vector<Held>& held);
  int64_t AtOnce(Id id, const Special* special) const;
  Special& SpecialOf(Id id);
  const Special* FindSpecial(Id id) const;
  // Forgets the entry if there is nothing special any more.
  void Tidy(Id id);

  std::vector<BucketLimits> limits_;
  std::vector<Head> heads_;
  std::vector<Ring> rings_;
  std::vector<uint32_t> free_rings_;
  absl::flat_hash_map<Id, Special> specials_;
};

}  // namespace tidegate::dispatch
