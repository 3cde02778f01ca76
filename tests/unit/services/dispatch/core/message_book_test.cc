#include "services/dispatch/core/message_book.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace tidegate::dispatch {
namespace {

using ::tidegate::log::v1::Attempt;
using ::tidegate::log::v1::LedgerRecord;
using ::tidegate::log::v1::MESSAGE_CLASS_BULK;
using ::tidegate::log::v1::MESSAGE_CLASS_URGENT;
using ::tidegate::log::v1::MessageBatch;
using ::tidegate::log::v1::MessageClass;
using ::tidegate::log::v1::Outcome;
using ::tidegate::log::v1::OUTCOME_CLASS_ACCEPTED;
using ::tidegate::log::v1::OUTCOME_CLASS_NOT_EXECUTED;
using ::tidegate::log::v1::OutcomeClass;

constexpr int64_t kSecond = kNanosPerSecond;
constexpr int64_t kHour = 3600 * kSecond;

struct Said {
  std::string key;
  std::string customer;
  std::string text = "hello";
  std::string sender = "m1";
  MessageClass message_class = MESSAGE_CLASS_BULK;
  int64_t deadline_ns = 0;
};

class MessageBookTest : public ::testing::Test {
 protected:
  // Folds one batch; its position.
  uint64_t Send(const std::vector<Said>& all) {
    MessageBatch batch;
    batch.set_received_ns(now_.wall_ns);
    for (const Said& said : all) {
      auto* message = batch.add_messages();
      message->set_key(said.key);
      message->set_customer(said.customer);
      message->set_sender(said.sender);
      message->set_message_class(said.message_class);
      message->set_deadline_ns(said.deadline_ns);
      message->set_content(static_cast<uint32_t>(batch.contents_size()));
      auto* content = batch.add_contents();
      content->set_text(said.text);
      content->set_link_url("https://shop.example");
      content->set_link_title("shop");
    }
    book_.Fold(position_, "c", batch);
    all_.emplace_back(position_, batch);
    return position_++;
  }
  void After(int64_t ns) {
    now_.wall_ns += ns;
    now_.raw_ns += ns;
  }
  // Decides and applies until nothing is left to do; what was packed, as customers of each call.
  std::vector<std::vector<std::string>> Settle() {
    std::vector<std::vector<std::string>> packed;
    while (true) {
      quotas_.BeginDecision(now_.wall_ns);
      auto record = book_.NextExpired(&campaigns_, now_);
      if (!record.has_value()) record = book_.NextPacked(&campaigns_, now_);
      if (!record.has_value()) record = book_.NextForgotten(now_);
      if (!record.has_value()) return packed;
      Apply(*record);
      if (!record->has_messages_packed()) continue;
      const auto& call = *campaigns_.FindCall(record->messages_packed().call());
      auto& customers = packed.emplace_back();
      const auto& campaign = *campaigns_.Find(KeyOf(record->messages_packed().call()));
      for (size_t i = 0; i < call.customers.size(); ++i) {
        customers.push_back(campaign.RecipientOf(call, i));
      }
    }
  }
  void Apply(const LedgerRecord& record) {
    quotas_.Advance(now_.wall_ns);
    if (record.has_messages_packed()) book_.OnPacked(record.messages_packed(), &campaigns_);
    if (record.has_commands_dropped()) book_.OnForgotten(record.commands_dropped());
    if (record.has_messages_skipped()) {
      book_.OnSkipped(record.messages_skipped(), &campaigns_, 4, &outbox_);
    }
  }
  std::optional<WantedCall> Take(FlowKind kind, const std::string& campaign) {
    return campaigns_.Take({.kind = kind, .corp = "c", .campaign = campaign}, now_);
  }
  Attempt Begin(const WantedCall& call) {
    Attempt attempt;
    attempt.set_call_id(call.call_id);
    attempt.set_attempt(call.attempt);
    *attempt.mutable_target() = call.target;
    campaigns_.OnAttempt(attempt);
    Follow(attempt);
    return attempt;
  }
  void End(const Attempt& attempt, OutcomeClass outcome_class) {
    Outcome outcome;
    outcome.set_outcome_class(outcome_class);
    outcome.set_msgid("msg");
    outcome.mutable_completed()->set_raw_ns(now_.raw_ns);
    outcome.mutable_completed()->set_wall_ns(now_.wall_ns);
    campaigns_.OnOutcome({.attempt = attempt, .outcome = outcome, .over_raw_ns = now_.raw_ns});
    Follow(attempt);
  }
  void Follow(const Attempt& attempt) {
    const auto& name = attempt.target().campaign_call();
    book_.OnCall(name, *campaigns_.FindCall(name), now_.wall_ns);
  }
  std::optional<LedgerRecord> Cancel(const std::string& key) {
    const auto ref = book_.Find("c", key);
    if (!ref.has_value()) return std::nullopt;
    return book_.DecideCancel(*ref, &campaigns_, now_);
  }
  MessageState StateOf(const std::string& key) {
    const auto ref = book_.Find("c", key);
    EXPECT_TRUE(ref.has_value()) << key;
    return book_.BatchOf(*ref).touches[ref->index].state;
  }
  std::string Hash() {
    core::StateHash hash;
    book_.AddStateTo(&hash);
    campaigns_.AddStateTo(&hash);
    return hash.Hex();
  }

  wecom_table::Limits limits_ = wecom_table::DefaultLimits();
  CorpLimits corp_limits_{&limits_};
  ReceiveQuotas quotas_{&corp_limits_};
  CampaignBook campaigns_{&limits_, 4, &quotas_, [](FlowName) {}};
  MessageBook book_{&limits_, &quotas_};
  std::vector<std::pair<uint64_t, MessageBatch>> all_;  // that were folded
  uint64_t position_ = 7;
  Now now_{.wall_ns = 1000 * kSecond, .raw_ns = 5 * kSecond, .boot_ns = 5 * kSecond};
  std::vector<core::OutboxRecord> outbox_;
};

TEST_F(MessageBookTest, MessagesOfOneSenderAndContentShareACallAfterTheLinger) {
  Send({{.key = "a", .customer = "wm1"}, {.key = "b", .customer = "wm2"}});
  After(kSecond / 2);
  Send({{.key = "c", .customer = "wm3"}, {.key = "d", .customer = "wm4", .text = "other"}});
  Send({{.key = "e", .customer = "wm5", .sender = "m2"}});
  EXPECT_TRUE(Settle().empty());
  EXPECT_EQ(book_.NextRawNs(now_), now_.raw_ns + kSecond / 2);
  After(kSecond / 2);
  using Calls = std::vector<std::vector<std::string>>;
  EXPECT_EQ(Settle(), (Calls{{"wm1", "wm2", "wm3"}}));
  After(kSecond / 2);
  EXPECT_EQ(Settle(), (Calls{{"wm4"}, {"wm5"}}));
  EXPECT_EQ(StateOf("c"), MessageState::kQueued);
}

TEST_F(MessageBookTest, ACallHoldsTenThousandCustomersAndDoesNotWaitForMore) {
  std::vector<Said> all;
  for (int i = 0; i < 10'003; ++i) {
    all.push_back({.key = absl::StrCat("k", i), .customer = absl::StrCat("wm", i)});
  }
  Send(all);
  const auto packed = Settle();
  ASSERT_EQ(packed.size(), 1u);
  EXPECT_EQ(packed[0].size(), kCustomersPerCall);
  After(kSecond);
  EXPECT_EQ(Settle().size(), 1u) << "the rest after its linger";
}

TEST_F(MessageBookTest, ACustomerIsInACallOnce) {
  Send({{.key = "a", .customer = "wm1"}, {.key = "b", .customer = "wm1"}});
  After(kSecond);
  using Calls = std::vector<std::vector<std::string>>;
  EXPECT_EQ(Settle(), (Calls{{"wm1"}, {"wm1"}}));
}

TEST_F(MessageBookTest, AKeyIsKnownFor24Hours) {
  Send({{.key = "a", .customer = "wm1"}});
  After(kSecond);
  EXPECT_EQ(Settle().size(), 1u);
  After(24 * kHour - 2 * kSecond);
  Send({{.key = "a", .customer = "wm1"}});
  After(2 * kSecond);
  EXPECT_TRUE(Settle().empty()) << "a repeat changes nothing";
  Send({{.key = "a", .customer = "wm1"}});
  After(kSecond);
  EXPECT_EQ(Settle().size(), 1u) << "a new message";
}

TEST_F(MessageBookTest, UrgentMessagesGoByDeadline) {
  Send({{.key = "a",
         .customer = "wm1",
         .text = "later",
         .message_class = MESSAGE_CLASS_URGENT,
         .deadline_ns = now_.wall_ns + 60 * kSecond},
        {.key = "b",
         .customer = "wm2",
         .text = "sooner",
         .message_class = MESSAGE_CLASS_URGENT,
         .deadline_ns = now_.wall_ns + 30 * kSecond}});
  After(20 * kNanosPerMilli);
  EXPECT_EQ(Settle().size(), 2u);
  const auto call = Take(FlowKind::kUrgentMessage, "@urgent");
  ASSERT_TRUE(call.has_value());
  EXPECT_NE(call->body.find("sooner"), std::string::npos);
}

TEST_F(MessageBookTest, NoAttemptBeginsAfterTheDeadline) {
  const int64_t deadline = now_.wall_ns + 10 * kSecond;
  Send({{.key = "a", .customer = "wm1", .deadline_ns = deadline}, {.key = "b", .customer = "wm2"}});
  After(kSecond);
  EXPECT_EQ(Settle().size(), 1u);
  After(9 * kSecond);
  // Decided, and not applied yet: the call must not leave with the customer in it.
  const auto record = book_.NextExpired(&campaigns_, now_);
  ASSERT_TRUE(record.has_value());
  EXPECT_FALSE(Take(FlowKind::kBulkMessage, "@bulk").has_value());
  Apply(*record);
  EXPECT_EQ(StateOf("a"), MessageState::kExpired);
  const auto call = Take(FlowKind::kBulkMessage, "@bulk");
  ASSERT_TRUE(call.has_value());
  EXPECT_EQ(call->body.find("wm1"), std::string::npos);
  EXPECT_NE(call->body.find("wm2"), std::string::npos);
}

TEST_F(MessageBookTest, AnAttemptThatDidNotHappenIsNotRepeatedAfterTheDeadline) {
  Send({{.key = "a", .customer = "wm1", .deadline_ns = now_.wall_ns + 10 * kSecond}});
  After(kSecond);
  EXPECT_EQ(Settle().size(), 1u);
  const Attempt attempt = Begin(*Take(FlowKind::kBulkMessage, "@bulk"));
  After(10 * kSecond);
  EXPECT_TRUE(Settle().empty()) << "it is under way";
  EXPECT_EQ(StateOf("a"), MessageState::kSending);
  End(attempt, OUTCOME_CLASS_NOT_EXECUTED);
  After(60 * kSecond);
  Settle();
  EXPECT_EQ(StateOf("a"), MessageState::kExpired);
  EXPECT_FALSE(Take(FlowKind::kBulkMessage, "@bulk").has_value());
  ASSERT_TRUE(campaigns_.NextResult().has_value()) << "its end is told to others";
}

TEST_F(MessageBookTest, CancelsWhatWasNotAttempted) {
  Send({{.key = "a", .customer = "wm1"}, {.key = "b", .customer = "wm2"}});
  auto record = Cancel("a");
  ASSERT_TRUE(record.has_value());
  EXPECT_FALSE(Cancel("a").has_value()) << "decided already";
  Apply(*record);
  EXPECT_EQ(StateOf("a"), MessageState::kCancelled);
  ASSERT_EQ(outbox_.size(), 1u);
  After(kSecond);
  using Calls = std::vector<std::vector<std::string>>;
  EXPECT_EQ(Settle(), (Calls{{"wm2"}}));
  record = Cancel("b");
  ASSERT_TRUE(record.has_value());
  Apply(*record);
  EXPECT_FALSE(Take(FlowKind::kBulkMessage, "@bulk").has_value()) << "nobody is left in it";
  EXPECT_EQ(book_.open(), 0u);
  EXPECT_FALSE(Cancel("b").has_value());
  EXPECT_FALSE(Cancel("unknown").has_value());
}

TEST_F(MessageBookTest, NothingIsCancelledOnceItsCallHasBegun) {
  Send({{.key = "a", .customer = "wm1"}});
  After(kSecond);
  Settle();
  const auto call = Take(FlowKind::kBulkMessage, "@bulk");
  EXPECT_FALSE(Cancel("a").has_value()) << "decided";
  End(Begin(*call), OUTCOME_CLASS_ACCEPTED);
  EXPECT_EQ(StateOf("a"), MessageState::kAccepted);
  EXPECT_FALSE(Cancel("a").has_value());
}

TEST_F(MessageBookTest, EveryChangeIsKeptInOrder) {
  Send({{.key = "a", .customer = "wm1"}, {.key = "b", .customer = "wm2"}});
  After(kSecond);
  Settle();
  End(Begin(*Take(FlowKind::kBulkMessage, "@bulk")), OUTCOME_CLASS_ACCEPTED);
  std::vector<std::pair<uint64_t, MessageState>> seen;
  for (const auto& change : book_.changes()) {
    EXPECT_EQ(change.touches.size(), 2u);
    seen.emplace_back(change.first_number, change.state);
  }
  EXPECT_EQ(seen, (std::vector<std::pair<uint64_t, MessageState>>{{1, MessageState::kQueued},
                                                                  {3, MessageState::kSending},
                                                                  {5, MessageState::kAccepted}}));
  EXPECT_EQ(book_.last_change(), 6u);
}

TEST_F(MessageBookTest, WhatEndedIsForgottenAfterADay) {
  Send({{.key = "a", .customer = "wm1"}});
  Apply(*Cancel("a"));
  Send({{.key = "b", .customer = "wm2"}});
  After(25 * kHour - 1);
  Settle();
  EXPECT_TRUE(book_.Find("c", "a").has_value());
  After(1);
  Settle();
  EXPECT_FALSE(book_.Find("c", "a").has_value());
  EXPECT_TRUE(book_.Find("c", "b").has_value()) << "without an end it stays";
}

TEST_F(MessageBookTest, WhatEndedIsForgottenWhateverStandsBeforeIt) {
  Send({{.key = "open", .customer = "wm1"}});
  Send({{.key = "a", .customer = "wm2"}});
  Apply(*Cancel("a"));
  After(25 * kHour);
  Settle();
  EXPECT_FALSE(book_.Find("c", "a").has_value());
  EXPECT_EQ(StateOf("open"), MessageState::kQueued);
  EXPECT_EQ(book_.batches().size(), 1u);
}

TEST_F(MessageBookTest, ADeadlineMayComeAfterItsMessageWasForgotten) {
  Send({{.key = "a", .customer = "wm1", .deadline_ns = now_.wall_ns + 72 * kHour}});
  Apply(*Cancel("a"));
  After(25 * kHour);
  Settle();
  EXPECT_TRUE(book_.batches().empty());
  After(72 * kHour);
  EXPECT_TRUE(Settle().empty());
  EXPECT_FALSE(book_.NextRawNs(now_).has_value());
}

// Stamped as of now, the new one would count as a repeat of the forgotten one at the next start.
TEST_F(MessageBookTest, AClockThatGoesBackMakesNoRepeatOfAForgottenMessage) {
  Send({{.key = "a", .customer = "wm1"}});
  const int64_t received_ns = now_.wall_ns;
  Apply(*Cancel("a"));
  After(25 * kHour);
  Settle();
  EXPECT_FALSE(book_.Find("c", "a").has_value());
  EXPECT_EQ(book_.keys_forgotten_until_ns(), received_ns + 24 * kHour);
  now_.wall_ns = book_.keys_forgotten_until_ns();
  Send({{.key = "a", .customer = "wm1"}});
  now_.wall_ns = received_ns;
  EXPECT_EQ(StateOf("a"), MessageState::kWaiting);
  EXPECT_EQ(Settle().size(), 1u) << "it does not wait for a time that was a day ahead";
}

TEST_F(MessageBookTest, OneRecordForgetsSoManyMessagesAndTheNextTheRest) {
  constexpr int kBatches = 30;
  for (int batch = 0; batch < kBatches; ++batch) {
    std::vector<Said> all;
    for (int i = 0; i < 1'000; ++i) {
      all.push_back({.key = absl::StrCat(batch, "/", i), .customer = absl::StrCat("wm", i)});
    }
    Send(all);
    for (const Said& said : all) Apply(*Cancel(said.key));
  }
  After(25 * kHour);
  int records = 0;
  while (const auto record = book_.NextForgotten(now_)) {
    EXPECT_EQ(record->commands_dropped().positions_size(), 10);
    EXPECT_FALSE(book_.NextForgotten(now_).has_value()) << "it is not applied yet";
    Apply(*record);
    ++records;
  }
  EXPECT_EQ(records, 3);
  EXPECT_TRUE(book_.batches().empty());
}

// As a ledger has it that names them by the end of their row.
TEST_F(MessageBookTest, ARowOfBatchesIsForgottenUpToItsEnd) {
  for (const char* key : {"a", "b", "c"}) {
    Send({{.key = key, .customer = "wm1"}});
    Apply(*Cancel(key));
  }
  ::tidegate::log::v1::MessagesForgotten forgotten;
  forgotten.set_before_position(position_ - 1);
  book_.OnForgotten(forgotten);
  EXPECT_FALSE(book_.Find("c", "b").has_value());
  EXPECT_TRUE(book_.Find("c", "c").has_value());
  EXPECT_EQ(book_.batches().size(), 1u);
}

// Of a call whose other touches go on: results of members are read for weeks.
TEST_F(MessageBookTest, ACallGoesOnThoughSomeOfItsMessagesWereForgotten) {
  Send({{.key = "a", .customer = "wm1", .deadline_ns = now_.wall_ns + 5 * kSecond}});
  Send({{.key = "b", .customer = "wm2"}});
  After(kSecond);
  EXPECT_EQ(Settle().size(), 1u);
  After(5 * kSecond);
  Settle();
  EXPECT_EQ(StateOf("a"), MessageState::kExpired);
  const Attempt attempt = Begin(*Take(FlowKind::kBulkMessage, "@bulk"));
  After(26 * kHour);
  Settle();
  EXPECT_FALSE(book_.Find("c", "a").has_value());
  End(attempt, OUTCOME_CLASS_ACCEPTED);
  EXPECT_EQ(StateOf("b"), MessageState::kAccepted);
  // Whoever reads the changes must ask which touches are still known.
  size_t known = 0, forgotten = 0;
  for (const auto& change : book_.changes()) {
    for (const auto& ref : change.touches) ++(book_.Knows(ref) ? known : forgotten);
  }
  EXPECT_EQ(known, 3u);
  EXPECT_EQ(forgotten, 2u);
}

TEST_F(MessageBookTest, ManyMessagesToOneCustomerArePackedCallByCall) {
  limits_.receive_quota = wecom_table::ReceiveQuota::kNone;
  std::vector<Said> all;
  for (int i = 0; i < 3000; ++i) all.push_back({.key = absl::StrCat("k", i), .customer = "wm1"});
  all.push_back({.key = "other", .customer = "wm2"});
  Send(all);
  After(kSecond);
  const auto packed = Settle();
  size_t customers = 0;
  for (const auto& call : packed) customers += call.size();
  EXPECT_EQ(customers, all.size());
  EXPECT_EQ(packed.size(), 3000u);
}

TEST_F(MessageBookTest, AMessageBeyondItsCustomersQuotaIsSkippedWhenItIsPacked) {
  limits_.receive_quota = wecom_table::ReceiveQuota::kOnePerDay;
  Send({{.key = "a", .customer = "wm1"},
        {.key = "b", .customer = "wm1"},
        {.key = "c", .customer = "wm1", .text = "other"},
        {.key = "d", .customer = "wm2"}});
  After(kSecond);
  EXPECT_EQ(Settle(), (std::vector<std::vector<std::string>>{{"wm1", "wm2"}}));
  EXPECT_EQ(StateOf("a"), MessageState::kQueued);
  EXPECT_EQ(StateOf("b"), MessageState::kSkippedOverQuota);
  EXPECT_EQ(StateOf("c"), MessageState::kSkippedOverQuota);
  EXPECT_EQ(outbox_.size(), 2u);
  // What was reserved for the first is free again.
  Apply(Cancel("a").value());
  quotas_.EndBatch();
  After(kSecond);
  Send({{.key = "e", .customer = "wm1"}});
  After(kSecond);
  EXPECT_EQ(Settle(), (std::vector<std::vector<std::string>>{{"wm1"}}));
}

TEST_F(MessageBookTest, AVoidBatchForgetsWhoWasOverQuota) {
  limits_.receive_quota = wecom_table::ReceiveQuota::kOnePerDay;
  Send({{.key = "a", .customer = "wm1"}, {.key = "b", .customer = "wm1"}});
  After(kSecond);
  ASSERT_TRUE(book_.NextPacked(&campaigns_, now_).has_value());
  ASSERT_TRUE(book_.NextPacked(&campaigns_, now_)->has_messages_skipped());
  quotas_.EndBatch();
  book_.Rebuild();
  EXPECT_EQ(Settle(), (std::vector<std::vector<std::string>>{{"wm1"}}));
  EXPECT_EQ(StateOf("b"), MessageState::kSkippedOverQuota);
}

TEST_F(MessageBookTest, AMessageDoesNotWaitItsDeadlineAway) {
  Send({{.key = "a", .customer = "wm1", .deadline_ns = now_.wall_ns + kSecond / 2}});
  After(kSecond / 4);
  EXPECT_EQ(Settle().size(), 1u);
  EXPECT_TRUE(Take(FlowKind::kBulkMessage, "@bulk").has_value());
}

// What was decided in a batch that is void was never decided.
TEST_F(MessageBookTest, AVoidBatchLeavesNoTrace) {
  Send({{.key = "a", .customer = "wm1"}, {.key = "b", .customer = "wm2"}});
  After(kSecond);
  const std::string before = Hash();
  ASSERT_TRUE(Cancel("a").has_value());
  ASSERT_TRUE(book_.NextPacked(&campaigns_, now_).has_value());
  campaigns_.Rebuild(false, now_.raw_ns, now_.raw_ns);
  book_.Rebuild();
  EXPECT_EQ(Hash(), before);
  using Calls = std::vector<std::vector<std::string>>;
  EXPECT_EQ(Settle(), (Calls{{"wm1", "wm2"}}));
}

// A replay folds all messages before the first record of the journal.
TEST_F(MessageBookTest, AReplayThatFoldsEverythingFirstGivesTheSame) {
  std::vector<LedgerRecord> journal;
  const auto step = [&](std::optional<LedgerRecord> record) {
    if (!record.has_value()) return false;
    Apply(*record);
    journal.push_back(*std::move(record));
    return true;
  };
  const auto settle = [&] {
    while (step(book_.NextExpired(&campaigns_, now_)) ||
           step(book_.NextPacked(&campaigns_, now_)) || step(book_.NextForgotten(now_))) {
    }
  };
  for (int day = 0; day < 3; ++day) {
    Send({{.key = "a", .customer = "wm1", .deadline_ns = now_.wall_ns + 5 * kSecond},
          {.key = "b", .customer = "wm2"}});
    Send({{.key = "a", .customer = "wm9"}, {.key = "c", .customer = "wm3"}});
    After(kSecond);
    settle();
    for (const char* key : {"b", "c"}) step(Cancel(key));
    After(25 * kHour);
    settle();
  }
  EXPECT_GT(journal.size(), 12u);
  const std::string live = Hash();
  ReceiveQuotas quotas(&corp_limits_);
  MessageBook book(&limits_, &quotas);
  CampaignBook calls(&limits_, 4, &quotas, [](FlowName) {});
  for (const auto& [position, batch] : all_) book.Fold(position, "c", batch);
  std::vector<core::OutboxRecord> outbox;
  for (const LedgerRecord& record : journal) {
    if (record.has_messages_packed()) book.OnPacked(record.messages_packed(), &calls);
    if (record.has_messages_skipped()) {
      book.OnSkipped(record.messages_skipped(), &calls, 4, &outbox);
    }
    if (record.has_commands_dropped()) book.OnForgotten(record.commands_dropped());
  }
  core::StateHash hash;
  book.AddStateTo(&hash);
  calls.AddStateTo(&hash);
  EXPECT_EQ(hash.Hex(), live);
}

}  // namespace
}  // namespace tidegate::dispatch
