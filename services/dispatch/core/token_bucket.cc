#include "services/dispatch/core/token_bucket.h"

#include <algorithm>
#include <map>

#include "common/base/check.h"

namespace tidegate::dispatch {

TokenBucket::TokenBucket(int64_t capacity, int64_t window_ns, int64_t slots)
    : capacity_(capacity),
      window_ns_(window_ns),
      slot_ns_(std::max<int64_t>(1, window_ns / slots)),
      // All slots that can hold something not yet returned, and the one being filled.
      ring_(static_cast<size_t>(window_ns_ / slot_ns_ + 3)) {}

void TokenBucket::Take(int64_t cost) { under_way_ += cost; }

void TokenBucket::ReturnUnused(int64_t cost) { under_way_ -= cost; }

void TokenBucket::Complete(int64_t cost, int64_t completed_ns) {
  under_way_ -= cost;
  Advance(completed_ns);
  AddCompleted(cost, completed_ns);
}

void TokenBucket::HoldUntil(int64_t cost, int64_t until_ns) {
  const Held held{.until_ns = until_ns, .cost = cost};
  held_.insert(
      std::upper_bound(held_.begin(), held_.end(), held,
                       [](const Held& a, const Held& b) { return a.until_ns < b.until_ns; }),
      held);
}

void TokenBucket::AddCompleted(int64_t cost, int64_t completed_ns) {
  const int64_t slot = SlotOf(completed_ns);
  if (slot < oldest_slot_) return;  // returned already
  CHECK(slot - oldest_slot_ < static_cast<int64_t>(ring_.size()));
  At(slot) += static_cast<uint32_t>(cost);
  completed_ += cost;
}

void TokenBucket::Advance(int64_t now_ns) {
  last_ns_ = std::max(last_ns_, now_ns);
  while (true) {
    const bool held_due = !held_.empty() && held_.front().until_ns <= last_ns_;
    // Times in order, so that the ring never spans more than one window.
    const int64_t to = held_due ? held_.front().until_ns : last_ns_;
    // The first slot that has not returned at `to`.
    const int64_t first = std::max(oldest_slot_, SlotOf(std::max<int64_t>(0, to - window_ns_)));
    if (first - oldest_slot_ >= static_cast<int64_t>(ring_.size())) {
      std::fill(ring_.begin(), ring_.end(), 0);
      completed_ = 0;
      oldest_slot_ = first;
    }
    while (oldest_slot_ < first && ReturnOf(oldest_slot_) <= to) {
      completed_ -= At(oldest_slot_);
      At(oldest_slot_) = 0;
      ++oldest_slot_;
    }
    if (!held_due) return;
    const Held held = held_.front();
    held_.erase(held_.begin());
    under_way_ -= held.cost;
    AddCompleted(held.cost, held.until_ns);
  }
}

int64_t TokenBucket::EarliestNs(int64_t cost, int64_t now_ns) {
  Advance(now_ns);
  if (cost > capacity_) return kNever;
  int64_t missing = under_way_ + completed_ + cost - capacity_;
  if (missing <= 0) return now_ns;
  for (int64_t slot = oldest_slot_; slot <= SlotOf(last_ns_); ++slot) {
    missing -= At(slot);
    if (missing <= 0) return ReturnOf(slot);
  }
  for (const Held& held : held_) {
    missing -= held.cost;
    if (missing <= 0) return ReturnOf(SlotOf(held.until_ns));
  }
  return kNever;
}

int64_t TokenBucket::Used(int64_t now_ns) {
  Advance(now_ns);
  return under_way_ + completed_;
}

void TokenBucket::Rebase(int64_t now_ns, int64_t held_until_ns) {
  for (Held& held : held_) held.until_ns = std::max(now_ns, held_until_ns);
  std::fill(ring_.begin(), ring_.end(), 0);
  last_ns_ = now_ns;
  // One window back: an end that is told late still counts.
  oldest_slot_ = SlotOf(std::max<int64_t>(0, now_ns - window_ns_));
  At(SlotOf(now_ns)) = static_cast<uint32_t>(completed_);
}

std::vector<int64_t> TokenBucket::StateAt(int64_t at_ns) const {
  std::map<int64_t, int64_t> slots;
  for (size_t i = 0; i < ring_.size(); ++i) {
    const int64_t slot = oldest_slot_ + static_cast<int64_t>(i);
    const uint32_t calls = ring_[static_cast<size_t>(slot) % ring_.size()];
    if (calls > 0) slots[slot] += calls;
  }
  int64_t under_way = under_way_;
  std::vector<int64_t> held;
  for (const Held& each : held_) {
    if (each.until_ns <= at_ns) {
      under_way -= each.cost;
      slots[SlotOf(each.until_ns)] += each.cost;
    } else {
      held.insert(held.end(), {each.until_ns, each.cost});
    }
  }
  std::erase_if(slots, [&](const auto& slot) { return ReturnOf(slot.first) <= at_ns; });
  std::vector<int64_t> state;
  if (under_way == 0 && slots.empty()) return state;
  state.push_back(under_way);
  for (const auto& [slot, calls] : slots) state.insert(state.end(), {slot, calls});
  state.insert(state.end(), held.begin(), held.end());
  return state;
}

void InFlight::End(bool success) {
  --under_way_;
  if (success && ceiling_thousandths_ < limit_ * 1000) {
    ceiling_thousandths_ =
        std::min(limit_ * 1000, ceiling_thousandths_ + 1000 / std::max<int64_t>(1, ceiling()));
  }
}

void InFlight::HoldUntil(int64_t until_ns) {
  held_.insert(std::upper_bound(held_.begin(), held_.end(), until_ns), until_ns);
}

void InFlight::LowerCeiling() {
  ceiling_thousandths_ = std::max<int64_t>(1, std::min(ceiling(), under_way_)) * 1000;
}

void InFlight::Advance(int64_t now_ns) {
  while (!held_.empty() && held_.front() <= now_ns) {
    held_.erase(held_.begin());
    --under_way_;
  }
}

int64_t InFlight::EarliestNs(int64_t cost, int64_t now_ns) {
  Advance(now_ns);
  const int64_t missing = under_way_ + cost - ceiling();
  if (missing <= 0) return now_ns;
  if (missing <= static_cast<int64_t>(held_.size())) return held_[static_cast<size_t>(missing - 1)];
  return kNever;
}

int64_t InFlight::IdleNs(int64_t now_ns) {
  Advance(now_ns);
  if (under_way_ == 0) return now_ns;
  return static_cast<int64_t>(held_.size()) == under_way_ ? held_.back() : kNever;
}

std::vector<int64_t> InFlight::StateAt(int64_t at_ns) const {
  std::vector<int64_t> held;
  for (const int64_t until_ns : held_) {
    if (until_ns > at_ns) held.push_back(until_ns);
  }
  const int64_t ended = static_cast<int64_t>(held_.size() - held.size());
  if (under_way_ == ended && ceiling_thousandths_ == limit_ * 1000) return {};
  std::vector<int64_t> state = {under_way_ - ended, ceiling_thousandths_};
  state.insert(state.end(), held.begin(), held.end());
  return state;
}

void InFlight::Rebase(int64_t held_until_ns) {
  std::fill(held_.begin(), held_.end(), held_until_ns);
}

}  // namespace tidegate::dispatch
