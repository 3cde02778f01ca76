#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/seeded_random.h"
#include "services/dispatch/core/planner.h"

namespace tidegate::dispatch {
namespace {

// A few large senders, many small ones, some customers that belong to nobody.
std::vector<AudienceCustomer> RandomAudience(SeededRandom* random) {
  std::vector<AudienceCustomer> audience;
  const uint64_t customers = random->Below(40'000);
  const uint64_t owners = 1 + random->Below(30);
  for (uint64_t i = 0; i < customers; ++i) {
    std::string owner;
    if (!random->Chance(0.05)) {
      owner = absl::StrCat("m", random->Chance(0.6) ? 0 : random->Below(owners));
    }
    audience.push_back({.customer = absl::StrCat("wm", i), .owner = std::move(owner)});
  }
  return audience;
}

TEST(PlanPropertiesTest, CallsAreDisjointCompleteAndTheFewest) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    SeededRandom random(seed);
    const auto audience = RandomAudience(&random);
    const uint32_t variants = 1 + static_cast<uint32_t>(random.Below(4));
    const std::string campaign = absl::StrCat("campaign", seed);
    const Plan plan = MakePlan(campaign, audience, variants);

    std::map<std::pair<std::string, uint32_t>, size_t> groups;
    std::vector<int> times(audience.size());
    std::vector<uint32_t> without_owner;
    for (uint32_t i = 0; i < audience.size(); ++i) {
      if (audience[i].owner.empty()) {
        without_owner.push_back(i);
        times[i] = 1;
      } else {
        ++groups[{audience[i].owner, VariantOf(campaign, audience[i].customer, variants)}];
      }
    }
    EXPECT_EQ(plan.skipped_no_sender, without_owner);
    size_t fewest = 0;
    for (const auto& [group, size] : groups) {
      fewest += (size + kCustomersPerCall - 1) / kCustomersPerCall;
    }
    EXPECT_EQ(plan.calls.size(), fewest);
    for (const PlannedBatch& call : plan.calls) {
      ASSERT_FALSE(call.customers.empty());
      ASSERT_LE(call.customers.size(), kCustomersPerCall);
      ASSERT_TRUE(std::is_sorted(call.customers.begin(), call.customers.end()));
      for (const uint32_t index : call.customers) {
        ASSERT_LT(index, audience.size());
        ++times[index];
        ASSERT_EQ(audience[index].owner, call.sender);
        ASSERT_EQ(VariantOf(campaign, audience[index].customer, variants), call.variant);
      }
    }
    EXPECT_EQ(std::count(times.begin(), times.end(), 1), static_cast<int64_t>(audience.size()));
    EXPECT_TRUE(std::is_sorted(
        plan.calls.begin(), plan.calls.end(), [](const PlannedBatch& a, const PlannedBatch& b) {
          return std::pair(a.sender, a.variant) < std::pair(b.sender, b.variant);
        }));
    const auto copy = audience;
    const Plan again = MakePlan(campaign, copy, variants);
    EXPECT_EQ(again.hash, plan.hash);
    ASSERT_EQ(again.calls.size(), plan.calls.size());
    for (size_t i = 0; i < plan.calls.size(); ++i) {
      EXPECT_EQ(again.calls[i].customers, plan.calls[i].customers);
    }
  }
}

TEST(PlanPropertiesTest, OneCustomerMoreThanACallHoldsMakesASecondCall) {
  struct Row {
    size_t customers;
    std::vector<size_t> sizes;
  };
  for (const Row& row : std::vector<Row>{{1, {1}},
                                         {10'000, {10'000}},
                                         {10'001, {10'000, 1}},
                                         {20'000, {10'000, 10'000}},
                                         {20'001, {10'000, 10'000, 1}}}) {
    std::vector<AudienceCustomer> audience;
    for (size_t i = 0; i < row.customers; ++i) audience.push_back({absl::StrCat("wm", i), "m"});
    std::vector<size_t> sizes;
    for (const auto& call : MakePlan("c", audience, 1).calls) {
      sizes.push_back(call.customers.size());
    }
    EXPECT_EQ(sizes, row.sizes) << row.customers;
  }
}

TEST(PlanPropertiesTest, TheHashTellsEveryChangeOfACall) {
  const std::vector<AudienceCustomer> audience = {{"wm1", "m1"}, {"wm2", "m1"}, {"wm3", "m2"}};
  std::set<std::string> hashes = {MakePlan("c", audience, 1).hash};
  auto changed = audience;
  changed[0].customer = "wm9";
  EXPECT_TRUE(hashes.insert(MakePlan("c", changed, 1).hash).second) << "another customer";
  changed = audience;
  changed[1].owner = "m2";
  EXPECT_TRUE(hashes.insert(MakePlan("c", changed, 1).hash).second) << "another sender";
  changed = audience;
  changed[1].owner = "";
  EXPECT_TRUE(hashes.insert(MakePlan("c", changed, 1).hash).second) << "one less";
  changed = audience;
  std::swap(changed[0], changed[1]);
  EXPECT_TRUE(hashes.insert(MakePlan("c", changed, 1).hash).second) << "another order";
}

TEST(PlanPropertiesTest, VariantsAreEvenForEachSenderAndAnyNumberOfThem) {
  for (uint32_t variants = 2; variants <= 8; ++variants) {
    for (const char* campaign : {"spring", "summer", "c-1"}) {
      std::vector<double> counts(variants);
      constexpr int kCustomers = 24'000;
      for (int i = 0; i < kCustomers; ++i) {
        const uint32_t variant = VariantOf(campaign, absl::StrCat("wm", i), variants);
        ASSERT_LT(variant, variants);
        ++counts[variant];
      }
      const double expected = static_cast<double>(kCustomers) / variants;
      double chi_square = 0;
      for (const double count : counts) {
        chi_square += (count - expected) * (count - expected) / expected;
      }
      // Seven degrees of freedom exceed it once in ten thousand times, fewer more rarely.
      EXPECT_LT(chi_square, 29.9) << campaign << " " << variants;
    }
  }
}

TEST(PlanPropertiesTest, ACustomersVariantDependsOnNobodyElse) {
  std::vector<AudienceCustomer> few;
  std::vector<AudienceCustomer> many;
  for (int i = 0; i < 3000; ++i) {
    const AudienceCustomer customer{absl::StrCat("wm", i), absl::StrCat("m", i % 3)};
    if (i % 5 == 0) few.push_back(customer);
    many.push_back(customer);
  }
  const auto variants_of = [](const std::vector<AudienceCustomer>& audience) {
    std::map<std::string, uint32_t> variants;
    for (const PlannedBatch& call : MakePlan("c", audience, 4).calls) {
      for (const uint32_t index : call.customers) variants[audience[index].customer] = call.variant;
    }
    return variants;
  };
  const auto in_many = variants_of(many);
  for (const auto& [customer, variant] : variants_of(few)) {
    EXPECT_EQ(in_many.at(customer), variant) << customer;
  }
}

}  // namespace
}  // namespace tidegate::dispatch
