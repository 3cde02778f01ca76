#include "services/dispatch/core/command_book.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace tidegate::dispatch {
namespace {

using ::tidegate::log::v1::Attempt;
using ::tidegate::log::v1::Command;
using ::tidegate::log::v1::Outcome;
using ::tidegate::log::v1::OUTCOME_CLASS_ACCEPTED;
using ::tidegate::log::v1::OUTCOME_CLASS_NOT_EXECUTED;
using ::tidegate::log::v1::OUTCOME_CLASS_REFUSED;
using ::tidegate::log::v1::OutcomeClass;

constexpr int64_t kSecond = 1'000'000'000;
const FlowName kTags{.kind = FlowKind::kMarkTag, .corp = "c", .campaign = ""};
const FlowName kWelcomes{.kind = FlowKind::kWelcome, .corp = "c", .campaign = ""};

class CommandBookTest : public ::testing::Test {
 protected:
  void Wish(const std::string& customer, std::vector<std::string> add,
            std::vector<std::string> remove) {
    Command command;
    command.set_corp("c");
    command.set_member("m");
    command.set_customer(customer);
    for (const auto& tag : add) command.mutable_mark_tag()->add_add(tag);
    for (const auto& tag : remove) command.mutable_mark_tag()->add_remove(tag);
    book_.Fold(position_++, command);
  }
  uint64_t WishWelcome(int64_t expires_ns) {
    Command command;
    command.set_corp("c");
    command.set_member("m");
    command.set_customer("wm1");
    command.mutable_welcome()->set_welcome_code("code");
    command.mutable_welcome()->set_text("hello");
    command.mutable_welcome()->set_expires_ns(expires_ns);
    book_.Fold(position_, command);
    return position_++;
  }
  static Attempt AttemptOf(const WantedCall& call) {
    Attempt attempt;
    attempt.set_call_id(call.call_id);
    attempt.set_attempt(call.attempt);
    attempt.set_api(call.api);
    *attempt.mutable_target() = call.target;
    return attempt;
  }
  void End(const Attempt& attempt, OutcomeClass outcome_class, const char* why, int64_t over_ns) {
    Outcome outcome;
    outcome.set_outcome_class(outcome_class);
    outcome.set_why(why);
    outcome.set_bytes_written(true);
    outcome.mutable_completed()->set_raw_ns(now_.raw_ns);
    book_.OnOutcome({.attempt = attempt, .outcome = outcome, .over_raw_ns = over_ns});
  }

  std::optional<WantedCall> NextTag() { return book_.Take(kTags, now_); }
  std::optional<WantedCall> NextWelcome() { return book_.Take(kWelcomes, now_); }

  std::vector<FlowName> changed_;
  CommandBook book_{[this](FlowName flow) { changed_.push_back(std::move(flow)); }};
  uint64_t position_ = 0;
  Now now_{.wall_ns = kSecond, .raw_ns = kSecond, .boot_ns = kSecond};
};

TEST_F(CommandBookTest, OneCallFulfilsAllWishesOfAPair) {
  Wish("wm1", {"a", "b"}, {});
  Wish("wm1", {"c"}, {"a"});
  const auto call = NextTag();
  ASSERT_TRUE(call.has_value());
  EXPECT_EQ(call->body,
            R"({"userid":"m","external_userid":"wm1","add_tag":["b","c"],"remove_tag":["a"]})");
  EXPECT_EQ(call->target.mark_tag().positions_size(), 2);
  EXPECT_FALSE(NextTag().has_value());
}

TEST_F(CommandBookTest, AWishThatComesDuringTheCallWaitsAndIsNotCountedAsDone) {
  Wish("wm1", {"a"}, {});
  const auto call = NextTag();
  const Attempt attempt = AttemptOf(*call);
  book_.OnAttempt(attempt);
  Wish("wm1", {}, {"a"});
  EXPECT_FALSE(NextTag().has_value());
  End(attempt, OUTCOME_CLASS_ACCEPTED, "answer", 0);
  EXPECT_EQ(book_.Progress("c").tags_written, 0);
  const auto next = NextTag();
  ASSERT_TRUE(next.has_value());
  EXPECT_EQ(next->body, R"({"userid":"m","external_userid":"wm1","remove_tag":["a"]})");
  book_.OnAttempt(AttemptOf(*next));
  End(AttemptOf(*next), OUTCOME_CLASS_ACCEPTED, "answer", 0);
  EXPECT_EQ(book_.Progress("c").tags_written, 1);
  EXPECT_EQ(book_.Progress("c").tags_wanted, 1);
}

TEST_F(CommandBookTest, ARefusalEndsTheWish) {
  Wish("wm1", {"a"}, {});
  const Attempt attempt = AttemptOf(*NextTag());
  book_.OnAttempt(attempt);
  End(attempt, OUTCOME_CLASS_REFUSED, "answer", 0);
  EXPECT_EQ(book_.Progress("c").tags_refused, 1);
  EXPECT_FALSE(NextTag().has_value());
}

TEST_F(CommandBookTest, ACallWithoutAnswerHoldsItsPairUntilItCannotActAnyMore) {
  Wish("wm1", {"a"}, {});
  const auto call = NextTag();
  const Attempt attempt = AttemptOf(*call);
  book_.OnAttempt(attempt);
  End(attempt, OUTCOME_CLASS_NOT_EXECUTED, "no_answer", now_.raw_ns + 5 * kSecond);
  Wish("wm1", {}, {"a"});
  EXPECT_FALSE(NextTag().has_value());
  EXPECT_EQ(book_.HeadOf(kTags, now_)->not_before_raw_ns, now_.raw_ns + 5 * kSecond);
  now_.raw_ns += 5 * kSecond;
  EXPECT_TRUE(NextTag().has_value());
}

TEST_F(CommandBookTest, AVoidBatchPutsItsCallsBack) {
  Wish("wm1", {"a"}, {});
  ASSERT_TRUE(NextTag().has_value());
  book_.Rebuild(/*raw_restarted=*/false);
  const auto again = NextTag();
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again->attempt, 1u);
}

TEST_F(CommandBookTest, CorpsHaveQueuesOfTheirOwn) {
  Wish("wm1", {"a"}, {});
  Command other;
  other.set_corp("d");
  other.set_member("m");
  other.set_customer("wm1");
  other.mutable_mark_tag()->add_add("a");
  book_.Fold(position_++, other);
  FlowName tags_of_d = kTags;
  tags_of_d.corp = "d";
  EXPECT_EQ(changed_, (std::vector<FlowName>{kTags, tags_of_d}));
  const auto call = book_.Take(tags_of_d, now_);
  ASSERT_TRUE(call.has_value());
  EXPECT_EQ(call->corp, "d");
  EXPECT_FALSE(book_.Take(tags_of_d, now_).has_value());
  EXPECT_FALSE(book_.HeadOf(tags_of_d, now_).has_value());
  EXPECT_TRUE(book_.HeadOf(kTags, now_).has_value());
}

TEST_F(CommandBookTest, ToldIsWhatMayHaveChangedTheFirstCall) {
  WishWelcome(20 * kSecond);
  EXPECT_EQ(std::exchange(changed_, {}), std::vector<FlowName>{kWelcomes});
  EXPECT_EQ(book_.HeadOf(kWelcomes, now_)->deadline_ns, 20 * kSecond);
  const auto call = NextWelcome();
  book_.OnAttempt(AttemptOf(*call));
  EXPECT_TRUE(changed_.empty());
  EXPECT_FALSE(book_.HeadOf(kWelcomes, now_).has_value());
  End(AttemptOf(*call), OUTCOME_CLASS_NOT_EXECUTED, "not_written", 0);
  EXPECT_EQ(std::exchange(changed_, {}), std::vector<FlowName>{kWelcomes});
  EXPECT_GT(book_.HeadOf(kWelcomes, now_)->not_before_raw_ns, now_.raw_ns);
  book_.Rebuild(/*raw_restarted=*/false);
  EXPECT_EQ(changed_, std::vector<FlowName>{kWelcomes});
}

TEST_F(CommandBookTest, AWelcomeIsRepeatedAfterSilenceAndRemembersItsDoubt) {
  const uint64_t position = WishWelcome(20 * kSecond);
  const auto first = NextWelcome();
  ASSERT_TRUE(first.has_value());
  book_.OnAttempt(AttemptOf(*first));
  EXPECT_FALSE(book_.WelcomeInDoubt(position));
  End(AttemptOf(*first), OUTCOME_CLASS_NOT_EXECUTED, "no_answer", 0);
  EXPECT_TRUE(book_.WelcomeInDoubt(position));
  now_.raw_ns += kSecond;
  const auto second = NextWelcome();
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(second->call_id, first->call_id);
  EXPECT_EQ(second->attempt, 2u);
  book_.OnAttempt(AttemptOf(*second));
  End(AttemptOf(*second), OUTCOME_CLASS_ACCEPTED, "answer", 0);
  EXPECT_EQ(book_.Progress("c").welcomes_sent, 1);
}

TEST_F(CommandBookTest, AWelcomeThatWaitsForItsNextTryKeepsItsUrgency) {
  WishWelcome(5 * kSecond);
  const auto call = NextWelcome();
  book_.OnAttempt(AttemptOf(*call));
  End(AttemptOf(*call), OUTCOME_CLASS_NOT_EXECUTED, "not_written", 0);
  const auto waiting = book_.HeadOf(kWelcomes, now_);
  EXPECT_GT(waiting->not_before_raw_ns, now_.raw_ns);
  EXPECT_EQ(waiting->deadline_ns, 5 * kSecond);
  WishWelcome(20 * kSecond);
  const auto both = book_.HeadOf(kWelcomes, now_);
  EXPECT_EQ(both->not_before_raw_ns, 0);
  EXPECT_EQ(both->deadline_ns, 5 * kSecond);
}

TEST_F(CommandBookTest, AnExpiredWelcomeIsDroppedNotSent) {
  WishWelcome(20 * kSecond);
  EXPECT_FALSE(book_.NextExpiredWelcome(now_).has_value());
  now_.wall_ns = 20 * kSecond;
  const auto dropped = book_.NextExpiredWelcome(now_);
  ASSERT_TRUE(dropped.has_value());
  book_.OnDropped(*dropped);
  EXPECT_FALSE(NextWelcome().has_value());
  EXPECT_EQ(book_.Progress("c").welcomes_dropped, 1);
}

TEST_F(CommandBookTest, ALostOwnersWelcomeIsInDoubtAndGoesAgain) {
  const uint64_t position = WishWelcome(20 * kSecond);
  const auto call = NextWelcome();
  book_.OnAttempt(AttemptOf(*call));
  book_.OnLostOwner(AttemptOf(*call), now_.raw_ns);
  book_.Rebuild(/*raw_restarted=*/false);
  EXPECT_TRUE(book_.WelcomeInDoubt(position));
  EXPECT_TRUE(NextWelcome().has_value());
}

}  // namespace
}  // namespace tidegate::dispatch
