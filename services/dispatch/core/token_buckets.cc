#include "services/dispatch/core/token_buckets.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "common/base/check.h"

namespace tidegate::dispatch {
namespace {

constexpr int64_t kMostInASlot = std::numeric_limits<uint16_t>::max();
constexpr int64_t kHour = int64_t{3600} * 1'000'000'000;
constexpr int64_t kGrowthDivisor = 200;  // of what was set, in each hour

// Index of the first of `count` numbers that is not 0; `count` if all are.
size_t FirstNonZero(const uint16_t* numbers, size_t count) {
  size_t i = 0;
  for (; i + 4 <= count; i += 4) {
    uint64_t four;
    std::memcpy(&four, numbers + i, sizeof four);
    if (four != 0) break;
  }
  while (i < count && numbers[i] == 0) ++i;
  return i;
}

}  // namespace

const size_t TokenBuckets::kIdleBytes = sizeof(Head);
const size_t TokenBuckets::kActiveBytes = sizeof(Head) + sizeof(Ring);

BucketLimits::Window BucketLimits::MakeWindow(int64_t capacity, int64_t window_ns, int64_t slots) {
  CHECK(slots >= 1 && slots <= TokenBuckets::kSlotsMax);
  // Rounded up: a window never has more slots than the ring.
  return {.capacity = capacity, .window_ns = window_ns, .slot_ns = (window_ns + slots - 1) / slots};
}

uint32_t TokenBuckets::AddLimits(const BucketLimits& limits) {
  CHECK(limits_.size() < size_t{std::numeric_limits<int32_t>::max()});
  limits_.push_back(limits);
  return static_cast<uint32_t>(limits_.size() - 1);
}

TokenBuckets::Id TokenBuckets::Make(uint32_t limits) {
  heads_.emplace_back().limits = limits & 0x7FFFFFFF;
  return static_cast<Id>(heads_.size() - 1);
}

// ---- Other limits ----

std::vector<TokenBuckets::Past> TokenBuckets::PastOf(Id id, size_t window, int64_t now_ns) {
  if (now_ns >= heads_[id].next_change_ns) Advance(id, now_ns);
  const Head& head = heads_[id];
  const Window& limit = limits_[head.limits].windows[window];
  std::vector<Past> past;
  const auto add = [&](int64_t slot, int64_t tokens) {
    past.push_back({.ended_ns = (slot + 1) * limit.slot_ns - 1, .tokens = tokens});
    return true;
  };
  VisitClosed(head, window, add);
  if (head.open[window] > 0) add(head.open_slot[window], head.open[window]);
  return past;
}

void TokenBuckets::Rebind(Id id, uint32_t number, const BucketLimits& limits, Id like,
                          const std::array<std::vector<Past>, BucketLimits::kWindows>& past,
                          const std::array<Learnt, BucketLimits::kWindows>& learnt) {
  Head& head = heads_[id];
  limits_[number] = limits;
  head.limits = number & 0x7FFFFFFF;
  head.under_way = heads_[like].under_way;
  head.reserved = heads_[like].reserved;
  head.next_change_ns = head.second_return_ns = kNever;
  head.open_slot = {0, 0};
  head.open = head.back = {0, 0};
  if (head.ring != kNoRing) {
    rings_[head.ring] = Ring{};
    free_rings_.push_back(head.ring);
    head.ring = kNoRing;
  }
  if (id != like) {
    const Special* of_like = FindSpecial(like);
    const std::vector<Held> held = of_like != nullptr ? of_like->held : std::vector<Held>();
    if (head.special || !held.empty()) SpecialOf(id) = {.held = held};
  }
  const bool any = std::any_of(learnt.begin(), learnt.end(),
                               [](const Learnt& each) { return each.amount >= 0; });
  if (head.special || any) {
    auto& kept = SpecialOf(id).learnt = learnt;
    for (size_t w = 0; w < BucketLimits::kWindows; ++w) {
      if (kept[w].amount >= 0) kept[w].of = std::max(kept[w].of, limits.windows[w].capacity);
    }
  }
  for (size_t w = 0; w < BucketLimits::kWindows; ++w) {
    for (const Past& each : past[w]) {
      ReturnDue(&head, w, each.ended_ns);
      AddCompleted(&head, w, each.tokens, each.ended_ns);
    }
  }
  if (!head.special) return;
  const Special& special = *FindSpecial(id);
  if (!special.held.empty()) {
    head.next_change_ns = std::min(head.next_change_ns, special.held.front().until_ns);
  }
  Tidy(id);
}

// ---- Time passes ----

template <typename Visit>
void TokenBuckets::VisitClosed(const Head& head, size_t window, Visit visit) const {
  if (head.ring == kNoRing) return;
  const auto& tokens = rings_[head.ring].tokens[window];
  const size_t newest = static_cast<size_t>(head.open_slot[window] % kSlotsMax);
  // The oldest stands where the open slot will.
  int64_t slot = head.open_slot[window] - kSlotsMax;
  for (const auto& [from, to] : {std::pair{newest, tokens.size()}, std::pair{size_t{0}, newest}}) {
    for (size_t i = from; i < to; ++i) {
      i += FirstNonZero(tokens.data() + i, to - i);
      if (i < to && !visit(slot + static_cast<int64_t>(i - from), int64_t{tokens[i]})) return;
    }
    slot += static_cast<int64_t>(to - from);
  }
}

int64_t TokenBuckets::ReturnDue(Head* head, size_t window, int64_t now_ns) {
  if (head->back[window] == 0) return kNever;
  const Window& limit = limits_[head->limits].windows[window];
  int64_t next = kNever;
  VisitClosed(*head, window, [&](int64_t slot, int64_t tokens) {
    next = ReturnOf(limit, slot);
    if (next > now_ns) return false;
    head->back[window] -= static_cast<int32_t>(tokens);
    rings_[head->ring].tokens[window][static_cast<size_t>(slot % kSlotsMax)] = 0;
    next = kNever;
    return true;
  });
  if (next != kNever || head->open[window] == 0) return next;
  next = ReturnOf(limit, head->open_slot[window]);
  if (next > now_ns) return next;
  head->back[window] -= head->open[window];
  head->open[window] = 0;
  return kNever;
}

void TokenBuckets::Advance(Id id, int64_t now_ns) {
  Head* head = &heads_[id];
  Special* special = head->special ? &specials_.find(id)->second : nullptr;
  if (special != nullptr) {
    auto due = special->held.begin();
    for (; due != special->held.end() && due->until_ns <= now_ns; ++due) {
      head->under_way -= static_cast<int32_t>(due->cost);
      for (size_t w = 0; w < BucketLimits::kWindows; ++w) {
        ReturnDue(head, w, due->until_ns);
        AddCompleted(head, w, due->cost, due->until_ns);
      }
    }
    special->held.erase(special->held.begin(), due);
  }
  if (now_ns >= head->second_return_ns) head->second_return_ns = ReturnDue(head, 1, now_ns);
  head->next_change_ns = std::min(ReturnDue(head, 0, now_ns), head->second_return_ns);
  if (special != nullptr && !special->held.empty()) {
    head->next_change_ns = std::min(head->next_change_ns, special->held.front().until_ns);
  }
  if (special != nullptr) Tidy(id);
  if (head->ring != kNoRing && head->back[0] == 0 && head->back[1] == 0) {
    free_rings_.push_back(head->ring);
    head->ring = kNoRing;
  }
}

TokenBuckets::Ring& TokenBuckets::RingOf(Head* head) {
  if (head->ring == kNoRing) {
    if (free_rings_.empty()) {
      head->ring = static_cast<uint32_t>(rings_.size());
      rings_.emplace_back();
    } else {
      head->ring = free_rings_.back();  // empty, as every ring that was given back
      free_rings_.pop_back();
    }
  }
  return rings_[head->ring];
}

// What was due at `completed_ns` has returned already.
void TokenBuckets::AddCompleted(Head* head, size_t window, int64_t cost, int64_t completed_ns) {
  const Window& limit = limits_[head->limits].windows[window];
  if (!Limits(limit)) return;
  const int64_t slot = completed_ns / limit.slot_ns;
  int64_t& open_slot = head->open_slot[window];
  int32_t& open = head->open[window];
  // More than a slot can count goes on to the next one, which returns later.
  const auto put = [&](int64_t into, int64_t tokens) {
    uint16_t& cell = RingOf(head).tokens[window][static_cast<size_t>(into % kSlotsMax)];
    const int64_t fits = std::min(tokens, kMostInASlot - cell);
    cell = static_cast<uint16_t>(cell + fits);
    return static_cast<int32_t>(tokens - fits);
  };
  if (slot > open_slot) {
    if (open > 0) open = put(open_slot, open);
    open_slot = slot;
  }
  if (slot == open_slot) {
    open += static_cast<int32_t>(cost);
  } else if (slot >= open_slot - kSlotsMax) {
    open += put(slot, cost);
  } else {
    return;  // returned already
  }
  head->back[window] += static_cast<int32_t>(cost);
  const int64_t returns_ns = ReturnOf(limit, slot);
  head->next_change_ns = std::min(head->next_change_ns, returns_ns);
  if (window == 1) head->second_return_ns = std::min(head->second_return_ns, returns_ns);
}

// ---- Questions ----

TokenBuckets::Wait TokenBuckets::WaitOfWindow(const Head& head, const Special* special,
                                              size_t window, int64_t cost, int64_t now_ns) const {
  const Window& limit = limits_[head.limits].windows[window];
  const int64_t capacity = CapacityOf(head, special, window, now_ns);
  const Wait never{
      .earliest_ns = kNever, .cause = Cause::kWindow, .window = static_cast<uint8_t>(window)};
  int64_t missing = head.under_way + head.reserved + head.back[window] + cost - capacity;
  if (missing <= 0) return {};
  if (cost > limit.capacity) return never;
  if (cost > capacity) {  // what was learnt grows
    return {.earliest_ns = now_ns + kHour, .cause = Cause::kWindow, .window = never.window};
  }
  Wait wait = never;
  const auto returns = [&](int64_t slot, int64_t tokens) {
    missing -= tokens;
    if (missing > 0) return true;
    wait.earliest_ns = ReturnOf(limit, slot);
    return false;
  };
  VisitClosed(head, window, returns);
  if (missing > 0) returns(head.open_slot[window], head.open[window]);
  if (special == nullptr) return wait;
  for (const Held& held : special->held) {
    if (missing <= 0) break;
    returns(held.until_ns / limit.slot_ns, held.cost);
  }
  return wait;
}

int64_t TokenBuckets::PermitsOf(Id id, const Special* special, int64_t calls,
                                int64_t ceiling) const {
  int64_t missing = AtOnce(id, special) + heads_[id].reserved + calls - ceiling;
  if (missing <= 0) return 0;
  if (special == nullptr) return kNever;
  if (calls > ceiling) {
    const bool later =
        special->at_once.has_value() && calls <= limits_[heads_[id].limits].in_flight;
    return later ? special->at_once->WhenOfGrant(calls) : kNever;
  }
  for (const Held& held : special->held) {
    missing -= held.places;
    if (missing <= 0) return held.until_ns;
  }
  return kNever;
}

int64_t TokenBuckets::FreeAtNs(Id id, size_t window, int64_t tokens, int64_t now_ns) {
  if (now_ns >= heads_[id].next_change_ns) Advance(id, now_ns);
  const int64_t free_ns =
      WaitOfWindow(heads_[id], FindSpecial(id), window, tokens, now_ns).earliest_ns;
  return std::max(now_ns, free_ns);
}

int64_t TokenBuckets::PermitsAtNs(Id id, int64_t calls, int64_t now_ns) {
  if (now_ns >= heads_[id].next_change_ns) Advance(id, now_ns);
  return std::max(now_ns, PermitsOf(id, FindSpecial(id), calls, ceiling(id)));
}

TokenBuckets::Wait TokenBuckets::WaitOf(Id id, int64_t cost, int64_t now_ns) {
  if (now_ns >= heads_[id].next_change_ns) Advance(id, now_ns);
  const Head& head = heads_[id];
  const Special* special = FindSpecial(id);
  Wait latest{.earliest_ns = now_ns, .cause = Cause::kNone, .window = 0};
  const auto consider = [&](const Wait& wait) {
    if (wait.earliest_ns > now_ns && wait.earliest_ns >= latest.earliest_ns) latest = wait;
  };
  if (special != nullptr) {
    consider({.earliest_ns = special->lockout_until_ns, .cause = Cause::kLockout});
    if (special->canary && head.under_way + head.reserved > 0) {
      const auto& held = special->held;
      const bool all_held = head.reserved == 0 && InDoubt(held) == head.under_way;
      consider({.earliest_ns = all_held ? held.back().until_ns : kNever, .cause = Cause::kCanary});
    }
  }
  consider({.earliest_ns = PermitsOf(id, special, cost, ceiling_of(id, cost, now_ns)),
            .cause = Cause::kInFlight});
  for (size_t w = 0; w < BucketLimits::kWindows; ++w)
    consider(WaitOfWindow(head, special, w, cost, now_ns));
  return latest;
}

int64_t TokenBuckets::InDoubt(const std::vector<Held>& held) {
  int64_t tokens = 0;
  for (const Held& each : held) tokens += each.cost;
  return tokens;
}

int64_t TokenBuckets::AtOnce(Id id, const Special* special) const {
  int64_t calls = heads_[id].under_way;
  if (special == nullptr) return calls;
  for (const Held& each : special->held) calls -= each.cost - each.places;
  return calls;
}

int64_t TokenBuckets::CapacityOf(const Head& head, const Special* special, size_t window,
                                 int64_t at_ns) const {
  const int64_t set = limits_[head.limits].windows[window].capacity;
  if (special == nullptr || special->learnt[window].amount < 0) return set;
  const Learnt& learnt = special->learnt[window];
  const int64_t grown = GrownTo(learnt, at_ns);
  return grown >= learnt.of ? set : std::min(set, grown);
}

int64_t TokenBuckets::GrownTo(const Learnt& learnt, int64_t at_ns) {
  const int64_t hours = learnt.hours + std::max<int64_t>(0, at_ns - learnt.since_ns) / kHour;
  if (hours >= kGrowthDivisor) return learnt.of;
  return std::min(learnt.of, learnt.amount + hours * learnt.of / kGrowthDivisor);
}

int64_t TokenBuckets::Used(Id id, size_t window, int64_t now_ns) {
  if (now_ns >= heads_[id].next_change_ns) Advance(id, now_ns);
  return heads_[id].under_way + heads_[id].back[window];
}

int64_t TokenBuckets::in_doubt(Id id) const {
  const Special* special = FindSpecial(id);
  return special != nullptr ? InDoubt(special->held) : 0;
}

int64_t TokenBuckets::ceiling(Id id) const {
  const Special* special = FindSpecial(id);
  const int64_t set = limits_[heads_[id].limits].in_flight;
  return special != nullptr && special->at_once.has_value()
             ? std::min(set, special->at_once->most())
             : set;
}

int64_t TokenBuckets::ceiling_of(Id id, int64_t calls, int64_t now_ns) const {
  const Special* special = FindSpecial(id);
  if (calls == 1 || special == nullptr || !special->at_once.has_value()) return ceiling(id);
  return std::min(limits_[heads_[id].limits].in_flight, special->at_once->MostOfGrant(now_ns));
}

int64_t TokenBuckets::served_at_once(Id id) const {
  const Special* special = FindSpecial(id);
  const int64_t set = limits_[heads_[id].limits].in_flight;
  return special != nullptr && special->at_once.has_value()
             ? std::min(set, special->at_once->served())
             : set;
}

// ---- Ends ----

void TokenBuckets::Complete(Id id, int64_t cost, int64_t completed_ns, bool success) {
  if (completed_ns >= heads_[id].next_change_ns) Advance(id, completed_ns);
  Head& head = heads_[id];
  head.under_way -= static_cast<int32_t>(cost);
  for (size_t w = 0; w < BucketLimits::kWindows; ++w) AddCompleted(&head, w, cost, completed_ns);
  if (head.special) CompleteSpecial(id, cost, completed_ns, success);
}

void TokenBuckets::CompleteSpecial(Id id, int64_t cost, int64_t completed_ns, bool success) {
  const Head& head = heads_[id];
  Special& special = specials_.find(id)->second;
  if (completed_ns >= special.placeless_until_ns) special.placeless_until_ns = 0;
  for (size_t w = 0; w < BucketLimits::kWindows; ++w) {
    Learnt& learnt = special.learnt[w];
    if (learnt.amount < 0) continue;
    learnt.seen_ns = std::max(learnt.seen_ns, completed_ns);
    if (GrownTo(learnt, learnt.seen_ns) >= learnt.of) learnt = {};
  }
  if (auto& at_once = special.at_once; success && at_once.has_value()) {
    // Those in doubt are left out: whether they have ended depends on when one looks.
    at_once->OnServed(head.under_way + cost - InDoubt(special.held), completed_ns);
    if (at_once->Settled(limits_[head.limits].in_flight, completed_ns)) at_once.reset();
  }
  Tidy(id);
}

void TokenBuckets::HoldUntil(Id id, int64_t cost, int64_t until_ns, bool pressing) {
  Special& special = SpecialOf(id);
  const bool guess = limits_[heads_[id].limits].in_flight_guessed && !special.at_once.has_value();
  const bool keeps_place = !(pressing && guess);
  if (!keeps_place) special.placeless_until_ns = std::max(special.placeless_until_ns, until_ns);
  if (special.at_once.has_value()) special.at_once->OnDoubt(cost, until_ns);
  auto& held = special.held;
  held.insert(
      std::upper_bound(held.begin(), held.end(), until_ns,
                       [](int64_t until, const Held& each) { return until < each.until_ns; }),
      {.until_ns = until_ns, .cost = cost, .places = keeps_place ? cost : 0});
  heads_[id].next_change_ns = std::min(heads_[id].next_change_ns, until_ns);
}

// ---- What few have ----

TokenBuckets::Special& TokenBuckets::SpecialOf(Id id) {
  heads_[id].special = true;
  return specials_[id];
}

const TokenBuckets::Special* TokenBuckets::FindSpecial(Id id) const {
  return heads_[id].special ? &specials_.find(id)->second : nullptr;
}

void TokenBuckets::Tidy(Id id) {
  const Special& special = specials_.find(id)->second;
  if (!special.held.empty() || special.at_once.has_value() || special.canary ||
      special.placeless_until_ns > 0 || special.lockout_until_ns > 0) {
    return;
  }
  for (const Learnt& learnt : special.learnt) {
    if (learnt.amount >= 0) return;
  }
  specials_.erase(id);
  heads_[id].special = false;
}

void TokenBuckets::Learn(Id id, size_t window, int64_t amount, int64_t now_ns) {
  Learnt& learnt = SpecialOf(id).learnt[window];
  learnt = {.amount = amount,
            .of = std::max(learnt.of, limits_[heads_[id].limits].windows[window].capacity),
            .since_ns = now_ns,
            .seen_ns = now_ns};
}

void TokenBuckets::LowerCeiling(Id id, int64_t sent_ns, int64_t completed_ns) {
  const BucketLimits& limits = limits_[heads_[id].limits];
  Special& special = SpecialOf(id);
  if (completed_ns < special.placeless_until_ns) return;
  if (!special.at_once.has_value()) special.at_once.emplace(limits.in_flight, limits.answered_ns);
  special.at_once->OnRefused(heads_[id].under_way - InDoubt(special.held), sent_ns, completed_ns,
                             limits.in_flight_documented);
}

void TokenBuckets::Lockout(Id id, int64_t until_ns) {
  Special& special = SpecialOf(id);
  special.lockout_until_ns = std::max(special.lockout_until_ns, until_ns);
  special.canary = true;
}

int64_t TokenBuckets::lockout_until_ns(Id id) const {
  const Special* special = FindSpecial(id);
  return special != nullptr ? special->lockout_until_ns : 0;
}

void TokenBuckets::EndCanary(Id id) {
  if (!heads_[id].special) return;
  Special& special = specials_.find(id)->second;
  special.canary = false;
  special.lockout_until_ns = 0;
  Tidy(id);
}

void TokenBuckets::Rebase(Id id, int64_t now_ns, int64_t held_until_ns, int64_t lockout_ns) {
  Head& head = heads_[id];
  head.next_change_ns = kNever;
  head.second_return_ns = kNever;
  if (head.ring != kNoRing) rings_[head.ring] = Ring{};
  for (size_t w = 0; w < BucketLimits::kWindows; ++w) {
    const Window& limit = limits_[head.limits].windows[w];
    head.open_slot[w] = now_ns / limit.slot_ns;
    head.open[w] = head.back[w];
    if (head.open[w] == 0) continue;
    const int64_t returns_ns = ReturnOf(limit, head.open_slot[w]);
    head.next_change_ns = std::min(head.next_change_ns, returns_ns);
    if (w == 1) head.second_return_ns = returns_ns;
  }
  if (!head.special) return;
  Special& special = specials_.find(id)->second;
  for (Held& held : special.held) held.until_ns = std::max(now_ns, held_until_ns);
  if (special.placeless_until_ns > 0) {
    special.placeless_until_ns = std::max(now_ns, held_until_ns);
  }
  if (special.at_once.has_value()) special.at_once->Rebase(now_ns, held_until_ns);
  if (!special.held.empty()) {
    head.next_change_ns = std::min(head.next_change_ns, special.held.front().until_ns);
  }
  for (Learnt& learnt : special.learnt) {
    if (learnt.amount < 0) continue;
    learnt.hours += (learnt.seen_ns - learnt.since_ns) / kHour;
    learnt.since_ns = learnt.seen_ns = now_ns;
  }
  // How long it had to go on cannot be told: all of it, once more.
  if (special.lockout_until_ns > 0) {
    special.lockout_until_ns = special.canary ? now_ns + lockout_ns : 0;
  }
  Tidy(id);
}

// ---- As it will be ----

std::vector<int64_t> TokenBuckets::StateAt(Id id, int64_t at_ns) const {
  const Head& head = heads_[id];
  const Special none;
  const Special& special = head.special ? *FindSpecial(id) : none;
  int64_t under_way = head.under_way;
  std::vector<Held> held;
  for (const Held& each : special.held) {
    if (each.until_ns > at_ns) {
      held.push_back(each);
    } else {
      under_way -= each.cost;
    }
  }
  std::vector<int64_t> state;
  for (size_t w = 0; w < BucketLimits::kWindows; ++w) {
    const Window& limit = limits_[head.limits].windows[w];
    if (!Limits(limit)) continue;
    const Learnt& learnt = special.learnt[w];
    if (learnt.amount >= 0 && GrownTo(learnt, at_ns) < learnt.of) {
      state.insert(state.end(), {static_cast<int64_t>(w), learnt.amount, learnt.of, learnt.hours,
                                 learnt.since_ns, learnt.seen_ns});
    }
    std::map<int64_t, int64_t> slots;
    VisitClosed(head, w, [&](int64_t slot, int64_t tokens) {
      slots[slot] += tokens;
      return true;
    });
    if (head.open[w] > 0) slots[head.open_slot[w]] += head.open[w];
    for (const Held& each : special.held) {
      if (each.until_ns <= at_ns) slots[each.until_ns / limit.slot_ns] += each.cost;
    }
    std::erase_if(slots, [&](const auto& slot) { return ReturnOf(limit, slot.first) <= at_ns; });
    for (const auto& [slot, tokens] : slots) {
      state.insert(state.end(), {static_cast<int64_t>(w), slot, tokens});
    }
  }
  const int64_t lockout = special.lockout_until_ns > at_ns ? special.lockout_until_ns : 0;
  const int64_t placeless = special.placeless_until_ns > at_ns ? special.placeless_until_ns : 0;
  const bool at_once = special.at_once.has_value();
  if (state.empty() && under_way == 0 && placeless == 0 && lockout == 0 && !special.canary &&
      !at_once) {
    return state;
  }
  state.insert(state.end(), {under_way, placeless, lockout, special.canary, at_once});
  if (at_once) {
    const std::vector<int64_t> numbers = special.at_once->State();
    state.insert(state.end(), numbers.begin(), numbers.end());
  }
  for (const Held& each : held) {
    state.insert(state.end(), {each.until_ns, each.cost, each.places});
  }
  return state;
}

}  // namespace tidegate::dispatch
