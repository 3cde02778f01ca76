// What bulk calls leave for urgent ones, and whose turn it is then.
#include "services/dispatch/core/reserve.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/dispatch/core/scheduler.h"
#include "services/dispatch/core/urgent_calls.h"

namespace tidegate::dispatch {
namespace {

using ::testing::ElementsAre;
using ::tidegate::log::v1::CallTarget;
using wecom_table::Limits;
using wecom_table::ParseLimits;

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kHour = 3600 * kSecond;

// Calls that arrive independently: in how many of 1000 such times more than `calls` do.
double MoreThan(int64_t calls, double mean) {
  double probability = std::exp(-mean);
  double up_to = 0;
  for (int64_t k = 0; k <= calls; ++k) {
    up_to += probability;
    probability *= mean / static_cast<double>(k + 1);
  }
  return 1000 * (1 - up_to);
}

TEST(ReserveTest, NoMoreThanExpectedComeIn999Of1000) {
  for (const double mean : {0.001, 0.01, 0.1, 0.5, 1.0, 3.0, 10.0, 50.0, 200.0}) {
    const int64_t most = MostIn(mean, kHour);
    EXPECT_LE(MoreThan(most, mean), 1.2) << mean;
    EXPECT_GE(MoreThan(most - 2 - most / 20, mean), 0.1) << mean;  // and not many too many
  }
}

TEST(ReserveTest, TheLongestTimeIsTheOtherWayRound) {
  for (const double per_hour : {0.04, 1.0, 60.0, 5000.0}) {
    for (const int64_t calls : {1, 2, 5, 100}) {
      const int64_t longest = LongestWith(per_hour, calls);
      EXPECT_LE(MostIn(per_hour, longest - kSecond / 1000), calls);
      EXPECT_GT(MostIn(per_hour, longest + longest / 1000), calls);
    }
  }
}

class BulkReserveTest : public ::testing::Test {
 protected:
  static constexpr int64_t kStart = 100 * kHour;

  void Use(int64_t corp, int64_t address, int64_t in_flight = 1000) {
    limits_ = *ParseLimits(
        absl::StrCat(R"({"limits":[{"api":"*","scope":"corp","window_ms":3600000,"amount":)", corp,
                     R"(},{"api":"*","scope":"ip","window_ms":3600000,"amount":)", address,
                     R"(}],"in_flight":[{"api":"a","amount":)", in_flight, "}]}"));
    buckets_.emplace(&limits_);
    scheduler_.emplace(&*buckets_, nullptr, &urgent_);
  }
  Scheduler::Flow Add(const std::string& corp, CallClass call_class) {
    return scheduler_->AddFlow(buckets_->RouteOf(corp, "a"), call_class);
  }
  // As many as `in_an_hour` expects; a multiple of 6.
  void ExpectUrgent(const std::string& corp, int64_t in_an_hour) {
    const auto route = buckets_->RouteOf(corp, "a");
    for (; in_an_hour > 0; in_an_hour -= 6) {
      urgent_.Add(route, buckets_->ApiOf(route), corp, "a", kStart);
    }
  }
  // Calls of the flow that leave, which always has so many more; they end at once.
  int64_t Send(Scheduler::Flow flow, int64_t now_ns, int64_t waiting = 1'000'000) {
    int64_t sent = 0;
    scheduler_->Offer(flow, 0, kNever, waiting);
    while (scheduler_->Next(now_ns) == flow) {
      buckets_->Take(scheduler_->route_of(flow));
      buckets_->Complete(scheduler_->route_of(flow), now_ns, false);
      if (++sent == waiting) break;
      scheduler_->Offer(flow, 0, kNever, waiting - sent);
    }
    return sent;
  }

  Limits limits_;
  UrgentCalls urgent_;
  std::optional<BucketSet> buckets_;
  std::optional<Scheduler> scheduler_;
};

TEST_F(BulkReserveTest, WhereNoUrgentCallWasEverMadeAllIsBulks) {
  Use(100, 1000);
  ExpectUrgent("c2", 6);
  EXPECT_EQ(Send(Add("c1", CallClass::kBulk), kStart), 100);
}

TEST_F(BulkReserveTest, UrgentAndInteractiveCallsGetWhatBulkLeaves) {
  Use(100, 1000);
  ExpectUrgent("c1", 6);
  const auto bulk = Add("c1", CallClass::kBulk);
  const auto interactive = Add("c1", CallClass::kInteractive);
  const auto urgent = Add("c1", CallClass::kUrgent);
  const int64_t left = MostIn(6, kHour);
  EXPECT_EQ(Send(bulk, kStart), 100 - left);
  EXPECT_EQ(Send(interactive, kStart, 1), 1);
  EXPECT_EQ(Send(urgent, kStart, left - 1), left - 1);
}

TEST_F(BulkReserveTest, LessIsKeptAsTheReturnOfTokensComesNearer) {
  Use(100, 1000);
  ExpectUrgent("c1", 6);
  const auto bulk = Add("c1", CallClass::kBulk);
  int64_t sent = Send(bulk, kStart);
  EXPECT_EQ(sent, 100 - MostIn(6, kHour));
  // It is asked again when the next token is not needed any more, until one is left.
  int64_t asked = 0;
  constexpr int64_t kReturn = kStart + kHour + kHour / 240;
  for (int64_t now; (now = scheduler_->NextNs()) < kReturn; ++asked) {
    sent += Send(bulk, now);
    EXPECT_LE(sent, 100 - MostIn(6, kReturn - now));
  }
  EXPECT_EQ(sent, 99);
  EXPECT_LE(asked, 2 * MostIn(6, kHour));
}

TEST_F(BulkReserveTest, BulkThatCanEndNowLeavesOnlyTheMean) {
  Use(100, 1000);
  ExpectUrgent("c1", 6);
  const auto bulk = Add("c1", CallClass::kBulk);
  EXPECT_EQ(Send(bulk, kStart, 94), 94);
  EXPECT_EQ(Send(bulk, kStart, 1), 0);
}

TEST_F(BulkReserveTest, UrgentCallsOfOneCorpFindTheAddressNotSpentByOthers) {
  Use(100, 100);
  ExpectUrgent("c1", 6);
  const auto bulk = Add("c2", CallClass::kBulk);
  const auto interactive = Add("c3", CallClass::kInteractive);
  EXPECT_EQ(Send(bulk, kStart), 100 - MostIn(6, kHour));
  // Bulk calls wait, and hold back no others of the address.
  EXPECT_EQ(Send(interactive, kStart, 2), 2);
}

TEST_F(BulkReserveTest, OneCallAtOnceIsLeft) {
  Use(1000, 1000, /*in_flight=*/5);
  ExpectUrgent("c1", 6);
  const auto bulk = Add("c1", CallClass::kBulk);
  const auto urgent = Add("c1", CallClass::kUrgent);
  const auto route = scheduler_->route_of(bulk);
  for (int i = 0; i < 4; ++i) {
    scheduler_->Offer(bulk, 0);
    ASSERT_EQ(scheduler_->Next(kStart), bulk);
    buckets_->Take(route);
  }
  scheduler_->Offer(bulk, 0);
  EXPECT_EQ(scheduler_->Next(kStart), std::nullopt);
  scheduler_->Offer(urgent, 0, kSecond);
  EXPECT_EQ(scheduler_->Next(kStart), urgent);
  buckets_->Complete(route, kStart, false);
  scheduler_->Wake(route);
  EXPECT_EQ(scheduler_->Next(kStart), bulk);
}

TEST_F(BulkReserveTest, AWindowOfOneCallIsBulksToo) {
  Use(1, 1000);
  ExpectUrgent("c1", 12);
  EXPECT_EQ(Send(Add("c1", CallClass::kBulk), kStart), 1);
}

TEST_F(BulkReserveTest, AnInteractiveCallThatComesLaterGoesBeforeBulkThatWaits) {
  Use(100, 1000);
  ExpectUrgent("c1", 6);
  const auto bulk = Add("c1", CallClass::kBulk);
  const auto interactive = Add("c1", CallClass::kInteractive);
  Send(bulk, kStart);
  scheduler_->Offer(interactive, 0);
  scheduler_->Withdraw(interactive);
  EXPECT_EQ(scheduler_->Next(kStart), std::nullopt);
  scheduler_->Offer(interactive, 0);
  EXPECT_EQ(scheduler_->Next(kStart), interactive);
  EXPECT_EQ(scheduler_->Next(kStart), std::nullopt);
}

TEST(UrgentCallsTest, AnHourIsExpectedAsTheBusiestTenMinutesOfTheLastOneOrAsTheMeanOfADay) {
  constexpr int64_t kTenMinutes = kHour / 6;
  UrgentCalls calls;
  const auto add = [&](int64_t count, int64_t at_ns) {
    while (count-- > 0) calls.Add(0, 0, "c1", "a", at_ns);
  };
  EXPECT_EQ(calls.PerHour(0, 100 * kHour), 0);
  add(48, 100 * kHour);
  add(8, 100 * kHour + kTenMinutes);
  EXPECT_EQ(calls.PerHour(0, 100 * kHour), 6 * 48);
  EXPECT_EQ(calls.PerHour(0, 101 * kHour + kTenMinutes - 1), 6 * 48);
  EXPECT_EQ(calls.PerHour(0, 101 * kHour + kTenMinutes), 6 * 8);
  EXPECT_EQ(calls.PerHour(0, 102 * kHour), 56.0 / 24);
  EXPECT_EQ(calls.PerHour(0, 124 * kHour), 8.0 / 24);
  EXPECT_EQ(calls.PerHour(0, 125 * kHour), 0);
  EXPECT_EQ(calls.PerHourOfApi(0, 102 * kHour), 56.0 / 24);
}

TEST(UrgentCallsTest, AfterAnotherBootTheNewestAreOfNow) {
  UrgentCalls calls;
  calls.Add(0, 0, "c1", "a", 100 * kHour);
  calls.Add(0, 0, "c1", "a", 103 * kHour);
  calls.Rebase(kHour / 2);
  EXPECT_EQ(calls.PerHour(0, kHour / 2), 6);
  EXPECT_EQ(calls.PerHour(0, 2 * kHour), 2.0 / 24);
  EXPECT_EQ(calls.PerHour(0, 22 * kHour), 1.0 / 24);
}

TEST(UrgentCallsTest, TheStateIsThatOfCorpsAndApisWhateverTheirNumbers) {
  UrgentCalls one;
  one.Add(0, 0, "c1", "a", kHour);
  one.Add(1, 0, "c2", "a", kHour);
  UrgentCalls other;
  other.Add(7, 3, "c1", "a", kHour);
  other.Add(2, 3, "c2", "a", kHour);
  core::StateHash hashes[3];
  one.AddStateTo(&hashes[0]);
  other.AddStateTo(&hashes[1]);
  other.Add(2, 3, "c2", "a", kHour);
  other.AddStateTo(&hashes[2]);
  const std::string hash = hashes[0].Hex();
  EXPECT_EQ(hashes[1].Hex(), hash);
  EXPECT_NE(hashes[2].Hex(), hash);
}

TEST(UrgentCallsTest, WelcomesListingsAndMessagesThatCannotWaitCount) {
  CallTarget target;
  target.mutable_campaign_call()->set_campaign("@urgent");
  EXPECT_TRUE(UrgentCalls::Counts(target));
  target.mutable_campaign_call()->set_campaign("@interactive");
  EXPECT_TRUE(UrgentCalls::Counts(target));
  for (const char* bulk : {"@bulk", "spring"}) {
    target.mutable_campaign_call()->set_campaign(bulk);
    EXPECT_FALSE(UrgentCalls::Counts(target));
  }
  target.mutable_mark_tag();
  EXPECT_FALSE(UrgentCalls::Counts(target));
  target.mutable_welcome();
  EXPECT_TRUE(UrgentCalls::Counts(target));
  target.mutable_list();
  EXPECT_TRUE(UrgentCalls::Counts(target));
}

}  // namespace
}  // namespace tidegate::dispatch
