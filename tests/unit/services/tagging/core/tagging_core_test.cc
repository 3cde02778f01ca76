#include "services/tagging/core/tagging_core.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/partitioner.h"
#include "common/base/seeded_random.h"
#include "tidegate/log/v1/commands.pb.h"
#include "tidegate/log/v1/definitions.pb.h"

namespace tidegate::tagging {
namespace {

using ::tidegate::log::v1::Command;
using ::tidegate::log::v1::CustomerEvent;
using ::tidegate::log::v1::DeadLetter;
using ::tidegate::log::v1::Definition;
using ::tidegate::log::v1::Follow;
using ::tidegate::log::v1::Profile;
using ::tidegate::log::v1::Proposal;

constexpr int64_t kSeconds = 1'767'225'600;
const TaggingOptions kOptions = {
    .partition = 3, .lanes = LaneMap(4), .welcome_valid_ns = 20 * kNanosPerSecond};

// A core, driven by hand as the partition runtime would.
class Driver {
 public:
  explicit Driver(TaggingOptions options = kOptions) : core_(std::move(options)) {}

  // Decides an input. What was decided waits for ApplyBatch.
  bool Decide(const std::string& bytes, const std::string& header = "") {
    const log::StoredRecord record{.offset = offset_++,
                                   .record = {.header = header, .value = bytes}};
    const core::Input input{.record = &record, .from = {log::Topic::kEvents, kOptions.partition}};
    EXPECT_TRUE(core_.Ready(input));
    auto decision = core_.Decide(input, now_);
    if (!decision.has_value()) return false;
    batch_.push_back(*std::move(decision));
    return true;
  }
  bool Decide(const CustomerEvent& event) { return Decide(event.SerializeAsString()); }
  bool Ready(const CustomerEvent& event) {
    const log::StoredRecord record{.offset = offset_++,
                                   .record = {.value = event.SerializeAsString()}};
    return core_.Ready({.record = &record, .from = {log::Topic::kEvents, kOptions.partition}});
  }
  void ApplyBatch() {
    for (core::Decision& decision : batch_) {
      Apply(decision);
      journal_.push_back(std::move(decision));
    }
    LoseBatch();
  }
  // The batch is void.
  void LoseBatch() {
    batch_.clear();
    core_.EndBatch();
  }
  void Apply(const core::Decision& decision) {
    core_.Apply(decision.key, decision.value, {}, &outbox_);
  }
  // An event, decided and applied in a batch of its own: the commands that came of it.
  std::vector<Command> Take(const CustomerEvent& event) {
    const size_t before = outbox_.size();
    Decide(event);
    ApplyBatch();
    return CommandsFrom(before);
  }
  std::vector<Command> CommandsFrom(size_t first) const {
    std::vector<Command> commands;
    for (size_t i = first; i < outbox_.size(); ++i) {
      if (outbox_[i].target.topic != log::Topic::kCommands) continue;
      EXPECT_TRUE(commands.emplace_back().ParseFromString(outbox_[i].value));
    }
    return commands;
  }

  void Define(const std::string& id, Definition definition) {
    Proposal proposal;
    proposal.set_corp("ww1");
    proposal.set_expected_revision(revision_++);
    proposal.set_request_id(absl::StrCat("request ", revision_));
    definition.set_id(id);
    *proposal.add_definitions() = std::move(definition);
    core_.Fold({log::Topic::kDefinitions, 0}, {.record = {.value = proposal.SerializeAsString()}},
               {});
  }
  void DefineRule(const std::string& id, const std::string& kind, const std::string& condition,
                  const std::vector<std::string>& tags,
                  const std::vector<std::string>& untags = {}) {
    Definition definition;
    definition.mutable_rule()->set_event_kind(kind);
    definition.mutable_rule()->set_condition(condition);
    for (const std::string& tag : tags) definition.mutable_rule()->add_tags(tag);
    for (const std::string& tag : untags) definition.mutable_rule()->add_untags(tag);
    Define(id, definition);
  }
  void DefineChannel(const std::string& state, const std::vector<std::string>& tags,
                     const std::string& welcome) {
    Definition definition;
    definition.mutable_channel()->set_state(state);
    for (const std::string& tag : tags) definition.mutable_channel()->add_tags(tag);
    definition.mutable_channel()->set_welcome_text(welcome);
    Define("channel " + state, definition);
  }

  const Profile* Find(const std::string& customer = "wm1") const {
    return core_.FindProfile("ww1", customer);
  }
  // The wanted tags of a pair; {"?"} without such a follow.
  std::vector<std::string> Tags(const std::string& member = "amy") const {
    if (Find() == nullptr) return {"?"};
    for (const Follow& follow : Find()->follows()) {
      if (follow.member() == member) return {follow.tags().begin(), follow.tags().end()};
    }
    return {"?"};
  }
  const TaggingCore& state() const { return core_; }
  const std::vector<core::OutboxRecord>& outbox() const { return outbox_; }
  const std::vector<core::Decision>& journal() const { return journal_; }
  core::Core& core() { return core_; }

 private:
  TaggingCore core_;
  const Now now_ = {.wall_ns = (kSeconds + 5) * kNanosPerSecond};
  uint64_t offset_ = 0;
  uint64_t revision_ = 0;
  std::vector<core::Decision> batch_;
  std::vector<core::Decision> journal_;
  std::vector<core::OutboxRecord> outbox_;
};

CustomerEvent Event(const std::string& id, const std::string& kind,
                    const std::string& customer = "wm1") {
  CustomerEvent event;
  event.set_corp("ww1");
  event.set_customer(customer);
  event.set_source("s");
  event.set_event_id(id);
  event.set_kind(kind);
  event.set_event_time_ns(kSeconds * kNanosPerSecond);
  return event;
}

CustomerEvent FollowEvent(const std::string& id, const std::string& kind,
                          const std::string& state = "", const std::string& welcome_code = "",
                          const std::string& member = "amy") {
  CustomerEvent event = Event(id, kind);
  event.mutable_follow()->set_member(member);
  event.mutable_follow()->set_state(state);
  event.mutable_follow()->set_welcome_code(welcome_code);
  return event;
}

CustomerEvent Order(const std::string& id, const std::string& order_id, int64_t amount_fen = 100,
                    int64_t paid_time_s = kSeconds) {
  CustomerEvent event = Event(id, "order_paid");
  event.mutable_order()->set_order_id(order_id);
  event.mutable_order()->set_amount_fen(amount_fen);
  event.mutable_order()->set_paid_time_s(paid_time_s);
  return event;
}

CustomerEvent Import(const std::string& id, const std::string& owner) {
  CustomerEvent event = Event(id, "customer_imported");
  event.mutable_customer_import()->set_owner(owner);
  return event;
}

// "member +tag -tag", "member welcome code text" or "member left".
std::vector<std::string> Names(const std::vector<Command>& commands) {
  std::vector<std::string> names;
  for (const Command& command : commands) {
    std::string name = command.member();
    for (const std::string& tag : command.mark_tag().add()) absl::StrAppend(&name, " +", tag);
    for (const std::string& tag : command.mark_tag().remove()) absl::StrAppend(&name, " -", tag);
    if (command.has_welcome()) {
      absl::StrAppend(&name, " welcome ", command.welcome().welcome_code(), " ",
                      command.welcome().text());
    }
    if (command.has_customer_left()) absl::StrAppend(&name, " left");
    names.push_back(std::move(name));
  }
  return names;
}

using Strings = std::vector<std::string>;

TEST(TaggingCoreTest, TakesAnEventOnceAcrossBatches) {
  Driver driver;
  EXPECT_TRUE(driver.Decide(Order("e1", "o1")));
  driver.ApplyBatch();
  EXPECT_FALSE(driver.Decide(Order("e1", "o1")));
  EXPECT_FALSE(driver.Decide(Order("e1", "another order"))) << "the id decides, not the content";
  driver.ApplyBatch();
  EXPECT_EQ(driver.Find()->orders_size(), 1);
  EXPECT_EQ(driver.Find()->version(), 1u);
  EXPECT_EQ(driver.state().counters().repeats, 2u);
}

TEST(TaggingCoreTest, TakesAnEventOnceWithinABatch) {
  Driver driver;
  EXPECT_TRUE(driver.Decide(Order("e1", "o1")));
  EXPECT_FALSE(driver.Decide(Order("e1", "o1")));
  EXPECT_TRUE(driver.Decide(Order("e2", "o2")));
  EXPECT_FALSE(driver.Decide(Order("e1", "o1")));
  EXPECT_EQ(driver.Find(), nullptr) << "nothing was applied yet";
  driver.ApplyBatch();
  EXPECT_EQ(driver.Find()->orders_size(), 2);
  EXPECT_EQ(driver.Find()->version(), 2u);
}

TEST(TaggingCoreTest, TellsEventsApartByCorpSourceAndId) {
  Driver driver;
  const CustomerEvent first = Order("e1", "o1");
  EXPECT_TRUE(driver.Decide(first));
  CustomerEvent other_source = first;
  other_source.set_source("t");
  EXPECT_TRUE(driver.Decide(other_source));
  CustomerEvent other_corp = first;
  other_corp.set_corp("ww2");
  EXPECT_TRUE(driver.Decide(other_corp));
  CustomerEvent other_id = first;
  other_id.set_event_id("e2");
  EXPECT_TRUE(driver.Decide(other_id));
  for (const CustomerEvent& event : {first, other_source, other_corp, other_id}) {
    EXPECT_FALSE(driver.Decide(event)) << event.ShortDebugString();
  }
  driver.ApplyBatch();
  EXPECT_EQ(driver.state().profiles(), 2u);
  EXPECT_EQ(driver.Find()->orders_size(), 2) << "two sources; the second id corrects the first";
}

TEST(TaggingCoreTest, TakesAnEventAgainWhoseBatchWasVoid) {
  Driver driver;
  EXPECT_TRUE(driver.Decide(Order("e1", "o1")));
  driver.LoseBatch();
  EXPECT_TRUE(driver.Decide(Order("e1", "o1")));
  driver.ApplyBatch();
  EXPECT_EQ(driver.Find()->orders_size(), 1);
}

TEST(TaggingCoreTest, KeepsOrdersSortedAndCorrected) {
  Driver driver;
  driver.Take(Order("e1", "b", 200, kSeconds - 100));
  driver.Take(Order("e2", "a", 100, kSeconds - 900));
  driver.Take(Order("e3", "b", 250, kSeconds - 950));
  ASSERT_EQ(driver.Find()->orders_size(), 2);
  EXPECT_EQ(driver.Find()->orders(0).order_id(), "b");
  EXPECT_EQ(driver.Find()->orders(0).amount_fen(), 250);
  EXPECT_EQ(driver.Find()->orders(1).order_id(), "a");
}

TEST(TaggingCoreTest, FiresRulesOfTheKindAndOfEveryKind) {
  Driver driver;
  driver.DefineRule("orders", "order_paid", "orders.count >= 2", {"repeat"});
  driver.DefineRule("any", "", "orders.sum >= 5.00", {"rich"});
  driver.DefineRule("added", "follow_added", "all", {"fresh"});
  driver.DefineRule("by kind", "", "this.kind = \"touch_sent\"", {"touched"});
  EXPECT_EQ(Names(driver.Take(FollowEvent("e1", "follow_added"))), Strings{"amy +fresh"});
  EXPECT_EQ(Names(driver.Take(Order("e2", "o1", 100))), Strings{});
  EXPECT_EQ(Names(driver.Take(Order("e3", "o2", 400))), Strings{"amy +repeat +rich"});
  EXPECT_EQ(Names(driver.Take(Event("e4", "touch_sent"))), Strings{"amy +touched"});
  EXPECT_EQ(Names(driver.Take(Event("e5", "touch_sent"))), Strings{}) << "it has the tag already";
  EXPECT_EQ(driver.Tags(), (Strings{"fresh", "repeat", "rich", "touched"}));
}

TEST(TaggingCoreTest, FiresEveryKindRulesOnlyWhereTheyHold) {
  Driver driver;
  driver.DefineRule("any", "", "orders.count >= 1", {"buyer"});
  EXPECT_EQ(Names(driver.Take(FollowEvent("e1", "follow_added"))), Strings{});
  EXPECT_EQ(Names(driver.Take(Order("e2", "o1"))), Strings{"amy +buyer"});
}

TEST(TaggingCoreTest, TagsTheOwnersFollowForEventsWithoutAMember) {
  Driver driver;
  driver.DefineRule("buyer", "order_paid", "all", {"buyer"});
  driver.Take(FollowEvent("e1", "follow_added", "", "", "amy"));
  driver.Take(FollowEvent("e2", "follow_added", "", "", "bob"));
  driver.Take(Import("e3", "bob"));
  EXPECT_EQ(Names(driver.Take(Order("e4", "o1"))), Strings{"bob +buyer"});
  EXPECT_EQ(driver.Tags("amy"), Strings{});
}

TEST(TaggingCoreTest, KeepsAnOrderOfACustomerWhomNobodyFollows) {
  Driver driver;
  driver.DefineRule("buyer", "order_paid", "all", {"buyer"});
  EXPECT_EQ(Names(driver.Take(Order("e1", "o1"))), Strings{});
  EXPECT_EQ(driver.Find()->orders_size(), 1);
  EXPECT_EQ(driver.state().counters().rules_fired, 0u);
}

TEST(TaggingCoreTest, TakesTagsOff) {
  Driver driver;
  driver.DefineChannel("ch_01", {"lead", "web"}, "");
  driver.DefineRule("buyer", "order_paid", "all", {"buyer"}, {"lead", "never there"});
  EXPECT_EQ(Names(driver.Take(FollowEvent("e1", "follow_added", "ch_01"))),
            Strings{"amy +lead +web"});
  EXPECT_EQ(Names(driver.Take(Order("e2", "o1"))), Strings{"amy +buyer -lead"});
  EXPECT_EQ(driver.Tags(), (Strings{"buyer", "web"}));
}

TEST(TaggingCoreTest, DoesNotCascadeWithinOneEvent) {
  Driver driver;
  driver.DefineRule("1", "order_paid", "all", {"one"});
  driver.DefineRule("2", "order_paid", "tag(\"one\")", {"two"});
  driver.Take(FollowEvent("e1", "follow_added"));
  EXPECT_EQ(Names(driver.Take(Order("e2", "o1"))), Strings{"amy +one"});
  EXPECT_EQ(Names(driver.Take(Order("e3", "o2"))), Strings{"amy +two"});
}

TEST(TaggingCoreTest, LeavesOutARuleThatDoesNotParse) {
  Driver driver;
  driver.DefineRule("bad", "order_paid", "orders.colour = 3", {"bad"});
  driver.DefineRule("good", "order_paid", "all", {"good"});
  driver.Take(FollowEvent("e1", "follow_added"));
  EXPECT_EQ(Names(driver.Take(Order("e2", "o1"))), Strings{"amy +good"});
}

TEST(TaggingCoreTest, UsesTheNewestRules) {
  Driver driver;
  driver.DefineRule("r", "order_paid", "all", {"old"});
  driver.Take(FollowEvent("e1", "follow_added"));
  EXPECT_EQ(Names(driver.Take(Order("e2", "o1"))), Strings{"amy +old"});
  driver.DefineRule("r", "order_paid", "all", {"new"}, {"old"});
  EXPECT_EQ(Names(driver.Take(Order("e3", "o2"))), Strings{"amy +new -old"});
}

TEST(TaggingCoreTest, TagsAndWelcomesByChannelWithinTheCodesLife) {
  Driver driver;
  driver.DefineChannel("ch_01", {"web"}, "Welcome!");
  const auto commands = driver.Take(FollowEvent("e1", "follow_added", "ch_01", "WC1"));
  EXPECT_EQ(Names(commands), (Strings{"amy welcome WC1 Welcome!", "amy +web"}));
  constexpr int64_t kEnd = (kSeconds + 20) * kNanosPerSecond;
  EXPECT_EQ(commands[0].deadline_ns(), kEnd);
  EXPECT_EQ(commands[0].welcome().expires_ns(), kEnd);
  EXPECT_EQ(commands[1].deadline_ns(), 0) << "tags are not urgent";
  for (const Command& command : commands) {
    EXPECT_EQ(command.corp(), "ww1");
    EXPECT_EQ(command.customer(), "wm1");
    EXPECT_EQ(command.profile_version(), 1u);
  }
  EXPECT_EQ(driver.outbox()[0].target.partition, PartitionOf("ww1", 4));
  EXPECT_EQ(driver.outbox()[0].key, "ww1/amy/wm1");
  EXPECT_EQ(driver.Find()->follows(0).state(), "ch_01");
}

TEST(TaggingCoreTest, AReplayOfAMovedCorpSendsItsCommandsWhereTheyWent) {
  TaggingOptions options = kOptions;
  options.lanes = LaneMap(4, {{"ww1", 2}});
  Driver before(options);
  before.DefineChannel("ch_01", {"web"}, "Welcome!");
  ASSERT_FALSE(before.Take(FollowEvent("e1", "follow_added", "ch_01", "WC1")).empty());
  EXPECT_EQ(before.outbox()[0].target.partition, 2u);
  options.lanes = LaneMap(4, {{"ww1", 3}});
  Driver after(options);
  after.DefineChannel("ch_01", {"web"}, "Welcome!");
  for (const core::Decision& decision : before.journal()) after.Apply(decision);
  EXPECT_EQ(after.outbox()[0].target.partition, 2u);
  const size_t replayed = after.outbox().size();
  ASSERT_FALSE(after.Take(FollowEvent("e2", "follow_added", "ch_01", "WC2")).empty());
  EXPECT_EQ(after.outbox()[replayed].target.partition, 3u);
}

TEST(TaggingCoreTest, WelcomesOnlyWithACodeAndAText) {
  struct Case {
    const char* name;
    const char* text;
    const char* state;
    const char* code;
    bool welcomed;
  };
  for (const Case& row :
       {Case{"all there", "Hi", "ch_01", "WC1", true}, Case{"no code", "Hi", "ch_01", "", false},
        Case{"no text", "", "ch_01", "WC1", false},
        Case{"another state", "Hi", "ch_02", "WC1", false},
        Case{"no state", "Hi", "", "WC1", false}}) {
    Driver driver;
    driver.DefineChannel("ch_01", {}, row.text);
    EXPECT_EQ(driver.Take(FollowEvent("e1", "follow_added", row.state, row.code)).size(),
              row.welcomed ? 1u : 0u)
        << row.name;
  }
}

TEST(TaggingCoreTest, WelcomesAHalfAddAtOnceAndTagsItAfterTheAdd) {
  Driver driver;
  driver.DefineChannel("ch_01", {"web"}, "Welcome!");
  EXPECT_EQ(Names(driver.Take(FollowEvent("e1", "follow_half_added", "ch_01", "WC1"))),
            Strings{"amy welcome WC1 Welcome!"});
  EXPECT_EQ(driver.Tags(), Strings{"web"}) << "wanted, not told yet";
  EXPECT_EQ(Names(driver.Take(FollowEvent("e2", "follow_added", "ch_01"))), Strings{"amy +web"});
  EXPECT_EQ(Names(driver.Take(FollowEvent("e3", "follow_added", "ch_01"))), Strings{});
}

TEST(TaggingCoreTest, TagsAFollowAnewThatWasDeletedAndComesBack) {
  for (const char* end : {"follow_deleted", "follow_lost"}) {
    Driver driver;
    driver.DefineChannel("ch_01", {"web"}, "");
    driver.DefineChannel("ch_02", {"shop"}, "");
    driver.Take(FollowEvent("e1", "follow_added", "ch_01"));
    EXPECT_EQ(Names(driver.Take(FollowEvent("e2", end, "ch_01", "WC1"))),
              end == std::string("follow_lost") ? Strings{"amy left"} : Strings{});
    EXPECT_EQ(driver.Find()->owner(), "") << end;
    EXPECT_EQ(Names(driver.Take(FollowEvent("e3", "follow_added", "ch_02"))), Strings{"amy +shop"})
        << end;
    EXPECT_EQ(driver.Tags(), Strings{"shop"}) << end;
    driver.Take(FollowEvent("e4", end));
    EXPECT_EQ(Names(driver.Take(FollowEvent("e5", "follow_added", "ch_02"))), Strings{"amy +shop"})
        << end << ": the new relation has no tags at WeCom";
  }
}

// Dispatch brakes campaigns after which many leave: once for each follow that the customer ends.
TEST(TaggingCoreTest, TellsDispatchOnceWhenACustomerLeavesAMember) {
  Driver driver;
  driver.Take(FollowEvent("e1", "follow_added"));
  const auto commands = driver.Take(FollowEvent("e2", "follow_lost"));
  ASSERT_EQ(commands.size(), 1u);
  EXPECT_EQ(commands[0].corp(), "ww1");
  EXPECT_EQ(commands[0].member(), "amy");
  EXPECT_EQ(commands[0].customer(), "wm1");
  EXPECT_EQ(commands[0].customer_left().time_ns(), kSeconds * kNanosPerSecond);
  EXPECT_TRUE(driver.Take(FollowEvent("e3", "follow_lost")).empty()) << "had left before";
  driver.Take(FollowEvent("e4", "follow_added"));
  EXPECT_TRUE(driver.Take(FollowEvent("e5", "follow_deleted")).empty()) << "the member's doing";
  EXPECT_EQ(driver.Take(FollowEvent("e6", "follow_lost", "", "", "bob")).size(), 1u)
      << "whoever followed before we looked";
}

TEST(TaggingCoreTest, BringsBackNoFormerTagsWithAnImport) {
  Driver driver;
  driver.DefineChannel("ch_01", {"web"}, "");
  driver.Take(FollowEvent("e1", "follow_added", "ch_01"));
  driver.Take(FollowEvent("e2", "follow_lost"));
  EXPECT_EQ(Names(driver.Take(Import("e3", "amy"))), Strings{});
  EXPECT_EQ(driver.Tags(), Strings{});
}

TEST(TaggingCoreTest, PutsWhatItCannotTakeIntoDeadLetters) {
  CustomerEvent no_corp = Order("e1", "o1");
  no_corp.clear_corp();
  CustomerEvent no_customer = Order("e1", "o1");
  no_customer.clear_customer();
  struct Case {
    const char* name;
    std::string value;
    const char* reason;
  };
  for (const Case& row : {
           Case{"unknown kind", Event("e1", "no_such_kind").SerializeAsString(), "no_such_kind"},
           Case{"broken bytes", "\xFF\xFF broken", "not a CustomerEvent"},
           Case{"no corp", no_corp.SerializeAsString(), "corp or customer"},
           Case{"no customer", no_customer.SerializeAsString(), "corp or customer"},
           Case{"no order", Event("e1", "order_paid").SerializeAsString(), "order_id"},
           Case{"no member", FollowEvent("e1", "follow_added", "", "", "").SerializeAsString(),
                "member"},
       }) {
    Driver driver;
    driver.Take(Order("e0", "o0"));
    EXPECT_TRUE(driver.Decide(row.value)) << row.name;
    driver.ApplyBatch();
    EXPECT_EQ(driver.state().counters().dead_letters, 1u) << row.name;
    ASSERT_EQ(driver.outbox().size(), 1u) << row.name;
    const core::OutboxRecord& record = driver.outbox()[0];
    EXPECT_EQ(record.target, (log::TopicPartition{log::Topic::kDeadLetters, 3})) << row.name;
    DeadLetter dead;
    ASSERT_TRUE(dead.ParseFromString(record.value)) << row.name;
    EXPECT_EQ(dead.input(), "tidegate.events/3") << row.name;
    EXPECT_EQ(dead.position(), 1u) << row.name;
    EXPECT_EQ(dead.value(), row.value) << row.name;
    EXPECT_TRUE(absl::StrContains(dead.reason(), row.reason)) << row.name << ": " << dead.reason();
    EXPECT_EQ(driver.state().profiles(), 1u) << row.name;
    EXPECT_EQ(driver.Find()->version(), 1u) << row.name << ": the profile is untouched";
    driver.Take(Order("e9", "o9"));
    EXPECT_EQ(driver.Find()->orders_size(), 2) << row.name << ": the partition moves on";
  }
}

// The dead letter of the one record that was decided.
DeadLetter DeadLetterOf(const Driver& driver) {
  DeadLetter dead;
  EXPECT_EQ(driver.outbox().size(), 1u);
  if (driver.outbox().size() != 1) return dead;
  EXPECT_EQ(driver.outbox()[0].target.topic, log::Topic::kDeadLetters);
  EXPECT_TRUE(dead.ParseFromString(driver.outbox()[0].value));
  EXPECT_LE(driver.journal().back().value.size(), 900'000u);
  return dead;
}

// Nobody knows who sent it, nor whether it is a repeat; and its revision may never come.
TEST(TaggingCoreTest, PutsAnEventWithAnUnreadableHeaderIntoDeadLetters) {
  Driver driver;
  CustomerEvent event = Order("e1", "o1");
  event.set_corp_revision(9);
  EXPECT_TRUE(driver.Decide(event.SerializeAsString(), "\xFF\xFF"));
  driver.ApplyBatch();
  const DeadLetter dead = DeadLetterOf(driver);
  EXPECT_EQ(dead.position(), 0u);
  EXPECT_EQ(dead.value(), event.SerializeAsString());
  EXPECT_TRUE(absl::StrContains(dead.reason(), "header")) << dead.reason();
  EXPECT_EQ(driver.Find(), nullptr);
}

TEST(TaggingCoreTest, PutsEventsOfUnknownCorpsIntoDeadLetters) {
  TaggingOptions options = kOptions;
  options.corps = {"ww1"};
  Driver driver(options);
  CustomerEvent event = Order("e1", "o1");
  event.set_corp("ww9");
  event.set_corp_revision(9);
  EXPECT_TRUE(driver.Decide(event));
  driver.ApplyBatch();
  EXPECT_EQ(DeadLetterOf(driver).reason(), "unknown corp \"ww9\"");
  EXPECT_TRUE(driver.Decide(Order("e2", "o2"))) << "the partition moves on";
}

TEST(TaggingCoreTest, KeepsTheBeginningOfWhatIsTooLargeForADeadLetter) {
  struct Case {
    const char* name;
    std::string value;
    const char* reason;
    size_t kept;
  };
  CustomerEvent large = Order("e1", "o1");
  large.mutable_order()->set_order_id(std::string(10'000'000, 'o'));
  CustomerEvent kind = Event("e1", "k");
  for (int i = 0; i < 200'000; ++i) *kind.mutable_kind() += "\xE5\xBE\xAE";  // three bytes each
  CustomerEvent member = FollowEvent("e1", "follow_added", "", "", std::string(950'000, 'm'));
  for (const Case& row : {
           Case{"larger than a record", large.SerializeAsString(), "a record of 100000", 100'000},
           Case{"large garbage", std::string(850'000, '\xFF'), "not a CustomerEvent", 100'000},
           Case{"garbage that fits", std::string(700'000, '\xFF'), "not a CustomerEvent", 700'000},
           Case{"a long kind", kind.SerializeAsString(), "unknown event kind",
                kind.SerializeAsString().size()},
           Case{"a profile too large", member.SerializeAsString(), "the profile would", 100'000},
       }) {
    Driver driver;
    EXPECT_TRUE(driver.Decide(row.value)) << row.name;
    driver.ApplyBatch();
    const DeadLetter dead = DeadLetterOf(driver);
    EXPECT_EQ(dead.value(), row.value.substr(0, row.kept)) << row.name;
    EXPECT_TRUE(absl::StrContains(dead.reason(), row.reason)) << row.name << ": " << dead.reason();
    EXPECT_EQ(absl::StrContains(dead.reason(), "first 100000 of"), row.kept == 100'000) << row.name;
    EXPECT_LT(dead.reason().size(), 1200u) << row.name;
    EXPECT_EQ(driver.Find(), nullptr) << row.name;
  }
}

std::string HashOf(const core::Core& core) {
  core::StateHash hash;
  core.AddStateTo(&hash, 0);
  return hash.Hex();
}

TEST(TaggingCoreTest, TheStatesHashFollowsFromTheJournalAlone) {
  Driver driver;
  driver.DefineRule("r", "order_paid", "all", {"x"});
  EXPECT_NE(HashOf(driver.state()), HashOf(Driver().state()));
  for (int i = 0; i < 20; ++i) {
    driver.Take(Order(absl::StrCat("e", i), absl::StrCat("o", i)));
    driver.Take(Event(absl::StrCat("t", i), "touch_sent", absl::StrCat("wm", i)));
  }
  const std::string hash = HashOf(driver.state());
  driver.Decide(Order("e99", "o99"));
  EXPECT_EQ(HashOf(driver.state()), hash) << "what is only decided is no state";
  driver.LoseBatch();

  Driver replay;
  replay.DefineRule("r", "order_paid", "all", {"x"});
  for (size_t i = 0; i < driver.journal().size(); ++i) {
    EXPECT_NE(HashOf(replay.state()), hash) << "one record less";
    replay.Apply(driver.journal()[i]);
  }
  EXPECT_EQ(HashOf(replay.state()), hash);
}

TEST(TaggingCoreTest, PassesOverRawCallbacksAndTicks) {
  Driver driver;
  CustomerEvent raw = Event("e1", "callback_other", "");
  raw.mutable_raw()->set_text("<xml/>");
  EXPECT_FALSE(driver.Decide(raw));
  EXPECT_FALSE(driver.core().Decide({}, {}).has_value());
  driver.ApplyBatch();
  EXPECT_TRUE(driver.outbox().empty());
  EXPECT_EQ(driver.state().profiles(), 0u);
}

TEST(TaggingCoreTest, WaitsForTheCorpRevisionThatTheEventSaw) {
  Driver driver;
  CustomerEvent event = FollowEvent("e1", "follow_added", "ch_01");
  EXPECT_TRUE(driver.Ready(event)) << "revision 0";
  event.set_corp_revision(2);
  EXPECT_FALSE(driver.Ready(event));
  driver.DefineRule("r", "order_paid", "all", {"x"});
  EXPECT_FALSE(driver.Ready(event));
  driver.DefineChannel("ch_01", {"web"}, "");
  EXPECT_TRUE(driver.Ready(event));
  EXPECT_EQ(Names(driver.Take(event)), Strings{"amy +web"});
  event.set_corp_revision(1);
  EXPECT_TRUE(driver.Ready(event)) << "an older revision is there too";
  event.set_corp("ww2");
  EXPECT_FALSE(driver.Ready(event)) << "revisions count per corp";
}

TEST(TaggingCoreTest, DoesNotHoldBackBrokenRecords) {
  Driver driver;
  const log::StoredRecord record{.offset = 7, .record = {.value = "\xFF broken"}};
  EXPECT_TRUE(driver.core().Ready({.record = &record, .from = {log::Topic::kEvents, 3}}));
}

// Random events, some of them twice, in batches of random size: the journal alone gives the same
// profiles and the same outbox.
TEST(TaggingCoreTest, RebuildsEqualStateAndOutboxFromItsJournalAlone) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SeededRandom random(seed);
    Driver driver;
    driver.DefineChannel("ch_01", {"web", "lead"}, "Welcome!");
    driver.DefineRule("buyer", "order_paid", "orders.count >= 2", {"buyer"}, {"lead"});
    const char* const kinds[] = {"follow_added", "follow_half_added", "follow_deleted",
                                 "follow_lost",  "order_paid",        "customer_imported",
                                 "touch_sent",   "no_such_kind"};
    std::vector<CustomerEvent> sent;
    for (int i = 0; i < 200; ++i) {
      if (!sent.empty() && random.Chance(0.2)) {
        driver.Decide(sent[random.Below(sent.size())]);
      } else {
        CustomerEvent event = Event(absl::StrCat("e", i), kinds[random.Below(8)],
                                    absl::StrCat("wm", random.Below(5)));
        const std::string member = absl::StrCat("m", random.Below(2));
        if (absl::StartsWith(event.kind(), "follow")) {
          event.mutable_follow()->set_member(member);
          event.mutable_follow()->set_state(random.Chance(0.5) ? "ch_01" : "");
          event.mutable_follow()->set_welcome_code(absl::StrCat("WC", i));
        } else if (event.kind() == "order_paid") {
          event.mutable_order()->set_order_id(absl::StrCat("o", random.Below(20)));
          event.mutable_order()->set_paid_time_s(kSeconds - static_cast<int64_t>(random.Below(99)));
        } else if (event.kind() == "customer_imported") {
          event.mutable_customer_import()->set_owner(member);
        }
        driver.Decide(event);
        sent.push_back(std::move(event));
      }
      if (random.Chance(0.1)) {
        driver.LoseBatch();
      } else if (random.Chance(0.4)) {
        driver.ApplyBatch();
      }
    }
    driver.ApplyBatch();

    Driver again;  // without definitions: Apply looks at nothing else
    for (const core::Decision& decision : driver.journal()) again.Apply(decision);
    ASSERT_FALSE(driver.outbox().empty()) << "seed " << seed;
    ASSERT_EQ(again.outbox().size(), driver.outbox().size()) << "seed " << seed;
    for (size_t i = 0; i < again.outbox().size(); ++i) {
      EXPECT_EQ(again.outbox()[i].target, driver.outbox()[i].target) << "seed " << seed;
      EXPECT_EQ(again.outbox()[i].key, driver.outbox()[i].key) << "seed " << seed;
      EXPECT_EQ(again.outbox()[i].value, driver.outbox()[i].value) << "seed " << seed;
    }
    ASSERT_EQ(again.state().profiles(), driver.state().profiles()) << "seed " << seed;
    for (int i = 0; i < 5; ++i) {
      const std::string customer = absl::StrCat("wm", i);
      const Profile* profile = driver.Find(customer);
      const Profile* rebuilt = again.Find(customer);
      ASSERT_EQ(profile == nullptr, rebuilt == nullptr) << "seed " << seed << " " << customer;
      if (profile == nullptr) continue;
      EXPECT_EQ(rebuilt->SerializeAsString(), profile->SerializeAsString())
          << "seed " << seed << " " << customer;
    }
    // And remembers the same events.
    for (const CustomerEvent& event : sent) {
      const bool taken_here = driver.Decide(event);
      EXPECT_EQ(again.Decide(event), taken_here) << "seed " << seed << " " << event.event_id();
    }
  }
}

}  // namespace
}  // namespace tidegate::tagging
