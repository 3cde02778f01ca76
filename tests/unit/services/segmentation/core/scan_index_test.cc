#include "services/segmentation/core/scan_index.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "common/base/civil_day.h"

namespace tidegate::segmentation {
namespace {

using ::tidegate::log::v1::Profile;

constexpr int64_t kToday = 20'000;

expression::Expression Parse(const std::string& text) {
  auto parsed = expression::Expression::Parse(text);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return *std::move(parsed);
}

Profile Customer(const std::string& corp, const std::string& id, int orders) {
  Profile profile;
  profile.set_corp(corp);
  profile.set_customer(id);
  profile.set_version(1);
  for (int i = 0; i < orders; ++i) {
    auto* order = profile.add_orders();
    order->set_order_id(std::to_string(i));
    order->set_amount_fen(10'000);
    order->set_paid_time_s(StartOfCivilDay(kToday - orders + i));
  }
  return profile;
}

void AddFollow(const std::string& member, bool live, const std::vector<std::string>& tags,
               Profile* profile) {
  auto* follow = profile->add_follows();
  follow->set_member(member);
  follow->set_live(live);
  for (const std::string& tag : tags) follow->add_tags(tag);
}

class ScanIndexTest : public testing::Test {
 protected:
  SegmentIndex::Count Count(const std::string& corp, const std::string& text) const {
    return index_.CountMatching(corp, Parse(text), at_);
  }
  SegmentIndex::Membership Contains(const std::string& corp, const std::string& customer,
                                    const std::string& text) const {
    return index_.Contains(corp, customer, Parse(text), at_);
  }

  const expression::EvaluationTime at_ = expression::AtEndOfDay(kToday);
  ScanIndex index_;
};

TEST_F(ScanIndexTest, CountsMatchingCustomersOfOneCorp) {
  for (int i = 0; i < 10; ++i) index_.Upsert(Customer("ww1", "wm" + std::to_string(i), i));
  index_.Upsert(Customer("ww2", "wm0", 9));
  struct Case {
    const char* corp;
    const char* text;
    int64_t matching;
    int64_t universe;
  };
  for (const Case& row :
       {Case{"ww1", "all", 10, 10}, Case{"ww1", "none", 0, 10},
        Case{"ww1", "orders.count >= 3", 7, 10}, Case{"ww1", "orders.sum >= 500.00", 5, 10},
        Case{"ww2", "orders.count >= 3", 1, 1}, Case{"ww3", "all", 0, 0}, Case{"", "all", 0, 0}}) {
    const auto count = Count(row.corp, row.text);
    EXPECT_EQ(count.matching, row.matching) << row.corp << " " << row.text;
    EXPECT_EQ(count.universe, row.universe) << row.corp << " " << row.text;
  }
}

TEST_F(ScanIndexTest, CountsAsOfTheTimeThatIsAsked) {
  index_.Upsert(Customer("ww1", "wm0", 3));  // the last three days before today
  const auto condition = Parse("orders.count >= 2");
  EXPECT_EQ(index_.CountMatching("ww1", condition, expression::AtEndOfDay(kToday - 3)).matching, 0);
  EXPECT_EQ(index_.CountMatching("ww1", condition, expression::AtEndOfDay(kToday - 2)).matching, 1);
}

TEST_F(ScanIndexTest, SaysWhetherItKnowsACustomer) {
  index_.Upsert(Customer("ww1", "wm0", 1));
  EXPECT_TRUE(Contains("ww1", "wm0", "orders.count = 1").contained);
  EXPECT_TRUE(Contains("ww1", "wm0", "orders.count = 1").known);
  EXPECT_FALSE(Contains("ww1", "wm0", "orders.count = 2").contained);
  EXPECT_TRUE(Contains("ww1", "wm0", "orders.count = 2").known);
  for (const auto& [corp, customer] :
       {std::pair{"ww1", "wm1"}, std::pair{"ww2", "wm0"}, std::pair{"ww1", ""}}) {
    EXPECT_FALSE(Contains(corp, customer, "all").known) << corp << " " << customer;
    EXPECT_FALSE(Contains(corp, customer, "all").contained) << corp << " " << customer;
  }
}

TEST_F(ScanIndexTest, ReplacesACustomerByTheNewestProfile) {
  Profile profile = Customer("ww1", "wm0", 3);
  AddFollow("amy", true, {"vip"}, &profile);
  index_.Upsert(profile);
  EXPECT_EQ(Count("ww1", "orders.count = 3 and tag(\"vip\")").matching, 1);
  index_.Upsert(Customer("ww1", "wm0", 1));
  EXPECT_EQ(Count("ww1", "orders.count = 1 and not tag(\"vip\")").matching, 1);
  EXPECT_EQ(Count("ww1", "all").universe, 1);
}

TEST_F(ScanIndexTest, SeesTagsOfLiveFollowsOnly) {
  Profile profile = Customer("ww1", "wm0", 0);
  AddFollow("amy", false, {"former"}, &profile);
  AddFollow("bob", true, {"vip", "loyal"}, &profile);
  AddFollow("cat", true, {"active", "vip"}, &profile);
  index_.Upsert(profile);
  EXPECT_FALSE(Contains("ww1", "wm0", "tag(\"former\")").contained);
  for (const char* tag : {"vip", "loyal", "active"}) {
    EXPECT_TRUE(Contains("ww1", "wm0", "tag(\"" + std::string(tag) + "\")").contained) << tag;
  }
}

TEST_F(ScanIndexTest, VisitsMatchingCustomersByIdWithTheirOwners) {
  for (const char* id : {"wm3", "wm10", "wm1", "wm2"}) {
    Profile profile = Customer("ww1", id, id == std::string("wm2") ? 0 : 1);
    if (id != std::string("wm10")) profile.set_owner("owner of " + std::string(id));
    index_.Upsert(profile);
  }
  index_.Upsert(Customer("ww2", "wm0", 1));
  std::vector<std::pair<std::string, std::string>> visited;
  index_.ForEachMatching("ww1", Parse("orders.count >= 1"), at_,
                         [&](const std::string& customer, const std::string& owner) {
                           visited.emplace_back(customer, owner);
                         });
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"wm1", "owner of wm1"}, {"wm10", ""}, {"wm3", "owner of wm3"}};
  EXPECT_EQ(visited, expected);
  index_.ForEachMatching("ww3", Parse("all"), at_, [](const std::string& customer, const auto&) {
    ADD_FAILURE() << "visited " << customer;
  });
}

}  // namespace
}  // namespace tidegate::segmentation
