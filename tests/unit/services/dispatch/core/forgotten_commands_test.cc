// Months of tag wishes and welcomes of one lane: what has ended is forgotten, and still counts.
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/seeded_random.h"
#include "tests/unit/services/dispatch/core/one_lane.h"

namespace tidegate::dispatch {
namespace {

using ::tidegate::log::v1::Command;

constexpr int64_t kSecond = kNanosPerSecond;
constexpr int64_t kMinute = 60 * kSecond;
constexpr int64_t kHour = 60 * kMinute;

Command WishOf(const std::string& customer) {
  Command command;
  command.set_corp(OneLane::kCorp);
  command.set_member("m1");
  command.set_customer(customer);
  return command;
}

class ForgottenCommandsTest : public ::testing::Test {
 protected:
  void Tag(const std::string& customer, const std::vector<std::string>& add,
           const std::vector<std::string>& remove = {}) {
    Command command = WishOf(customer);
    for (const auto& tag : add) command.mutable_mark_tag()->add_add(tag);
    for (const auto& tag : remove) command.mutable_mark_tag()->add_remove(tag);
    lane_.Fold(log::Topic::kCommands, command.SerializeAsString());
  }
  void Greet(const std::string& customer) { Greet(customer, lane_.now().wall_ns + 20 * kSecond); }
  void Greet(const std::string& customer, int64_t expires_ns) {
    Command command = WishOf(customer);
    command.mutable_welcome()->set_welcome_code(absl::StrCat("code of ", customer));
    command.mutable_welcome()->set_text("hello");
    command.mutable_welcome()->set_expires_ns(expires_ns);
    lane_.Fold(log::Topic::kCommands, command.SerializeAsString());
  }
  void Settle() {
    for (auto calls = lane_.Calls(); !calls.empty(); calls = lane_.Calls()) {
      for (const CallToMake& call : calls) {
        ++calls_[call.api];
        bodies_.push_back(call.body);
        lane_.Answer(call, answers_[call.api]);
      }
    }
  }
  void Pass(int64_t ns) {
    lane_.Pass(ns);
    Settle();
  }
  const CommandBook& Book() { return lane_.core().commands(); }
  WriteBack Counts() { return Book().Progress(OneLane::kCorp); }

  std::map<std::string, std::string> answers_ = {
      {"mark_tag", R"({"errcode":0})"},
      {"send_welcome_msg", R"({"errcode":0})"},
      {"get_groupmsg_list_v2", R"({"errcode":0,"next_cursor":"","group_msg_list":[]})"}};
  std::map<std::string, int> calls_;  // by api
  std::vector<std::string> bodies_;
  OneLane lane_{wecom_table::DefaultLimits()};
};

TEST_F(ForgottenCommandsTest, ALaneThatTagsAndGreetsForMonthsKeepsThoseOfAnHour) {
  constexpr int kDays = 90;
  constexpr int kOfAnHour = 10;
  constexpr int kHours = 8;  // of a day
  size_t most_pairs = 0, most_welcomes = 0;
  for (int day = 0; day < kDays; ++day) {
    for (int hour = 0; hour < kHours; ++hour) {
      for (int i = 0; i < kOfAnHour; ++i) {
        const std::string customer = absl::StrCat("wm", day, "x", hour, "x", i);
        Tag(customer, {"a", "b"});
        Greet(customer);
        // One of each that WeCom refuses: it is no customer of the member, its code is not known.
        const bool refused = i == 0;
        answers_["mark_tag"] = refused ? R"({"errcode":84061})" : R"({"errcode":0})";
        answers_["send_welcome_msg"] = refused ? R"({"errcode":41050})" : R"({"errcode":0})";
        Pass(kSecond);
      }
      Pass(kHour);
      most_pairs = std::max(most_pairs, Book().pairs());
      most_welcomes = std::max(most_welcomes, Book().welcomes());
    }
    if (day == 50) lane_.TakeOver("b");
    Pass((24 - kHours) * kHour);
  }
  constexpr int kAll = kDays * kHours * kOfAnHour;
  EXPECT_LE(most_pairs, size_t{2 * kOfAnHour});
  EXPECT_LE(most_welcomes, size_t{2 * kOfAnHour});
  EXPECT_EQ(calls_["mark_tag"], kAll);
  EXPECT_EQ(calls_["send_welcome_msg"], kAll);
  const WriteBack counts = Counts();
  EXPECT_EQ(counts.tags_wanted, 2 * kAll);
  EXPECT_EQ(counts.tags_refused, 2 * kAll / kOfAnHour);
  EXPECT_EQ(counts.tags_written, 2 * kAll - 2 * kAll / kOfAnHour);
  EXPECT_EQ(counts.welcomes_requested, kAll);
  EXPECT_EQ(counts.welcomes_dropped, kAll / kOfAnHour);
  EXPECT_EQ(counts.welcomes_sent, kAll - kAll / kOfAnHour);
  EXPECT_EQ(Book().open(), 0u);
  lane_.ExpectReplayGivesTheSame();
}

// A replay folds the new wish before the ledger's first record, live it comes after the last.
TEST_F(ForgottenCommandsTest, AWishOfATagThatWasForgottenIsSentAndCountsAgain) {
  Tag("wm1", {"a", "b"});
  Pass(kSecond);
  Pass(2 * kHour);
  EXPECT_EQ(Book().pairs(), 0u);
  Tag("wm1", {"c"}, {"a"});
  lane_.ExpectReplayGivesTheSame();
  Pass(kSecond);
  EXPECT_EQ(bodies_.back(),
            R"({"userid":"m1","external_userid":"wm1","add_tag":["c"],"remove_tag":["a"]})");
  EXPECT_EQ(calls_["mark_tag"], 2);
  EXPECT_EQ(Counts().tags_wanted, 4);
  EXPECT_EQ(Counts().tags_written, 4);
  lane_.ExpectReplayGivesTheSame();
}

TEST_F(ForgottenCommandsTest, APairThatIsWishedForEverAnewKeepsTheWishesOfAnHour) {
  constexpr int kWishes = 500;
  for (int i = 0; i < kWishes; ++i) {
    if (i % 2 == 0) {
      Tag("wm1", {"a"});
    } else {
      Tag("wm1", {}, {"a"});
    }
    Pass(10 * kMinute);
    EXPECT_LE(Book().wishes(), 8u);
  }
  EXPECT_EQ(calls_["mark_tag"], kWishes);
  EXPECT_EQ(Counts().tags_written, Counts().tags_wanted);
  lane_.ExpectReplayGivesTheSame();
}

TEST_F(ForgottenCommandsTest, WhatIsOpenStays) {
  answers_["mark_tag"] = R"({"errcode":45033})";
  Tag("wm1", {"a"});
  Tag("wm2", {"a"});
  for (int i = 0; i < 300; ++i) Pass(kMinute);
  EXPECT_EQ(Book().pairs(), 2u);
  EXPECT_EQ(Book().open(), 2u);
  EXPECT_EQ(Counts().tags_written, 0);
  lane_.TakeOver("b");
  answers_["mark_tag"] = R"({"errcode":0})";
  Pass(kMinute);
  EXPECT_EQ(Counts().tags_written, 2);
  lane_.ExpectReplayGivesTheSame();
}

// What ended beside an open wish of the same pair goes; the open one is sent all the same.
TEST_F(ForgottenCommandsTest, AnOpenWishKeepsNoneThatEndedBeforeIt) {
  Tag("wm1", {"a"});
  Pass(kSecond);
  answers_["mark_tag"] = R"({"errcode":45033})";
  Tag("wm1", {"b"}, {"a"});
  for (int i = 0; i < 120; ++i) Pass(kMinute);
  EXPECT_EQ(Book().pairs(), 1u);
  EXPECT_EQ(Counts().tags_wanted, 3);
  EXPECT_EQ(Counts().tags_written, 1);
  answers_["mark_tag"] = R"({"errcode":0})";
  Pass(kMinute);
  EXPECT_EQ(Counts().tags_written, 3);
  Pass(2 * kHour);
  EXPECT_EQ(Book().pairs(), 0u);
  EXPECT_EQ(Counts().tags_written, 3);
  lane_.ExpectReplayGivesTheSame();
}

// Nothing was decided about it in time; its code is over, and it is not sent when it is forgotten.
TEST_F(ForgottenCommandsTest, AnExpiredWelcomeCountsAsDropped) {
  Greet("wm1");
  Pass(kMinute);
  EXPECT_EQ(Counts().welcomes_dropped, 1);
  Pass(2 * kHour);
  EXPECT_EQ(Book().welcomes(), 0u);
  EXPECT_EQ(Counts().welcomes_dropped, 1);
  EXPECT_EQ(Counts().welcomes_requested, 1);
  EXPECT_EQ(calls_["send_welcome_msg"], 0);
  lane_.ExpectReplayGivesTheSame();
}

TEST_F(ForgottenCommandsTest, AVoidBatchForgetsNothing) {
  Tag("wm1", {"a"});
  Greet("wm1");
  Pass(kSecond);
  lane_.Pass(2 * kHour);
  int named = 0;
  while (const auto decision = lane_.core().Decide({}, lane_.now())) {
    ::tidegate::log::v1::LedgerRecord record;
    ASSERT_TRUE(record.ParseFromString(decision->value));
    if (record.commands_dropped().reason() == "forgotten") {
      named += record.commands_dropped().positions_size();
    }
  }
  EXPECT_EQ(named, 2);
  lane_.core().EndBatch();
  lane_.TakeOver("b");
  EXPECT_EQ(Book().pairs(), 1u);
  EXPECT_EQ(Book().welcomes(), 1u);
  Settle();
  EXPECT_EQ(Book().pairs(), 0u);
  EXPECT_EQ(Book().welcomes(), 0u);
  lane_.ExpectReplayGivesTheSame();
}

// A repeat of its outbox record is dropped before it is folded. What is wished anew has the same
// code, and that has expired.
TEST_F(ForgottenCommandsTest, AWelcomeThatComesAgainAfterItWasForgottenIsNotSentAgain) {
  const int64_t expires_ns = lane_.now().wall_ns + 20 * kSecond;
  Greet("wm1", expires_ns);
  Pass(kSecond);
  Pass(2 * kHour);
  EXPECT_EQ(Book().welcomes(), 0u);
  Greet("wm1", expires_ns);
  Pass(kSecond);
  EXPECT_EQ(calls_["send_welcome_msg"], 1);
  EXPECT_EQ(Counts().welcomes_sent, 1);
  EXPECT_EQ(Counts().welcomes_dropped, 1);
  lane_.ExpectReplayGivesTheSame();
}

TEST_F(ForgottenCommandsTest, AnAnswerThatComesAgainAfterItsWishWasForgottenChangesNothing) {
  Tag("wm1", {"a"});
  const auto calls = lane_.Calls();
  ASSERT_EQ(calls.size(), 1u);
  lane_.Answer(calls[0], answers_["mark_tag"]);
  Pass(2 * kHour);
  EXPECT_EQ(Book().pairs(), 0u);
  lane_.Answer(calls[0], answers_["mark_tag"]);
  Pass(kMinute);
  EXPECT_EQ(Counts().tags_written, 1);
  EXPECT_EQ(Book().pairs(), 0u);
  lane_.ExpectReplayGivesTheSame();
}

// Wishes, answers, silence, new owners and hours in any order: a replay, which folds all wishes
// first, comes to the same, and nothing that is open is forgotten.
TEST(ForgottenCommandsModelTest, AReplayComesToTheSame) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    SeededRandom random(seed);
    OneLane lane(wecom_table::DefaultLimits());
    std::map<std::string, std::map<std::string, bool>> wished, wecom;  // by customer, tag
    const auto settle = [&](bool faults) {
      for (auto calls = lane.Calls(); !calls.empty(); calls = lane.Calls()) {
        for (const CallToMake& call : calls) {
          if (faults && random.Chance(0.1)) continue;  // until its owner is lost
          if (faults && random.Chance(0.2)) {
            lane.Answer(call, random.Chance(0.5) ? "" : R"({"errcode":45033})");
            continue;
          }
          lane.Answer(call, R"({"errcode":0})");
          if (call.api != "mark_tag") continue;
          const auto body = boost::json::parse(call.body).as_object();
          auto& tags = wecom[std::string(body.at("external_userid").as_string())];
          for (const bool on : {true, false}) {
            const auto* list = body.if_contains(on ? "add_tag" : "remove_tag");
            if (list == nullptr) continue;
            for (const auto& tag : list->as_array()) tags[std::string(tag.as_string())] = on;
          }
        }
      }
    };
    for (int step = 0; step < 120; ++step) {
      if (random.Chance(0.5)) {
        const std::string customer = absl::StrCat("wm", random.Below(3));
        const std::string tag = absl::StrCat("t", random.Below(3));
        const bool add = random.Chance(0.5);
        wished[customer][tag] = add;
        Command command = WishOf(customer);
        auto* mark_tag = command.mutable_mark_tag();
        add ? mark_tag->add_add(tag) : mark_tag->add_remove(tag);
        lane.Fold(log::Topic::kCommands, command.SerializeAsString());
      }
      if (random.Chance(0.2)) {
        Command command = WishOf("wm");
        command.mutable_welcome()->set_welcome_code("code");
        command.mutable_welcome()->set_expires_ns(lane.now().wall_ns + 20 * kSecond);
        lane.Fold(log::Topic::kCommands, command.SerializeAsString());
      }
      if (random.Chance(0.03)) lane.ExpectReplayGivesTheSame();
      lane.Pass(random.Chance(0.3) ? kHour : kSecond);
      settle(/*faults=*/true);
      if (random.Chance(0.05)) lane.TakeOver(absl::StrCat("owner ", step));
    }
    lane.TakeOver("last");
    for (int minute = 0; minute < 5; ++minute) {
      lane.Pass(kMinute);
      settle(/*faults=*/false);
    }
    EXPECT_EQ(wecom, wished);
    EXPECT_EQ(lane.core().commands().open(), 0u);
    lane.ExpectReplayGivesTheSame();
    lane.Pass(2 * kHour);
    settle(/*faults=*/false);
    EXPECT_EQ(lane.core().commands().pairs(), 0u);
    EXPECT_EQ(lane.core().commands().welcomes(), 0u);
    const WriteBack counts = lane.core().commands().Progress(OneLane::kCorp);
    EXPECT_EQ(counts.tags_written, counts.tags_wanted);
    EXPECT_EQ(counts.welcomes_sent + counts.welcomes_dropped, counts.welcomes_requested);
    lane.ExpectReplayGivesTheSame();
  }
}

}  // namespace
}  // namespace tidegate::dispatch
