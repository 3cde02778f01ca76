#include "services/dispatch/core/timing_wheel.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "common/base/check.h"

namespace tidegate::dispatch {

void TimingWheel::Set(Id id, int64_t at_ns) {
  CHECK(at_ns < kNever && id < kNone);
  if (id >= nodes_.size()) nodes_.resize(id + 1);
  if (nodes_[id].at_ns != kNever) Remove(id);
  nodes_[id].at_ns = std::max(at_ns, now_ns_);
  Append(id);
  ++size_;
}

void TimingWheel::Cancel(Id id) {
  if (AtNs(id) != kNever) Remove(id);
}

int64_t TimingWheel::NextNs() const { return size_ == 0 ? kNever : slots_[FirstSlot()].min_ns; }

std::optional<TimingWheel::Due> TimingWheel::PopDue(int64_t now_ns) {
  while (size_ > 0) {
    const uint32_t at = FirstSlot();
    const Slot& slot = slots_[at];
    if (slot.min_ns > now_ns) return std::nullopt;
    // The times of a slot of the lowest wheel are equal.
    if (at < kSlots || slot.first == slot.last) {
      const Due due{.at_ns = slot.min_ns, .id = slot.first};
      Remove(due.id);
      now_ns_ = due.at_ns;
      return due;
    }
    GoDown(at);
  }
  return std::nullopt;
}

uint32_t TimingWheel::SlotOf(int64_t at_ns, int64_t now_ns) {
  const auto differs = static_cast<uint64_t>(at_ns ^ now_ns);
  const uint32_t wheel = static_cast<uint32_t>(std::bit_width(differs | 1) - 1) / kDigitBits;
  const auto digit = static_cast<uint32_t>(at_ns >> (wheel * kDigitBits)) % kSlots;
  return wheel * kSlots + digit;
}

uint32_t TimingWheel::FirstSlot() const {
  const auto wheel = static_cast<uint32_t>(std::countr_zero(wheels_));
  const Occupied& occupied = occupied_[wheel];
  const auto word = static_cast<uint32_t>(std::countr_zero(occupied.words));
  const auto bit = static_cast<uint32_t>(std::countr_zero(occupied.slots[word]));
  return wheel * kSlots + word * 64 + bit;
}

void TimingWheel::Append(Id id) {
  Node& node = nodes_[id];
  const uint32_t at = SlotOf(node.at_ns, now_ns_);
  Slot& slot = slots_[at];
  node.previous = slot.last;
  node.next = kNone;
  if (slot.first == kNone) {
    slot.first = id;
    slot.min_ns = node.at_ns;
    Occupied& occupied = occupied_[at / kSlots];
    const uint32_t word = at % kSlots / 64;
    occupied.slots[word] |= uint64_t{1} << (at % 64);
    occupied.words |= 1u << word;
    wheels_ |= 1u << (at / kSlots);
  } else {
    nodes_[slot.last].next = id;
    slot.min_ns = std::min(slot.min_ns, node.at_ns);
  }
  slot.last = id;
}

void TimingWheel::Remove(Id id) {
  Node& node = nodes_[id];
  const uint32_t at = SlotOf(node.at_ns, now_ns_);
  Slot& slot = slots_[at];
  (node.previous == kNone ? slot.first : nodes_[node.previous].next) = node.next;
  (node.next == kNone ? slot.last : nodes_[node.next].previous) = node.previous;
  node.at_ns = kNever;
  --size_;
  if (slot.first == kNone) {
    MarkEmpty(at);
  } else if (slot.first == slot.last) {
    slot.min_ns = nodes_[slot.first].at_ns;
  }
}

void TimingWheel::MarkEmpty(uint32_t slot) {
  Occupied& occupied = occupied_[slot / kSlots];
  const uint32_t word = slot % kSlots / 64;
  occupied.slots[word] &= ~(uint64_t{1} << (slot % 64));
  if (occupied.slots[word] == 0) occupied.words &= ~(1u << word);
  if (occupied.words == 0) wheels_ &= ~(1u << (slot / kSlots));
}

void TimingWheel::GoDown(uint32_t slot) {
  const Slot from = std::exchange(slots_[slot], {});
  MarkEmpty(slot);
  now_ns_ = from.min_ns;
  // In their order, so that equal times keep theirs. The wheels below are empty.
  for (Id id = from.first; id != kNone;) {
    const Id next = nodes_[id].next;
    Append(id);
    id = next;
  }
}

}  // namespace tidegate::dispatch
