// How many calls at once are served, found by trying one more.
#include "services/dispatch/core/calls_at_once.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace tidegate::dispatch {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kMinute = 60 * kSecond;
constexpr int64_t kDocumented = 5;
constexpr int64_t kAnsweredNs = 10 * kSecond;

// Answers, with as many calls under way as are allowed, until one more than `ceiling` may be; how
// many times that one went.
int TriesUntil(CallsAtOnce* calls, int64_t ceiling, int64_t at_ns) {
  int tries = 0;
  int64_t under_way = calls->most();
  for (int i = 0; i < 10'000 && calls->most() <= ceiling + 1; ++i) {
    const bool one_more = under_way > ceiling;
    calls->OnServed(under_way, at_ns);
    if (one_more) {
      EXPECT_EQ(calls->most(), ceiling) << "it goes alone";
      ++tries;
    }
    under_way = std::max(under_way - 1, calls->most());
  }
  return tries;
}

// The one more than `ceiling` is tried, and refused.
void TryAndBeRefused(CallsAtOnce* calls, int64_t ceiling, int64_t at_ns) {
  calls->OnServed(ceiling, at_ns);
  ASSERT_EQ(calls->most(), ceiling + 1);
  calls->OnRefused(ceiling + 1, at_ns, at_ns, kDocumented);
  ASSERT_EQ(calls->most(), ceiling);
}

TEST(CallsAtOnceTest, EachNextNumberNeedsAQuarterOfTheTries) {
  CallsAtOnce calls(5, kAnsweredNs);
  EXPECT_EQ(calls.most(), 6);
  EXPECT_EQ(TriesUntil(&calls, 5, kSecond), 64);
  EXPECT_EQ(TriesUntil(&calls, 6, kSecond), 16);
  EXPECT_EQ(TriesUntil(&calls, 7, kSecond), 4);
  EXPECT_EQ(TriesUntil(&calls, 8, kSecond), 1);
  EXPECT_EQ(TriesUntil(&calls, 9, kSecond), 1);
  EXPECT_TRUE(calls.Settled(10, kSecond));
}

TEST(CallsAtOnceTest, WhoeverHasNotSoManyUnderWayProvesNothing) {
  CallsAtOnce calls(5, kAnsweredNs);
  for (int i = 0; i < 10'000; ++i) calls.OnServed(5, kSecond);
  EXPECT_EQ(calls.most(), 6);
}

TEST(CallsAtOnceTest, ARefusedTryWaitsForTwiceAsLongEachTimeUpToAnHour) {
  CallsAtOnce calls(5, kAnsweredNs);
  int64_t now = kSecond;
  for (const int64_t minutes : {1, 2, 4, 8, 16, 32, 60, 60}) {
    TryAndBeRefused(&calls, 5, now);
    now += minutes * kMinute;
    calls.OnServed(5, now - 1);
    EXPECT_EQ(calls.most(), 5) << minutes;
  }
}

TEST(CallsAtOnceTest, WhatIsDocumentedIsTriedAgainWithinFourMinutes) {
  CallsAtOnce calls(3, kAnsweredNs);
  int64_t now = kSecond;
  for (const int64_t minutes : {1, 2, 4, 4}) {
    TryAndBeRefused(&calls, 3, now);
    now += minutes * kMinute;
    calls.OnServed(3, now - 1);
    EXPECT_EQ(calls.most(), 3) << minutes;
  }
}

TEST(CallsAtOnceTest, WhatWasUnderWayAtARefusalLowersNothing) {
  CallsAtOnce calls(5, kAnsweredNs);
  calls.OnRefused(5, kSecond, 2 * kSecond, kDocumented);
  EXPECT_EQ(calls.most(), 4);
  calls.OnRefused(4, 2 * kSecond, 3 * kSecond, kDocumented);
  EXPECT_EQ(calls.most(), 4);
  calls.OnRefused(4, 2 * kSecond + 1, 3 * kSecond, kDocumented);
  EXPECT_EQ(calls.most(), 3);
  for (int64_t i = 4; i < 9; ++i) calls.OnRefused(1, i * kSecond, i * kSecond, kDocumented);
  EXPECT_EQ(calls.most(), 1) << "never to nothing";
}

TEST(CallsAtOnceTest, WhatIsAboveTheDocumentedIsLookedForFromThereOn) {
  CallsAtOnce calls(20, kAnsweredNs);
  calls.OnRefused(12, kSecond, 2 * kSecond, kDocumented);
  EXPECT_EQ(calls.most(), kDocumented);
}

TEST(CallsAtOnceTest, ANumberThatIsLostSoonAfterItWasFoundWaitsLongerThanBefore) {
  CallsAtOnce calls(5, kAnsweredNs);
  TryAndBeRefused(&calls, 5, kSecond);
  int64_t now = kSecond + kMinute;
  calls.OnServed(5, now);
  TriesUntil(&calls, 5, now);
  calls.OnServed(6, now);  // the one above goes, and all are answered
  for (int i = 0; i < 20; ++i) calls.OnServed(5, now);
  const CallsAtOnce found = calls;
  for (const bool soon : {true, false}) {
    calls = found;
    const int64_t at_ns = now + (soon ? kMinute / 2 : 2 * kMinute);
    calls.OnRefused(6, at_ns, at_ns, kDocumented);
    EXPECT_EQ(calls.most(), 5);
    calls.OnServed(5, at_ns + kMinute);
    EXPECT_EQ(calls.most(), soon ? 5 : 6);
  }
}

TEST(CallsAtOnceTest, AfterAnotherBootAWaitBeginsOnceMore) {
  CallsAtOnce calls(5, kAnsweredNs);
  TryAndBeRefused(&calls, 5, 1000 * kSecond);
  calls.Rebase(kSecond, kSecond);
  calls.OnServed(5, kSecond + kMinute - 1);
  EXPECT_EQ(calls.most(), 5);
  calls.OnServed(5, kSecond + kMinute);
  EXPECT_EQ(calls.most(), 6);
}

TEST(CallsAtOnceTest, ACallInDoubtIsNoTryOfTheFirstNumber) {
  CallsAtOnce calls(5, kAnsweredNs);
  calls.OnDoubt(1, kMinute);
  calls.OnServed(5, kSecond);
  EXPECT_EQ(calls.most(), 6) << "nothing went above the ceiling";
  calls.OnServed(5, kMinute);
  EXPECT_EQ(TriesUntil(&calls, 5, kMinute), 64);
  calls.OnDoubt(1, 2 * kMinute);
  calls.OnServed(6, kMinute);
  EXPECT_EQ(calls.most(), 6) << "with the one in doubt it went";
}

TEST(CallsAtOnceTest, ARefusedTryLowersNothingWhereOneBesideItEndedInDoubt) {
  CallsAtOnce calls(5, kAnsweredNs);
  calls.OnDoubt(1, kMinute);
  calls.OnRefused(5, kSecond, kSecond, kDocumented);
  EXPECT_EQ(calls.most(), 5);
}

TEST(CallsAtOnceTest, ATryIsOverWhenAllBesideItMustHaveBeenAnswered) {
  CallsAtOnce calls(5, kAnsweredNs);
  calls.OnServed(6, kSecond);  // then the traffic ends
  ASSERT_EQ(calls.most(), 5);
  CallsAtOnce soon = calls;
  soon.OnRefused(5, 2 * kSecond, 2 * kSecond, kDocumented);
  EXPECT_EQ(soon.most(), 5) << "it may be the one more";
  CallsAtOnce next_day = calls;
  next_day.OnRefused(5, 1000 * kMinute, 1000 * kMinute, kDocumented);
  EXPECT_EQ(next_day.most(), 4);
  calls.OnServed(1, 1000 * kMinute);
  EXPECT_EQ(calls.most(), 6);
}

TEST(CallsAtOnceTest, ALowerNumberThatIsSetSettlesNothing) {
  CallsAtOnce calls(6, kAnsweredNs);
  calls.OnRefused(5, kSecond, kSecond, kDocumented);
  ASSERT_EQ(calls.most(), 4);
  EXPECT_FALSE(calls.Settled(2, 1000 * kMinute)) << "not raised since";
  calls.OnServed(4, 2 * kMinute);
  TriesUntil(&calls, 4, 2 * kMinute);
  EXPECT_FALSE(calls.Settled(2, 1000 * kMinute)) << "six were set when it was refused";
}

}  // namespace
}  // namespace tidegate::dispatch
