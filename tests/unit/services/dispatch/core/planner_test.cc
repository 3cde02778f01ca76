#include "services/dispatch/core/planner.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/hash.h"
#include "common/base/seeded_random.h"

namespace tidegate::dispatch {
namespace {

std::vector<AudienceCustomer> Audience(int customers, int owners) {
  std::vector<AudienceCustomer> audience;
  for (int i = 0; i < customers; ++i) {
    audience.push_back({.customer = absl::StrCat("wm", i),
                        .owner = i % 10 == 9 ? "" : absl::StrCat("m", i % owners)});
  }
  return audience;
}

TEST(PlannerTest, PutsEveryCustomerWithASenderIntoExactlyOneCall) {
  const auto audience = Audience(5000, 7);
  const Plan plan = MakePlan("spring", audience, 3);
  std::set<uint32_t> seen(plan.skipped_no_sender.begin(), plan.skipped_no_sender.end());
  EXPECT_EQ(seen.size(), 500u);
  for (const PlannedBatch& call : plan.calls) {
    for (const uint32_t index : call.customers) {
      EXPECT_TRUE(seen.insert(index).second) << index;
      EXPECT_EQ(audience[index].owner, call.sender);
      EXPECT_EQ(VariantOf("spring", audience[index].customer, 3), call.variant);
    }
  }
  EXPECT_EQ(seen.size(), audience.size());
}

TEST(PlannerTest, MakesTheFewestCalls) {
  std::vector<AudienceCustomer> audience;
  for (int i = 0; i < 10'001; ++i) audience.push_back({absl::StrCat("wm", i), "m"});
  EXPECT_EQ(MakePlan("spring", audience, 1).calls.size(), 2u);
  audience.pop_back();
  EXPECT_EQ(MakePlan("spring", audience, 1).calls.size(), 1u);
  const auto many = Audience(5000, 7);
  std::map<std::pair<std::string, uint32_t>, int> groups;
  for (const auto& customer : many) {
    if (!customer.owner.empty())
      ++groups[{customer.owner, VariantOf("spring", customer.customer, 3)}];
  }
  EXPECT_EQ(MakePlan("spring", many, 3).calls.size(), groups.size());
}

TEST(PlannerTest, IsTheSameWheneverItIsMade) {
  const auto audience = Audience(1000, 5);
  EXPECT_EQ(MakePlan("spring", audience, 2).hash, MakePlan("spring", audience, 2).hash);
  EXPECT_NE(MakePlan("spring", audience, 2).hash, MakePlan("summer", audience, 2).hash);
  auto other = audience;
  other[0].owner = "m9";
  EXPECT_NE(MakePlan("spring", audience, 2).hash, MakePlan("spring", other, 2).hash);
}

// A plan is made again at every replay of the ledger, and must be the one whose hash stands there.
TEST(PlannerTest, GroupsAndHashesAsWrittenDown) {
  SeededRandom random(5);
  std::vector<AudienceCustomer> audience;
  for (int i = 0; i < 40'000; ++i) {
    const uint64_t owner = random.Below(30);
    // One of them has more than a call takes, some customers have nobody.
    audience.push_back({.customer = absl::StrCat("wm", i * 7919 % 40'009),
                        .owner = owner == 29  ? ""
                                 : owner > 12 ? "busy"
                                              : absl::StrCat("m", owner)});
  }
  for (const uint32_t variants : {1u, 2u, 3u}) {
    std::map<std::pair<std::string, uint32_t>, std::vector<uint32_t>> groups;
    for (uint32_t i = 0; i < audience.size(); ++i) {
      const auto& [customer, owner] = audience[i];
      if (!owner.empty()) groups[{owner, VariantOf("spring", customer, variants)}].push_back(i);
    }
    std::string text;
    std::vector<uint32_t> in_order;
    for (const auto& [group, customers] : groups) {
      for (size_t at = 0; at < customers.size(); ++at) {
        if (at % 10'000 == 0) absl::StrAppend(&text, group.first, "\n", group.second, "\n");
        absl::StrAppend(&text, audience[customers[at]].customer, "\n");
        in_order.push_back(customers[at]);
      }
    }
    const Plan plan = MakePlan("spring", audience, variants);
    EXPECT_EQ(plan.hash, Sha256(text)) << variants;
    std::vector<uint32_t> planned;
    for (const PlannedBatch& call : plan.calls) {
      EXPECT_LE(call.customers.size(), 10'000u);
      planned.insert(planned.end(), call.customers.begin(), call.customers.end());
    }
    EXPECT_EQ(planned, in_order) << variants;
    EXPECT_EQ(planned.size() + plan.skipped_no_sender.size(), audience.size());
  }
}

TEST(PlannerTest, SplitsVariantsEvenlyAndIndependently) {
  constexpr int kCustomers = 30'000;
  std::vector<int> counts(3);
  int same = 0;
  for (int i = 0; i < kCustomers; ++i) {
    const std::string customer = absl::StrCat("wm", i);
    ++counts[VariantOf("spring", customer, 3)];
    same += VariantOf("spring", customer, 3) == VariantOf("summer", customer, 3);
  }
  double chi_square = 0;
  for (const int count : counts) chi_square += (count - 10'000.0) * (count - 10'000.0) / 10'000.0;
  EXPECT_LT(chi_square, 13.8);  // p = 0.001 for two degrees of freedom
  EXPECT_NEAR(same, kCustomers / 3, 400);
}

TEST(PlannerTest, NamesCallsApart) {
  EXPECT_EQ(CallId("c", "spring", 1), CallId("c", "spring", 1));
  EXPECT_NE(CallId("c", "spring", 1), CallId("c", "spring", 2));
  EXPECT_NE(CallId("c", "spring", 1), CallId("d", "spring", 1));
  EXPECT_EQ(Marker(CallId("c", "spring", 1)).size(), 16u);
}

TEST(PlannerTest, AnEmptyAudienceNeedsNoCall) {
  EXPECT_TRUE(MakePlan("spring", {}, 2).calls.empty());
}

}  // namespace
}  // namespace tidegate::dispatch
