// Welcomes whose owner dies before their answers: what of their buckets they keep.
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/unit/services/dispatch/core/one_lane.h"

namespace tidegate::dispatch {
namespace {

using ::tidegate::log::v1::Command;
using ::tidegate::wecom_table::DefaultLimits;
using ::tidegate::wecom_table::Limits;

constexpr int64_t kSecond = kNanosPerSecond;
constexpr char kApi[] = "send_welcome_msg";
constexpr char kDone[] = R"({"errcode":0})";

void Greet(OneLane* lane, int customers) {
  for (int i = 0; i < customers; ++i) {
    Command command;
    command.set_corp(OneLane::kCorp);
    command.set_member("m1");
    command.set_customer(absl::StrCat("wm", i));
    command.mutable_welcome()->set_welcome_code(absl::StrCat("code", i));
    command.mutable_welcome()->set_text("hello");
    command.mutable_welcome()->set_expires_ns(lane->now().wall_ns + 20 * kSecond);
    lane->Fold(log::Topic::kCommands, command.SerializeAsString());
  }
}

// All that leave now, in as many batches as it takes.
std::vector<CallToMake> Welcomes(OneLane* lane) {
  std::vector<CallToMake> welcomes;
  for (auto calls = lane->Calls(); !calls.empty(); calls = lane->Calls()) {
    for (CallToMake& call : calls) {
      if (call.api == kApi) welcomes.push_back(std::move(call));
    }
  }
  return welcomes;
}

// Each owner dies with all it may send under way; the last one answers.
void KillFourOwners(OneLane* lane) {
  for (int owner = 0; owner < 4; ++owner) {
    EXPECT_EQ(Welcomes(lane).size(), 4) << owner;
    lane->Pass(3 * kSecond);
    lane->TakeOver(absl::StrCat("owner", owner));
  }
}

uint64_t SendAll(OneLane* lane) {
  for (auto calls = Welcomes(lane); !calls.empty(); calls = Welcomes(lane)) {
    EXPECT_LE(calls.size(), 4);
    for (const CallToMake& call : calls) lane->Answer(call, kDone);
  }
  return lane->core().commands().Progress(OneLane::kCorp).welcomes_sent;
}

TEST(LostWelcomesTest, KeepNoPlaceAmongTheCallsAtOnceWhereThatNumberIsAGuess) {
  OneLane lane(DefaultLimits());
  Greet(&lane, 30);
  KillFourOwners(&lane);
  EXPECT_EQ(SendAll(&lane), 30);
  lane.ExpectReplayGivesTheSame();
}

TEST(LostWelcomesTest, AnAnswerThatNeverCameKeepsNoPlaceEither) {
  OneLane lane(DefaultLimits());
  Greet(&lane, 30);
  for (int i = 0; i < 3; ++i) {
    const auto calls = Welcomes(&lane);
    EXPECT_EQ(calls.size(), 4) << i;
    for (const CallToMake& call : calls) lane.Answer(call, "");
    lane.Pass(kSecond);
  }
  EXPECT_EQ(SendAll(&lane), 30);
  lane.ExpectReplayGivesTheSame();
}

TEST(LostWelcomesTest, KeepTheirPlaceWhereTheNumberIsKnown) {
  for (const bool by_name : {true, false}) {
    Limits limits = DefaultLimits();
    if (by_name) {
      limits.in_flight[kApi] = 4;
    } else {
      limits.in_flight_of_others = 4;
    }
    OneLane lane(limits);
    Greet(&lane, 30);
    EXPECT_EQ(Welcomes(&lane).size(), 4);
    lane.Pass(3 * kSecond);
    lane.TakeOver("b");
    EXPECT_EQ(Welcomes(&lane).size(), 0) << by_name;
  }
}

TEST(LostWelcomesTest, KeepTheirPlaceAfterARefusalForTooManyAtOnce) {
  OneLane lane(DefaultLimits());
  Greet(&lane, 30);
  const auto calls = Welcomes(&lane);
  ASSERT_EQ(calls.size(), 4);
  lane.Answer(calls[0], R"({"errcode":45033})");
  lane.Answer(calls[1], "");
  lane.Answer(calls[2], "");
  lane.Answer(calls[3], kDone);
  // Three at once are known to be served, and two are in doubt.
  EXPECT_EQ(Welcomes(&lane).size(), 1);
}

TEST(LostWelcomesTest, TeachNothingOfTheCallsAtOnce) {
  OneLane lane(DefaultLimits());
  Greet(&lane, 30);
  EXPECT_EQ(Welcomes(&lane).size(), 4);
  lane.TakeOver("b");
  for (int i = 0; i < 3; ++i) {  // the lost ones may be at WeCom, so those are too many
    for (const CallToMake& call : Welcomes(&lane)) lane.Answer(call, R"({"errcode":45033})");
    lane.Pass(kSecond);
  }
  lane.ExpectReplayGivesTheSame();
  EXPECT_EQ(Welcomes(&lane).size(), 4);
}

TEST(LostWelcomesTest, TeachAgainAfterTheirHoldBound) {
  OneLane lane(DefaultLimits());
  Greet(&lane, 30);
  EXPECT_EQ(Welcomes(&lane).size(), 4);
  lane.TakeOver("b");
  lane.Pass(60 * kSecond);
  Welcomes(&lane);  // all of these are too late
  Greet(&lane, 30);
  const auto calls = Welcomes(&lane);
  ASSERT_EQ(calls.size(), 4);
  lane.Answer(calls[0], R"({"errcode":45033})");
  for (int i = 1; i < 4; ++i) lane.Answer(calls[i], kDone);
  EXPECT_EQ(Welcomes(&lane).size(), 3);
  lane.ExpectReplayGivesTheSame();
}

TEST(LostWelcomesTest, AreRepeatedAFewTimesOnlyWhereNothingIsEverAnswered) {
  OneLane lane(DefaultLimits());
  Greet(&lane, 1);
  int tries = 0;
  for (int tick = 0; tick < 25'000 / 50; ++tick) {
    for (const CallToMake& call : Welcomes(&lane)) {
      ++tries;
      lane.Answer(call, "");
    }
    lane.Pass(kSecond / 20);
  }
  EXPECT_GE(tries, 10);
  EXPECT_LE(tries, 14);
}

TEST(LostWelcomesTest, KeepTheirTokens) {
  Limits limits = DefaultLimits();
  limits.ReplaceWindows({{.api = kApi,
                          .scope = wecom_table::Scope::kCorp,
                          .amount = 6,
                          .window_ns = 60 * kSecond,
                          .lockout_ns = 60 * kSecond}});
  OneLane lane(limits);
  Greet(&lane, 30);
  EXPECT_EQ(Welcomes(&lane).size(), 4);
  lane.Pass(3 * kSecond);
  lane.TakeOver("b");
  EXPECT_EQ(SendAll(&lane), 2) << "four of six tokens are with calls in doubt";
}

}  // namespace
}  // namespace tidegate::dispatch
