#include "services/tagging/core/profile_update.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "common/base/clock.h"

namespace tidegate::tagging {
namespace {

using ::tidegate::log::v1::CustomerEvent;
using ::tidegate::log::v1::Profile;

constexpr int64_t kSeconds = 1'767'225'600;

CustomerEvent Event(const std::string& kind) {
  CustomerEvent event;
  event.set_corp("ww1");
  event.set_customer("wm1");
  event.set_source("wecom");
  event.set_event_id("e1");
  event.set_kind(kind);
  event.set_event_time_ns(kSeconds * kNanosPerSecond);
  return event;
}

CustomerEvent Follow(const std::string& kind, const std::string& member,
                     const std::string& state = "") {
  CustomerEvent event = Event(kind);
  event.mutable_follow()->set_member(member);
  event.mutable_follow()->set_state(state);
  return event;
}

CustomerEvent Order(const std::string& id, int64_t amount_fen, int64_t paid_time_s,
                    const std::string& source = "shop") {
  CustomerEvent event = Event("order_paid");
  event.set_source(source);
  event.mutable_order()->set_order_id(id);
  event.mutable_order()->set_amount_fen(amount_fen);
  event.mutable_order()->set_paid_time_s(paid_time_s);
  return event;
}

CustomerEvent Import(const std::string& owner) {
  CustomerEvent event = Event("customer_imported");
  event.set_source("crm");
  event.mutable_customer_import()->set_owner(owner);
  return event;
}

Profile After(const std::vector<CustomerEvent>& events) {
  Profile profile;
  for (const CustomerEvent& event : events) {
    const absl::Status status = ApplyEvent(event, &profile);
    EXPECT_TRUE(status.ok()) << event.kind() << ": " << status;
  }
  return profile;
}

// "id=fen@seconds", in the profile's order.
std::vector<std::string> Orders(const Profile& profile) {
  std::vector<std::string> orders;
  for (const auto& order : profile.orders()) {
    orders.push_back(order.source() + "/" + order.order_id() + "=" +
                     std::to_string(order.amount_fen()) + "@" +
                     std::to_string(order.paid_time_s()));
  }
  return orders;
}

TEST(ProfileUpdateTest, SortsOrdersWhateverTheirArrival) {
  const Profile profile =
      After({Order("c", 3, 30), Order("a", 1, 10), Order("d", 4, 40), Order("b", 2, 20)});
  EXPECT_EQ(Orders(profile),
            (std::vector<std::string>{"shop/a=1@10", "shop/b=2@20", "shop/c=3@30", "shop/d=4@40"}));
}

TEST(ProfileUpdateTest, CorrectsAnOrderOfTheSameSourceAndId) {
  const Profile profile =
      After({Order("a", 1, 10), Order("b", 2, 20), Order("a", 7, 30), Order("a", 5, 15, "pos")});
  EXPECT_EQ(Orders(profile),
            (std::vector<std::string>{"pos/a=5@15", "shop/b=2@20", "shop/a=7@30"}));
}

TEST(ProfileUpdateTest, RefusesMoreOrderLinesThanAProfileHolds) {
  Profile profile;
  for (int i = 0; i < kOrdersMax; ++i) {
    auto* order = profile.add_orders();
    order->set_source("shop");
    order->set_order_id(std::to_string(i));
    order->set_paid_time_s(i);
  }
  const absl::Status full = ApplyEvent(Order("new", 1, 9), &profile);
  EXPECT_TRUE(absl::IsResourceExhausted(full)) << full;
  EXPECT_EQ(profile.orders_size(), kOrdersMax);
  EXPECT_TRUE(ApplyEvent(Order("7", 1, 9), &profile).ok()) << "a correction takes no more room";
  EXPECT_EQ(profile.orders_size(), kOrdersMax);
}

TEST(ProfileUpdateTest, TellsLiveAndConfirmedFollowsApart) {
  struct Case {
    const char* name;
    std::vector<CustomerEvent> events;
    bool live;
    bool confirmed;
  };
  for (const Case& row : {
           Case{"added", {Follow("follow_added", "amy")}, true, true},
           Case{"half added", {Follow("follow_half_added", "amy")}, true, false},
           Case{"half added, then added",
                {Follow("follow_half_added", "amy"), Follow("follow_added", "amy")},
                true,
                true},
           Case{"added, then half added late",
                {Follow("follow_added", "amy"), Follow("follow_half_added", "amy")},
                true,
                true},
           Case{"deleted",
                {Follow("follow_added", "amy"), Follow("follow_deleted", "amy")},
                false,
                true},
           Case{"lost", {Follow("follow_added", "amy"), Follow("follow_lost", "amy")}, false, true},
           Case{"deleted, half added again",
                {Follow("follow_added", "amy"), Follow("follow_deleted", "amy"),
                 Follow("follow_half_added", "amy")},
                true,
                false},
           Case{"deleted before we knew it", {Follow("follow_deleted", "amy")}, false, false},
           Case{"imported", {Import("amy")}, true, true},
       }) {
    Profile profile = After(row.events);
    ASSERT_EQ(profile.follows_size(), 1) << row.name;
    EXPECT_EQ(profile.follows(0).member(), "amy") << row.name;
    EXPECT_EQ(profile.follows(0).live(), row.live) << row.name;
    if (row.live) {
      EXPECT_EQ(profile.follows(0).confirmed(), row.confirmed) << row.name;
    }
  }
}

TEST(ProfileUpdateTest, StartsAFollowAgainWithoutItsFormerTags) {
  for (const CustomerEvent& again : {Follow("follow_added", "amy", "new"),
                                     Follow("follow_half_added", "amy", "new"), Import("amy")}) {
    Profile profile = After({Follow("follow_added", "amy", "old")});
    profile.mutable_follows(0)->add_tags("vip");
    ASSERT_TRUE(ApplyEvent(Follow("follow_lost", "amy"), &profile).ok());
    CustomerEvent later = again;
    later.set_event_time_ns((kSeconds + 60) * kNanosPerSecond);
    ASSERT_TRUE(ApplyEvent(later, &profile).ok());
    ASSERT_EQ(profile.follows_size(), 1) << again.kind();
    EXPECT_TRUE(profile.follows(0).live()) << again.kind();
    EXPECT_EQ(profile.follows(0).tags_size(), 0) << again.kind();
    EXPECT_EQ(profile.follows(0).added_time_s(), kSeconds + 60) << again.kind();
  }
}

TEST(ProfileUpdateTest, KeepsTheTagsOfAFollowThatIsLiveAlready) {
  for (const CustomerEvent& again : {Follow("follow_added", "amy"), Import("amy")}) {
    Profile profile = After({Follow("follow_added", "amy", "ch_01")});
    profile.mutable_follows(0)->add_tags("vip");
    ASSERT_TRUE(ApplyEvent(again, &profile).ok());
    EXPECT_EQ(profile.follows(0).tags_size(), 1) << again.kind();
    EXPECT_EQ(profile.follows(0).state(), "ch_01") << again.kind();
  }
}

TEST(ProfileUpdateTest, ChoosesTheOwner) {
  struct Case {
    const char* name;
    std::vector<CustomerEvent> events;
    const char* owner;
  };
  for (const Case& row : {
           Case{"nobody follows", {Order("a", 1, 1)}, ""},
           Case{"the first live follow",
                {Follow("follow_added", "amy"), Follow("follow_added", "bob")},
                "amy"},
           Case{"a half-added follow", {Follow("follow_half_added", "amy")}, "amy"},
           Case{"the next one when the owner goes",
                {Follow("follow_added", "amy"), Follow("follow_added", "bob"),
                 Follow("follow_lost", "amy")},
                "bob"},
           Case{"the owner who stays when another goes",
                {Follow("follow_added", "amy"), Follow("follow_added", "bob"),
                 Follow("follow_deleted", "bob")},
                "amy"},
           Case{"nobody when all went",
                {Follow("follow_added", "amy"), Follow("follow_deleted", "amy")},
                ""},
           Case{"the new owner who stays when the former one comes back",
                {Follow("follow_added", "amy"), Follow("follow_added", "bob"),
                 Follow("follow_lost", "amy"), Follow("follow_added", "amy")},
                "bob"},
           Case{"whom an import names", {Follow("follow_added", "amy"), Import("bob")}, "bob"},
           Case{"whom the last import names", {Import("amy"), Import("bob"), Import("amy")}, "amy"},
       }) {
    EXPECT_EQ(After(row.events).owner(), row.owner) << row.name;
  }
}

TEST(ProfileUpdateTest, CountsTouches) {
  const Profile profile =
      After({Event("touch_sent"), Event("touch_sent"), Event("touch_sent"), Event("touch_failed"),
             Event("touch_failed"), Event("touch_unconfirmed"), Event("touch_skipped")});
  EXPECT_EQ(profile.touches().sent(), 3);
  EXPECT_EQ(profile.touches().failed(), 2);
  EXPECT_EQ(profile.touches().unconfirmed(), 1);
  EXPECT_EQ(profile.touches().skipped(), 1);
}

TEST(ProfileUpdateTest, RefusesEventsThatDoNotFitTheirKind) {
  for (const CustomerEvent& event :
       {Event("follow_added"), Event("follow_half_added"), Event("follow_deleted"),
        Event("follow_lost"), Event("customer_imported"), Event("order_paid"), Order("", 1, 1),
        Order("a", -1, 1), Import(""), Event(""), Event("no_such_kind"), Event("callback_other")}) {
    Profile profile;
    const absl::Status status = ApplyEvent(event, &profile);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << event.ShortDebugString() << ": " << status;
  }
}

TEST(ProfileUpdateTest, FingerprintsAnEventBySourceAndId) {
  CustomerEvent event = Event("touch_sent");
  const std::string fingerprint = EventFingerprint(event);
  EXPECT_EQ(fingerprint.size(), 16u);
  event.set_kind("touch_failed");
  EXPECT_EQ(EventFingerprint(event), fingerprint);
  event.set_event_id("e2");
  EXPECT_NE(EventFingerprint(event), fingerprint);

  CustomerEvent left;
  left.set_source("ab");
  left.set_event_id("c");
  CustomerEvent right;
  right.set_source("a");
  right.set_event_id("bc");
  EXPECT_NE(EventFingerprint(left), EventFingerprint(right));
}

TEST(ProfileUpdateTest, ForgetsTheOldestEventBeyondTheMost) {
  Profile profile;
  for (int i = 0; i < kSeenEventsMax; ++i) Remember(std::to_string(i), &profile);
  EXPECT_TRUE(HasSeen(profile, "0"));
  Remember("one more", &profile);
  EXPECT_EQ(profile.seen_events_size(), kSeenEventsMax);
  EXPECT_FALSE(HasSeen(profile, "0"));
  EXPECT_TRUE(HasSeen(profile, "1"));
  EXPECT_TRUE(HasSeen(profile, "one more"));
}

TEST(ProfileUpdateTest, ShowsExpressionsTheTagsOfLiveFollowsSorted) {
  Profile profile = After({Follow("follow_added", "amy"), Follow("follow_added", "bob"),
                           Follow("follow_added", "cat"), Order("b", 2, 20), Order("a", 1, 10)});
  for (const char* tag : {"vip", "active"}) profile.mutable_follows(0)->add_tags(tag);
  for (const char* tag : {"loyal", "vip"}) profile.mutable_follows(1)->add_tags(tag);
  profile.mutable_follows(2)->add_tags("former");
  profile.mutable_follows(2)->set_live(false);
  const ProfileForExpression seen(profile, "order_paid");
  const auto view = seen.view();
  EXPECT_EQ((std::vector<absl::string_view>{view.tags.begin(), view.tags.end()}),
            (std::vector<absl::string_view>{"active", "loyal", "vip"}));
  ASSERT_EQ(view.orders.size(), 2u);
  EXPECT_EQ(view.orders[0].time_seconds, 10);
  EXPECT_EQ(view.orders[1].amount_fen, 2);
  EXPECT_EQ(view.event_kind, "order_paid");
}

}  // namespace
}  // namespace tidegate::tagging
