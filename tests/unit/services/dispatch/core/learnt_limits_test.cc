// What a 45009 below the configured limit teaches, and how it is forgotten.
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "services/dispatch/core/bucket_set.h"

namespace tidegate::dispatch {
namespace {

using wecom_table::Limits;
using wecom_table::ParseLimits;
using wecom_table::Scope;

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kHour = 3600 * kSecond;

class LearntLimitsTest : public ::testing::Test {
 protected:
  void Call(int64_t at_ns, int times, const std::string& corp = "c1", bool limited = false) {
    for (int i = 0; i < times; ++i) {
      buckets_.Take(buckets_.RouteOf(corp, "a"));
      buckets_.Complete(buckets_.RouteOf(corp, "a"), at_ns, limited);
    }
  }
  BucketSet::Route route() { return buckets_.RouteOf("c1", "a"); }
  int64_t Capacity(int64_t now_ns, size_t row = 1) {
    return buckets_.Rows("c1", now_ns).at(row).capacity;
  }

  const Limits limits_ = *ParseLimits(R"({"limits": [
    {"api": "a", "scope": "corp", "amount": 100, "window_ms": 60000},
    {"api": "a", "scope": "corp", "amount": 1000, "window_ms": 3600000},
    {"api": "a", "scope": "ip", "amount": 150, "window_ms": 60000}]})");
  BucketSet buckets_{&limits_};
};

TEST_F(LearntLimitsTest, OneLessThanWecomCanHaveSeenInTheWindowNearestItsLimit) {
  Call(kSecond, 79);
  Call(kSecond, 1, "c1", /*limited=*/true);
  const auto learnt = buckets_.ChooseLearnt(route(), kSecond);
  ASSERT_TRUE(learnt.has_value());
  EXPECT_EQ(learnt->scope, Scope::kCorp);
  EXPECT_EQ(learnt->window_ns, 60 * kSecond);
  EXPECT_EQ(learnt->amount, 79);
  buckets_.Learn(route(), *learnt, kSecond);
  const auto rows = buckets_.Rows("c1", kSecond);
  EXPECT_EQ(rows[1].capacity, 79);
  EXPECT_EQ(rows[1].configured, 100);
  EXPECT_EQ(rows[2].configured, 0) << "the hour has taught nothing";
  EXPECT_EQ(buckets_.Check(route(), kSecond).binding, "a corp 100/60s");
  EXPECT_EQ(buckets_.Rows("c2", kSecond).size(), 0u);
  buckets_.RouteOf("c2", "a");
  EXPECT_EQ(buckets_.Rows("c2", kSecond)[1].capacity, 100) << "another corp's limit";
}

TEST_F(LearntLimitsTest, ASecondRefusalLowersAgainAndNeverBelowHalf) {
  Call(kSecond, 90);
  buckets_.Learn(route(), *buckets_.ChooseLearnt(route(), kSecond), kSecond);
  EXPECT_EQ(Capacity(kSecond), 89);
  Call(200 * kSecond, 70);
  buckets_.Learn(route(), *buckets_.ChooseLearnt(route(), 200 * kSecond), 200 * kSecond);
  EXPECT_EQ(Capacity(200 * kSecond), 69);
  Call(400 * kSecond, 51);
  buckets_.Learn(route(), *buckets_.ChooseLearnt(route(), 400 * kSecond), 400 * kSecond);
  EXPECT_EQ(Capacity(400 * kSecond), 50);
  Call(600 * kSecond, 50);
  EXPECT_FALSE(buckets_.ChooseLearnt(route(), 600 * kSecond).has_value());
}

TEST_F(LearntLimitsTest, ARefusalWithEmptyWindowsIsOfAnotherCause) {
  Call(kSecond, 50);
  EXPECT_FALSE(buckets_.ChooseLearnt(route(), kSecond).has_value());
}

TEST_F(LearntLimitsTest, TheAddressLearnsWhereItIsNearest) {
  Call(kSecond, 60);
  Call(kSecond, 70, "c2");
  const auto learnt = buckets_.ChooseLearnt(route(), kSecond);
  ASSERT_TRUE(learnt.has_value());
  EXPECT_EQ(learnt->scope, Scope::kIp);
  EXPECT_EQ(learnt->amount, 129);
  buckets_.Learn(route(), *learnt, kSecond);
  EXPECT_FALSE(buckets_.Check(buckets_.RouteOf("c3", "a"), kSecond).allowed);
}

TEST_F(LearntLimitsTest, GrowsByHalfAPerCentAnHourUpToWhatIsConfigured) {
  buckets_.Learn(route(), {.window_ns = 60 * kSecond, .amount = 80}, 0);
  EXPECT_EQ(Capacity(kHour - 1), 80);
  EXPECT_EQ(Capacity(2 * kHour - 1), 80);
  EXPECT_EQ(Capacity(2 * kHour), 81);
  EXPECT_EQ(Capacity(39 * kHour), 99);
  EXPECT_EQ(Capacity(40 * kHour), 100);
  EXPECT_EQ(Capacity(500 * kHour), 100);
  // A call makes it forgotten.
  Call(40 * kHour, 1);
  core::StateHash learnt, never;
  buckets_.AddStateTo(&learnt, kNever);
  BucketSet(&limits_).AddStateTo(&never, kNever);
  EXPECT_EQ(learnt.Hex(), never.Hex());
}

TEST_F(LearntLimitsTest, AnotherBootKeepsWhatItHasGrownTo) {
  buckets_.Learn(route(), {.window_ns = 60 * kSecond, .amount = 80}, 0);
  Call(10 * kHour, 1);
  buckets_.Rebase(7 * kSecond, 0);
  EXPECT_EQ(Capacity(7 * kSecond), 85);
  EXPECT_EQ(Capacity(7 * kSecond + 2 * kHour), 86);
}

// WeCom's word about a window stands while there is such a window, beside whichever others.
TEST_F(LearntLimitsTest, WhatAnOperatorSetsIsABoundOnWhatWasLearnt) {
  CorpLimits corps(&limits_);
  BucketSet buckets(&limits_, &corps);
  const auto route = buckets.RouteOf("c1", "a");
  buckets.Learn(route, {.window_ns = 60 * kSecond, .amount = 80}, 0);
  ::tidegate::log::v1::LimitsSet set;
  set.set_corp("c1");
  set.mutable_limits()->set_weight(3);
  corps.Set(set);
  buckets.ChangeLimits("c1", kSecond);
  EXPECT_EQ(buckets.Rows("c1", kSecond)[1].capacity, 80) << "no word about this window";
  auto* window = set.mutable_limits()->add_windows();
  window->set_api("a");
  window->set_amount(95);
  window->set_window_ms(60'000);
  corps.Set(set);
  buckets.ChangeLimits("c1", kSecond);
  EXPECT_EQ(buckets.Rows("c1", kSecond)[1].capacity, 80);
  window->set_amount(70);
  corps.Set(set);
  buckets.ChangeLimits("c1", kSecond);
  EXPECT_EQ(buckets.Rows("c1", kSecond)[1].capacity, 70) << "never above what is set";

  window->set_amount(95);
  auto* shorter = set.mutable_limits()->add_windows();
  shorter->set_api("a");
  shorter->set_amount(10);
  shorter->set_window_ms(1'000);
  std::swap(*set.mutable_limits()->mutable_windows(0), *set.mutable_limits()->mutable_windows(1));
  corps.Set(set);
  buckets.ChangeLimits("c1", kSecond);
  EXPECT_EQ(buckets.Rows("c1", kSecond)[1].capacity, 10);
  EXPECT_EQ(buckets.Rows("c1", kSecond)[2].capacity, 80) << "it stands in another place";
  set.mutable_limits()->mutable_windows(0)->set_window_ms(2'000);
  set.mutable_limits()->mutable_windows(1)->set_window_ms(30'000);
  corps.Set(set);
  buckets.ChangeLimits("c1", kSecond);
  EXPECT_EQ(buckets.Rows("c1", kSecond)[2].capacity, 95) << "another window";
}

TEST_F(LearntLimitsTest, ACallUnderALowerLimitForgetsNothing) {
  CorpLimits corps(&limits_);
  BucketSet buckets(&limits_, &corps);
  const auto route = buckets.RouteOf("c1", "a");
  buckets.Learn(route, {.window_ns = 60 * kSecond, .amount = 80}, 0);
  ::tidegate::log::v1::LimitsSet set;
  set.set_corp("c1");
  auto* window = set.mutable_limits()->add_windows();
  window->set_api("a");
  window->set_amount(70);
  window->set_window_ms(60'000);
  corps.Set(set);
  buckets.ChangeLimits("c1", kSecond);
  buckets.Take(route);
  buckets.Complete(route, 2 * kSecond, /*proves_nothing=*/false);
  set.clear_limits();
  corps.Set(set);
  buckets.ChangeLimits("c1", 3 * kSecond);
  EXPECT_EQ(buckets.Rows("c1", 3 * kSecond)[1].capacity, 80);
  EXPECT_EQ(buckets.Rows("c1", 20 * kHour)[1].capacity, 90) << "of what is configured";
}

}  // namespace
}  // namespace tidegate::dispatch
