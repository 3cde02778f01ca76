#include "services/dispatch/core/timing_wheel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <new>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/seeded_random.h"

namespace {

size_t allocations = 0;

}  // namespace

// All of this program, so that a test can tell that there are none. Inlined, the compiler would
// take malloc() and delete for two that do not fit.
[[gnu::noinline]] void* operator new(size_t bytes) {
  ++allocations;
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace tidegate::dispatch {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

constexpr int64_t kYear = int64_t{365} * 24 * 3600 * kNanosPerSecond;

using Fired = std::vector<std::pair<int64_t, TimingWheel::Id>>;

Fired PopAll(TimingWheel* wheel, int64_t now_ns) {
  Fired fired;
  while (wheel->NextNs() <= now_ns) {
    if (const auto due = wheel->PopDue(now_ns)) fired.emplace_back(due->at_ns, due->id);
  }
  return fired;
}

TEST(TimingWheelTest, FiresAtTheExactTimeAndOnce) {
  TimingWheel wheel;
  wheel.Set(7, 5'000'001);
  EXPECT_EQ(wheel.AtNs(7), 5'000'001);
  EXPECT_EQ(wheel.NextNs(), 5'000'001);
  EXPECT_THAT(PopAll(&wheel, 5'000'000), IsEmpty());
  EXPECT_THAT(PopAll(&wheel, 5'000'001), ElementsAre(Pair(5'000'001, 7u)));
  EXPECT_EQ(wheel.AtNs(7), kNever);
  EXPECT_EQ(wheel.NextNs(), kNever);
  EXPECT_THAT(PopAll(&wheel, kNever - 1), IsEmpty());
}

TEST(TimingWheelTest, AnotherTimeReplacesTheFirst) {
  TimingWheel wheel;
  wheel.Set(0, 100);
  wheel.Set(0, 90'000'000);
  wheel.Set(0, 50'000);
  EXPECT_EQ(wheel.size(), 1u);
  EXPECT_THAT(PopAll(&wheel, kYear), ElementsAre(Pair(50'000, 0u)));
}

TEST(TimingWheelTest, ACancelledOneDoesNotFire) {
  TimingWheel wheel;
  for (const TimingWheel::Id id : {0, 1, 2}) wheel.Set(id, 100);
  wheel.Cancel(1);
  wheel.Cancel(1);
  wheel.Cancel(999);  // of which it never heard
  EXPECT_THAT(PopAll(&wheel, 100), ElementsAre(Pair(100, 0u), Pair(100, 2u)));
}

TEST(TimingWheelTest, EqualTimesFireInTheOrderInWhichTheyWereSetFromNearAndFar) {
  TimingWheel wheel;
  const int64_t at = kYear + 12'345;
  wheel.Set(3, at);
  wheel.Set(9, at - kNanosPerSecond);
  wheel.Set(1, at);
  EXPECT_THAT(PopAll(&wheel, at - 1), ElementsAre(Pair(at - kNanosPerSecond, 9u)));
  wheel.Set(2, at);
  wheel.Set(3, at);  // anew: it is the last one now
  EXPECT_THAT(PopAll(&wheel, at), ElementsAre(Pair(at, 1u), Pair(at, 2u), Pair(at, 3u)));
}

TEST(TimingWheelTest, ATimeThatHasPassedFiresAfterTheOthersThatHave) {
  TimingWheel wheel;
  wheel.Set(0, 1'000);
  wheel.Set(1, 1'000);
  ASSERT_EQ(wheel.PopDue(1'000)->id, 0u);
  wheel.Set(2, 10);
  EXPECT_EQ(wheel.AtNs(2), 1'000);
  EXPECT_THAT(PopAll(&wheel, 2'000), ElementsAre(Pair(1'000, 1u), Pair(1'000, 2u)));
}

TEST(TimingWheelTest, WhatIsSetWhileOthersFireHasItsTurnAmongThem) {
  TimingWheel wheel;
  wheel.Set(0, 1'000);
  wheel.Set(1, 3'000'000);
  ASSERT_EQ(wheel.PopDue(kYear)->id, 0u);
  wheel.Set(0, 2'000'000);
  EXPECT_THAT(PopAll(&wheel, kYear), ElementsAre(Pair(2'000'000, 0u), Pair(3'000'000, 1u)));
}

TEST(TimingWheelTest, AnEarlierNowThanBeforeFiresNothing) {
  TimingWheel wheel;
  wheel.Set(0, 1'000);
  wheel.Set(1, 2'000);
  ASSERT_EQ(PopAll(&wheel, 1'500).size(), 1u);
  EXPECT_THAT(PopAll(&wheel, 10), IsEmpty());
  EXPECT_EQ(wheel.NextNs(), 2'000);
}

// Each digit's last slot, the next wheel's first, and the end of the clock.
TEST(TimingWheelTest, TheEdgesOfEveryWheelAreInOrder) {
  TimingWheel wheel;
  Fired expected;
  for (int bit = 0; bit < 63; ++bit) {
    for (const int64_t beside : {-1, 0, 1}) {
      const int64_t at = (int64_t{1} << bit) + beside;
      if (bit < 2 && beside != 0) continue;  // 1 and 2 are beside each other
      expected.emplace_back(at, expected.size());
    }
  }
  expected.emplace_back(kNever - 1, expected.size());
  for (auto entry = expected.rbegin(); entry != expected.rend(); ++entry) {
    wheel.Set(entry->second, entry->first);
  }
  EXPECT_EQ(PopAll(&wheel, kNever - 1), expected);
}

TEST(TimingWheelModelTest, NextIsExactWhereNothingWasCancelled) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    SeededRandom random(seed);
    TimingWheel wheel;
    std::multimap<int64_t, TimingWheel::Id> model;
    for (TimingWheel::Id id = 0; id < 300; ++id) {
      const auto at = static_cast<int64_t>(random.Next() >> (1 + random.Below(63)));
      wheel.Set(id, at);
      model.emplace(at, id);
    }
    while (!model.empty()) {
      ASSERT_EQ(wheel.NextNs(), model.begin()->first);
      const auto due = wheel.PopDue(model.begin()->first);
      ASSERT_TRUE(due.has_value());
      ASSERT_EQ(due->id, model.begin()->second);
      model.erase(model.begin());
    }
    EXPECT_EQ(wheel.NextNs(), kNever);
  }
}

// By time, and equal times by when they were set.
class Model {
 public:
  void Set(TimingWheel::Id id, int64_t at_ns) {
    Cancel(id);
    timers_.emplace(std::pair(at_ns, ++sets_), id);
  }
  void Cancel(TimingWheel::Id id) {
    std::erase_if(timers_, [&](const auto& timer) { return timer.second == id; });
  }
  std::optional<std::pair<int64_t, TimingWheel::Id>> PopDue(int64_t now_ns) {
    if (timers_.empty() || timers_.begin()->first.first > now_ns) return std::nullopt;
    fired_ns_ = timers_.begin()->first.first;
    const TimingWheel::Id id = timers_.begin()->second;
    timers_.erase(timers_.begin());
    return std::pair(fired_ns_, id);
  }
  int64_t NextNs() const { return timers_.empty() ? kNever : timers_.begin()->first.first; }
  size_t size() const { return timers_.size(); }
  // The last time that fired.
  int64_t fired_ns() const { return fired_ns_; }

 private:
  std::map<std::pair<int64_t, uint64_t>, TimingWheel::Id> timers_;
  uint64_t sets_ = 0;
  int64_t fired_ns_ = 0;
};

// A time after `now_ns`, or a little before it: near, far, the same as others, at an edge.
int64_t SomeTime(SeededRandom* random, int64_t now_ns) {
  const auto below = [&](int64_t bound) {
    return static_cast<int64_t>(random->Below(static_cast<uint64_t>(bound)));
  };
  switch (random->Below(6)) {
    case 0:
      return now_ns + below(2'000'000);
    case 1:
      return now_ns + below(90 * kNanosPerSecond);
    case 2:
      return now_ns + below(kYear);
    case 3:
      return std::max<int64_t>(0, now_ns - below(2'000'000));
    case 4: {  // as tokens return
      const int64_t slot = 250 * kNanosPerMilli;
      return (now_ns / slot + 1 + below(4)) * slot;
    }
    default: {
      const int64_t edge = int64_t{1} << (10 * (1 + below(5)));
      return (now_ns / edge + 1) * edge + below(3) - 1;
    }
  }
}

TEST(TimingWheelModelTest, DoesWhatAMapDoesWhateverHappens) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    SeededRandom random(seed);
    const uint64_t ids = 1 + random.Below(60);
    TimingWheel wheel;
    Model model;
    int64_t now = static_cast<int64_t>(random.Next() >> (2 + random.Below(60)));
    for (int step = 0; step < 1'000; ++step) {
      const auto id = static_cast<TimingWheel::Id>(random.Below(ids));
      if (random.Chance(0.6)) {
        const int64_t at = SomeTime(&random, now);
        wheel.Set(id, at);
        const int64_t taken = wheel.AtNs(id);
        ASSERT_GE(taken, std::max(at, model.fired_ns()));
        ASSERT_LE(taken, std::max(at, now));
        model.Set(id, taken);
      } else if (random.Chance(0.3)) {
        wheel.Cancel(id);
        model.Cancel(id);
      } else {
        if (random.Chance(0.5) && model.NextNs() != kNever) {
          now = std::max(now, model.NextNs() - static_cast<int64_t>(random.Below(2)));
        } else {
          now = std::max(now, SomeTime(&random, now));
        }
        const bool set_in_between = random.Chance(0.3);
        for (;;) {
          const auto expected = model.PopDue(now);
          const auto due = wheel.PopDue(now);
          ASSERT_EQ(due.has_value(), expected.has_value());
          if (!due.has_value()) break;
          ASSERT_EQ(std::pair(due->at_ns, due->id), *expected);
          ASSERT_EQ(wheel.AtNs(due->id), kNever);
          if (!set_in_between || random.Chance(0.5)) continue;
          const int64_t at = due->at_ns + 1 + static_cast<int64_t>(random.Below(5'000'000));
          wheel.Set(due->id, at);
          model.Set(due->id, at);
        }
      }
      ASSERT_EQ(wheel.size(), model.size());
      ASSERT_LE(wheel.NextNs(), model.NextNs());
      ASSERT_EQ(wheel.NextNs() == kNever, model.size() == 0);
    }
  }
}

// Who sleeps until NextNs() and asks then is asked in vain once.
TEST(TimingWheelTest, ATimeThatIsTooEarlyIsNamedOnce) {
  TimingWheel wheel;
  const int64_t at = kYear + 1;
  for (TimingWheel::Id id = 0; id < 100; ++id) wheel.Set(id, at - id * kNanosPerMilli);
  for (TimingWheel::Id id = 2; id < 100; ++id) wheel.Cancel(id);
  const int64_t too_early = wheel.NextNs();
  EXPECT_LT(too_early, at - kNanosPerMilli);
  EXPECT_THAT(PopAll(&wheel, too_early), IsEmpty());
  EXPECT_EQ(wheel.NextNs(), at - kNanosPerMilli);
  EXPECT_THAT(PopAll(&wheel, at - kNanosPerMilli), ElementsAre(Pair(at - kNanosPerMilli, 1u)));
  EXPECT_EQ(wheel.NextNs(), at);
}

// All in one slot of 13 days, changed while it goes down.
TEST(TimingWheelModelTest, ALargeSlotGoesDownInPartsAndInOrder) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    constexpr TimingWheel::Id kPart = 4096;
    constexpr TimingWheel::Id kTimers = 8 * kPart;
    SeededRandom random(seed);
    const auto id_of_any = [&] { return static_cast<TimingWheel::Id>(random.Below(kTimers)); };
    // Many are equal.
    const auto time_of_any = [&] {
      return kYear + static_cast<int64_t>(random.Below(5'000)) * kNanosPerMilli;
    };
    TimingWheel wheel;
    std::vector<std::pair<int64_t, uint64_t>> model(kTimers);  // time, number of the setting
    uint64_t sets = 0;
    const auto set = [&](TimingWheel::Id id, int64_t at_ns) {
      wheel.Set(id, at_ns);
      model[id] = {wheel.AtNs(id), ++sets};
    };
    const auto cancel = [&](TimingWheel::Id id) {
      wheel.Cancel(id);
      model[id] = {kNever, 0};
    };
    for (TimingWheel::Id id = 0; id < kTimers; ++id) set(id, time_of_any());
    const int64_t now = 2 * kYear;
    int parts = 0;
    std::optional<TimingWheel::Due> due;
    while (!(due = wheel.PopDue(now)).has_value()) {
      ASSERT_LE(wheel.NextNs(), now);
      ASSERT_LE(++parts, 10);
      for (int i = 0; i < 500; ++i) {
        const TimingWheel::Id id = id_of_any();
        if (random.Chance(0.5)) {
          set(id, time_of_any());
        } else {
          cancel(id);
        }
        ASSERT_EQ(wheel.AtNs(id), model[id].first);
      }
      // Many of those that were next to go down, and the one that was set last.
      for (TimingWheel::Id i = 0; i < kPart / 3; ++i) cancel(parts * kPart + i);
      const TimingWheel::Id last = id_of_any();
      set(last, time_of_any());
      cancel(last);
    }
    EXPECT_GT(parts, 2);
    std::vector<std::pair<std::pair<int64_t, uint64_t>, TimingWheel::Id>> expected;
    for (TimingWheel::Id id = 0; id < kTimers; ++id) {
      if (model[id].first != kNever) expected.emplace_back(model[id], id);
    }
    std::sort(expected.begin(), expected.end());
    ASSERT_EQ(wheel.size() + 1, expected.size());
    Fired fired = PopAll(&wheel, now);
    fired.insert(fired.begin(), std::pair(due->at_ns, due->id));
    ASSERT_EQ(fired.size(), expected.size());
    for (size_t i = 0; i < fired.size(); ++i) {
      ASSERT_EQ(fired[i], std::pair(expected[i].first.first, expected[i].second));
    }
  }
}

TEST(TimingWheelTest, AllocatesNothingOnceTheNumbersAreKnown) {
  constexpr TimingWheel::Id kTimers = 10'000;
  TimingWheel wheel;
  SeededRandom random(1);
  for (TimingWheel::Id id = 0; id < kTimers; ++id) wheel.Set(id, SomeTime(&random, 0));
  const size_t before = allocations;
  ASSERT_GT(before, 0u);
  size_t fired = 0;
  for (int64_t now = 0; fired < 20 * kTimers; now += kNanosPerSecond) {
    while (const auto due = wheel.PopDue(now)) {
      ++fired;
      wheel.Set(due->id, std::max(now + 1, SomeTime(&random, now)));
      wheel.Set(static_cast<TimingWheel::Id>(random.Below(kTimers)), SomeTime(&random, now) + 1);
      wheel.Cancel(static_cast<TimingWheel::Id>(random.Below(kTimers)));
    }
    for (TimingWheel::Id id = 0; id < kTimers; id += 100) wheel.Set(id, SomeTime(&random, now) + 1);
  }
  EXPECT_EQ(allocations, before);
}

}  // namespace
}  // namespace tidegate::dispatch
