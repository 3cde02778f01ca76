#include "services/dispatch/core/timing_wheel.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "common/base/check.h"

namespace tidegate::dispatch {
namespace {

// So many timers of a slot go down for one question.
constexpr int kAtOnce = 4096;

}  // namespace

void TimingWheel::Set(Id id, int64_t at_ns) {
  CHECK(at_ns < kNever && id < kNone);
  if (id >= nodes_.size()) nodes_.resize(id + 1);
  if (nodes_[id].at_ns != kNever) Remove(id);
  nodes_[id].at_ns = std::max(at_ns, now_ns_);
  // Behind those that go down, so that equal times keep their order.
  if (going_down_.first == kNone) {
    Place(id);
  } else {
    Append(id, &going_down_);
  }
  ++size_;
}

void TimingWheel::Cancel(Id id) {
  if (AtNs(id) != kNever) Remove(id);
}

int64_t TimingWheel::NextNs() const {
  if (size_ == 0) return kNever;
  return going_down_.first == kNone ? slots_[FirstSlot()].min_ns : now_ns_;
}

std::optional<TimingWheel::Due> TimingWheel::PopDue(int64_t now_ns) {
  while (size_ > 0) {
    if (going_down_.first != kNone && !GoDown()) return std::nullopt;
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
    now_ns_ = slot.min_ns;
    going_down_ = std::exchange(slots_[at], {});
    MarkEmpty(at);
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

void TimingWheel::Append(Id id, Slot* slot) {
  Node& node = nodes_[id];
  node.previous = slot->last;
  node.next = kNone;
  (slot->first == kNone ? slot->first : nodes_[slot->last].next) = id;
  slot->last = id;
  slot->min_ns = std::min(slot->min_ns, node.at_ns);
}

void TimingWheel::Place(Id id) {
  const uint32_t at = SlotOf(nodes_[id].at_ns, now_ns_);
  Append(id, &slots_[at]);
  Occupied& occupied = occupied_[at / kSlots];
  const uint32_t word = at % kSlots / 64;
  occupied.slots[word] |= uint64_t{1} << (at % 64);
  occupied.words |= 1u << word;
  wheels_ |= 1u << (at / kSlots);
}

void TimingWheel::Remove(Id id) {
  if (id == going_down_.first || id == going_down_.last) {
    Unlink(id, &going_down_);
    return;
  }
  // In the middle of those that go down it changes nothing of the slot that it would go to.
  const uint32_t at = SlotOf(nodes_[id].at_ns, now_ns_);
  Unlink(id, &slots_[at]);
  if (slots_[at].first == kNone) MarkEmpty(at);
}

void TimingWheel::Unlink(Id id, Slot* slot) {
  Node& node = nodes_[id];
  (node.previous == kNone ? slot->first : nodes_[node.previous].next) = node.next;
  (node.next == kNone ? slot->last : nodes_[node.next].previous) = node.previous;
  node.at_ns = kNever;
  --size_;
  if (slot->first == slot->last) {
    slot->min_ns = slot->first == kNone ? kNever : nodes_[slot->first].at_ns;
  }
}

void TimingWheel::MarkEmpty(uint32_t slot) {
  Occupied& occupied = occupied_[slot / kSlots];
  const uint32_t word = slot % kSlots / 64;
  occupied.slots[word] &= ~(uint64_t{1} << (slot % 64));
  if (occupied.slots[word] == 0) occupied.words &= ~(1u << word);
  if (occupied.words == 0) wheels_ &= ~(1u << (slot / kSlots));
}

bool TimingWheel::GoDown() {
  // In their order, so that equal times keep theirs. The wheels below were empty.
  for (int i = 0; i < kAtOnce; ++i) {
    const Id id = going_down_.first;
    const Id next = nodes_[id].next;
    Place(id);
    going_down_.first = next;
    if (next == kNone) {
      going_down_ = {};
      return true;
    }
    nodes_[next].previous = kNone;
  }
  return false;
}

}  // namespace tidegate::dispatch
