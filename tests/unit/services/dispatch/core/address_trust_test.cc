// What leaves when WeCom says that it does not trust the lane's address, and of corps of other
// lanes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/dispatch/core/dispatch_core.h"

namespace tidegate::dispatch {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::tidegate::log::v1::Command;
using ::tidegate::log::v1::Fence;
using ::tidegate::log::v1::RecordHeader;

constexpr char kNotTrusted[] = R"({"errcode":60020})";
constexpr char kListing[] = R"({"errcode":0,"group_msg_list":[]})";
constexpr char kProbe[] = "ww1 get_groupmsg_list_v2";
constexpr char kTag[] = "ww1 mark_tag";

class AddressTrustTest : public ::testing::Test {
 protected:
  AddressTrustTest() { Start({}); }

  // A new owner replays what was decided.
  void Start(const std::string& source, std::map<std::string, uint32_t> elsewhere = {}) {
    DispatchOptions options{.lane = 0, .partitions = 1, .agent_ids = {{"ww1", "1"}, {"ww2", "2"}}};
    for (const auto& [corp, lane] : elsewhere) options.agent_ids.erase(corp);
    options.elsewhere = std::move(elsewhere);
    options.source = source;
    core_ = std::make_unique<DispatchCore>(std::move(options), &limits_);
    calls_.clear();
    core_->OnCalls([this](std::vector<CallToMake> calls) {
      for (CallToMake& call : calls) calls_.push_back(std::move(call));
    });
    for (size_t i = 0; i < commands_.size(); ++i) Fold(i);
    Fence fence;
    fence.set_owner("a");
    fence.set_boot_id("boot");
    fence.set_predecessor_dead(true);
    fence.set_raw_time_ns(now_.raw_ns);
    fence.set_wall_time_ns(now_.wall_ns);
    fences_.push_back({records_.size(), fence});
    size_t at = 0;
    for (const auto& [position, past] : fences_) {
      for (; at < position; ++at) ApplyOne(records_[at], /*live=*/false);
      core_->ApplyFence(past, 1);
    }
    core_->Release(now_);
  }
  void Fold(size_t position) {
    log::StoredRecord record{.offset = position};
    record.record.value = commands_[position].SerializeAsString();
    RecordHeader header;
    header.mutable_source()->set_journal("tidegate.profiles/0");
    header.mutable_source()->set_out_seq(position + 1);
    core_->Fold({log::Topic::kCommands, 0}, record, header);
  }
  void Wish(const std::string& corp, const std::string& customer) {
    Command& command = commands_.emplace_back();
    command.set_corp(corp);
    command.set_member("m");
    command.set_customer(customer);
    command.mutable_mark_tag()->add_add("tag");
    Fold(commands_.size() - 1);
  }
  void ApplyOne(const std::string& record, bool live) {
    std::vector<core::OutboxRecord> outbox;
    core_->Apply("", record, {.epoch = 1, .live = live}, &outbox);
  }
  // All that a batch of ticks decides, applied and released: the calls that leave.
  std::vector<std::string> Tick() {
    std::vector<std::string> batch;
    while (auto decision = core_->Decide({}, now_)) batch.push_back(decision->value);
    Count(batch);
    std::vector<std::string> left;
    for (const CallToMake& call : calls_) left.push_back(absl::StrCat(call.corp, " ", call.api));
    open_.insert(open_.end(), calls_.begin(), calls_.end());
    calls_.clear();
    return left;
  }
  void Count(const std::vector<std::string>& batch) {
    for (const std::string& record : batch) {
      records_.push_back(record);
      ApplyOne(record, /*live=*/true);
    }
    core_->EndBatch();
    core_->Release(now_);
  }
  // The oldest call without an answer gets this one.
  void Answer(const std::string& body) {
    CallAnswer answer;
    answer.call_id = open_.at(0).call_id;
    answer.attempt = open_.at(0).attempt;
    answer.bytes_written = answer.answered = true;
    answer.http_status = 200;
    answer.body = body;
    answer.completed = now_;
    open_.erase(open_.begin());
    const auto outcome = core_->Decide({.local = &answer}, now_);
    ASSERT_TRUE(outcome.has_value());
    Count({outcome->value});
  }
  void Advance(int64_t seconds) {
    now_.wall_ns += seconds * kNanosPerSecond;
    now_.raw_ns += seconds * kNanosPerSecond;
    now_.boot_ns += seconds * kNanosPerSecond;
  }

  const wecom_table::Limits limits_ = wecom_table::DefaultLimits();
  Now now_{.wall_ns = 1'790'000'000 * kNanosPerSecond,
           .raw_ns = 1000 * kNanosPerSecond,
           .boot_ns = 1000 * kNanosPerSecond};
  std::unique_ptr<DispatchCore> core_;
  std::vector<Command> commands_;
  std::vector<std::string> records_;
  std::vector<std::pair<size_t, Fence>> fences_;  // position among the records
  std::vector<CallToMake> calls_;
  std::vector<CallToMake> open_;
};

TEST_F(AddressTrustTest, WhatWasRefusedForItsAddressWaitsForAProbeThatGoesWell) {
  Wish("ww1", "wm1");
  ASSERT_THAT(Tick(), ElementsAre(kTag));
  Answer(kNotTrusted);
  EXPECT_EQ(core_->trust().not_trusted(), 1u);
  Wish("ww2", "wm1");
  EXPECT_THAT(Tick(), ElementsAre("ww2 mark_tag")) << "another corp may trust it";
  for (const int64_t gap_s : {1, 2, 4, 8, 16, 32, 60, 60}) {
    Advance(gap_s - 1);
    EXPECT_THAT(Tick(), IsEmpty()) << gap_s;
    Advance(1);
    ASSERT_THAT(Tick(), ElementsAre(kProbe)) << gap_s;
    if (gap_s == 1) open_.erase(open_.begin());  // ww2's own
    EXPECT_THAT(Tick(), IsEmpty()) << "one at a time";
    Answer(kNotTrusted);
  }
  Advance(60);
  ASSERT_THAT(Tick(), ElementsAre(kProbe));
  Answer(kListing);
  EXPECT_EQ(core_->trust().not_trusted(), 0u);
  EXPECT_THAT(Tick(), ElementsAre(kTag));
}

TEST_F(AddressTrustTest, ALaneWithAnAddressAsksEachCorpFirst) {
  Start("10.0.0.5");
  Wish("ww1", "wm1");
  ASSERT_THAT(Tick(), ElementsAre(kProbe, "ww2 get_groupmsg_list_v2"));
  EXPECT_THAT(Tick(), IsEmpty());
  Answer(kListing);
  EXPECT_THAT(Tick(), ElementsAre(kTag));
}

TEST_F(AddressTrustTest, AnyRefusalButThatOfTheAddressShowsTrust) {
  Start("10.0.0.5");
  Wish("ww1", "wm1");
  ASSERT_THAT(Tick(), SizeIs(2));
  Answer(R"({"errcode":48002})");
  EXPECT_THAT(Tick(), ElementsAre(kTag));
}

TEST_F(AddressTrustTest, ABusyWeComShowsNothing) {
  Start("10.0.0.5");
  Wish("ww1", "wm1");
  ASSERT_THAT(Tick(), SizeIs(2));
  Answer(R"({"errcode":-1})");
  EXPECT_EQ(core_->trust().not_trusted(), 0u);
  EXPECT_THAT(Tick(), IsEmpty());
  Advance(1);
  EXPECT_THAT(Tick(), ElementsAre(kProbe));
}

TEST_F(AddressTrustTest, ANewOwnerAsksBeforeItSends) {
  Wish("ww1", "wm1");
  ASSERT_THAT(Tick(), ElementsAre(kTag));
  Answer(kNotTrusted);
  core::StateHash before;
  core_->AddStateTo(&before, now_.raw_ns);
  Start({});
  core::StateHash after;
  core_->AddStateTo(&after, now_.raw_ns);
  EXPECT_EQ(before.Hex(), after.Hex());
  EXPECT_THAT(Tick(), ElementsAre(kProbe));
  Start({});  // the probe is lost; the next one has a name of its own
  const std::string lost = open_.at(0).call_id;
  ASSERT_THAT(Tick(), ElementsAre(kProbe));
  EXPECT_NE(open_.at(1).call_id, lost);
}

TEST_F(AddressTrustTest, NothingLeavesInTheBatchOfSuchAnAnswer) {
  Wish("ww1", "wm1");
  ASSERT_THAT(Tick(), ElementsAre(kTag));
  Wish("ww1", "wm2");
  CallAnswer answer;
  answer.call_id = open_.at(0).call_id;
  answer.attempt = 1;
  answer.bytes_written = answer.answered = true;
  answer.http_status = 200;
  answer.body = kNotTrusted;
  answer.completed = now_;
  ASSERT_TRUE(core_->Decide({.local = &answer}, now_).has_value());
  EXPECT_FALSE(core_->Decide({}, now_).has_value());
}

TEST_F(AddressTrustTest, ProbesAloneKeepNoCorpFromMoving) {
  Start("10.0.0.5");
  ASSERT_THAT(Tick(), ElementsAre(kProbe, "ww2 get_groupmsg_list_v2"));
  Answer(kNotTrusted);
  Start({}, {{"ww1", 1}, {"ww2", 1}});
  EXPECT_THAT(core_->left_work(), IsEmpty());
}

TEST_F(AddressTrustTest, NothingLeavesFromALaneThatIsHeldBack) {
  core_->Hold(true);
  Wish("ww1", "wm1");
  EXPECT_THAT(Tick(), IsEmpty());
  core_->Hold(false);
  EXPECT_THAT(Tick(), ElementsAre(kTag));
}

TEST_F(AddressTrustTest, WhatComesForACorpOfAnotherLaneIsKeptAndNotSent) {
  Start({}, {{"ww1", 1}});
  Wish("ww1", "wm1");
  EXPECT_EQ(core_->counters().strays, 1u);
  EXPECT_THAT(Tick(), IsEmpty());
  // A start notices what has come meanwhile; here, where it is the corp's lane, it is sent.
  Start({}, {{"ww1", 1}});
  EXPECT_EQ(core_->counters().strays, 0u);
  ASSERT_THAT(core_->left_work(), SizeIs(1));
  EXPECT_EQ(core_->left_work()[0].what, "1 tag changes and welcomes");
  Start({});
  EXPECT_THAT(core_->left_work(), IsEmpty());
  EXPECT_THAT(Tick(), ElementsAre(kTag));
}

TEST_F(AddressTrustTest, ACorpIsDrainedWhenItsLimitsHaveForgottenItsLastCall) {
  Wish("ww1", "wm1");
  ASSERT_THAT(Tick(), ElementsAre(kTag));
  Answer(R"({"errcode":0})");
  Start({}, {{"ww1", 1}});
  ASSERT_THAT(core_->left_work(), SizeIs(1));
  EXPECT_EQ(core_->left_work()[0].corp, "ww1");
  EXPECT_EQ(core_->left_work()[0].lane, 1u);
  EXPECT_THAT(core_->left_work()[0].what, HasSubstr("limits count for another"));
  Wish("ww2", "wm1");
  EXPECT_THAT(Tick(), IsEmpty()) << "such a lane does nothing at all";
  Advance(3600);
  Start({}, {{"ww1", 1}});
  EXPECT_THAT(core_->left_work(), IsEmpty());
  EXPECT_THAT(Tick(), ElementsAre("ww2 mark_tag"));
}

}  // namespace
}  // namespace tidegate::dispatch
