// Tokens for other programs: what they take from our own calls, and what is left after a kill.
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/core/state_hash.h"
#include "services/dispatch/core/dispatch_core.h"

namespace tidegate::dispatch {
namespace {

using ::tidegate::log::v1::Command;
using ::tidegate::log::v1::Fence;
using ::tidegate::log::v1::LedgerRecord;
using ::tidegate::log::v1::RecordHeader;
using ::tidegate::log::v1::TokensAcquired;

constexpr int64_t kSecond = kNanosPerSecond;
constexpr int64_t kLeaseNs = 60 * kSecond;
constexpr int64_t kWindowNs = 5 * kSecond;
constexpr char kApi[] = "mark_tag";

wecom_table::Limits MakeLimits() {
  wecom_table::Limits limits = wecom_table::DefaultLimits();
  limits.windows = {{.api = kApi, .amount = 60, .window_ns = kWindowNs, .lockout_ns = kWindowNs},
                    {.api = kApi,
                     .scope = wecom_table::Scope::kIp,
                     .amount = 100,
                     .window_ns = kWindowNs,
                     .lockout_ns = kWindowNs}};
  limits.in_flight[kApi] = 50;
  return limits;
}

class DispatchGrantsTest : public ::testing::Test {
 protected:
  DispatchGrantsTest() {
    core_ = MakeCore();
    TakeOver("a");
  }

  struct Entry {
    std::optional<Fence> fence;
    std::string value;  // of a decision
    uint64_t epoch = 0;
  };

  std::unique_ptr<DispatchCore> MakeCore() {
    auto core = std::make_unique<DispatchCore>(
        DispatchOptions{
            .lane = 0, .partitions = 1, .agent_ids = {{"ww1", "1000002"}, {"ww2", "1000003"}}},
        &limits_);
    for (const auto& [record, header] : commands_) {
      core->Fold({log::Topic::kCommands, 0}, record, header);
    }
    return core;
  }
  // A tag that the corp wants to be set.
  void Wish(const std::string& corp) {
    Command command;
    command.set_corp(corp);
    command.set_member("m");
    command.set_customer("wm1");
    command.mutable_mark_tag()->add_add("tag");
    log::StoredRecord record{.offset = commands_.size()};
    record.record.value = command.SerializeAsString();
    RecordHeader header;
    header.mutable_source()->set_journal("tidegate.profiles/0");
    header.mutable_source()->set_out_seq(record.offset + 1);
    commands_.emplace_back(record, header);
    core_->Fold({log::Topic::kCommands, 0}, record, header);
  }
  void TakeOver(const std::string& owner) {
    Fence fence;
    fence.set_owner(owner);
    fence.set_boot_id(boot_id_);
    fence.set_wall_time_ns(now_.wall_ns);
    fence.set_boot_time_ns(now_.boot_ns);
    fence.set_raw_time_ns(now_.raw_ns);
    fence.set_predecessor_dead(true);
    ledger_.push_back({.fence = fence, .value = "", .epoch = ++epoch_});
    core_->ApplyFence(fence, epoch_);
  }
  // The process is killed, and another one replays the ledger.
  void Kill() {
    core_ = Replayed();
    TakeOver("b");
  }
  std::unique_ptr<DispatchCore> Replayed() {
    auto core = MakeCore();
    for (const Entry& entry : ledger_) Apply(core.get(), entry);
    return core;
  }
  void Pass(int64_t ns) {
    now_.wall_ns += ns;
    now_.raw_ns += ns;
    now_.boot_ns += ns;
  }
  static void Apply(DispatchCore* core, const Entry& entry) {
    if (entry.fence.has_value()) return core->ApplyFence(*entry.fence, entry.epoch);
    std::vector<core::OutboxRecord> outbox;
    core->Apply("", entry.value, {.epoch = entry.epoch, .live = true}, &outbox);
  }
  // Journals and applies what was decided; whether anything was.
  bool Commit(const std::optional<core::Decision>& decision) {
    if (decision.has_value()) {
      ledger_.push_back({.fence = std::nullopt, .value = decision->value, .epoch = epoch_});
      Apply(core_.get(), ledger_.back());
    }
    core_->EndBatch();
    return decision.has_value();
  }

  static TokensAcquired Wanted(const std::string& grant, uint32_t calls,
                               const std::string& corp = "ww1") {
    TokensAcquired wanted;
    wanted.set_corp(corp);
    wanted.set_api(kApi);
    wanted.set_grant(grant);
    wanted.set_calls(calls);
    wanted.set_actor("crm");
    wanted.set_lease_ns(kLeaseNs);
    return wanted;
  }
  std::optional<core::Decision> Decide(const TokensAcquired& wanted) {
    AcquireTokens wish;
    wish.wanted = wanted;
    return core_->Decide({.local = &wish}, now_);
  }
  bool Acquire(const std::string& grant, uint32_t calls) {
    return Commit(Decide(Wanted(grant, calls)));
  }
  bool Release(const std::string& grant, uint32_t used, bool rate_limited = false) {
    ReleaseTokens wish;
    wish.wanted.set_corp("ww1");
    wish.wanted.set_grant(grant);
    wish.wanted.set_used(used);
    wish.wanted.set_rate_limited(rate_limited);
    return Commit(core_->Decide({.local = &wish}, now_));
  }
  bool Tick() { return Commit(core_->Decide({}, now_)); }
  // Tokens left in the corp's window.
  int64_t Left(const std::string& corp = "ww1") {
    for (const BucketRow& row : core_->buckets().Rows(corp, now_.raw_ns)) {
      if (row.scope == "corp") return row.tokens;
    }
    return -1;
  }
  std::string Why(uint32_t calls) {
    const auto refusal = core_->RefusalOf(Wanted("asked", calls), now_);
    return refusal.has_value() ? refusal->why : "";
  }
  void ExpectReplayGivesTheSame() {
    const auto replayed = Replayed();
    core::StateHash one;
    core::StateHash other;
    core_->AddStateTo(&one, now_.raw_ns);
    replayed->AddStateTo(&other, now_.raw_ns);
    EXPECT_EQ(one.Hex(), other.Hex());
  }

  const wecom_table::Limits limits_ = MakeLimits();
  std::vector<std::pair<log::StoredRecord, RecordHeader>> commands_;
  std::vector<Entry> ledger_;
  std::unique_ptr<DispatchCore> core_;
  uint64_t epoch_ = 0;
  std::string boot_id_ = "boot";
  Now now_{.wall_ns = 1'790'000'000 * kSecond, .raw_ns = 1000 * kSecond, .boot_ns = 1000 * kSecond};
};

TEST_F(DispatchGrantsTest, TokensAreAllThereOrNone) {
  ASSERT_TRUE(Acquire("a", 30));
  EXPECT_EQ(Left(), 30);
  EXPECT_FALSE(Acquire("b", 31));
  EXPECT_EQ(Left(), 30);
  EXPECT_EQ(Why(31), "mark_tag corp 60/5s");
  EXPECT_TRUE(Acquire("b", 20));
  EXPECT_EQ(Why(1), "mark_tag in flight");
  ExpectReplayGivesTheSame();
}

TEST_F(DispatchGrantsTest, WhatWasUsedReturnsAWindowLaterAndTheRestAtOnce) {
  ASSERT_TRUE(Acquire("a", 30));
  Pass(kSecond);
  ASSERT_TRUE(Release("a", 10));
  EXPECT_EQ(Left(), 50);
  Pass(kWindowNs);
  EXPECT_EQ(Left(), 50);  // a slot later
  Pass(kWindowNs / limits_.slots_per_window);
  EXPECT_EQ(Left(), 60);
  ExpectReplayGivesTheSame();
}

TEST_F(DispatchGrantsTest, ARepeatTakesNothing) {
  ASSERT_TRUE(Acquire("a", 30));
  EXPECT_FALSE(Acquire("a", 30));
  ASSERT_TRUE(Release("a", 0));
  EXPECT_FALSE(Release("a", 30));
  EXPECT_FALSE(Acquire("a", 30));
  EXPECT_EQ(Left(), 60);
}

TEST_F(DispatchGrantsTest, AllOfABatchAreCounted) {
  EXPECT_TRUE(Decide(Wanted("a", 30)).has_value());
  EXPECT_FALSE(Decide(Wanted("a", 30)).has_value());
  EXPECT_FALSE(Decide(Wanted("b", 31)).has_value());
  EXPECT_TRUE(Decide(Wanted("b", 20)).has_value());
  Wish("ww1");
  EXPECT_FALSE(core_->Decide({}, now_).has_value()) << "a call of our own beside them";
  core_->EndBatch();  // void
  EXPECT_TRUE(Decide(Wanted("b", 31)).has_value());
}

TEST_F(DispatchGrantsTest, WhoHasGivenUpGetsNothing) {
  const auto given_up = std::make_shared<bool>(true);
  AcquireTokens wish;
  wish.wanted = Wanted("a", 1);
  wish.given_up = given_up;
  EXPECT_FALSE(core_->Decide({.local = &wish}, now_).has_value());
  *given_up = false;
  EXPECT_TRUE(core_->Decide({.local = &wish}, now_).has_value());
}

TEST_F(DispatchGrantsTest, ABlockAndTheEndOfTheProcessRefuse) {
  OperatorWish wish;
  wish.record.mutable_sending_blocked()->set_corp("ww1");
  wish.record.mutable_sending_blocked()->set_until_ns(now_.wall_ns + kSecond);
  ASSERT_TRUE(Commit(core_->Decide({.local = &wish}, now_)));
  EXPECT_EQ(Why(1), "blocked");
  EXPECT_FALSE(Acquire("a", 1));
  Pass(kSecond);
  EXPECT_TRUE(Acquire("a", 1));
  core_->SetDraining();
  EXPECT_FALSE(Acquire("b", 1));
}

TEST_F(DispatchGrantsTest, ARefusedCallLocksAsOneOfOurOwnAndTheNextGoesAlone) {
  ASSERT_TRUE(Acquire("a", 2));
  ASSERT_TRUE(Release("a", 2, /*rate_limited=*/true));
  EXPECT_EQ(Why(1), "lockout");
  Wish("ww1");
  EXPECT_FALSE(Tick());
  ExpectReplayGivesTheSame();
  Pass(kWindowNs);
  EXPECT_EQ(Why(2), "after a lockout one call goes first: acquire 1");
  ASSERT_TRUE(Acquire("b", 1));
  EXPECT_EQ(Why(1), "canary");
  Pass(kSecond);
  ASSERT_TRUE(Release("b", 1));
  EXPECT_EQ(Why(40), "");
  EXPECT_TRUE(Tick());
}

TEST_F(DispatchGrantsTest, NothingIsDecidedInTheBatchOfARefusedCall) {
  ASSERT_TRUE(Acquire("a", 2));
  Wish("ww1");
  ReleaseTokens wish;
  wish.wanted.set_corp("ww1");
  wish.wanted.set_grant("a");
  wish.wanted.set_used(1);
  wish.wanted.set_rate_limited(true);
  EXPECT_TRUE(core_->Decide({.local = &wish}, now_).has_value());
  EXPECT_FALSE(core_->Decide({}, now_).has_value());
  EXPECT_FALSE(Decide(Wanted("b", 1)).has_value());
}

TEST_F(DispatchGrantsTest, ALeaseThatEndsCountsAsCompletedWhenNothingCanTakeEffectAnyMore) {
  ASSERT_TRUE(Acquire("a", 30));
  const auto& settle = limits_.settle;
  const int64_t over_ns = kLeaseNs + settle.user_timeout_ns + settle.hold_ns + settle.skew_ns;
  Pass(over_ns - 1);
  EXPECT_FALSE(Tick());
  EXPECT_EQ(core_->NextTickRawNs(now_), now_.raw_ns + 1);
  Pass(1);
  EXPECT_FALSE(Release("a", 0)) << "too late";
  ASSERT_TRUE(Tick());
  EXPECT_FALSE(Tick());
  EXPECT_EQ(Left(), 30);
  Pass(kWindowNs + kWindowNs / limits_.slots_per_window);
  EXPECT_EQ(Left(), 60);
  ExpectReplayGivesTheSame();
}

TEST_F(DispatchGrantsTest, AKillKeepsTheGrant) {
  ASSERT_TRUE(Acquire("a", 30));
  Pass(kSecond);
  Kill();
  EXPECT_EQ(Left(), 30);
  EXPECT_FALSE(Acquire("a", 30));
  ASSERT_TRUE(Release("a", 30));
  Pass(kSecond);
  Kill();
  EXPECT_FALSE(Release("a", 0));
  EXPECT_EQ(Left(), 30);
  Pass(kWindowNs);
  EXPECT_EQ(Left(), 60);
  ExpectReplayGivesTheSame();
}

TEST_F(DispatchGrantsTest, ALeaseThatEndedWhileNobodyLookedHoldsNoTokensForLonger) {
  ASSERT_TRUE(Acquire("a", 30));
  Pass(3600 * kSecond);
  Kill();
  ASSERT_TRUE(Tick());
  EXPECT_EQ(Left(), 60);
  ExpectReplayGivesTheSame();
}

TEST_F(DispatchGrantsTest, AfterAnotherBootALeaseBeginsOnceMore) {
  ASSERT_TRUE(Acquire("a", 30));
  boot_id_ = "another";
  now_.raw_ns = now_.boot_ns = 50 * kSecond;
  Kill();
  EXPECT_EQ(Left(), 30);
  Pass(kLeaseNs);
  EXPECT_FALSE(Tick());
  EXPECT_EQ(Left(), 30);
  Pass(40 * kSecond);
  EXPECT_TRUE(Tick());
  ExpectReplayGivesTheSame();
}

TEST_F(DispatchGrantsTest, OneCorpsGrantMakesAnotherWaitForTheAddressUntilItIsReleased) {
  ASSERT_TRUE(Acquire("a", 50));
  Wish("ww2");
  ASSERT_TRUE(Commit(Decide(Wanted("c", 50, "ww3"))));  // a corp with no call of its own
  EXPECT_FALSE(Tick());
  ReleaseTokens wish;
  wish.wanted.set_corp("ww3");
  wish.wanted.set_grant("c");
  ASSERT_TRUE(Commit(core_->Decide({.local = &wish}, now_)));
  EXPECT_TRUE(Tick());
}

TEST_F(DispatchGrantsTest, OpenGrantsHaveABound) {
  for (size_t i = 0; i < TokenGrants::kOpenMax; ++i) {
    TokensAcquired wanted = Wanted(std::to_string(i), 1);
    wanted.set_api("send_welcome_msg");
    wanted.set_lease_ns(kLeaseNs);
    wanted.mutable_stamp()->set_raw_ns(now_.raw_ns);
    wanted.mutable_stamp()->set_wall_ns(now_.wall_ns);
    LedgerRecord record;
    *record.mutable_tokens_acquired() = wanted;
    ASSERT_TRUE(Commit(core::Decision{.key = "", .value = record.SerializeAsString()}));
  }
  EXPECT_EQ(Why(1), "too many grants are open; release some");
  ASSERT_TRUE(Release("7", 1));
  EXPECT_EQ(Why(1), "");
}

}  // namespace
}  // namespace tidegate::dispatch
