#include "services/dispatch/core/receive_quota.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/seeded_random.h"

namespace tidegate::dispatch {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::tidegate::common::v1::RECEIVE_QUOTA_DAYS_IN_MONTH;
using ::tidegate::common::v1::RECEIVE_QUOTA_NONE;
using ::tidegate::common::v1::RECEIVE_QUOTA_ONE_PER_DAY;
using ::tidegate::common::v1::RECEIVE_QUOTA_SEVEN_PER_WEEK;

constexpr int64_t kHour = int64_t{3600} * kNanosPerSecond;
constexpr int64_t kDay = 24 * kHour;

// Unix nanoseconds of a time in China.
int64_t China(int month, int day, int hour = 12) {
  return absl::ToUnixNanos(
      absl::FromCivil(absl::CivilHour(2026, month, day, hour), absl::FixedTimeZone(8 * 3600)));
}

class ReceiveQuotaTest : public ::testing::Test {
 protected:
  // A touch that is planned; false: over quota. What ended before is known.
  bool Plan(const std::string& customer, ReceiveQuotas::Mode mode, int64_t wall_ns) {
    quotas_.Advance(wall_ns);
    const std::vector<AudienceCustomer> audience = {{.customer = customer, .owner = "m"}};
    const auto decided = quotas_.OverQuota("c", mode, audience, wall_ns);
    const auto applied = quotas_.ReservePlanned("c", mode, audience, wall_ns);
    quotas_.EndBatch();
    EXPECT_EQ(decided, applied);
    return applied.empty();
  }
  void End(const std::string& customer, UnitEnd end, int64_t wall_ns) {
    quotas_.Advance(wall_ns);
    quotas_.End("c", customer, end, wall_ns);
    quotas_.Advance(wall_ns + 1);
  }
  bool Send(const std::string& customer, ReceiveQuotas::Mode mode, int64_t wall_ns) {
    if (!Plan(customer, mode, wall_ns)) return false;
    End(customer, UnitEnd::kUsed, wall_ns + 2);
    return true;
  }
  std::string Hash() const {
    core::StateHash hash;
    quotas_.AddStateTo(&hash);
    return hash.Hex();
  }

  wecom_table::Limits limits_ = wecom_table::DefaultLimits();
  CorpLimits corp_limits_{&limits_};
  ReceiveQuotas quotas_{&corp_limits_};
};

TEST_F(ReceiveQuotaTest, OneUnitIsReservedOnceUntilItIsKnownToBeUnused) {
  const int64_t now = China(1, 5);
  EXPECT_TRUE(Plan("wm1", RECEIVE_QUOTA_ONE_PER_DAY, now));
  EXPECT_FALSE(Plan("wm1", RECEIVE_QUOTA_ONE_PER_DAY, now + kHour));
  EXPECT_FALSE(Plan("wm1", RECEIVE_QUOTA_ONE_PER_DAY, now + 3 * kDay)) << "it may be sent today";
  End("wm1", UnitEnd::kFree, now + 3 * kDay);
  EXPECT_TRUE(Plan("wm1", RECEIVE_QUOTA_ONE_PER_DAY, now + 3 * kDay + kHour));
}

TEST_F(ReceiveQuotaTest, AUsedUnitCountsOnTheDayInChinaOnWhichItWasSent) {
  EXPECT_TRUE(Plan("wm1", RECEIVE_QUOTA_ONE_PER_DAY, China(1, 5)));
  End("wm1", UnitEnd::kUsed, China(1, 6, 0));
  EXPECT_FALSE(Plan("wm1", RECEIVE_QUOTA_ONE_PER_DAY, China(1, 6, 23)));
  EXPECT_TRUE(Plan("wm1", RECEIVE_QUOTA_ONE_PER_DAY, China(1, 7, 0)));
}

TEST_F(ReceiveQuotaTest, AMonthHasAsManyAsItHasDays) {
  for (const auto& [month, days] :
       std::map<int, int>{{1, 31}, {2, 28}, {3, 31}, {4, 30}, {12, 31}}) {
    for (int i = 0; i < days; ++i) {
      EXPECT_TRUE(Send("wm1", RECEIVE_QUOTA_DAYS_IN_MONTH, China(month, 1 + i % 20))) << i;
    }
    EXPECT_FALSE(Send("wm1", RECEIVE_QUOTA_DAYS_IN_MONTH, China(month, days, 23)));
  }
}

TEST_F(ReceiveQuotaTest, WhatIsReservedInALongMonthFitsIntoTheShortest) {
  int reserved = 0;
  while (reserved < 40 && Plan("wm1", RECEIVE_QUOTA_DAYS_IN_MONTH, China(1, 31))) ++reserved;
  EXPECT_EQ(reserved, 28);
}

TEST_F(ReceiveQuotaTest, SevenInAnySevenDays) {
  const auto mode = RECEIVE_QUOTA_SEVEN_PER_WEEK;
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(Send("wm1", mode, China(2, 26, 10 + i)));
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(Send("wm1", mode, China(3, 3, 10 + i)));
  EXPECT_FALSE(Send("wm1", mode, China(3, 4, 23)));
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(Send("wm1", mode, China(3, 5, 10 + i)));
  EXPECT_FALSE(Send("wm1", mode, China(3, 9)));
  EXPECT_TRUE(Send("wm1", mode, China(3, 10)));
}

TEST_F(ReceiveQuotaTest, WhoIsFullForWecomIsFullUntilTheWindowEnds) {
  for (const auto& [mode, last, next] :
       {std::tuple{RECEIVE_QUOTA_ONE_PER_DAY, China(1, 5, 23), China(1, 6, 0)},
        {RECEIVE_QUOTA_SEVEN_PER_WEEK, China(1, 11, 23), China(1, 12, 0)},
        {RECEIVE_QUOTA_DAYS_IN_MONTH, China(1, 31, 23), China(2, 1, 0)}}) {
    const std::string customer = absl::StrCat("wm", mode);
    EXPECT_TRUE(Plan(customer, mode, China(1, 5)));
    End(customer, UnitEnd::kFull, China(1, 5));
    EXPECT_FALSE(Plan(customer, mode, last));
    EXPECT_TRUE(Plan(customer, mode, next));
  }
}

TEST_F(ReceiveQuotaTest, AnotherModeFindsWhatWasSentBefore) {
  for (int i = 0; i < 7; ++i) EXPECT_TRUE(Send("wm1", RECEIVE_QUOTA_DAYS_IN_MONTH, China(1, 5)));
  EXPECT_FALSE(Plan("wm1", RECEIVE_QUOTA_ONE_PER_DAY, China(1, 5, 20)));
  EXPECT_FALSE(Plan("wm1", RECEIVE_QUOTA_SEVEN_PER_WEEK, China(1, 11)));
  EXPECT_TRUE(Plan("wm1", RECEIVE_QUOTA_SEVEN_PER_WEEK, China(1, 12)));
  for (int i = 0; i < 23; ++i) EXPECT_TRUE(Send("wm1", RECEIVE_QUOTA_DAYS_IN_MONTH, China(1, 20)));
  EXPECT_FALSE(Plan("wm1", RECEIVE_QUOTA_DAYS_IN_MONTH, China(1, 31))) << "30 sent, one reserved";
}

TEST_F(ReceiveQuotaTest, WithoutAQuotaNothingIsKept) {
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(Plan("wm1", RECEIVE_QUOTA_NONE, China(1, 5)));
  EXPECT_EQ(quotas_.customers("c"), 0u);
}

TEST_F(ReceiveQuotaTest, OnlyWhoHasASenderReserves) {
  const std::vector<AudienceCustomer> audience = {{.customer = "a", .owner = "m"},
                                                  {.customer = "b", .owner = ""},
                                                  {.customer = "c", .owner = "m"}};
  const auto mode = RECEIVE_QUOTA_ONE_PER_DAY;
  EXPECT_THAT(quotas_.ReservePlanned("c", mode, audience, China(1, 5)), IsEmpty());
  EXPECT_THAT(quotas_.ReservePlanned("c", mode, audience, China(1, 5)), ElementsAre(0, 2));
  EXPECT_EQ(quotas_.customers("c"), 2u);
  EXPECT_THAT(quotas_.ReservePlanned("other", mode, audience, China(1, 5)), IsEmpty());
}

TEST_F(ReceiveQuotaTest, AMessageThatIsDecidedTakesItsUnitBeforeItIsApplied) {
  const auto mode = RECEIVE_QUOTA_ONE_PER_DAY;
  const int64_t now = China(1, 5);
  EXPECT_TRUE(quotas_.MayReserve("c", mode, "wm1", now));
  EXPECT_FALSE(quotas_.MayReserve("c", mode, "wm1", now));
  const std::vector<AudienceCustomer> audience = {{.customer = "wm1", .owner = "m"}};
  EXPECT_THAT(quotas_.OverQuota("c", mode, audience, now), ElementsAre(0));
  quotas_.EndBatch();  // it was void
  EXPECT_TRUE(quotas_.MayReserve("c", mode, "wm1", now));
  quotas_.Reserve("c", "wm1");
  quotas_.EndBatch();
  EXPECT_FALSE(quotas_.MayReserve("c", mode, "wm1", now));
}

// The end is decided in the batch of the plan, before it: the plan could not see it.
TEST_F(ReceiveQuotaTest, AnEndDoesNotChangeAPlanOfItsOwnBatch) {
  const auto mode = RECEIVE_QUOTA_ONE_PER_DAY;
  const std::vector<AudienceCustomer> audience = {{.customer = "wm1", .owner = "m"}};
  EXPECT_TRUE(Plan("wm1", mode, China(1, 5)));
  const int64_t now = China(1, 6);
  EXPECT_THAT(quotas_.OverQuota("c", mode, audience, now), ElementsAre(0));
  quotas_.Advance(now);
  quotas_.End("c", "wm1", UnitEnd::kFree, now);
  quotas_.Advance(now);
  EXPECT_THAT(quotas_.ReservePlanned("c", mode, audience, now), ElementsAre(0));
  quotas_.EndBatch();
  EXPECT_TRUE(Plan("wm1", mode, now + 1));
}

TEST_F(ReceiveQuotaTest, TheStateDoesNotTellWhetherSomebodyHasLooked) {
  EXPECT_TRUE(Plan("wm1", RECEIVE_QUOTA_ONE_PER_DAY, China(1, 5)));
  quotas_.Advance(China(1, 6));
  quotas_.End("c", "wm1", UnitEnd::kUsed, China(1, 6));
  const std::string before = Hash();
  EXPECT_FALSE(quotas_.MayReserve("c", RECEIVE_QUOTA_ONE_PER_DAY, "wm1", China(1, 6, 13)));
  EXPECT_TRUE(quotas_.MayReserve("c", RECEIVE_QUOTA_ONE_PER_DAY, "wm2", China(1, 6, 13)));
  quotas_.EndBatch();
  EXPECT_EQ(Hash(), before);
}

TEST_F(ReceiveQuotaTest, ACustomerIsForgottenWhenEveryWindowIsOverAndNothingReserved) {
  EXPECT_TRUE(Send("sent", RECEIVE_QUOTA_ONE_PER_DAY, China(1, 28)));
  EXPECT_TRUE(Plan("reserved", RECEIVE_QUOTA_ONE_PER_DAY, China(1, 28)));
  EXPECT_TRUE(Plan("freed", RECEIVE_QUOTA_ONE_PER_DAY, China(1, 28)));
  End("freed", UnitEnd::kFree, China(1, 28));
  EXPECT_EQ(quotas_.customers("c"), 2u);
  quotas_.Advance(China(2, 3));
  EXPECT_EQ(quotas_.customers("c"), 2u) << "within seven days";
  quotas_.Advance(China(2, 4));
  EXPECT_EQ(quotas_.customers("c"), 1u);
  EXPECT_FALSE(Plan("reserved", RECEIVE_QUOTA_ONE_PER_DAY, China(2, 4)));
}

TEST_F(ReceiveQuotaTest, MemoryIsFreedWithTheCustomers) {
  std::vector<AudienceCustomer> audience;
  for (int i = 0; i < 100'000; ++i) audience.push_back({absl::StrCat("wm", i), "m"});
  const auto mode = RECEIVE_QUOTA_DAYS_IN_MONTH;
  EXPECT_THAT(quotas_.ReservePlanned("c", mode, audience, China(1, 5)), IsEmpty());
  ASSERT_EQ(quotas_.customers("c"), audience.size()) << "no two share a key";
  // 16 bytes each, a byte that finds them, and places that are free.
  EXPECT_LE(quotas_.bytes("c"), audience.size() * 17 * 2);
  for (const AudienceCustomer& customer : audience) {
    quotas_.End("c", customer.customer, UnitEnd::kUsed, China(1, 6));
  }
  quotas_.Advance(China(2, 10));
  EXPECT_EQ(quotas_.customers("c"), 0u);
  EXPECT_LE(quotas_.bytes("c"), 1000u);
}

// Against lists of days: whatever is planned, used, freed and refused, and in whatever mode.
TEST_F(ReceiveQuotaTest, CountsAsListsOfDaysWould) {
  struct Known {
    std::vector<int64_t> used;  // days
    int64_t full = -1000;
    int reserved = 0;
  };
  SeededRandom random(7);
  std::map<std::string, Known> known;
  int64_t now = China(1, 1);
  int refused = 0;
  for (int step = 0; step < 30'000; ++step) {
    now += static_cast<int64_t>(random.Below(2 * kHour));
    const auto day = (now + 8 * kHour) / kDay;
    const auto month = absl::ToCivilMonth(absl::FromUnixNanos(now), absl::FixedTimeZone(8 * 3600));
    const auto month_first = (absl::CivilDay(month) - absl::CivilDay(1970, 1, 1));
    const auto days_in_month = absl::CivilDay(month + 1) - absl::CivilDay(month);
    const std::string customer = absl::StrCat("wm", random.Below(5));
    Known& of = known[customer];
    if (of.reserved > 0 && random.Chance(0.5)) {
      const auto end = static_cast<UnitEnd>(random.Chance(0.8) ? 0 : 1 + random.Below(2));
      --of.reserved;
      if (end == UnitEnd::kUsed) of.used.push_back(day);
      if (end == UnitEnd::kFull) of.full = day;
      End(customer, end, now);
      continue;
    }
    const auto mode = static_cast<ReceiveQuotas::Mode>(1 + random.Below(3));
    const int64_t from = mode == RECEIVE_QUOTA_ONE_PER_DAY      ? day
                         : mode == RECEIVE_QUOTA_SEVEN_PER_WEEK ? day - 6
                                                                : month_first;
    const int64_t most = mode == RECEIVE_QUOTA_ONE_PER_DAY      ? 1
                         : mode == RECEIVE_QUOTA_SEVEN_PER_WEEK ? 7
                                                                : days_in_month;
    const auto sent =
        std::count_if(of.used.begin(), of.used.end(), [&](int64_t on) { return on >= from; });
    const bool may = of.full < from && sent + of.reserved < most && of.reserved < 28;
    ASSERT_EQ(Plan(customer, mode, now), may) << step << " mode " << mode;
    of.reserved += may;
    refused += !may;
  }
  EXPECT_GT(refused, 3'000);
  EXPECT_LT(refused, 27'000);
}

}  // namespace
}  // namespace tidegate::dispatch
