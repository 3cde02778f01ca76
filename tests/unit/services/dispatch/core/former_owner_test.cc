// Doubt about a call whose owner may still be running (reliability 3.3, W5; 3.5).
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/core/state_hash.h"
#include "services/dispatch/core/dispatch_core.h"

namespace tidegate::dispatch {
namespace {

using ::tidegate::log::v1::AudienceChunk;
using ::tidegate::log::v1::CAMPAIGN_INTENT_RUN;
using ::tidegate::log::v1::Command;
using ::tidegate::log::v1::Fence;
using ::tidegate::log::v1::LedgerRecord;
using ::tidegate::log::v1::Proposal;
using ::tidegate::log::v1::RecordHeader;
using ::tidegate::log::v1::Settled;
using ::tidegate::log::v1::SETTLEMENT_NOT_EXECUTED;
using ::tidegate::log::v1::SETTLEMENT_PARKED;
using Phase = CampaignCallState::Phase;

constexpr int64_t kSecond = kNanosPerSecond;
constexpr int64_t kParkNs = 30 * 60 * kSecond;
constexpr char kCreate[] = "add_msg_template";
constexpr char kList[] = "get_groupmsg_list_v2";

// One lane: its ledger, and the core of whoever owns it.
class FormerOwnerTest : public ::testing::Test {
 protected:
  FormerOwnerTest() { core_ = MakeCore(); }

  struct Entry {
    std::optional<Fence> fence;
    std::string value;  // of a decision
    uint64_t epoch = 0;
  };

  std::unique_ptr<DispatchCore> MakeCore() {
    auto core = std::make_unique<DispatchCore>(
        DispatchOptions{.lane = 0, .partitions = 1, .agent_ids = {{"ww1", "1000002"}}}, &limits_);
    for (const auto& [at, record] : folded_) core->Fold(at, record, HeaderOf(at, record));
    return core;
  }
  // As an outbox sends it.
  static RecordHeader HeaderOf(log::TopicPartition at, const log::StoredRecord& record) {
    RecordHeader header;
    if (at.topic == log::Topic::kDefinitions) return header;
    header.mutable_source()->set_journal("tidegate.memberships/0");
    header.mutable_source()->set_out_seq(record.offset + 1);
    return header;
  }
  void Fold(log::Topic topic, std::string value) {
    log::StoredRecord record{.offset = ++offsets_[topic] - 1};
    record.record.value = std::move(value);
    folded_.emplace_back(log::TopicPartition{topic, 0}, record);
    core_->Fold({topic, 0}, record, HeaderOf({topic, 0}, record));
  }
  // One customer, one sender: one call.
  void Launch() {
    Proposal proposal;
    proposal.set_corp("ww1");
    proposal.set_request_id("launch");
    proposal.set_proposal_id("launch");
    auto* definition = proposal.add_definitions();
    definition->set_id("spring");
    definition->mutable_campaign()->set_intent(CAMPAIGN_INTENT_RUN);
    auto* variant = definition->mutable_campaign()->add_variants();
    variant->set_text("spring");
    variant->set_link_url("https://example.com/");
    variant->set_link_title("look");
    Fold(log::Topic::kDefinitions, proposal.SerializeAsString());
    AudienceChunk chunk;
    chunk.set_corp("ww1");
    chunk.set_audience("spring");
    chunk.set_round(1);
    chunk.set_shards(1);
    auto* customer = chunk.add_customers();
    customer->set_customer("wm1");
    customer->set_owner("m1");
    chunk.mutable_manifest()->set_customers(1);
    chunk.mutable_manifest()->set_chunks(1);
    Fold(log::Topic::kAudiences, chunk.SerializeAsString());
  }

  void TakeOver(const std::string& owner, bool predecessor_dead = false) {
    Fence fence;
    fence.set_owner(owner);
    fence.set_boot_id(boot_id_);
    fence.set_wall_time_ns(now_.wall_ns);
    fence.set_boot_time_ns(now_.boot_ns);
    fence.set_raw_time_ns(now_.raw_ns);
    fence.set_predecessor_dead(predecessor_dead);
    ledger_.push_back({.fence = fence, .epoch = ++epoch_});
    core_->ApplyFence(fence, epoch_);
  }
  // Another boot: its clocks begin anew, but for the wall's.
  void Reboot() {
    boot_id_ += "'";
    now_.raw_ns = now_.boot_ns = 50 * kSecond;
  }
  void Pass(int64_t ns) {
    now_.wall_ns += ns;
    now_.raw_ns += ns;
    now_.boot_ns += ns;
  }

  void Apply(DispatchCore* core, const Entry& entry, bool live) {
    if (entry.fence.has_value()) return core->ApplyFence(*entry.fence, entry.epoch);
    std::vector<core::OutboxRecord> outbox;
    core->Apply("", entry.value, {.epoch = entry.epoch, .live = live}, &outbox);
  }
  // Decides, journals and applies; the records that this made.
  std::vector<LedgerRecord> Decide(const core::Input& input) {
    std::vector<LedgerRecord> made;
    while (auto decision = core_->Decide(input, now_)) {
      LedgerRecord record;
      EXPECT_TRUE(record.ParseFromString(decision->value));
      made.push_back(record);
      ledger_.push_back({.value = decision->value, .epoch = epoch_});
      Apply(core_.get(), ledger_.back(), /*live=*/true);
      if (input.local != nullptr) break;
    }
    core_->EndBatch();
    return made;
  }
  std::vector<LedgerRecord> Tick() { return Decide({}); }
  // Ticks now; the calls that leave.
  std::vector<CallToMake> Calls() {
    std::vector<CallToMake> calls;
    core_->OnCalls([&](std::vector<CallToMake> more) {
      for (CallToMake& call : more) calls.push_back(std::move(call));
    });
    Tick();
    core_->Release(now_);
    core_->OnCalls(nullptr);
    return calls;
  }
  std::vector<LedgerRecord> TellEnded(const std::string& owner) {
    FormerOwnerEnded ended;
    ended.owner = owner;
    return Decide({.local = &ended});
  }
  void Answer(const CallToMake& call, const std::string& body) {
    CallAnswer answer;
    answer.call_id = call.call_id;
    answer.attempt = call.attempt;
    answer.bytes_written = true;
    answer.answered = !body.empty();
    answer.http_status = body.empty() ? 0 : 200;
    answer.body = body;
    answer.completed = now_;
    Decide({.local = &answer});
  }

  const CampaignCallState& Call(const DispatchCore& core) {
    return core.campaigns().Find({"ww1", "spring"})->calls[0];
  }
  const CampaignCallState& Call() { return Call(*core_); }
  // Launches, and has `owner` make the create; nobody answers it.
  CallToMake MakeCreate(const std::string& owner) {
    TakeOver(owner, /*predecessor_dead=*/true);
    Launch();
    const auto calls = Calls();
    EXPECT_EQ(calls.size(), 1u);
    EXPECT_EQ(calls.at(0).api, kCreate);
    EXPECT_EQ(Call().phase, Phase::kUnderWay);
    return calls.at(0);
  }
  // Steps until the first listing leaves; how long that took. Nothing: not within `patience_ns`.
  std::optional<int64_t> UntilListing(int64_t patience_ns) {
    for (int64_t passed = 0; passed <= patience_ns; passed += kSecond, Pass(kSecond)) {
      const auto calls = Calls();
      if (calls.empty()) continue;
      EXPECT_EQ(calls.at(0).api, kList);
      listing_ = calls.at(0);
      return passed;
    }
    return std::nullopt;
  }
  // Replays the ledger in a new core: it must know the same.
  void ExpectReplayGivesTheSame() {
    auto replayed = MakeCore();
    for (const Entry& entry : ledger_) Apply(replayed.get(), entry, /*live=*/false);
    replayed->EndBatch();
    EXPECT_EQ(replayed->former_owners(), core_->former_owners());
    EXPECT_EQ(replayed->open_attempts(), core_->open_attempts());
    const CampaignCallState& one = Call();
    const CampaignCallState& other = Call(*replayed);
    EXPECT_EQ(other.phase, one.phase);
    EXPECT_EQ(other.attempts, one.attempts);
    ASSERT_EQ(other.doubt.has_value(), one.doubt.has_value());
    if (one.doubt.has_value()) {
      EXPECT_EQ(other.doubt->waits_for_owner, one.doubt->waits_for_owner);
      EXPECT_EQ(other.doubt->opened_raw_ns, one.doubt->opened_raw_ns);
      EXPECT_EQ(other.doubt->next_raw_ns, one.doubt->next_raw_ns);
      EXPECT_EQ(other.doubt->listing, one.doubt->listing);
    }
    core::StateHash replayed_hash, hash;
    replayed->AddStateTo(&replayed_hash, now_.raw_ns);
    core_->AddStateTo(&hash, now_.raw_ns);
    EXPECT_EQ(replayed_hash.Hex(), hash.Hex());
  }

  const wecom_table::Limits limits_ = wecom_table::DefaultLimits();
  const int64_t settle_ns_ = limits_.SettleWaitNs();
  std::vector<std::pair<log::TopicPartition, log::StoredRecord>> folded_;
  std::map<log::Topic, uint64_t> offsets_;
  std::vector<Entry> ledger_;
  uint64_t epoch_ = 0;
  std::string boot_id_ = "boot";
  Now now_{.wall_ns = 1'790'000'000 * kSecond, .raw_ns = 1000 * kSecond, .boot_ns = 1000 * kSecond};
  std::unique_ptr<DispatchCore> core_;
  CallToMake listing_;
};

TEST_F(FormerOwnerTest, ADoubtIsNotListedBeforeItsOwnersEndIsJournaled) {
  MakeCreate("a");
  Pass(kSecond);
  TakeOver("b");
  ASSERT_EQ(Call().phase, Phase::kDoubt);
  EXPECT_TRUE(Call().doubt->waits_for_owner);
  EXPECT_EQ(core_->former_owners(), (std::map<std::string, std::string>{{"a", "boot"}}));
  EXPECT_EQ(UntilListing(25 * 60 * kSecond), std::nullopt);
  EXPECT_EQ(Call().phase, Phase::kDoubt);
  ExpectReplayGivesTheSame();
}

TEST_F(FormerOwnerTest, TheSettleWaitBeginsAtTheOwnersEnd) {
  MakeCreate("a");
  Pass(kSecond);
  TakeOver("b");
  EXPECT_EQ(UntilListing(2 * settle_ns_), std::nullopt);
  const auto made = TellEnded("a");
  ASSERT_EQ(made.size(), 1u);
  EXPECT_EQ(made[0].former_owner_dead().owner(), "a");
  EXPECT_EQ(made[0].former_owner_dead().stamp().raw_ns(), now_.raw_ns);
  EXPECT_TRUE(core_->former_owners().empty());
  EXPECT_FALSE(Call().doubt->waits_for_owner);
  EXPECT_EQ(Call().doubt->next_raw_ns, now_.raw_ns + settle_ns_);
  ExpectReplayGivesTheSame();
  EXPECT_EQ(UntilListing(10 * settle_ns_), settle_ns_);
}

// An end that is known before the last byte could leave does not shorten the wait.
TEST_F(FormerOwnerTest, TheSettleWaitBeginsAfterTheSendDeadlineTooWhenTheOwnerEndsEarlier) {
  const int64_t made_raw_ns = now_.raw_ns;
  MakeCreate("a");
  TakeOver("b");
  TellEnded("a");
  EXPECT_EQ(Call().doubt->next_raw_ns, made_raw_ns + 2 * limits_.http_deadline_ns + settle_ns_);
}

TEST_F(FormerOwnerTest, AfterTheOwnersEndTheCallIsMadeAgainWhenTheListsAreClean) {
  const CallToMake create = MakeCreate("a");
  TakeOver("b");
  Pass(settle_ns_);
  TellEnded("a");
  for (int listing = 1; listing <= 2; ++listing) {
    ASSERT_TRUE(UntilListing(3 * settle_ns_).has_value()) << listing;
    Answer(listing_, R"({"errcode":0,"errmsg":"ok","group_msg_list":[]})");
  }
  const auto calls = Calls();
  ASSERT_EQ(calls.size(), 1u);
  EXPECT_EQ(calls[0].api, kCreate);
  EXPECT_EQ(calls[0].call_id, create.call_id);
  EXPECT_EQ(calls[0].attempt, 2u);
  ExpectReplayGivesTheSame();
}

TEST_F(FormerOwnerTest, WithoutNewsTheDoubtIsParkedAfterHalfAnHour) {
  MakeCreate("a");
  Pass(20 * kSecond);
  TakeOver("b");
  Pass(kParkNs - 1);
  EXPECT_TRUE(Tick().empty());
  Pass(1);
  const auto made = Tick();
  ASSERT_GE(made.size(), 1u);
  EXPECT_EQ(made[0].settled().settlement(), SETTLEMENT_PARKED);
  EXPECT_EQ(Call().phase, Phase::kParked);
  TellEnded("a");
  EXPECT_EQ(UntilListing(10 * settle_ns_), std::nullopt);
  EXPECT_EQ(Call().phase, Phase::kParked);
  ExpectReplayGivesTheSame();
}

// The first stands still, the second is killed: a third waits for both, whichever ends first.
class FormerOwnerChainTest
    : public FormerOwnerTest,
      public ::testing::WithParamInterface<std::pair<const char*, const char*>> {};

TEST_P(FormerOwnerChainTest, WaitsForEveryOwner) {
  MakeCreate("a");
  TakeOver("b");
  Pass(60 * kSecond);
  TakeOver("c");
  EXPECT_EQ(core_->former_owners().size(), 2u);
  TellEnded(GetParam().first);
  EXPECT_TRUE(Call().doubt->waits_for_owner);
  EXPECT_EQ(UntilListing(3 * settle_ns_), std::nullopt);
  ExpectReplayGivesTheSame();
  TellEnded(GetParam().second);
  EXPECT_EQ(UntilListing(10 * settle_ns_), settle_ns_);
}

INSTANTIATE_TEST_SUITE_P(Orders, FormerOwnerChainTest,
                         ::testing::Values(std::pair{"a", "b"}, std::pair{"b", "a"}));

// What was known of an owner's end outlives the owner that knew it.
TEST_F(FormerOwnerTest, ALaterOwnerDoesNotWaitAgain) {
  MakeCreate("a");
  TakeOver("b");
  Pass(60 * kSecond);
  TellEnded("a");
  Pass(kSecond);
  TakeOver("c");
  EXPECT_FALSE(Call().doubt->waits_for_owner);
  EXPECT_EQ(UntilListing(10 * settle_ns_), settle_ns_ - kSecond);
}

TEST_F(FormerOwnerTest, APredecessorThatIsDeadReleasesAll) {
  MakeCreate("a");
  TakeOver("b");
  Pass(60 * kSecond);
  TakeOver("c");
  Pass(60 * kSecond);
  TakeOver("d", /*predecessor_dead=*/true);
  EXPECT_TRUE(core_->former_owners().empty());
  EXPECT_FALSE(Call().doubt->waits_for_owner);
  ExpectReplayGivesTheSame();
  EXPECT_EQ(UntilListing(10 * settle_ns_), settle_ns_);
}

TEST_F(FormerOwnerTest, ADeadPredecessorsCallDoesNotWait) {
  MakeCreate("a");
  Pass(60 * kSecond);
  TakeOver("b", /*predecessor_dead=*/true);
  EXPECT_FALSE(Call().doubt->waits_for_owner);
  EXPECT_EQ(UntilListing(10 * settle_ns_), settle_ns_);
}

TEST_F(FormerOwnerTest, AFenceOfTheSameOwnerDoesNotWait) {
  MakeCreate("a");
  Pass(60 * kSecond);
  TakeOver("a");
  EXPECT_TRUE(core_->former_owners().empty());
  EXPECT_FALSE(Call().doubt->waits_for_owner);
  ExpectReplayGivesTheSame();
  EXPECT_EQ(UntilListing(10 * settle_ns_), settle_ns_);
}

// Somebody else's end says nothing about a call that the present owner made.
TEST_F(FormerOwnerTest, AFenceOfTheSameOwnerDoesNotWaitForThoseBeforeIt) {
  TakeOver("z", /*predecessor_dead=*/true);
  TakeOver("a");
  Launch();
  ASSERT_EQ(Calls().size(), 1u);
  Pass(60 * kSecond);
  TakeOver("a");
  EXPECT_EQ(core_->former_owners().size(), 1u);
  EXPECT_FALSE(Call().doubt->waits_for_owner);
  EXPECT_EQ(UntilListing(10 * settle_ns_), settle_ns_);
}

// The owner lost its call at a fence of its own, and is then replaced itself: it may still hold the
// call, of which no byte has left.
TEST_F(FormerOwnerTest, ACallLostAtAFenceOfItsOwnerWaitsOnceThatOwnerIsReplaced) {
  MakeCreate("a");
  Pass(kSecond);
  TakeOver("a");
  Pass(kSecond);
  TakeOver("b");
  EXPECT_TRUE(Call().doubt->waits_for_owner);
  ExpectReplayGivesTheSame();
  EXPECT_EQ(UntilListing(3 * settle_ns_), std::nullopt);
  TellEnded("a");
  EXPECT_EQ(UntilListing(10 * settle_ns_), settle_ns_);
}

// Also when both lists were clean already: they prove nothing about what may still be written.
TEST_F(FormerOwnerTest, WhatWasListedBeforeTheOwnerWasReplacedIsListedAgain) {
  MakeCreate("a");
  Pass(60 * kSecond);
  TakeOver("a");
  ASSERT_TRUE(UntilListing(2 * settle_ns_).has_value());
  Answer(listing_, R"({"errcode":0,"errmsg":"ok","group_msg_list":[]})");
  TakeOver("b");
  EXPECT_TRUE(Call().doubt->waits_for_owner);
  EXPECT_EQ(Call().doubt->listing, 1u);
  EXPECT_EQ(UntilListing(3 * settle_ns_), std::nullopt);
  TellEnded("a");
  EXPECT_EQ(UntilListing(3 * settle_ns_), settle_ns_);
  Answer(listing_, R"({"errcode":0,"errmsg":"ok","group_msg_list":[]})");
  EXPECT_EQ(Call().phase, Phase::kDoubt);
}

// Later fences do not start the wait again, or repeated kills would never settle.
TEST_F(FormerOwnerTest, KillsOfLaterOwnersDoNotStartTheWaitAgain) {
  MakeCreate("a");
  Pass(kSecond);
  TakeOver("a");
  Pass(kSecond);
  TakeOver("b", /*predecessor_dead=*/true);
  const int64_t next = Call().doubt->next_raw_ns;
  EXPECT_FALSE(Call().doubt->waits_for_owner);
  for (const char* owner : {"c", "d"}) {
    Pass(30 * kSecond);
    TakeOver(owner, /*predecessor_dead=*/true);
    EXPECT_EQ(Call().doubt->next_raw_ns, next) << owner;
  }
  TakeOver("e");
  EXPECT_FALSE(Call().doubt->waits_for_owner);
  EXPECT_EQ(Call().doubt->next_raw_ns, next);
}

// Its socket was closed by the owner itself.
TEST_F(FormerOwnerTest, ADoubtThatTheOwnerOpenedDoesNotWait) {
  const CallToMake create = MakeCreate("a");
  Pass(limits_.http_deadline_ns);
  Answer(create, "");
  ASSERT_EQ(Call().phase, Phase::kDoubt);
  const int64_t next = Call().doubt->next_raw_ns;
  EXPECT_EQ(next, now_.raw_ns + settle_ns_);
  TakeOver("b");
  EXPECT_FALSE(Call().doubt->waits_for_owner);
  EXPECT_EQ(Call().doubt->next_raw_ns, next);
}

TEST_F(FormerOwnerTest, AfterARebootOwnersThatAreNotKnownDeadAreWaitedFor) {
  MakeCreate("a");
  Pass(kSecond);
  TakeOver("b");
  Reboot();
  TakeOver("c");
  EXPECT_EQ(core_->former_owners(),
            (std::map<std::string, std::string>{{"a", "boot"}, {"b", "boot"}}));
  EXPECT_TRUE(Call().doubt->waits_for_owner);
  EXPECT_EQ(UntilListing(3 * settle_ns_), std::nullopt);
  ExpectReplayGivesTheSame();
  TellEnded("b");
  TellEnded("a");
  ExpectReplayGivesTheSame();
  EXPECT_EQ(UntilListing(10 * settle_ns_), settle_ns_);
}

TEST_F(FormerOwnerTest, ACallLostByARebootOfAnotherMachineWaitsToo) {
  MakeCreate("a");
  Reboot();
  TakeOver("b");
  EXPECT_TRUE(Call().doubt->waits_for_owner);
  EXPECT_EQ(UntilListing(3 * settle_ns_), std::nullopt);
  TellEnded("a");
  EXPECT_EQ(UntilListing(10 * settle_ns_), settle_ns_);
}

TEST_F(FormerOwnerTest, AnEndThatIsNewsToNobodyIsNotJournaled) {
  MakeCreate("a");
  TakeOver("b");
  EXPECT_TRUE(TellEnded("x").empty());
  EXPECT_TRUE(TellEnded("b").empty()) << "the owner itself";
  EXPECT_EQ(TellEnded("a").size(), 1u);
  EXPECT_TRUE(TellEnded("a").empty());
  EXPECT_FALSE(Call().doubt->waits_for_owner);
}

// The shell asks again until the answer is applied: both are of one batch.
TEST_F(FormerOwnerTest, AnEndToldTwiceCountsOnce) {
  MakeCreate("a");
  TakeOver("b");
  Pass(60 * kSecond);
  TellEnded("a");
  const int64_t next = Call().doubt->next_raw_ns;
  Pass(kSecond);
  LedgerRecord again;
  again.mutable_former_owner_dead()->set_owner("a");
  again.mutable_former_owner_dead()->mutable_stamp()->set_raw_ns(now_.raw_ns);
  ledger_.push_back({.value = again.SerializeAsString(), .epoch = epoch_});
  Apply(core_.get(), ledger_.back(), /*live=*/true);
  EXPECT_EQ(Call().doubt->next_raw_ns, next);
}

TEST_F(FormerOwnerTest, CommandsDoNotWait) {
  TakeOver("a", /*predecessor_dead=*/true);
  Command tag;
  tag.set_corp("ww1");
  tag.set_member("m1");
  tag.set_customer("wm1");
  tag.mutable_mark_tag()->add_add("loyal");
  Fold(log::Topic::kCommands, tag.SerializeAsString());
  Command welcome;
  welcome.set_corp("ww1");
  welcome.set_member("m1");
  welcome.set_customer("wm2");
  welcome.mutable_welcome()->set_welcome_code("code");
  welcome.mutable_welcome()->set_text("hello");
  welcome.mutable_welcome()->set_expires_ns(now_.wall_ns + 3600 * kSecond);
  Fold(log::Topic::kCommands, welcome.SerializeAsString());
  ASSERT_EQ(Calls().size(), 2u);
  TakeOver("b");
  EXPECT_EQ(core_->former_owners().size(), 1u);
  std::map<std::string, uint32_t> attempts;
  for (int i = 0; i < 120; ++i, Pass(kSecond)) {
    for (const CallToMake& call : Calls()) {
      attempts[call.api] = call.attempt;
      Answer(call, R"({"errcode":0,"errmsg":"ok"})");
    }
  }
  EXPECT_EQ(attempts["mark_tag"], 2u);
  EXPECT_EQ(attempts["send_welcome_msg"], 2u);
  EXPECT_EQ(core_->former_owners().size(), 1u);
}

}  // namespace
}  // namespace tidegate::dispatch
