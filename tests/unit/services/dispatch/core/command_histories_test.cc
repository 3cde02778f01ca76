#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/seeded_random.h"
#include "services/dispatch/core/command_book.h"

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
constexpr int64_t kHoldNs = 30 * kSecond;
const FlowName kTags{.kind = FlowKind::kMarkTag, .corp = "c", .campaign = ""};

Attempt AttemptOf(const WantedCall& call) {
  Attempt attempt;
  attempt.set_call_id(call.call_id);
  attempt.set_attempt(call.attempt);
  attempt.set_api(call.api);
  *attempt.mutable_target() = call.target;
  return attempt;
}

Command TagCommand(const std::string& corp, const std::string& customer,
                   const std::vector<std::string>& add, const std::vector<std::string>& remove) {
  Command command;
  command.set_corp(corp);
  command.set_member("m");
  command.set_customer(customer);
  command.mutable_mark_tag();
  for (const auto& tag : add) command.mutable_mark_tag()->add_add(tag);
  for (const auto& tag : remove) command.mutable_mark_tag()->add_remove(tag);
  return command;
}

Command WelcomeCommand(const std::string& corp, int64_t expires_ns) {
  Command command;
  command.set_corp(corp);
  command.set_member("m");
  command.set_customer("wm1");
  command.mutable_welcome()->set_welcome_code("code");
  command.mutable_welcome()->set_text("hello");
  command.mutable_welcome()->set_expires_ns(expires_ns);
  return command;
}

class CommandHistoriesTest : public ::testing::Test {
 protected:
  Attempt Send(const WantedCall& call) {
    Attempt attempt = AttemptOf(call);
    book_.OnAttempt(attempt);
    return attempt;
  }
  void End(const Attempt& attempt, OutcomeClass outcome_class, const char* why = "answer",
           int errcode = 0) {
    Outcome outcome;
    outcome.set_outcome_class(outcome_class);
    outcome.set_why(why);
    outcome.set_errcode(errcode);
    outcome.set_bytes_written(std::string(why) != "not_written");
    outcome.mutable_completed()->set_raw_ns(now_.raw_ns);
    book_.OnOutcome({.attempt = attempt,
                     .outcome = outcome,
                     .over_raw_ns = now_.raw_ns + (std::string(why) == "no_answer" ? kHoldNs : 0)});
  }

  std::optional<WantedCall> NextTag(const std::string& corp = "c") {
    return book_.Take({.kind = FlowKind::kMarkTag, .corp = corp, .campaign = ""}, now_);
  }
  std::optional<WantedCall> NextWelcome() {
    return book_.Take({.kind = FlowKind::kWelcome, .corp = "c", .campaign = ""}, now_);
  }

  CommandBook book_;
  Now now_{.wall_ns = kSecond, .raw_ns = 100 * kSecond, .boot_ns = kSecond};
};

TEST_F(CommandHistoriesTest, TheNewestWishOfATagWins) {
  book_.Fold(0, TagCommand("c", "wm1", {"a"}, {}));
  book_.Fold(1, TagCommand("c", "wm1", {}, {"a"}));
  book_.Fold(2, TagCommand("c", "wm1", {"a"}, {"b"}));
  const auto call = NextTag();
  ASSERT_TRUE(call.has_value());
  EXPECT_EQ(call->body,
            R"({"userid":"m","external_userid":"wm1","add_tag":["a"],"remove_tag":["b"]})");
  End(Send(*call), OUTCOME_CLASS_ACCEPTED);
  EXPECT_EQ(book_.open(), 0u);
  EXPECT_EQ(book_.Progress("c").tags_wanted, 2);
  EXPECT_EQ(book_.Progress("c").tags_written, 2);
}

TEST_F(CommandHistoriesTest, WishesThatJoinAfterAFailureMakeAnotherCall) {
  book_.Fold(0, TagCommand("c", "wm1", {"a"}, {}));
  const auto first = NextTag();
  ASSERT_TRUE(first.has_value());
  End(Send(*first), OUTCOME_CLASS_NOT_EXECUTED, "answer", 45033);
  now_.raw_ns += 60 * kSecond;
  const auto second = NextTag();
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(second->call_id, first->call_id);
  EXPECT_EQ(second->attempt, 2u);
  book_.Fold(1, TagCommand("c", "wm1", {"b"}, {}));
  End(Send(*second), OUTCOME_CLASS_NOT_EXECUTED, "answer", 45033);
  now_.raw_ns += 60 * kSecond;
  const auto third = NextTag();
  ASSERT_TRUE(third.has_value());
  EXPECT_NE(third->call_id, first->call_id);
  EXPECT_EQ(third->attempt, 1u);
  EXPECT_EQ(third->target.mark_tag().positions_size(), 2);
}

TEST_F(CommandHistoriesTest, FailuresThatPassAreRetriedAtGrowingDistances) {
  book_.Fold(0, TagCommand("c", "wm1", {"a"}, {}));
  int64_t before = 0;
  for (int attempt = 1; attempt <= 14; ++attempt) {
    const auto call = NextTag();
    ASSERT_TRUE(call.has_value()) << attempt;
    ASSERT_EQ(call->attempt, static_cast<uint32_t>(attempt));
    End(Send(*call), OUTCOME_CLASS_NOT_EXECUTED, "answer", 45033);
    ASSERT_FALSE(NextTag().has_value()) << attempt;
    const auto head = book_.HeadOf(kTags, now_);
    ASSERT_TRUE(head.has_value()) << attempt;
    const int64_t next = head->not_before_raw_ns;
    const int64_t distance = next - now_.raw_ns;
    EXPECT_GE(distance, before) << attempt;
    EXPECT_LE(distance, 30 * kSecond) << attempt;
    before = distance;
    now_.raw_ns = next - 1;
    EXPECT_FALSE(NextTag().has_value()) << attempt;
    now_.raw_ns = next;
  }
  EXPECT_EQ(before, 30 * kSecond);
}

TEST_F(CommandHistoriesTest, ARefusalEndsOnlyWhatItsCallCarried) {
  book_.Fold(0, TagCommand("c", "wm1", {"a", "b"}, {}));
  const auto call = NextTag();
  ASSERT_TRUE(call.has_value());
  const Attempt attempt = Send(*call);
  book_.Fold(1, TagCommand("c", "wm1", {}, {"a"}));
  End(attempt, OUTCOME_CLASS_REFUSED, "answer", 84061);
  EXPECT_EQ(book_.Progress("c").tags_refused, 1);
  const auto next = NextTag();
  ASSERT_TRUE(next.has_value());
  EXPECT_EQ(next->body, R"({"userid":"m","external_userid":"wm1","remove_tag":["a"]})");
}

TEST_F(CommandHistoriesTest, ADoubtBlocksItsPairAndNoOther) {
  book_.Fold(0, TagCommand("c", "wm1", {"a"}, {}));
  const auto call = NextTag();
  ASSERT_TRUE(call.has_value());
  End(Send(*call), OUTCOME_CLASS_NOT_EXECUTED, "no_answer");
  book_.Fold(1, TagCommand("c", "wm1", {}, {"a"}));
  book_.Fold(2, TagCommand("c", "wm2", {"a"}, {}));
  const auto other = NextTag();
  ASSERT_TRUE(other.has_value());
  EXPECT_EQ(other->target.mark_tag().positions(0), 2u);
  now_.raw_ns += kHoldNs - 1;
  EXPECT_FALSE(NextTag().has_value());
  now_.raw_ns += 1;
  EXPECT_TRUE(NextTag().has_value());
}

TEST_F(CommandHistoriesTest, ALostCallBlocksItsPairUntilItsBound) {
  for (const bool reboot : {false, true}) {
    SCOPED_TRACE(reboot ? "reboot" : "same boot");
    CommandBook book;
    book.Fold(0, TagCommand("c", "wm1", {"a"}, {}));
    const auto call = book.Take(kTags, now_);
    ASSERT_TRUE(call.has_value());
    const Attempt attempt = AttemptOf(*call);
    book.OnAttempt(attempt);
    book.Fold(1, TagCommand("c", "wm1", {}, {"a"}));
    // The raw clock begins anew with another boot.
    Now now = now_;
    if (reboot) now.raw_ns = 3 * kSecond;
    book.OnLostOwner(attempt, now.raw_ns + kHoldNs);
    book.Rebuild(reboot, now.raw_ns + kHoldNs);
    EXPECT_FALSE(book.Take(kTags, now).has_value());
    EXPECT_EQ(book.HeadOf(kTags, now)->not_before_raw_ns, now.raw_ns + kHoldNs);
    now.raw_ns += kHoldNs;
    EXPECT_TRUE(book.Take(kTags, now).has_value());
  }
}

TEST_F(CommandHistoriesTest, ADoubtOfBeforeAnotherBootIsHeldOnceMore) {
  book_.Fold(0, TagCommand("c", "wm1", {"a"}, {}));
  const auto call = NextTag();
  ASSERT_TRUE(call.has_value());
  End(Send(*call), OUTCOME_CLASS_NOT_EXECUTED, "no_answer");
  book_.Fold(1, TagCommand("c", "wm1", {}, {"a"}));
  book_.Fold(2, TagCommand("c", "wm2", {"a"}, {}));
  now_.raw_ns = 3 * kSecond;
  book_.Rebuild(/*raw_restarted=*/true, now_.raw_ns + kHoldNs);
  const auto other = NextTag();
  ASSERT_TRUE(other.has_value());
  EXPECT_EQ(other->target.mark_tag().positions(0), 2u);
  EXPECT_FALSE(NextTag().has_value());
  now_.raw_ns += kHoldNs;
  EXPECT_TRUE(NextTag().has_value());
}

TEST_F(CommandHistoriesTest, AWelcomeIsInDoubtUnlessWeComSaidThatItDidNothing) {
  struct Row {
    const char* why;
    int errcode;
    bool in_doubt;
  };
  for (const Row& row : std::vector<Row>{
           {"not_written", 0, false},      // no byte left
           {"not_written", 40001, false},  // no token
           {"no_answer", 0, true},
           {"bad_answer", 0, true},  // a gateway's page: whoever stands behind it may have acted
           {"answer", 0, true},      // readable, but its HTTP status was not 200
           {"answer", -1, true},
           {"answer", 45009, false},
           {"answer", 45033, false},
           {"answer", 42001, false},
           {"answer", 41096, false},
       }) {
    SCOPED_TRACE(absl::StrCat(row.why, " ", row.errcode));
    book_ = CommandBook();
    book_.Fold(7, WelcomeCommand("c", 20 * kSecond));
    const auto call = NextWelcome();
    ASSERT_TRUE(call.has_value());
    End(Send(*call), OUTCOME_CLASS_NOT_EXECUTED, row.why, row.errcode);
    EXPECT_EQ(book_.WelcomeInDoubt(7), row.in_doubt);
    // Not at once, but within a second, and nothing takes the doubt away again.
    EXPECT_FALSE(NextWelcome().has_value());
    now_.raw_ns += kSecond;
    const auto again = NextWelcome();
    ASSERT_TRUE(again.has_value());
    EXPECT_EQ(again->body, call->body);
    End(Send(*again), OUTCOME_CLASS_NOT_EXECUTED, "answer", 45033);
    EXPECT_EQ(book_.WelcomeInDoubt(7), row.in_doubt);
  }
  EXPECT_FALSE(book_.WelcomeInDoubt(8));
}

TEST_F(CommandHistoriesTest, TheWelcomeThatExpiresFirstGoesFirst) {
  book_.Fold(0, WelcomeCommand("c", 30 * kSecond));
  book_.Fold(1, WelcomeCommand("c", 20 * kSecond));
  book_.Fold(2, WelcomeCommand("c", 25 * kSecond));
  std::vector<uint64_t> order;
  while (const auto call = NextWelcome()) {
    EXPECT_EQ(call->corp, call->target.welcome().corp());
    order.push_back(call->target.welcome().positions(0));
  }
  EXPECT_EQ(order, (std::vector<uint64_t>{1, 2, 0}));
}

TEST_F(CommandHistoriesTest, AWelcomeUnderWayIsNotDroppedBeforeItsEnd) {
  book_.Fold(0, WelcomeCommand("c", 20 * kSecond));
  const auto call = NextWelcome();
  ASSERT_TRUE(call.has_value());
  const Attempt attempt = Send(*call);
  now_.wall_ns = 20 * kSecond;
  EXPECT_FALSE(book_.NextExpiredWelcome(now_).has_value());
  End(attempt, OUTCOME_CLASS_NOT_EXECUTED, "no_answer");
  const auto dropped = book_.NextExpiredWelcome(now_);
  ASSERT_TRUE(dropped.has_value());
  EXPECT_EQ(dropped->corp(), "c");
  EXPECT_EQ(dropped->reason(), "expired");
  ASSERT_EQ(dropped->positions_size(), 1);
  EXPECT_EQ(dropped->positions(0), 0u);
  EXPECT_FALSE(book_.NextExpiredWelcome(now_).has_value());  // decided in this batch
  book_.Rebuild(/*raw_restarted=*/false);                    // which was void
  ASSERT_TRUE(book_.NextExpiredWelcome(now_).has_value());
  book_.OnDropped(*dropped);
  EXPECT_EQ(book_.open(), 0u);
  EXPECT_EQ(book_.Progress("c").welcomes_dropped, 1);
}

TEST_F(CommandHistoriesTest, ProgressCountsEachCorpByItself) {
  book_.Fold(0, TagCommand("c", "wm1", {"a", "b"}, {"x"}));
  book_.Fold(1, TagCommand("d", "wm1", {"a"}, {}));
  book_.Fold(2, WelcomeCommand("c", 20 * kSecond));
  book_.Fold(3, WelcomeCommand("c", 21 * kSecond));
  EXPECT_EQ(book_.open(), 4u);
  for (const char* corp : {"c", "d"}) {
    const auto call = NextTag(corp);
    ASSERT_TRUE(call.has_value());
    End(Send(*call), call->corp == "c" ? OUTCOME_CLASS_ACCEPTED : OUTCOME_CLASS_REFUSED);
  }
  const auto welcome = NextWelcome();
  ASSERT_TRUE(welcome.has_value());
  End(Send(*welcome), OUTCOME_CLASS_ACCEPTED);
  const WriteBack c = book_.Progress("c");
  EXPECT_EQ(c.tags_wanted, 3);
  EXPECT_EQ(c.tags_written, 3);
  EXPECT_EQ(c.tags_refused, 0);
  EXPECT_EQ(c.welcomes_requested, 2);
  EXPECT_EQ(c.welcomes_sent, 1);
  EXPECT_EQ(c.welcomes_dropped, 0);
  const WriteBack d = book_.Progress("d");
  EXPECT_EQ(d.tags_wanted, 1);
  EXPECT_EQ(d.tags_written, 0);
  EXPECT_EQ(d.tags_refused, 1);
  EXPECT_EQ(d.welcomes_requested, 0);
  EXPECT_EQ(book_.Progress("e").tags_wanted, 0);
}

// A WeCom that may act on a call without an answer at any moment up to its bound, owners that are
// lost, batches that are void, reboots: in the end it holds what was wished last.
TEST(CommandHistoriesModelTest, WeComEndsWithTheNewestWishes) {
  struct OpenCall {
    Attempt attempt;
    std::string body;
  };
  for (uint64_t seed = 1; seed <= 400; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    SeededRandom random(seed);
    const auto below = [&](int64_t bound) {
      return static_cast<int64_t>(random.Below(static_cast<uint64_t>(bound)));
    };
    CommandBook book;
    std::map<std::string, std::map<std::string, bool>> wished;  // customer, tag
    std::map<std::string, std::map<std::string, bool>> wecom;
    std::multimap<int64_t, std::string> late;  // true time, body
    std::vector<OpenCall> open;
    int64_t true_now = 1000 * kSecond;
    int64_t raw_zero = 0;
    uint64_t position = 0;
    const auto act = [&](const std::string& text) {
      const auto body = boost::json::parse(text).as_object();
      auto& tags = wecom[std::string(body.at("external_userid").as_string())];
      for (const auto& [key, on] : {std::pair("add_tag", true), std::pair("remove_tag", false)}) {
        if (!body.contains(key)) continue;
        for (const auto& tag : body.at(key).as_array()) tags[std::string(tag.as_string())] = on;
      }
    };
    const auto now = [&] {
      return Now{.wall_ns = true_now, .raw_ns = true_now - raw_zero, .boot_ns = true_now};
    };
    const auto end = [&](const OpenCall& call, OutcomeClass outcome_class, const char* why) {
      Outcome outcome;
      outcome.set_outcome_class(outcome_class);
      outcome.set_why(why);
      outcome.set_bytes_written(std::string(why) != "not_written");
      outcome.mutable_completed()->set_raw_ns(now().raw_ns);
      const int64_t hold = std::string(why) == "no_answer" ? kHoldNs : 0;
      book.OnOutcome(
          {.attempt = call.attempt, .outcome = outcome, .over_raw_ns = now().raw_ns + hold});
    };
    const auto lose = [&](const OpenCall& call) {
      if (random.Chance(0.6)) late.emplace(true_now + below(kHoldNs), call.body);
    };
    const auto decide = [&](double admitted) {
      if (!random.Chance(admitted)) return false;
      const auto call = book.Take(kTags, now());
      if (!call.has_value()) return false;
      open.push_back({.attempt = AttemptOf(*call), .body = call->body});
      book.OnAttempt(open.back().attempt);
      return true;
    };
    for (int step = 0; step < 400; ++step) {
      true_now += below(4 * kSecond);
      while (!late.empty() && late.begin()->first <= true_now) {
        act(late.begin()->second);
        late.erase(late.begin());
      }
      const int64_t what = below(100);
      if (what < 30) {
        const std::string customer = absl::StrCat("wm", below(3));
        const std::string tag = absl::StrCat("t", below(3));
        const bool add = random.Chance(0.5);
        wished[customer][tag] = add;
        using Tags = std::vector<std::string>;
        book.Fold(position++,
                  TagCommand("c", customer, add ? Tags{tag} : Tags{}, add ? Tags{} : Tags{tag}));
      } else if (what < 65) {
        decide(0.8);
        std::set<std::string> pairs;
        for (const OpenCall& call : open) {
          const auto body = boost::json::parse(call.body).as_object();
          ASSERT_TRUE(pairs.insert(std::string(body.at("external_userid").as_string())).second)
              << "two calls of one pair at once, step " << step;
        }
      } else if (what < 93 && !open.empty()) {
        const size_t i = static_cast<size_t>(random.Below(open.size()));
        const OpenCall call = open[i];
        open.erase(open.begin() + static_cast<int64_t>(i));
        switch (below(4)) {
          case 0:
            act(call.body);
            end(call, OUTCOME_CLASS_ACCEPTED, "answer");
            break;
          case 1:
            end(call, OUTCOME_CLASS_NOT_EXECUTED, "answer");
            break;
          case 2:
            end(call, OUTCOME_CLASS_NOT_EXECUTED, "not_written");
            break;
          default:
            lose(call);
            end(call, OUTCOME_CLASS_NOT_EXECUTED, "no_answer");
        }
      } else if (what >= 93) {
        // A new owner. What the former one decided last is void, what it sent is lost.
        if (random.Chance(0.5)) (void)book.Take(kTags, now());
        const bool reboot = random.Chance(0.4);
        if (reboot) raw_zero = true_now - below(5 * kSecond);
        for (const OpenCall& call : open) {
          lose(call);
          book.OnLostOwner(call.attempt, now().raw_ns + kHoldNs);
        }
        open.clear();
        book.Rebuild(reboot, now().raw_ns + kHoldNs);
      }
    }
    for (int round = 0; round < 100 && (book.open() > 0 || !late.empty()); ++round) {
      for (const OpenCall& call : open) {
        act(call.body);
        end(call, OUTCOME_CLASS_ACCEPTED, "answer");
      }
      open.clear();
      while (decide(1)) {
      }
      // Whoever waits says until when.
      const bool waits = book.open() > 0 && open.empty();
      ASSERT_TRUE(!waits || book.HeadOf(kTags, now()).has_value());
      true_now += open.empty() ? 5 * kSecond : 0;
      while (!late.empty() && late.begin()->first <= true_now) {
        act(late.begin()->second);
        late.erase(late.begin());
      }
    }
    EXPECT_EQ(book.open(), 0u);
    EXPECT_EQ(wecom, wished);
    int64_t tags = 0;
    for (const auto& [customer, wishes] : wished) tags += static_cast<int64_t>(wishes.size());
    EXPECT_EQ(book.Progress("c").tags_wanted, tags);
    EXPECT_EQ(book.Progress("c").tags_written, tags);
  }
}

}  // namespace
}  // namespace tidegate::dispatch
