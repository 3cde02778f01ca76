// Senders that want a customer's last unit of the receive quota at once: the core of dispatch, and
// the simulated WeCom as the witness.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/dispatch/core/dispatch_core.h"
#include "services/wecom_simulator/core/wecom_core.h"
#include "tidegate/log/v1/audiences.pb.h"
#include "tidegate/log/v1/commands.pb.h"
#include "tidegate/log/v1/definitions.pb.h"
#include "tidegate/log/v1/events.pb.h"

namespace tidegate::dispatch {
namespace {

namespace json = boost::json;
using ::testing::ElementsAre;
using ::tidegate::log::v1::AudienceChunk;
using ::tidegate::log::v1::CAMPAIGN_INTENT_RUN;
using ::tidegate::log::v1::CAMPAIGN_PHASE_COMPLETED;
using ::tidegate::log::v1::Command;
using ::tidegate::log::v1::CustomerEvent;
using ::tidegate::log::v1::Fence;
using ::tidegate::log::v1::LedgerRecord;
using ::tidegate::log::v1::MESSAGE_CLASS_BULK;
using ::tidegate::log::v1::Proposal;
using ::tidegate::log::v1::RecordHeader;
using wecom_simulator::ReceiveQuotaKind;
using wecom_simulator::WecomCore;

constexpr int64_t kMinute = 60 * kNanosPerSecond;

// A corp whose customers wm0 .. wm2, of member m, may receive one a day.
class QuotaRaceTest : public ::testing::Test {
 protected:
  QuotaRaceTest() {
    limits_.receive_quota = wecom_table::ReceiveQuota::kOnePerDay;
    core_ = MakeCore();
    wecom_simulator::CoreOptions options;
    options.receive_quota = ReceiveQuotaKind::kOnePerDay;
    options.broken = options.over_quota = options.fail_list = options.confirm_never = 0;
    wecom_ = std::make_unique<WecomCore>(options);
    json::array customers;
    for (int i = 0; i < 3; ++i) {
      customers.push_back({{"external_userid", absl::StrCat("wm", i)}, {"member", "m"}});
    }
    EXPECT_TRUE(wecom_
                    ->OnControl("/control/seed",
                                {{"corp_id", "ww1"},
                                 {"apps", {{{"agent_id", "1000002"}, {"secret", "s"}}}},
                                 {"members", {"m"}},
                                 {"customers", std::move(customers)}},
                                now_)
                    .ok());
    const auto answer = wecom_->OnRequest(
        {"GET", "/cgi-bin/gettoken", "corpid=ww1&corpsecret=s", "", "10.0.0.1"}, now_);
    token_ = std::string(json::parse(answer.body).at("access_token").as_string());
  }

  std::unique_ptr<DispatchCore> MakeCore() {
    auto core = std::make_unique<DispatchCore>(
        DispatchOptions{.lane = 0, .partitions = 1, .agent_ids = {{"ww1", "1000002"}}}, &limits_);
    for (const auto& [topic, record] : folded_) core->Fold({topic, 0}, record, Header());
    Fence fence;
    fence.set_owner("a");
    fence.set_boot_id("boot");
    fence.set_predecessor_dead(true);
    core->ApplyFence(fence, 1);
    core->OnCalls([this](std::vector<CallToMake> calls) {
      for (CallToMake& call : calls) calls_.push_back(std::move(call));
    });
    return core;
  }
  static RecordHeader Header() {
    RecordHeader header;
    header.mutable_source();
    return header;
  }
  template <typename Message>
  void Fold(log::Topic topic, const Message& message) {
    log::StoredRecord record{.offset = offsets_[topic]++};
    record.record.value = message.SerializeAsString();
    folded_.emplace_back(topic, record);
    core_->Fold({topic, 0}, record, Header());
  }
  void Launch(const std::string& name, const std::vector<std::string>& customers) {
    Proposal proposal;
    proposal.set_corp("ww1");
    proposal.set_expected_revision(revision_++);
    proposal.set_request_id(name);
    auto* definition = proposal.add_definitions();
    definition->set_id(name);
    definition->mutable_campaign()->set_intent(CAMPAIGN_INTENT_RUN);
    auto* variant = definition->mutable_campaign()->add_variants();
    variant->set_text(name);
    variant->set_link_url("https://example.com/");
    variant->set_link_title("look");
    Fold(log::Topic::kDefinitions, proposal);
    AudienceChunk chunk;
    chunk.set_corp("ww1");
    chunk.set_audience(name);
    chunk.set_round(1);
    chunk.set_shards(1);
    for (const std::string& id : customers) {
      auto* customer = chunk.add_customers();
      customer->set_customer(id);
      customer->set_owner("m");
    }
    chunk.mutable_manifest()->set_chunks(1);
    Fold(log::Topic::kAudiences, chunk);
  }
  void Message(const std::string& key, const std::string& customer) {
    Command command;
    command.set_corp("ww1");
    auto* batch = command.mutable_message_batch();
    batch->set_received_ns(now_.wall_ns);
    auto* message = batch->add_messages();
    message->set_key(key);
    message->set_customer(customer);
    message->set_sender("m");
    message->set_message_class(MESSAGE_CLASS_BULK);
    auto* content = batch->add_contents();
    content->set_text(key);
    content->set_link_url("https://example.com/");
    content->set_link_title("look");
    Fold(log::Topic::kCommands, command);
  }

  // Decides all that there is, then applies it: one batch. How many records it had.
  size_t Batch() {
    std::vector<core::Decision> batch;
    for (; !answers_.empty(); answers_.pop_front()) {
      if (auto decision = core_->Decide({.local = &answers_.front()}, now_)) {
        batch.push_back(*decision);
      }
    }
    while (auto decision = core_->Decide({}, now_)) batch.push_back(*decision);
    for (const core::Decision& decision : batch) {
      journal_.emplace_back(decision.value, now_.wall_ns);
      Apply(core_.get(), journal_.back(), &outbox_);
    }
    core_->EndBatch();
    core_->Release(now_);
    return batch.size();
  }
  static void Apply(DispatchCore* core, const std::pair<std::string, int64_t>& record,
                    std::vector<core::OutboxRecord>* outbox) {
    core->Apply("", record.first, {.epoch = 1, .decided_time_ns = record.second, .live = true},
                outbox);
  }
  void Pass(int64_t ns) {
    now_.wall_ns += ns;
    now_.raw_ns += ns;
    now_.boot_ns += ns;
  }
  // Batches and answers, until that much time has passed.
  void RunFor(int64_t ns) {
    for (const int64_t end = now_.raw_ns + ns; now_.raw_ns < end; Pass(kNanosPerSecond)) {
      while (Batch() > 0 || !calls_.empty()) {
        Pass(kNanosPerMilli);
        for (; !calls_.empty(); calls_.pop_front()) Answer(calls_.front());
      }
    }
  }
  void Answer(const CallToMake& call) {
    const auto decision =
        wecom_->OnRequest({"POST", absl::StrCat("/cgi-bin/externalcontact/", call.api),
                           absl::StrCat("access_token=", token_), call.body, "10.0.0.1"},
                          now_);
    wecom_->OnAnswered(decision.request_id, now_);
    CallAnswer& answer = answers_.emplace_back();
    answer.call_id = call.call_id;
    answer.attempt = call.attempt;
    answer.bytes_written = answer.answered = true;
    answer.http_status = decision.http_status;
    answer.body = decision.body;
    answer.completed = now_;
  }

  // What tagging was told, as "campaign customer kind reason", in the order of time and name.
  std::vector<std::string> Ends() const {
    std::vector<std::string> ends;
    for (const core::OutboxRecord& record : outbox_) {
      CustomerEvent event;
      EXPECT_TRUE(event.ParseFromString(record.value));
      ends.push_back(absl::StrCat(event.touch().campaign(), " ", event.customer(), " ",
                                  event.kind(), " ", event.touch().reason()));
    }
    return ends;
  }
  int64_t OverQuotaAtWecom() {
    return wecom_->OnControl("/control/status", {}, now_)->at("over_quota").as_int64();
  }
  static std::string HashOf(const DispatchCore& core, int64_t at_raw_ns) {
    core::StateHash hash;
    core.AddStateTo(&hash, at_raw_ns);
    return hash.Hex();
  }
  void ExpectThatAReplayAgrees() {
    const int64_t at = now_.raw_ns + 7200 * kNanosPerSecond;
    const auto again = MakeCore();
    std::vector<core::OutboxRecord> outbox;
    for (const auto& record : journal_) Apply(again.get(), record, &outbox);
    EXPECT_EQ(HashOf(*again, at), HashOf(*core_, at));
    EXPECT_EQ(outbox.size(), outbox_.size());
  }

  wecom_table::Limits limits_ = wecom_table::DefaultLimits();
  Now now_{.wall_ns = 1'790'000'000 * kNanosPerSecond,
           .raw_ns = 1000 * kNanosPerSecond,
           .boot_ns = 1000 * kNanosPerSecond};
  std::vector<std::pair<log::Topic, log::StoredRecord>> folded_;
  std::map<log::Topic, uint64_t> offsets_;
  std::vector<std::pair<std::string, int64_t>> journal_;  // with the times of the decisions
  std::deque<CallToMake> calls_;
  std::deque<CallAnswer> answers_;
  std::vector<core::OutboxRecord> outbox_;
  uint64_t revision_ = 0;
  std::unique_ptr<DispatchCore> core_;
  std::unique_ptr<WecomCore> wecom_;
  std::string token_;
};

TEST_F(QuotaRaceTest, OfTwoCampaignsWithOneUnitLeftExactlyOneSends) {
  Launch("spring", {"wm0", "wm1"});
  Launch("summer", {"wm1", "wm2"});
  RunFor(10 * kMinute);
  EXPECT_THAT(Ends(), ::testing::UnorderedElementsAre(
                          "spring wm0 touch_sent ", "spring wm1 touch_sent ",
                          "summer wm1 touch_skipped over_quota", "summer wm2 touch_sent "));
  EXPECT_EQ(OverQuotaAtWecom(), 0);
  EXPECT_EQ(core_->campaigns().Find({"ww1", "summer"})->phase, CAMPAIGN_PHASE_COMPLETED);
  ExpectThatAReplayAgrees();
}

TEST_F(QuotaRaceTest, OneBatchHasOnePlan) {
  Launch("spring", {"wm0"});
  Launch("summer", {"wm0"});
  Batch();
  std::vector<size_t> plans;  // in each batch
  for (int i = 0; i < 3; ++i) {
    const size_t before = journal_.size();
    Batch();
    size_t& count = plans.emplace_back(0);
    for (size_t at = before; at < journal_.size(); ++at) {
      LedgerRecord record;
      ASSERT_TRUE(record.ParseFromString(journal_[at].first));
      count += record.has_planned();
    }
  }
  EXPECT_THAT(plans, ElementsAre(1, 1, 0));
}

TEST_F(QuotaRaceTest, ACampaignWithoutAnybodyLeftEndsAtOnce) {
  Launch("spring", {"wm0"});
  RunFor(kMinute / 2);
  Launch("summer", {"wm0"});
  RunFor(kMinute / 2);
  EXPECT_EQ(core_->campaigns().Find({"ww1", "summer"})->phase, CAMPAIGN_PHASE_COMPLETED);
  EXPECT_EQ(core_->campaigns().Find({"ww1", "summer"})->skipped_over_quota, 1u);
}

TEST_F(QuotaRaceTest, AMessageAndACampaignShareTheQuota) {
  Message("k", "wm0");
  Launch("spring", {"wm0", "wm1"});
  RunFor(10 * kMinute);
  int sent = 0;
  int skipped = 0;
  for (const std::string& end : Ends()) {
    if (end.find(" wm0 ") == std::string::npos) continue;
    sent += end.find("touch_sent") != std::string::npos;
    skipped += end.find("touch_skipped over_quota") != std::string::npos;
  }
  EXPECT_EQ(sent, 1);
  EXPECT_EQ(skipped, 1);
  EXPECT_EQ(OverQuotaAtWecom(), 0);
  ExpectThatAReplayAgrees();
}

TEST_F(QuotaRaceTest, ADayLaterThereIsAnotherUnit) {
  Launch("spring", {"wm0"});
  RunFor(10 * kMinute);
  Pass(int64_t{24} * 60 * kMinute);
  const auto answer = wecom_->OnRequest(
      {"GET", "/cgi-bin/gettoken", "corpid=ww1&corpsecret=s", "", "10.0.0.1"}, now_);
  token_ = std::string(json::parse(answer.body).at("access_token").as_string());
  Launch("summer", {"wm0"});
  RunFor(10 * kMinute);
  EXPECT_THAT(Ends(), ElementsAre("spring wm0 touch_sent ", "summer wm0 touch_sent "));
  EXPECT_EQ(OverQuotaAtWecom(), 0);
  ExpectThatAReplayAgrees();
}

// A restart under other limits must read the same plan in the ledger.
TEST_F(QuotaRaceTest, AReplayUnderAnotherQuotaOfTheDeploymentAgrees) {
  Launch("spring", {"wm0", "wm1"});
  Launch("summer", {"wm1", "wm2"});
  RunFor(10 * kMinute);
  limits_.receive_quota = wecom_table::ReceiveQuota::kNone;
  ExpectThatAReplayAgrees();
}

}  // namespace
}  // namespace tidegate::dispatch
