#include "services/dispatch/core/token_grants.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "services/dispatch/core/token_buckets.h"

namespace tidegate::dispatch {
namespace {

using ::tidegate::log::v1::TokensAcquired;
using ::tidegate::log::v1::TokensReleased;

constexpr int64_t kSecond = kNanosPerSecond;
constexpr int64_t kHoldNs = 40 * kSecond;
constexpr int64_t kLeaseNs = 60 * kSecond;
constexpr int64_t kDayNs = 24 * 3600 * kSecond;

Now At(int64_t seconds) {
  return {.wall_ns = (1'790'000'000 + seconds) * kSecond,
          .raw_ns = (1000 + seconds) * kSecond,
          .boot_ns = (2000 + seconds) * kSecond};
}

template <typename Record>
void Stamp(Record* record, const Now& now) {
  record->mutable_stamp()->set_wall_ns(now.wall_ns);
  record->mutable_stamp()->set_raw_ns(now.raw_ns);
  record->mutable_stamp()->set_boot_ns(now.boot_ns);
}

TokensAcquired Acquired(const std::string& grant, const Now& now, const std::string& corp = "ww1") {
  TokensAcquired acquired;
  acquired.set_corp(corp);
  acquired.set_api("mark_tag");
  acquired.set_grant(grant);
  acquired.set_calls(5);
  acquired.set_lease_ns(kLeaseNs);
  Stamp(&acquired, now);
  return acquired;
}

TokensReleased Released(const std::string& grant, const Now& now, uint32_t used) {
  TokensReleased released;
  released.set_corp("ww1");
  released.set_grant(grant);
  released.set_used(used);
  Stamp(&released, now);
  return released;
}

class TokenGrantsTest : public ::testing::Test {
 protected:
  // Ends what is over at `now`, as ticks do.
  int EndOver(const Now& now) {
    int ended = 0;
    while (const auto over = grants_.NextOver(now)) {
      EXPECT_TRUE(grants_.OnReleased(*over).has_value());
      ++ended;
    }
    return ended;
  }
  bool Knows(const std::string& grant, const Now& now) {
    return grants_.Find({"ww1", grant}, now.wall_ns) != nullptr;
  }
  TokenGrants grants_{kHoldNs};
};

TEST_F(TokenGrantsTest, AReleaseTellsWhatWasUsed) {
  ASSERT_TRUE(grants_.OnAcquired(Acquired("a", At(0))));
  EXPECT_EQ(grants_.open("ww1"), 1u);
  const auto end = grants_.OnReleased(Released("a", At(1), 3));
  ASSERT_TRUE(end.has_value());
  EXPECT_EQ(end->api, "mark_tag");
  EXPECT_EQ(end->used, 3u);
  EXPECT_EQ(end->unused, 2u);
  EXPECT_TRUE(end->released);
  EXPECT_EQ(grants_.open("ww1"), 0u);
}

TEST_F(TokenGrantsTest, OnlyTheFirstRecordOfEachKindCounts) {
  EXPECT_FALSE(grants_.OnReleased(Released("a", At(0), 1)).has_value());
  EXPECT_TRUE(grants_.OnAcquired(Acquired("a", At(0))));
  EXPECT_FALSE(grants_.OnAcquired(Acquired("a", At(1))));
  EXPECT_TRUE(grants_.OnReleased(Released("a", At(2), 1)).has_value());
  EXPECT_FALSE(grants_.OnReleased(Released("a", At(3), 5)).has_value());
  EXPECT_FALSE(grants_.OnAcquired(Acquired("a", At(4))));
  EXPECT_EQ(grants_.Find({"ww1", "a"}, At(4).wall_ns)->acquired_wall_ns, At(0).wall_ns);
}

TEST_F(TokenGrantsTest, GrantsOfCorpsAreApart) {
  EXPECT_TRUE(grants_.OnAcquired(Acquired("a", At(0), "ww1")));
  EXPECT_TRUE(grants_.OnAcquired(Acquired("a", At(0), "ww2")));
  EXPECT_EQ(grants_.open("ww1"), 1u);
}

TEST_F(TokenGrantsTest, ALeaseIsOverForGoodOnceNoCallCanTakeEffect) {
  grants_.OnAcquired(Acquired("a", At(0)));
  EXPECT_EQ(grants_.NextRawNs(), At(100).raw_ns);
  EXPECT_FALSE(grants_.NextOver(At(99)).has_value());
  // Looked for late: what it records is the moment itself.
  const auto over = grants_.NextOver(At(500));
  ASSERT_TRUE(over.has_value());
  EXPECT_EQ(over->stamp().raw_ns(), At(100).raw_ns);
  EXPECT_EQ(over->stamp().wall_ns(), At(100).wall_ns);
  EXPECT_EQ(over->stamp().boot_ns(), At(100).boot_ns);
  const auto end = grants_.OnReleased(*over);
  ASSERT_TRUE(end.has_value());
  EXPECT_EQ(end->used, 5u);
  EXPECT_FALSE(end->released);
  EXPECT_EQ(grants_.NextRawNs(), kNever);
}

TEST_F(TokenGrantsTest, WhatIsDecidedInABatchIsNotDecidedTwice) {
  grants_.OnAcquired(Acquired("a", At(0)));
  grants_.OnAcquired(Acquired("b", At(1)));
  grants_.NoteDeciding({"ww1", "a"});
  EXPECT_EQ(grants_.NextOver(At(200))->grant(), "b");
  EXPECT_EQ(grants_.NextRawNs(), At(101).raw_ns);
  grants_.EndBatch();
  EXPECT_EQ(grants_.NextOver(At(200))->grant(), "a");
}

TEST_F(TokenGrantsTest, AGrantIsKnownForADayAndForgottenWithTheNextRecord) {
  grants_.OnAcquired(Acquired("a", At(0)));
  EXPECT_EQ(EndOver(At(100)), 1);
  const Now before = At(kDayNs / kSecond - 1);
  const Now after = At(kDayNs / kSecond);
  EXPECT_TRUE(Knows("a", before));
  EXPECT_FALSE(grants_.OnAcquired(Acquired("a", before)));
  EXPECT_FALSE(Knows("a", after));
  EXPECT_TRUE(grants_.OnAcquired(Acquired("a", after)));
  EXPECT_EQ(grants_.open("ww1"), 1u);
}

TEST_F(TokenGrantsTest, WhatIsOpenIsNeverForgotten) {
  grants_.OnAcquired(Acquired("a", At(0)));
  const Now late = At(2 * kDayNs / kSecond);
  EXPECT_TRUE(Knows("a", late));
  grants_.OnAcquired(Acquired("b", late));
  EXPECT_EQ(grants_.open("ww1"), 2u);
  // An ended one behind it may be taken anew all the same.
  EXPECT_EQ(EndOver(late), 1);
  EXPECT_FALSE(Knows("a", late));
}

TEST_F(TokenGrantsTest, AnOldNameBehindAnOpenGrantIsGivenAnewAndCountedOnce) {
  grants_.OnAcquired(Acquired("open", At(0)));
  grants_.OnAcquired(Acquired("a", At(1)));
  grants_.OnReleased(Released("a", At(2), 1));
  const Now late = At(2 * kDayNs / kSecond);
  EXPECT_TRUE(grants_.OnAcquired(Acquired("a", late)));
  EXPECT_EQ(grants_.Find({"ww1", "a"}, late.wall_ns)->acquired_wall_ns, late.wall_ns);
  EXPECT_EQ(grants_.open("ww1"), 2u);
  EXPECT_EQ(EndOver(At(2 * kDayNs / kSecond + 100)), 2);
  EXPECT_EQ(grants_.open("ww1"), 0u);
  // All of it goes in the end: nothing is left to count, but for when calls ended last.
  grants_.OnAcquired(Acquired("b", At(4 * kDayNs / kSecond)));
  core::StateHash only_b;
  grants_.AddStateTo(&only_b);
  TokenGrants fresh(kHoldNs);
  fresh.OnAcquired(Acquired("a", late));
  fresh.OnReleased(*fresh.NextOver(At(2 * kDayNs / kSecond + 100)));
  fresh.OnAcquired(Acquired("b", At(4 * kDayNs / kSecond)));
  core::StateHash wanted;
  fresh.AddStateTo(&wanted);
  EXPECT_EQ(only_b.Hex(), wanted.Hex());
}

TEST_F(TokenGrantsTest, TheKnownOnesHaveABound) {
  for (size_t i = 0; i < TokenGrants::kKnownMax; ++i) {
    EXPECT_FALSE(grants_.AllKnown("ww1", At(1).wall_ns));
    const std::string grant = absl::StrCat(i);
    grants_.OnAcquired(Acquired(grant, At(i == 0 ? 0 : 1)));
    grants_.OnReleased(Released(grant, At(1), 1));
  }
  EXPECT_TRUE(grants_.AllKnown("ww1", At(1).wall_ns));
  EXPECT_FALSE(grants_.AllKnown("ww2", At(1).wall_ns));
  // The first one is old enough to be forgotten.
  EXPECT_FALSE(grants_.AllKnown("ww1", At(kDayNs / kSecond).wall_ns));
}

TEST_F(TokenGrantsTest, AfterAnotherBootLeasesBeginOnceMore) {
  grants_.OnAcquired(Acquired("a", At(0)));
  grants_.OnAcquired(Acquired("b", At(0)));
  grants_.OnReleased(Released("b", At(1), 1));
  grants_.Rebase(7 * kSecond);
  EXPECT_EQ(grants_.NextRawNs(), 7 * kSecond + kLeaseNs + kHoldNs);
  Now now = At(50);
  now.raw_ns = grants_.NextRawNs();
  EXPECT_EQ(EndOver(now), 1);
}

}  // namespace
}  // namespace tidegate::dispatch
