// What keeps a corp from being moved to another lane, besides its own work: what others have of it,
// and what operators have set.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/unit/services/dispatch/core/one_lane.h"

namespace tidegate::dispatch {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::tidegate::log::v1::LedgerRecord;

constexpr int64_t kSecond = kNanosPerSecond;
constexpr int64_t kHour = 3600 * kSecond;

class LeftWorkTest : public ::testing::Test {
 protected:
  explicit LeftWorkTest(wecom_table::Limits limits = wecom_table::DefaultLimits())
      : lane_(std::move(limits)) {}
  void Wish(const LedgerRecord& record) {
    OperatorWish wish;
    wish.record = record;
    ASSERT_EQ(lane_.Decide({.local = &wish}).size(), 1u);
  }
  void Block(const std::string& corp, const std::string& campaign, int64_t until_ns = 0) {
    LedgerRecord record;
    record.mutable_sending_blocked()->set_corp(corp);
    record.mutable_sending_blocked()->set_campaign(campaign);
    record.mutable_sending_blocked()->set_actor("li");
    record.mutable_sending_blocked()->set_until_ns(until_ns);
    Wish(record);
  }
  void EndBlock(const std::string& campaign) {
    LedgerRecord record;
    record.mutable_sending_unblocked()->set_corp(OneLane::kCorp);
    record.mutable_sending_unblocked()->set_campaign(campaign);
    Wish(record);
  }
  // The corp's windows of mark_tag; 0: none of its own.
  void SetWindow(int64_t window_ns) {
    LedgerRecord record;
    record.mutable_limits_set()->set_corp(OneLane::kCorp);
    record.mutable_limits_set()->set_actor("li");
    if (window_ns > 0) {
      auto* window = record.mutable_limits_set()->mutable_limits()->add_windows();
      window->set_api("*");
      window->set_amount(100);
      window->set_window_ms(window_ns / kNanosPerMilli);
    }
    Wish(record);
  }
  void SetMonth() {
    LedgerRecord record;
    record.mutable_limits_set()->set_corp(OneLane::kCorp);
    record.mutable_limits_set()->set_actor("li");
    auto* window = record.mutable_limits_set()->mutable_limits()->add_windows();
    window->set_api("mark_tag");
    window->set_amount(2);
    window->set_calendar("month");
    Wish(record);
  }
  void Acquire(const std::string& grant) {
    AcquireTokens wish;
    wish.wanted.set_corp(OneLane::kCorp);
    wish.wanted.set_grant(grant);
    wish.wanted.set_api("mark_tag");
    wish.wanted.set_calls(2);
    wish.wanted.set_lease_ns(60 * kSecond);
    ASSERT_EQ(lane_.Decide({.local = &wish}).size(), 1u);
  }
  void Release(const std::string& grant, uint32_t used, bool rate_limited = false) {
    ReleaseTokens wish;
    wish.wanted.set_corp(OneLane::kCorp);
    wish.wanted.set_grant(grant);
    wish.wanted.set_used(used);
    wish.wanted.set_rate_limited(rate_limited);
    ASSERT_EQ(lane_.Decide({.local = &wish}).size(), 1u);
  }

  OneLane lane_;
};

TEST_F(LeftWorkTest, BlocksOfTheCorpThatHoldAreNamed) {
  Block(OneLane::kCorp, "");
  Block(OneLane::kCorp, "spring", lane_.now().wall_ns + 60 * kSecond);
  Block("", "");  // in every lane
  Block("ww2", "");
  EXPECT_THAT(lane_.LeftWorkAfterAMove(),
              ElementsAre(AllOf(HasSubstr("a block of all calls, by li"), HasSubstr("block end")),
                          HasSubstr("a block of campaign spring, by li")));
  lane_.Pass(60 * kSecond);
  EndBlock("");
  EXPECT_THAT(lane_.LeftWorkAfterAMove(), IsEmpty());
}

TEST_F(LeftWorkTest, LimitsThatWereSetAreNamedUntilNoneAreSet) {
  SetWindow(kHour);
  EXPECT_THAT(lane_.LeftWorkAfterAMove(),
              ElementsAre(AllOf(HasSubstr("limits of its own, by li"), HasSubstr("set {}"))));
  SetWindow(0);
  EXPECT_THAT(lane_.LeftWorkAfterAMove(), IsEmpty());
}

TEST_F(LeftWorkTest, OpenGrantsAreNamedAndTheirCallsCountAfterwards) {
  Acquire("one");
  Acquire("two");
  EXPECT_THAT(lane_.LeftWorkAfterAMove(), ElementsAre(AllOf(HasSubstr("2 grants of other programs"),
                                                            HasSubstr("quota release"))));
  Release("one", 0);
  lane_.Pass(10 * kSecond);
  Release("two", 1);
  EXPECT_THAT(lane_.LeftWorkAfterAMove(),
              ElementsAre(HasSubstr("limits count for another 3601 s")));
  lane_.Pass(kHour);
  EXPECT_THAT(lane_.LeftWorkAfterAMove(), IsEmpty());
  lane_.ExpectReplayGivesTheSame();
}

TEST_F(LeftWorkTest, CallsThatWereNeverMadeLeaveNothing) {
  Acquire("one");
  Release("one", 0);
  EXPECT_THAT(lane_.LeftWorkAfterAMove(), IsEmpty());
}

TEST_F(LeftWorkTest, CallsCountAsLongAsTheLimitsOfTheCorpSay) {
  SetWindow(5 * kHour);
  Acquire("one");
  Release("one", 1);
  lane_.Pass(kHour);
  EXPECT_THAT(
      lane_.LeftWorkAfterAMove(),
      ElementsAre(HasSubstr("limits of its own"), HasSubstr("limits count for another 14401 s")));
}

// The new lane begins them anew.
TEST_F(LeftWorkTest, ALimitOfAMonthAndItsLockoutAreNotWaitedFor) {
  SetMonth();
  for (const bool rate_limited : {false, true}) {
    SCOPED_TRACE(rate_limited);
    Acquire("one");
    Release("one", 2, rate_limited);
    EXPECT_EQ(lane_.LeftWorkAfterAMove().size(), 2u);
    lane_.Pass(kHour + kSecond);
    EXPECT_THAT(lane_.LeftWorkAfterAMove(), ElementsAre(HasSubstr("limits of its own")));
    lane_.Pass(40 * 24 * kHour);
  }
}

class LeftLockoutTest : public LeftWorkTest {
 protected:
  LeftLockoutTest() : LeftWorkTest(LockingForFiveHours()) {}
  static wecom_table::Limits LockingForFiveHours() {
    wecom_table::Limits limits;
    limits.windows = {
        {.api = "mark_tag", .amount = 100, .window_ns = kHour, .lockout_ns = 5 * kHour}};
    return limits;
  }
};

TEST_F(LeftLockoutTest, ALockoutOfAWindowIsWaitedForWhereThereIsOne) {
  Acquire("one");
  Release("one", 2);
  lane_.Pass(kHour);
  EXPECT_THAT(lane_.LeftWorkAfterAMove(), IsEmpty());
  Acquire("two");
  Release("two", 2, /*rate_limited=*/true);
  lane_.Pass(kHour);
  EXPECT_THAT(lane_.LeftWorkAfterAMove(),
              ElementsAre(HasSubstr("limits count for another 14401 s")));
  lane_.Pass(4 * kHour);
  EXPECT_THAT(lane_.LeftWorkAfterAMove(), IsEmpty());
}

TEST_F(LeftWorkTest, ACallWithoutAnAnswerCountsUntilWecomCannotExecuteItAnyMore) {
  ::tidegate::log::v1::Command command;
  command.set_corp(OneLane::kCorp);
  command.set_member("m");
  command.set_customer("wm1");
  command.mutable_mark_tag()->add_add("tag");
  lane_.Fold(log::Topic::kCommands, command.SerializeAsString());
  const auto calls = lane_.Calls();
  ASSERT_EQ(calls.size(), 1u);
  lane_.Answer(calls[0], "");
  const auto settle = wecom_table::DefaultLimits().settle;
  const int64_t held_ns = settle.user_timeout_ns + settle.hold_ns + settle.skew_ns;
  EXPECT_THAT(lane_.LeftWorkAfterAMove(),
              ElementsAre("1 tag changes and welcomes",
                          HasSubstr(absl::StrCat("limits count for another ",
                                                 (held_ns + kHour) / kSecond + 1, " s"))));
}

}  // namespace
}  // namespace tidegate::dispatch
