// Messages of a corp's app to members: the core of dispatch against the simulated WeCom's core,
// whose witness entries tell who got what.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/hash.h"
#include "services/dispatch/core/dispatch_core.h"
#include "services/wecom_simulator/core/wecom_core.h"

namespace tidegate::dispatch {
namespace {

namespace json = boost::json;
using ::tidegate::log::v1::Command;
using ::tidegate::log::v1::Fence;
using ::tidegate::log::v1::LedgerRecord;
using ::tidegate::log::v1::RecordHeader;

constexpr int64_t kSecond = kNanosPerSecond;
constexpr int64_t kMinute = 60 * kSecond;
constexpr char kCorp[] = "ww1";

struct Said {
  std::string key;
  std::string member;
  std::string text = "hello";
  std::string link;
  int64_t deadline_ns = 0;
};

class AppMessagesTest : public ::testing::Test {
 protected:
  void SetUp() override { Begin(wecom_table::DefaultLimits()); }

  // Of the product and of WeCom.
  void BeginWithPeopleADay(int amount) {
    const std::string limits =
        absl::StrCat(R"({"limits":[{"api":"message_send","scope":"corp","amount":)", amount,
                     R"(,"cost":"person_times","calendar":"day"}]})");
    wecom_simulator::CoreOptions options;
    options.limits = *wecom_simulator::ParseLimits(limits);
    wecom_ = std::make_unique<wecom_simulator::WecomCore>(options);
    Begin(*wecom_table::ParseLimits(limits));
  }
  void Begin(wecom_table::Limits limits) {
    limits_ = std::move(limits);
    core_ = NewCore();
    journal_.clear();
    core_->OnCalls([this](std::vector<CallToMake> calls) {
      for (CallToMake& call : calls) calls_.push_back(std::move(call));
    });
    Fenced("a", "boot");
    json::array members;
    for (int i = 0; i < 20; ++i) members.push_back(json::value(absl::StrCat("m", i)));
    ASSERT_TRUE(wecom_
                    ->OnControl("/control/seed",
                                {{"corp_id", kCorp},
                                 {"apps", {{{"agent_id", 1000002}, {"secret", "s"}}}},
                                 {"members", members}},
                                now_)
                    .ok());
    NewToken();
  }
  // It holds for two hours.
  void NewToken() {
    const auto token = wecom_->OnRequest(
        {"GET", "/cgi-bin/gettoken", absl::StrCat("corpid=", kCorp, "&corpsecret=s"), "", "ip"},
        now_);
    wecom_->OnAnswered(token.request_id, now_);
    token_ = json::parse(token.body).as_object().at("access_token").as_string().c_str();
  }
  std::unique_ptr<DispatchCore> NewCore() const {
    return std::make_unique<DispatchCore>(
        DispatchOptions{.lane = 0, .partitions = 1, .agent_ids = {{kCorp, "1000002"}}}, &limits_);
  }

  void Fold(DispatchCore* core, uint64_t position, const Command& command) {
    log::StoredRecord record{.offset = position};
    record.record.value = command.SerializeAsString();
    core->Fold({log::Topic::kCommands, 0}, record, RecordHeader());
  }
  void Send(const std::vector<Said>& all) {
    Command command;
    command.set_corp(kCorp);
    auto* batch = command.mutable_message_batch();
    batch->set_received_ns(now_.wall_ns);
    for (const Said& said : all) {
      auto* message = batch->add_messages();
      message->set_key(said.key);
      message->set_deadline_ns(said.deadline_ns);
      message->set_member(said.member);
      message->set_message_class(::tidegate::log::v1::MESSAGE_CLASS_BULK);
      message->set_content(static_cast<uint32_t>(batch->contents_size()));
      auto* content = batch->add_contents();
      content->set_text(said.text);
      content->set_link_url(said.link);
      if (!said.link.empty()) content->set_link_title("title");
    }
    Fold(core_.get(), commands_.size(), command);
    commands_.push_back(command);
  }
  void Fenced(const std::string& owner, const std::string& boot_id) {
    Fence fence;
    fence.set_owner(owner);
    fence.set_boot_id(boot_id);
    fence.set_predecessor_dead(true);
    fence.set_raw_time_ns(now_.raw_ns);
    fence.set_wall_time_ns(now_.wall_ns);
    core_->ApplyFence(fence, ++epoch_);
    calls_.clear();
    const uint64_t epoch = epoch_;
    journal_.push_back([fence, epoch](DispatchCore* core) { core->ApplyFence(fence, epoch); });
  }
  void After(int64_t ns) {
    now_.wall_ns += ns;
    now_.raw_ns += ns;
    now_.boot_ns += ns;
  }
  void Apply(const core::Decision& decision) {
    const core::ApplyContext context{
        .epoch = epoch_, .decided_time_ns = now_.wall_ns, .live = true};
    LedgerRecord record;
    ASSERT_TRUE(record.ParseFromString(decision.value));
    if (record.has_attempt()) attempts_.push_back(record.attempt());
    core_->Apply("", decision.value, context, &outbox_);
    journal_.push_back([value = decision.value, context](DispatchCore* core) {
      core::ApplyContext replayed = context;
      replayed.live = false;
      std::vector<core::OutboxRecord> outbox;
      core->Apply("", value, replayed, &outbox);
    });
  }
  // One batch after another until nothing is left to decide now.
  void Tick() {
    while (true) {
      std::vector<core::Decision> batch;
      while (auto decision = core_->Decide({}, now_)) batch.push_back(*std::move(decision));
      if (batch.empty()) return;
      for (const core::Decision& decision : batch) Apply(decision);
      core_->EndBatch();
      core_->Release(now_);
    }
  }
  // WeCom takes the oldest call that left; `lost`: its answer does not come back.
  std::string Deliver(bool lost = false) {
    const CallToMake call = std::move(calls_.front());
    calls_.erase(calls_.begin());
    auto decision = wecom_->OnRequest(
        {"POST", "/cgi-bin/message/send", absl::StrCat("access_token=", token_), call.body, "ip"},
        now_);
    wecom_->OnAnswered(decision.request_id, now_);
    witness_.push_back(decision.entry);
    Answer(call, lost ? "" : decision.body);
    return call.body;
  }
  void Answer(const CallToMake& call, const std::string& body) {
    CallAnswer answer;
    answer.call_id = call.call_id;
    answer.attempt = call.attempt;
    answer.bytes_written = true;
    answer.answered = !body.empty();
    answer.http_status = 200;
    answer.body = body;
    answer.completed = now_;
    auto outcome = core_->Decide({.local = &answer}, now_);
    ASSERT_TRUE(outcome.has_value());
    Apply(*outcome);
    core_->EndBatch();
    core_->Release(now_);
  }
  // For so long, all calls answered at once.
  void Run(int64_t ns, int64_t step_ns = 100 * kNanosPerMilli) {
    for (int64_t passed = 0; passed < ns; passed += step_ns) {
      Tick();
      while (!calls_.empty()) {
        Deliver();
        Tick();
      }
      After(step_ns);
    }
  }
  void SetPeopleADay(int amount) {
    OperatorWish wish;
    auto* set = wish.record.mutable_limits_set();
    set->set_corp(kCorp);
    auto* window = set->mutable_limits()->add_windows();
    window->set_api("message_send");
    window->set_scope("corp");
    window->set_amount(amount);
    window->set_cost("person_times");
    window->set_calendar("day");
    const auto decision = core_->Decide({.local = &wish}, now_);
    ASSERT_TRUE(decision.has_value());
    Apply(*decision);
    core_->EndBatch();
    core_->Release(now_);
  }
  MessageState StateOf(const std::string& key) {
    const auto ref = core_->messages().Find(kCorp, key);
    EXPECT_TRUE(ref.has_value()) << key;
    return core_->messages().BatchOf(*ref).touches[ref->index].state;
  }
  // How often each member got something.
  std::map<std::string, int> Delivered() const {
    std::map<std::string, int> delivered;
    for (const auto& entry : witness_) {
      for (const std::string& member : entry.delivered) ++delivered[member];
    }
    return delivered;
  }
  std::string HashOf(const DispatchCore& core) const {
    core::StateHash hash;
    core.AddStateTo(&hash, now_.raw_ns);
    return hash.Hex();
  }
  void ExpectReplayGivesTheSame() {
    const auto replayed = NewCore();
    for (uint64_t i = 0; i < commands_.size(); ++i) Fold(replayed.get(), i, commands_[i]);
    for (const auto& record : journal_) record(replayed.get());
    EXPECT_EQ(HashOf(*replayed), HashOf(*core_));
  }

  wecom_table::Limits limits_;
  std::unique_ptr<DispatchCore> core_;
  std::unique_ptr<wecom_simulator::WecomCore> wecom_ =
      std::make_unique<wecom_simulator::WecomCore>(wecom_simulator::CoreOptions());
  std::string token_;
  Now now_{.wall_ns = 1'790'000'000 * kSecond, .raw_ns = 1000 * kSecond, .boot_ns = 1000 * kSecond};
  uint64_t epoch_ = 0;
  std::vector<Command> commands_;
  std::vector<std::function<void(DispatchCore*)>> journal_;
  std::vector<CallToMake> calls_;
  std::vector<::tidegate::log::v1::Attempt> attempts_;
  std::vector<wecom_simulator::WitnessEntry> witness_;
  std::vector<core::OutboxRecord> outbox_;
};

TEST_F(AppMessagesTest, MembersOfOneContentShareACallAndEndWithItsAnswer) {
  Send(
      {{.key = "a", .member = "m1"}, {.key = "b", .member = "m2"}, {.key = "c", .member = "gone"}});
  Send({{.key = "d", .member = "m1", .text = "card", .link = "https://e.com"}});
  Run(3 * kSecond);
  ASSERT_EQ(witness_.size(), 2u);
  EXPECT_EQ(witness_[0].recipients, (std::vector<std::string>{"m1", "m2", "gone"}));
  for (const char* key : {"a", "b", "d"}) EXPECT_EQ(StateOf(key), MessageState::kSent) << key;
  EXPECT_EQ(StateOf("c"), MessageState::kFailList);
  EXPECT_EQ(attempts_[0].api(), "message_send");
  for (size_t i = 0; i < witness_.size(); ++i) EXPECT_EQ(witness_[i].marker, attempts_[i].marker());
  EXPECT_TRUE(outbox_.empty()) << "tagging knows of customers only";
  ExpectReplayGivesTheSame();
}

TEST_F(AppMessagesTest, ACallHoldsAThousandMembers) {
  std::vector<Said> all;
  for (int i = 0; i < 1001; ++i) {
    all.push_back({.key = absl::StrCat("k", i), .member = absl::StrCat("x", i)});
  }
  all.push_back({.key = "again", .member = "x0"});
  Send(all);
  After(kSecond);
  Tick();
  std::vector<size_t> sizes;
  for (const CallToMake& call : calls_) {
    sizes.push_back(std::count(call.body.begin(), call.body.end(), '|') + 1);
  }
  EXPECT_EQ(sizes, (std::vector<size_t>{1000, 2}));
}

TEST_F(AppMessagesTest, ARepeatHasTheVeryBytesOfTheFirstAttempt) {
  for (const char* link : {"", "https://e.com/a?b=c"}) {
    witness_.clear();
    const std::string key = absl::StrCat("k", link);
    Send({{.key = key, .member = "m1", .link = link},
          {.key = key + "2", .member = "m2", .link = link}});
    Run(kSecond);
    Tick();
    ASSERT_EQ(calls_.size(), 1u);
    const std::string first = Deliver(/*lost=*/true);
    EXPECT_EQ(StateOf(key), MessageState::kInDoubt);
    After(10 * kSecond);
    Tick();
    ASSERT_EQ(calls_.size(), 1u);
    const std::string second = Deliver();
    EXPECT_EQ(first, second);
    EXPECT_EQ(attempts_.back().request_sha256(), attempts_[attempts_.size() - 2].request_sha256());
    ASSERT_EQ(witness_.size(), 2u);
    EXPECT_TRUE(witness_[1].duplicate);
    EXPECT_TRUE(witness_[1].delivered.empty());
    EXPECT_EQ(StateOf(key), MessageState::kSent);
  }
  EXPECT_EQ(Delivered(), (std::map<std::string, int>{{"m1", 1}, {"m2", 1}}));
  ExpectReplayGivesTheSame();
}

TEST_F(AppMessagesTest, ASlowAnswerIsRepeatedAWhileAfterItCame) {
  Send({{.key = "a", .member = "m1"}});
  After(kSecond);
  Tick();
  ASSERT_EQ(calls_.size(), 1u);
  for (int attempt = 1; attempt <= 3; ++attempt) {
    const CallToMake call = std::move(calls_.front());
    calls_.clear();
    After(4 * kSecond);
    Answer(call, R"({"errcode":-1,"errmsg":"system busy"})");
    After((200 * kNanosPerMilli << attempt) - 1);
    Tick();
    EXPECT_TRUE(calls_.empty()) << attempt;
    After(1);
    Tick();
    ASSERT_EQ(calls_.size(), 1u) << attempt;
  }
  ExpectReplayGivesTheSame();
}

TEST_F(AppMessagesTest, TwoMessagesOfOneContentToOneMemberBothReachIt) {
  Send({{.key = "a", .member = "m1"}, {.key = "b", .member = "m1"}});
  Run(5 * kSecond);
  Send({{.key = "c", .member = "m1"}});
  Run(5 * kSecond);
  EXPECT_EQ(Delivered(), (std::map<std::string, int>{{"m1", 3}}));
}

// Repeated until ten minutes before WeCom forgets what it has sent, whichever clock says so.
TEST_F(AppMessagesTest, NothingIsRepeatedNearTheEndOfTheCheckForDuplicates) {
  struct Jump {
    const char* what;
    int64_t wall_ns, boot_ns;
    bool parked;
  };
  constexpr int64_t kEnd = 20 * kMinute;
  int number = 0;
  for (const Jump& jump : {Jump{"just before", kEnd - kSecond, kEnd - kSecond, false},
                           {"both", kEnd, kEnd, true},
                           {"wall clock set ahead", kEnd, kMinute, true},
                           {"wall clock set back", -kEnd, kEnd, true}}) {
    SCOPED_TRACE(jump.what);
    const std::string key = absl::StrCat("k", ++number);
    Send({{.key = key, .member = "m1"}});
    After(kSecond);
    Tick();
    ASSERT_EQ(calls_.size(), 1u);
    Deliver(/*lost=*/true);
    now_.wall_ns += jump.wall_ns;
    now_.boot_ns += jump.boot_ns;
    now_.raw_ns += kMinute;
    Tick();
    EXPECT_EQ(calls_.size(), jump.parked ? 0u : 1u);
    EXPECT_EQ(StateOf(key), jump.parked ? MessageState::kParked : MessageState::kInDoubt);
    if (!jump.parked) Deliver();
    now_.wall_ns = std::max(now_.wall_ns, 1'790'000'000 * kSecond);
  }
  ExpectReplayGivesTheSame();
}

TEST_F(AppMessagesTest, ARebootLeavesTheWallClockAndADoubtGoesOnByIt) {
  Send({{.key = "a", .member = "m1"}, {.key = "b", .member = "m2", .text = "other"}});
  After(kSecond);
  Tick();
  ASSERT_EQ(calls_.size(), 2u);
  Deliver(/*lost=*/true);
  now_.wall_ns += kMinute;
  now_.raw_ns = now_.boot_ns = kSecond;
  Fenced("b", "other boot");
  Tick();
  EXPECT_EQ(calls_.size(), 2u) << "the lost one too";
  while (!calls_.empty()) Deliver();
  EXPECT_EQ(StateOf("a"), MessageState::kSent);
  EXPECT_EQ(StateOf("b"), MessageState::kSent);
  EXPECT_EQ(Delivered(), (std::map<std::string, int>{{"m1", 1}, {"m2", 1}}));
  ExpectReplayGivesTheSame();
}

// It ended in the second in which nobody looked at those that wait.
TEST_F(AppMessagesTest, WhatEndedWhileItWaitedForADayIsForgottenAndNotMissed) {
  wecom_table::Limits limits = wecom_table::DefaultLimits();
  limits.app_messages.per_member = {{1, 48 * 60 * kMinute}};
  Begin(limits);
  Send({{.key = "a", .member = "m1"}});
  Run(10 * kSecond);
  ASSERT_EQ(StateOf("a"), MessageState::kSent);
  const int64_t deadline_ns = now_.wall_ns + 26 * 60 * kMinute + 100 * kNanosPerMilli;
  Send({{.key = "b", .member = "m1", .text = "other", .deadline_ns = deadline_ns}});
  Run(26 * 60 * kMinute - kMinute, 10 * kMinute);
  NewToken();
  Run(3 * kMinute);
  EXPECT_FALSE(core_->messages().Find(kCorp, "b").has_value());
  ExpectReplayGivesTheSame();
}

// What was lost before the reboot may be executed and counted after it.
TEST_F(AppMessagesTest, AfterARebootALostMessageCountsFromWhenItCannotBeExecutedAnyMore) {
  wecom_table::Limits limits = wecom_table::DefaultLimits();
  limits.app_messages.per_member = {{1, kMinute}};
  Begin(limits);
  Send({{.key = "a", .member = "m1"}});
  After(kSecond);
  Tick();
  ASSERT_EQ(calls_.size(), 1u);
  Deliver(/*lost=*/true);
  After(kSecond);
  now_.raw_ns = now_.boot_ns = kSecond;
  Fenced("b", "other boot");
  Run(kSecond);
  EXPECT_EQ(StateOf("a"), MessageState::kSent);
  Send({{.key = "b", .member = "m1", .text = "other"}});
  Run(3 * kMinute);
  EXPECT_EQ(StateOf("b"), MessageState::kSent);
  const auto& settle = limits.settle;
  EXPECT_GE(attempts_.back().stamp().raw_ns(),
            kSecond + settle.user_timeout_ns + settle.hold_ns + settle.skew_ns + kMinute);
  ExpectReplayGivesTheSame();
}

// WeCom would take other bytes for another message.
TEST_F(AppMessagesTest, ADoubtIsParkedWhereTheBytesCannotBeMadeAgain) {
  Send({{.key = "a", .member = "m1"}});
  After(kSecond);
  Tick();
  Deliver(/*lost=*/true);
  limits_.app_messages.duplicate_check_ns *= 2;  // in the body
  After(kMinute);
  Tick();
  EXPECT_TRUE(calls_.empty());
  EXPECT_TRUE(core_->NextTickRawNs(now_).has_value());
  Tick();
  EXPECT_EQ(StateOf("a"), MessageState::kParked);
  EXPECT_EQ(witness_.size(), 1u);
}

TEST_F(AppMessagesTest, ARefusalAfterADoubtTellsNothingAboutTheFirstAttempt) {
  Send({{.key = "a", .member = "m1"}});
  After(kSecond);
  Tick();
  Deliver(/*lost=*/true);
  for (const char* body : {R"({"errcode":60011})", R"({"errcode":45033})", R"({"errcode":-1})"}) {
    After(kMinute);
    Tick();
    ASSERT_EQ(calls_.size(), 1u) << body;
    Answer(std::exchange(calls_, {}).front(), body);
    EXPECT_EQ(StateOf("a"), MessageState::kInDoubt) << body;
  }
  After(kMinute);
  Tick();
  ASSERT_EQ(calls_.size(), 1u);
  Deliver();
  EXPECT_EQ(StateOf("a"), MessageState::kSent);
  EXPECT_EQ(Delivered(), (std::map<std::string, int>{{"m1", 1}}));
}

// WeCom drops what is too much for a member, and answers as if it had not.
TEST_F(AppMessagesTest, PeopleAreCountedAndWhatIsDeliveredIsWhatWasSent) {
  std::vector<Said> all;
  for (int i = 0; i < 100; ++i) {
    all.push_back({.key = absl::StrCat("same", i), .member = "m0"});
    all.push_back({.key = absl::StrCat("own", i), .member = "m1", .text = absl::StrCat("n", i)});
    all.push_back({.key = absl::StrCat("one", i), .member = absl::StrCat("m", i % 18 + 2)});
  }
  Send(all);
  Run(8 * kMinute, 500 * kNanosPerMilli);
  for (const auto& entry : witness_) EXPECT_TRUE(entry.over_frequency.empty());
  for (const Said& said : all) EXPECT_EQ(StateOf(said.key), MessageState::kSent) << said.key;
  EXPECT_EQ(Delivered().at("m0"), 100);
  EXPECT_EQ(Delivered().at("m1"), 100);
  ExpectReplayGivesTheSame();
}

// 45009 would lock the api until midnight.
TEST_F(AppMessagesTest, APersonTimesLimitOfTheDayIsNeverPassedAndTheRestWaitsForMidnight) {
  BeginWithPeopleADay(25);
  std::vector<Said> all;
  for (int i = 0; i < 40; ++i) {
    all.push_back({.key = absl::StrCat("k", i),
                   .member = absl::StrCat("m", i % 20),
                   .text = absl::StrCat("text ", i / 10)});
  }
  Send(all);
  Run(kMinute);
  const auto delivered_to = [this] {
    size_t people = 0;
    for (const auto& entry : witness_) people += entry.delivered.size();
    return people;
  };
  EXPECT_EQ(delivered_to(), 20u) << "two calls of ten; a third one would be too much";
  Run(3 * 60 * kMinute, kMinute);
  EXPECT_EQ(delivered_to(), 40u);
  for (const auto& entry : witness_) EXPECT_EQ(entry.errcode, 0);
  for (const Said& said : all) EXPECT_EQ(StateOf(said.key), MessageState::kSent) << said.key;
  ExpectReplayGivesTheSame();
}

// A call of all of them would never leave, and nothing behind it.
TEST_F(AppMessagesTest, NoCallIsForMorePeopleThanADayHas) {
  BeginWithPeopleADay(7);
  std::vector<Said> all;
  for (int i = 0; i < 12; ++i) {
    all.push_back({.key = absl::StrCat("k", i), .member = absl::StrCat("m", i)});
  }
  Send(all);
  Run(kMinute);
  EXPECT_EQ(Delivered().size(), 7u);
  Run(3 * 60 * kMinute, kMinute);
  EXPECT_EQ(Delivered().size(), 12u);
  for (const auto& entry : witness_) EXPECT_EQ(entry.errcode, 0);
  ExpectReplayGivesTheSame();
}

// A call that waits, and then is for more people than a day lets through, would wait for ever, and
// all behind it.
TEST_F(AppMessagesTest, ACallThatFitsNoMoreIsTakenApartAndPackedAgain) {
  BeginWithPeopleADay(15);
  std::vector<Said> first, second;
  for (int i = 0; i < 10; ++i) {
    first.push_back({.key = absl::StrCat("a", i), .member = absl::StrCat("m", i)});
  }
  for (int i = 0; i < 12; ++i) {
    second.push_back(
        {.key = absl::StrCat("b", i), .member = absl::StrCat("m", i), .text = "second"});
  }
  Send(first);
  Send({second.begin(), second.begin() + 6});
  Send({second.begin() + 6, second.end()});
  Run(10 * kSecond);
  ASSERT_EQ(witness_.size(), 1u);
  ASSERT_EQ(StateOf("b0"), MessageState::kQueued);
  SetPeopleADay(7);
  Send({{.key = "c", .member = "m15", .text = "third"}});
  Fenced("b", "boot");
  Run(24 * 60 * kMinute, 10 * kMinute);
  EXPECT_EQ(witness_.size(), 2u) << "at most seven a day";
  NewToken();
  Run(3 * 60 * kMinute, 10 * kMinute);
  std::map<std::string, int> all{{"m15", 1}};
  for (const Said& said : first) ++all[said.member];
  for (const Said& said : second) ++all[said.member];
  EXPECT_EQ(Delivered(), all);
  for (size_t i = 1; i < witness_.size(); ++i) EXPECT_LE(witness_[i].recipients.size(), 7u);
  Run(34 * 24 * 60 * kMinute, 60 * kMinute);
  EXPECT_EQ(core_->campaigns().Find({kCorp, "@bulk"})->calls.kept(), 0u) << "all are forgotten";
  ExpectReplayGivesTheSame();
}

TEST_F(AppMessagesTest, ACallInDoubtThatFitsNoMoreIsParked) {
  BeginWithPeopleADay(15);
  std::vector<Said> all;
  for (int i = 0; i < 12; ++i) {
    all.push_back({.key = absl::StrCat("k", i), .member = absl::StrCat("m", i)});
  }
  Send(all);
  After(kSecond);
  Tick();
  ASSERT_EQ(calls_.size(), 1u);
  Deliver(/*lost=*/true);
  SetPeopleADay(7);
  Tick();  // it is offered while its time has not come
  After(kSecond);
  Tick();
  Tick();
  EXPECT_EQ(StateOf("k0"), MessageState::kParked);
  const auto ref = core_->messages().Find(kCorp, "k0");
  EXPECT_EQ(core_->CallOf(*ref)->evidence.substr(0, 34), "it is for more people than the lim");
  Send({{.key = "small", .member = "m15", .text = "another"}});
  Run(3 * 60 * kMinute, kMinute);
  EXPECT_EQ(StateOf("small"), MessageState::kSent) << "it waits behind nobody";
  ExpectReplayGivesTheSame();
}

// A call that was put off comes back while a smaller one, behind it, waits for tokens: there is
// room for that one alone.
TEST_F(AppMessagesTest, ACallForMorePeopleThatComesFirstAgainIsAskedForItsOwnTokens) {
  wecom_table::Limits limits = wecom_table::DefaultLimits();
  limits.windows.push_back({.api = "message_send",
                            .amount = 9,
                            .window_ns = 20 * kSecond,
                            .lockout_ns = kMinute,
                            .cost = wecom_table::Cost::kPersonTimes});
  Begin(limits);
  const auto say = [&](const std::string& text, int members) {
    std::vector<Said> all;
    for (int i = 0; i < members; ++i) {
      all.push_back({.key = absl::StrCat(text, i), .member = absl::StrCat("m", i), .text = text});
    }
    Send(all);
  };
  say("five", 5);
  After(kSecond);
  Tick();
  ASSERT_EQ(calls_.size(), 1u);
  const CallToMake five = std::exchange(calls_, {}).front();
  After(5 * kSecond);
  say("four", 4);
  say("two", 2);
  After(kSecond);
  Tick();
  ASSERT_EQ(calls_.size(), 1u) << "room for four more";
  const CallToMake four = std::exchange(calls_, {}).front();
  Answer(four, R"({"errcode":0})");
  Tick();
  // Too many calls at once: it comes back before the one for two. Only four have room first.
  After(5 * kSecond);
  Answer(five, R"({"errcode":45033})");
  Run(18 * kSecond);
  EXPECT_EQ(attempts_.size(), 2u) << "what the four took is back, what the five took is not";
  Run(5 * kSecond);
  ASSERT_EQ(attempts_.size(), 4u);
  EXPECT_EQ(attempts_[2].person_times(), 5u);
  EXPECT_EQ(StateOf("two0"), MessageState::kSent);
  EXPECT_EQ(StateOf("five0"), MessageState::kSent);
}

// More of them than are looked at in one go.
TEST_F(AppMessagesTest, ManyMessagesToAMemberWhoIsFullDoNotStopTheLane) {
  std::vector<Said> all;
  for (int i = 0; i < 100'100; ++i) {
    all.push_back({.key = absl::StrCat("k", i), .member = "m0"});
  }
  Send(all);
  Run(10 * kSecond);
  EXPECT_EQ(Delivered(), (std::map<std::string, int>{{"m0", 30}}));
  Send({{.key = "other", .member = "m1", .text = "another"}});
  Run(3 * kSecond);
  EXPECT_EQ(StateOf("other"), MessageState::kSent);
}

TEST_F(AppMessagesTest, AMemberWhoIsFullHoldsUpNobodyElse) {
  std::vector<Said> all;
  for (int i = 0; i < 40; ++i) all.push_back({.key = absl::StrCat("k", i), .member = "m0"});
  Send(all);
  Run(10 * kSecond);
  EXPECT_EQ(Delivered(), (std::map<std::string, int>{{"m0", 30}}));
  Send({{.key = "other", .member = "m1"}});
  Run(3 * kSecond);
  EXPECT_EQ(StateOf("other"), MessageState::kSent);
}

TEST_F(AppMessagesTest, AKillForgetsNoMessageOfAMember) {
  std::vector<Said> all;
  for (int i = 0; i < 60; ++i) {
    all.push_back({.key = absl::StrCat("k", i), .member = "m0", .text = absl::StrCat("n", i)});
  }
  Send(all);
  After(kSecond);
  Tick();
  for (int i = 0; i < 3; ++i) Deliver(/*lost=*/i == 1);
  Fenced("b", "boot");
  Run(6 * kMinute, 500 * kNanosPerMilli);
  EXPECT_EQ(Delivered(), (std::map<std::string, int>{{"m0", 60}}));
  for (const auto& entry : witness_) EXPECT_TRUE(entry.over_frequency.empty());
  ExpectReplayGivesTheSame();
}

}  // namespace
}  // namespace tidegate::dispatch
