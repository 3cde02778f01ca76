#include "services/ingestion/core/event_builder.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/hash.h"

namespace tidegate::ingestion {
namespace {

using ::tidegate::ingestion::v1::PublishedEvent;
using ::tidegate::log::v1::CustomerEvent;

constexpr int64_t kNowSeconds = 1'767'225'600;
constexpr int64_t kDaySeconds = 86'400;
constexpr Now kNow = {.wall_ns = kNowSeconds * kNanosPerSecond};

PublishedEvent Order() {
  PublishedEvent event;
  event.set_event_id("line 1");
  event.set_customer("wm1");
  event.mutable_event_time()->set_seconds(kNowSeconds - 100);
  event.mutable_event_time()->set_nanos(5);
  event.mutable_order_paid()->set_order_id("o1");
  event.mutable_order_paid()->mutable_amount()->set_amount_fen(1990);
  return event;
}

PublishedEvent Import() {
  PublishedEvent event = Order();
  event.mutable_customer_imported()->set_owner("amy");
  return event;
}

TEST(FromPublishedTest, TakesAnOrder) {
  ItemFault fault;
  const auto event = FromPublished("ww1", "shop", Order(), kNow, &fault);
  ASSERT_TRUE(event.has_value()) << fault.field << " " << fault.message;
  EXPECT_EQ(event->corp(), "ww1");
  EXPECT_EQ(event->source(), "shop");
  EXPECT_EQ(event->customer(), "wm1");
  EXPECT_EQ(event->event_id(), "line 1");
  EXPECT_EQ(event->kind(), "order_paid");
  EXPECT_EQ(event->event_time_ns(), (kNowSeconds - 100) * kNanosPerSecond + 5);
  EXPECT_EQ(event->received_time_ns(), kNow.wall_ns);
  EXPECT_EQ(event->order().order_id(), "o1");
  EXPECT_EQ(event->order().amount_fen(), 1990);
  EXPECT_EQ(event->order().paid_time_s(), kNowSeconds - 100);
}

TEST(FromPublishedTest, TakesAnImport) {
  ItemFault fault;
  const auto event = FromPublished("ww1", "crm", Import(), kNow, &fault);
  ASSERT_TRUE(event.has_value()) << fault.field << " " << fault.message;
  EXPECT_EQ(event->kind(), "customer_imported");
  EXPECT_EQ(event->customer_import().owner(), "amy");
  EXPECT_FALSE(event->has_order());
}

struct Change {
  const char* name;
  const char* field;  // of the fault; unused where the event is good
  std::function<void(PublishedEvent*)> change;
};

TEST(FromPublishedTest, NamesEveryBadField) {
  const std::vector<Change> rows = {
      {"no event id", "event_id", [](auto* e) { e->clear_event_id(); }},
      {"long event id", "event_id", [](auto* e) { e->set_event_id(std::string(129, 'x')); }},
      {"no customer", "customer", [](auto* e) { e->clear_customer(); }},
      {"long customer", "customer", [](auto* e) { e->set_customer(std::string(65, 'x')); }},
      {"slash in customer", "customer", [](auto* e) { e->set_customer("a/b"); }},
      {"space in customer", "customer", [](auto* e) { e->set_customer("a b"); }},
      {"line end in customer", "customer", [](auto* e) { e->set_customer("a\n"); }},
      {"zero byte in customer", "customer", [](auto* e) { e->set_customer(std::string(1, 0)); }},
      {"DEL in customer", "customer", [](auto* e) { e->set_customer("a\x7F"); }},
      {"multi-byte customer", "customer", [](auto* e) { e->set_customer("\xE6\xAC\xA2"); }},
      {"no time", "event_time", [](auto* e) { e->clear_event_time(); }},
      {"time 0", "event_time", [](auto* e) { e->mutable_event_time()->set_seconds(0); }},
      {"negative time", "event_time", [](auto* e) { e->mutable_event_time()->set_seconds(-1); }},
      {"year 2300", "event_time",
       [](auto* e) { e->mutable_event_time()->set_seconds(10'413'792'000); }},
      {"largest time", "event_time",
       [](auto* e) { e->mutable_event_time()->set_seconds(INT64_MAX); }},
      {"negative nanos", "event_time", [](auto* e) { e->mutable_event_time()->set_nanos(-1); }},
      {"too many nanos", "event_time",
       [](auto* e) { e->mutable_event_time()->set_nanos(1'000'000'000); }},
      {"two days ahead", "event_time",
       [](auto* e) { e->mutable_event_time()->set_seconds(kNowSeconds + 2 * kDaySeconds); }},
      {"just over a day ahead", "event_time",
       [](auto* e) { e->mutable_event_time()->set_seconds(kNowSeconds + kDaySeconds); }},
      {"no payload", "payload", [](auto* e) { e->clear_payload(); }},
      {"no order id", "order_paid.order_id",
       [](auto* e) { e->mutable_order_paid()->clear_order_id(); }},
      {"long order id", "order_paid.order_id",
       [](auto* e) { e->mutable_order_paid()->set_order_id(std::string(65, 'x')); }},
      {"space in order id", "order_paid.order_id",
       [](auto* e) { e->mutable_order_paid()->set_order_id("1 2"); }},
      {"no amount", "order_paid.amount", [](auto* e) { e->mutable_order_paid()->clear_amount(); }},
      {"negative amount", "order_paid.amount",
       [](auto* e) { e->mutable_order_paid()->mutable_amount()->set_amount_fen(-1); }},
      {"amount beyond reason", "order_paid.amount",
       [](auto* e) {
         e->mutable_order_paid()->mutable_amount()->set_amount_fen(100'000'000'000'001);
       }},
      {"no owner", "customer_imported.owner",
       [](auto* e) { e->mutable_customer_imported()->clear_owner(); }},
      {"long owner", "customer_imported.owner",
       [](auto* e) { e->mutable_customer_imported()->set_owner(std::string(65, 'x')); }},
      {"slash in owner", "customer_imported.owner",
       [](auto* e) { e->mutable_customer_imported()->set_owner("a/b"); }},
  };
  for (const Change& row : rows) {
    PublishedEvent published = Order();
    row.change(&published);
    ItemFault fault;
    EXPECT_FALSE(FromPublished("ww1", "shop", published, kNow, &fault).has_value()) << row.name;
    EXPECT_EQ(fault.field, row.field) << row.name;
    EXPECT_NE(fault.message, "") << row.name;
  }
}

TEST(FromPublishedTest, TakesWhatIsJustWithinTheLimits) {
  const std::vector<Change> rows = {
      {"longest event id", "", [](auto* e) { e->set_event_id(std::string(128, 'x')); }},
      {"longest customer", "", [](auto* e) { e->set_customer(std::string(64, '~')); }},
      {"first second", "",
       [](auto* e) {
         e->mutable_event_time()->set_seconds(1);
         e->mutable_event_time()->set_nanos(0);
       }},
      {"last nano", "", [](auto* e) { e->mutable_event_time()->set_nanos(999'999'999); }},
      {"a day ahead", "",
       [](auto* e) {
         e->mutable_event_time()->set_seconds(kNowSeconds + kDaySeconds);
         e->mutable_event_time()->set_nanos(0);
       }},
      {"free of charge", "",
       [](auto* e) { e->mutable_order_paid()->mutable_amount()->set_amount_fen(0); }},
      {"largest amount", "",
       [](auto* e) {
         e->mutable_order_paid()->mutable_amount()->set_amount_fen(100'000'000'000'000);
       }},
  };
  for (const Change& row : rows) {
    PublishedEvent published = Order();
    row.change(&published);
    ItemFault fault;
    EXPECT_TRUE(FromPublished("ww1", "shop", published, kNow, &fault).has_value())
        << row.name << ": " << fault.field << " " << fault.message;
  }
}

std::string Callback(const std::string& event, const std::string& change_type,
                     const std::string& user = "amy", const std::string& customer = "wmDEMO0001") {
  return absl::StrCat("<xml><CreateTime>1767225000</CreateTime><Event>", event,
                      "</Event><ChangeType>", change_type, "</ChangeType><UserID>", user,
                      "</UserID><ExternalUserID>", customer,
                      "</ExternalUserID><State>ch_01</State><WelcomeCode>WC1</WelcomeCode></xml>");
}

CustomerEvent FromText(const std::string& text) {
  return FromCallback("ww1", text, wecom::ParseEvent(text), kNow);
}

TEST(FromCallbackTest, NormalisesTheFollowsOfCustomers) {
  struct Case {
    const char* change_type;
    const char* kind;
  };
  for (const Case& row :
       {Case{"add_external_contact", "follow_added"},
        Case{"add_half_external_contact", "follow_half_added"},
        Case{"del_external_contact", "follow_deleted"}, Case{"del_follow_user", "follow_lost"}}) {
    const std::string text = Callback("change_external_contact", row.change_type);
    const CustomerEvent event = FromText(text);
    EXPECT_EQ(event.corp(), "ww1") << row.kind;
    EXPECT_EQ(event.source(), "wecom") << row.kind;
    EXPECT_EQ(event.kind(), row.kind);
    EXPECT_EQ(event.customer(), "wmDEMO0001") << row.kind;
    EXPECT_EQ(event.event_id(), Sha256Hex(text)) << row.kind;
    EXPECT_EQ(event.event_time_ns(), 1'767'225'000 * kNanosPerSecond) << row.kind;
    EXPECT_EQ(event.received_time_ns(), kNow.wall_ns) << row.kind;
    EXPECT_EQ(event.follow().member(), "amy") << row.kind;
    EXPECT_EQ(event.follow().state(), "ch_01") << row.kind;
    EXPECT_EQ(event.follow().welcome_code(), "WC1") << row.kind;
    EXPECT_EQ(event.follow().raw(), text) << row.kind;
  }
}

TEST(FromCallbackTest, KeepsEverythingElseRaw) {
  const std::string contact = "change_external_contact";
  const std::string add = "add_external_contact";
  struct Case {
    const char* name;
    std::string text;
  };
  for (const Case& row : {
           Case{"edit", Callback(contact, "edit_external_contact")},
           Case{"transfer", Callback(contact, "transfer_fail")},
           Case{"another event", Callback("change_external_tag", add)},
           Case{"no change type", Callback(contact, "")},
           Case{"no member", Callback(contact, add, "")},
           Case{"no customer", Callback(contact, add, "amy", "")},
           Case{"customer too long", Callback(contact, add, "amy", std::string(65, 'x'))},
           Case{"customer with a slash", Callback(contact, add, "amy", "a/b")},
           Case{"member with a space", Callback(contact, add, "a b")},
           Case{"not XML", "hello"},
           Case{"empty", ""},
           Case{"no time", "<xml><Event>change_external_contact</Event></xml>"},
           Case{"a time beyond nanoseconds",
                "<xml><CreateTime>9223372036854775807</CreateTime></xml>"},
       }) {
    const CustomerEvent event = FromText(row.text);
    EXPECT_EQ(event.kind(), "callback_other") << row.name;
    EXPECT_TRUE(event.has_raw()) << row.name;
    EXPECT_EQ(event.raw().text(), row.text) << row.name;
    EXPECT_EQ(event.customer(), "") << row.name;
    EXPECT_EQ(event.event_id(), Sha256Hex(row.text)) << row.name;
    EXPECT_GT(event.event_time_ns(), 0) << row.name;
  }
}

TEST(FromCallbackTest, DatesWhatItCannotReadByItsReceipt) {
  EXPECT_EQ(FromText("hello").event_time_ns(), kNow.wall_ns);
}

TEST(FromCallbackTest, GivesARedeliveryTheSameEventId) {
  const std::string text = Callback("change_external_contact", "add_external_contact");
  const CustomerEvent first = FromText(text);
  const CustomerEvent later =
      FromCallback("ww1", text, wecom::ParseEvent(text), {.wall_ns = kNow.wall_ns + 1'000'000});
  EXPECT_EQ(later.event_id(), first.event_id());
  const CustomerEvent other =
      FromText(Callback("change_external_contact", "add_external_contact", "bob"));
  EXPECT_NE(other.event_id(), first.event_id());
}

}  // namespace
}  // namespace tidegate::ingestion
