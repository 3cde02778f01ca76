#include "services/dispatch/core/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/seeded_random.h"

namespace tidegate::dispatch {
namespace {

using ::testing::ElementsAre;
using wecom_table::Limits;
using wecom_table::ParseLimits;

constexpr int64_t kSecond = 1'000'000'000;

Limits LimitsOf(int64_t corp, int64_t address, int64_t in_flight) {
  return *ParseLimits(
      absl::StrCat(R"({"limits":[{"api":"*","scope":"corp","window_ms":1000,"amount":)", corp,
                   R"(},{"api":"*","scope":"ip","window_ms":1000,"amount":)", address,
                   R"(}],"in_flight":[{"api":"a","amount":)", in_flight,
                   R"(},{"api":"b","amount":)", in_flight, "}]}"));
}

class SchedulerTest : public ::testing::Test {
 protected:
  void Use(int64_t corp, int64_t address, int64_t in_flight = 1000,
           std::function<void(Scheduler::Route)> on_blocked = {}) {
    limits_ = LimitsOf(corp, address, in_flight);
    buckets_.emplace(&limits_);
    scheduler_.emplace(&*buckets_, std::move(on_blocked));
  }
  Scheduler::Flow Add(const std::string& corp, CallClass call_class = CallClass::kBulk,
                      const std::string& api = "a") {
    return scheduler_->AddFlow(buckets_->RouteOf(corp, api), call_class);
  }
  // Sends what may leave, at most `most`; each flow offers its next call at once. Calls end at
  // once.
  std::vector<Scheduler::Flow> Send(int64_t now_ns, size_t most = 1000, bool again = true) {
    std::vector<Scheduler::Flow> sent;
    while (sent.size() < most) {
      const auto flow = scheduler_->Next(now_ns);
      if (!flow.has_value()) break;
      sent.push_back(*flow);
      const auto route = scheduler_->route_of(*flow);
      buckets_->Take(route);
      buckets_->Complete(route, now_ns, false);
      if (again) scheduler_->Offer(*flow, 0);
    }
    return sent;
  }
  static std::map<Scheduler::Flow, size_t> CountOf(const std::vector<Scheduler::Flow>& sent) {
    std::map<Scheduler::Flow, size_t> counts;
    for (const auto flow : sent) ++counts[flow];
    return counts;
  }

  Limits limits_;
  std::optional<BucketSet> buckets_;
  std::optional<Scheduler> scheduler_;
};

TEST_F(SchedulerTest, CorpsTakeTurnsAtTheAddress) {
  Use(100, 6);
  const auto one = Add("c1");
  const auto two = Add("c2");
  const auto three = Add("c3");
  for (const auto flow : {one, two, three}) scheduler_->Offer(flow, 0);
  EXPECT_THAT(Send(kSecond), ElementsAre(one, two, three, one, two, three));
}

TEST_F(SchedulerTest, AWeightIsAShareOfTheAddress) {
  Use(1000, 400);
  const auto light = Add("c1");
  const auto heavy = Add("c2");
  scheduler_->SetWeight(scheduler_->route_of(heavy), 3);
  for (const auto flow : {light, heavy}) scheduler_->Offer(flow, 0);
  auto counts = CountOf(Send(kSecond));
  EXPECT_EQ(counts[light], 100u);
  EXPECT_EQ(counts[heavy], 300u);
}

TEST_F(SchedulerTest, ACorpWithMoreToDoThanOthersWeighsMoreAndHalfOfAShareIsLeft) {
  Use(100, 400);
  std::vector<Scheduler::Flow> flows;
  for (int corp = 0; corp < 5; ++corp) flows.push_back(Add(absl::StrCat("c", corp)));
  const auto send = [&](int64_t now_ns, int64_t of_first) {
    for (const auto flow : flows) {
      scheduler_->Offer(flow, 0, kNever, flow == flows[0] ? of_first : 10);
    }
    std::map<Scheduler::Flow, size_t> counts;
    for (int calls = 0; calls < 80; ++calls) {
      const auto flow = scheduler_->Next(now_ns);
      ++counts[*flow];
      scheduler_->Offer(*flow, 0, kNever, *flow == flows[0] ? of_first : 10);
    }
    return counts;
  };
  // A window of its own lets 100 through, so these can wait for the others.
  EXPECT_EQ(send(kSecond, 100)[flows[0]], 16u);
  // 460 of 500 are 4.6 times the mean: 4 of 8 turns.
  auto counts = send(2 * kSecond, 460);
  EXPECT_EQ(counts[flows[0]], 40u);
  for (size_t corp = 1; corp < 5; ++corp) EXPECT_EQ(counts[flows[corp]], 10u);
}

TEST_F(SchedulerTest, AfterALockoutCallsLeaveEvenlyForAWindow) {
  Use(100, 50);
  std::vector<Scheduler::Flow> flows;
  for (int corp = 0; corp < 10; ++corp) {
    flows.push_back(Add(absl::StrCat("c", corp)));
    buckets_->Lockout(scheduler_->route_of(flows.back()), 10 * kSecond);
    scheduler_->Wake(scheduler_->route_of(flows.back()));
    scheduler_->Offer(flows.back(), 0);
  }
  EXPECT_THAT(Send(10 * kSecond - 1), ElementsAre());
  // 50 a second of the address: one each 20 ms, each corp's first call alone.
  std::vector<int64_t> left;
  for (int64_t now = 10 * kSecond; now < 11 * kSecond; now = scheduler_->NextNs()) {
    while (const auto flow = scheduler_->Next(now)) {
      left.push_back(now);
      const auto route = scheduler_->route_of(*flow);
      buckets_->Take(route);
      buckets_->Complete(route, now, false);
      scheduler_->Wake(route);
      scheduler_->Offer(*flow, 0);
    }
  }
  ASSERT_EQ(left.size(), 50u);
  for (size_t i = 0; i < left.size(); ++i) {
    EXPECT_EQ(left[i], 10 * kSecond + static_cast<int64_t>(i) * kSecond / 50);
  }
}

TEST_F(SchedulerTest, NobodyIsHeldBackByACorpThatIs) {
  Use(2, 1000);
  const auto one = Add("c1");
  const auto two = Add("c2");
  scheduler_->Offer(one, 0);
  EXPECT_EQ(Send(kSecond).size(), 2u);
  scheduler_->Offer(two, 0);
  EXPECT_THAT(Send(kSecond), ElementsAre(two, two));
  // Both are asked again when their tokens return, and not before.
  const int64_t next = scheduler_->NextNs();
  EXPECT_GT(next, 2 * kSecond - 1);
  EXPECT_THAT(Send(next - 1), ElementsAre());
  EXPECT_EQ(Send(next).size(), 4u);
}

TEST_F(SchedulerTest, TimeInWhichACorpCouldNotSendIsNoCredit) {
  Use(4, 10);
  const auto bound = Add("c1");
  const auto free = Add("c2");
  const auto late = Add("c3");
  for (const auto flow : {bound, free}) scheduler_->Offer(flow, 0);
  EXPECT_EQ(Send(kSecond).size(), 8u);
  scheduler_->Offer(late, 0);
  EXPECT_THAT(Send(kSecond), ElementsAre(late, late));
  auto counts = CountOf(Send(3 * kSecond));
  EXPECT_EQ(counts[bound] + counts[free] + counts[late], 10u);
  for (const auto flow : {bound, free, late}) {
    EXPECT_GE(counts[flow], 2u);
    EXPECT_LE(counts[flow], 4u);
  }
}

TEST_F(SchedulerTest, UrgentCallsGoFirstByDeadline) {
  Use(100, 100);
  const auto bulk = Add("c1");
  const auto later = Add("c1", CallClass::kUrgent);
  const auto sooner = Add("c2", CallClass::kUrgent, "b");
  scheduler_->Offer(bulk, 0);
  scheduler_->Offer(later, 0, 20 * kSecond);
  scheduler_->Offer(sooner, 0, 10 * kSecond);
  EXPECT_THAT(Send(kSecond, 1000, /*again=*/false), ElementsAre(sooner, later, bulk));
}

TEST_F(SchedulerTest, AnUrgentCallThatMustWaitHoldsBackNoOther) {
  Use(1, 100);
  const auto first = Add("c1", CallClass::kUrgent);
  const auto second = Add("c2", CallClass::kUrgent);
  scheduler_->Offer(first, 0, 5 * kSecond);
  EXPECT_THAT(Send(kSecond, 1), ElementsAre(first));
  scheduler_->Offer(first, 0, 5 * kSecond);
  scheduler_->Offer(second, 0, 9 * kSecond);
  EXPECT_THAT(Send(kSecond, 1, false), ElementsAre(second));
  EXPECT_THAT(Send(scheduler_->NextNs(), 1, false), ElementsAre(first));
}

TEST_F(SchedulerTest, InteractiveGoesBeforeBulkOfItsCorpOnly) {
  Use(100, 6);
  const auto bulk = Add("c1");
  const auto interactive = Add("c1", CallClass::kInteractive);
  const auto other = Add("c2");
  for (const auto flow : {bulk, interactive, other}) scheduler_->Offer(flow, 0);
  EXPECT_THAT(Send(kSecond),
              ElementsAre(interactive, other, interactive, other, interactive, other));
}

TEST_F(SchedulerTest, FlowsOfACorpTakeTurnsWhateverTheirLength) {
  Use(9, 100);
  const auto one = Add("c1");
  const auto two = Add("c1");
  const auto three = Add("c1");
  for (const auto flow : {one, two, three}) scheduler_->Offer(flow, 0);
  auto counts = CountOf(Send(kSecond));
  EXPECT_EQ(counts[one], 3u);
  EXPECT_EQ(counts[two], 3u);
  EXPECT_EQ(counts[three], 3u);
}

TEST_F(SchedulerTest, AFullAddressHoldsBackOneApiOnly) {
  Use(100, 2);
  const auto one = Add("c1");
  const auto other = Add("c1", CallClass::kBulk, "b");
  for (const auto flow : {one, other}) scheduler_->Offer(flow, 0);
  auto counts = CountOf(Send(kSecond));
  EXPECT_EQ(counts[one], 2u);
  EXPECT_EQ(counts[other], 2u);
}

TEST_F(SchedulerTest, ACallWaitsForItsTimeAndNoOtherForIt) {
  Use(100, 100);
  const auto later = Add("c1");
  const auto now = Add("c1");
  scheduler_->Offer(later, 5 * kSecond);
  scheduler_->Offer(now, 0);
  EXPECT_THAT(Send(kSecond, 1000, false), ElementsAre(now));
  EXPECT_EQ(scheduler_->NextNs(), 5 * kSecond);
  EXPECT_THAT(Send(5 * kSecond - 1, 1000, false), ElementsAre());
  EXPECT_THAT(Send(5 * kSecond, 1000, false), ElementsAre(later));
}

TEST_F(SchedulerTest, WhatIsWithdrawnDoesNotLeave) {
  Use(100, 100);
  const auto bulk = Add("c1");
  const auto urgent = Add("c1", CallClass::kUrgent);
  scheduler_->Offer(bulk, 0);
  scheduler_->Offer(urgent, 0, kSecond);
  scheduler_->Withdraw(bulk);
  scheduler_->Withdraw(urgent);
  EXPECT_THAT(Send(kSecond), ElementsAre());
  scheduler_->Offer(bulk, 0);
  EXPECT_THAT(Send(kSecond, 1), ElementsAre(bulk));
}

TEST_F(SchedulerTest, AnAnswerWakesWhatWaitsForAPermit) {
  Use(100, 100, /*in_flight=*/1);
  const auto flow = Add("c1");
  const auto route = scheduler_->route_of(flow);
  scheduler_->Offer(flow, 0);
  ASSERT_EQ(scheduler_->Next(kSecond), flow);
  buckets_->Take(route);
  scheduler_->Offer(flow, 0);
  EXPECT_EQ(scheduler_->Next(kSecond), std::nullopt);
  EXPECT_EQ(scheduler_->NextNs(), kNever);
  buckets_->Complete(route, 2 * kSecond, false);
  scheduler_->Wake(route);
  EXPECT_EQ(scheduler_->Next(2 * kSecond), flow);
}

TEST_F(SchedulerTest, ItIsToldOnceThatARoutesCallsBeginToWait) {
  int told = 0;
  Use(100, 100, /*in_flight=*/1, [&](Scheduler::Route) { ++told; });
  const auto flow = Add("c1");
  const auto route = scheduler_->route_of(flow);
  buckets_->Take(route);
  scheduler_->Offer(flow, 0);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(scheduler_->Next(kSecond + i), std::nullopt);
    scheduler_->Wake(route);
  }
  EXPECT_EQ(told, 1);
  buckets_->Complete(route, 2 * kSecond, false);
  scheduler_->Wake(route);
  ASSERT_EQ(scheduler_->Next(2 * kSecond), flow);
  buckets_->Take(route);
  scheduler_->Offer(flow, 0);
  EXPECT_EQ(scheduler_->Next(2 * kSecond), std::nullopt);
  EXPECT_EQ(told, 2);
}

TEST_F(SchedulerTest, TimersDoNotPileUpHoweverOftenItIsWoken) {
  Use(2, 3);
  const auto one = Add("c1");
  const auto two = Add("c2");
  const auto later = Add("c3");
  for (const auto flow : {one, two}) scheduler_->Offer(flow, 0);
  EXPECT_EQ(Send(kSecond).size(), 3u);  // one corp is full, and the address
  const int64_t next = scheduler_->NextNs();
  for (int i = 0; i < 100'000; ++i) {
    scheduler_->Wake(scheduler_->route_of(one));
    scheduler_->Offer(later, 100 * kSecond + (i % 3) * kSecond);
    ASSERT_EQ(scheduler_->Next(kSecond + i), std::nullopt);
    ASSERT_LE(scheduler_->timers(), 4u);  // of a flow, two routes and the api
  }
  EXPECT_EQ(scheduler_->NextNs(), next);
  EXPECT_EQ(Send(next).size(), 3u);
}

TEST_F(SchedulerTest, ALaterTimeIsAskedForAgainWhenTheEarlierOneComes) {
  Use(100, 100);
  const auto flow = Add("c1");
  scheduler_->Offer(flow, 5 * kSecond);
  scheduler_->Offer(flow, 9 * kSecond);
  EXPECT_THAT(Send(5 * kSecond, 1000, false), ElementsAre());
  EXPECT_EQ(scheduler_->NextNs(), 9 * kSecond);
  scheduler_->Offer(flow, 7 * kSecond);
  EXPECT_EQ(scheduler_->NextNs(), 7 * kSecond);
  EXPECT_THAT(Send(7 * kSecond, 1000, false), ElementsAre(flow));
  EXPECT_EQ(scheduler_->timers(), 0u);
}

// Whatever happens: only what is offered and allowed leaves, nothing that may leave waits, and two
// corps that always have calls, and are held back by the address alone, are never two calls apart.
TEST(SchedulerModelTest, IdlesOnlyWhenNothingMayLeaveAndIsFair) {
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    SeededRandom random(seed);
    const auto below = [&](int64_t bound) {
      return static_cast<int64_t>(random.Below(static_cast<uint64_t>(bound)));
    };
    const Limits limits = LimitsOf(1 + below(30), 1 + below(40), 1 + below(6));
    BucketSet buckets(&limits);
    Scheduler scheduler(&buckets);
    struct Offered {
      bool offers = false;
      int64_t not_before = 0;
    };
    std::vector<Offered> offered;
    for (int i = 0; i < 12; ++i) {
      scheduler.AddFlow(buckets.RouteOf(absl::StrCat("c", below(4)), below(2) == 0 ? "a" : "b"),
                        static_cast<CallClass>(below(3)));
      offered.emplace_back();
    }
    std::vector<std::pair<int64_t, BucketSet::Route>> open;  // ends
    int64_t now = 100 * kSecond;
    for (int step = 0; step < 2000; ++step) {
      now += below(kSecond / 20);
      std::erase_if(open, [&](const auto& call) {
        if (call.first > now) return false;
        buckets.Complete(call.second, call.first, false);
        scheduler.Wake(call.second);
        return true;
      });
      for (int64_t changes = below(3); changes > 0; --changes) {
        const auto flow = static_cast<Scheduler::Flow>(below(12));
        offered[flow].offers = !random.Chance(0.1);
        offered[flow].not_before = random.Chance(0.2) ? now + below(kSecond) : 0;
        if (offered[flow].offers) {
          scheduler.Offer(flow, offered[flow].not_before, now + below(kSecond));
        } else {
          scheduler.Withdraw(flow);
        }
      }
      for (int64_t most = below(20); most > 0; --most) {
        const auto flow = scheduler.Next(now);
        if (!flow.has_value()) {
          for (Scheduler::Flow f = 0; f < offered.size(); ++f) {
            if (!offered[f].offers || offered[f].not_before > now) continue;
            ASSERT_FALSE(buckets.Check(scheduler.route_of(f), now).allowed)
                << "step " << step << " flow " << f;
          }
          break;
        }
        ASSERT_TRUE(offered[*flow].offers) << "step " << step;
        ASSERT_LE(offered[*flow].not_before, now) << "step " << step;
        const auto route = scheduler.route_of(*flow);
        ASSERT_TRUE(buckets.Check(route, now).allowed) << "step " << step;
        buckets.Take(route);
        open.emplace_back(now + below(kSecond / 5), route);
        offered[*flow].offers = random.Chance(0.9);
        offered[*flow].not_before = 0;
        if (offered[*flow].offers) scheduler.Offer(*flow, 0, now + below(kSecond));
      }
    }
  }
}

TEST(SchedulerModelTest, CorpsThatOnlyTheAddressHoldsBackAreNeverTwoCallsApart) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    SeededRandom random(seed);
    const Limits limits = LimitsOf(1'000'000, 1 + static_cast<int64_t>(random.Below(50)), 1000);
    BucketSet buckets(&limits);
    Scheduler scheduler(&buckets);
    std::vector<int64_t> sent;
    for (int corp = 0; corp < 20; ++corp) {
      scheduler.Offer(
          scheduler.AddFlow(buckets.RouteOf(absl::StrCat("c", corp), "a"), CallClass::kBulk), 0);
      sent.push_back(0);
    }
    int64_t now = 0;
    for (int calls = 0; calls < 3000;) {
      now += static_cast<int64_t>(random.Below(kSecond / 10));
      while (const auto flow = scheduler.Next(now)) {
        buckets.Take(scheduler.route_of(*flow));
        buckets.Complete(scheduler.route_of(*flow), now, false);
        ++sent[*flow];
        ++calls;
        scheduler.Offer(*flow, 0);
        const auto [least, most] = std::minmax_element(sent.begin(), sent.end());
        ASSERT_LE(*most - *least, 1) << "seed " << seed;
      }
    }
  }
}

}  // namespace
}  // namespace tidegate::dispatch
