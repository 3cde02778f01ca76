// One lane for tests: its ledger, what it folds, and the core of its owner. Time passes when the
// test says so.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/core/state_hash.h"
#include "services/dispatch/core/dispatch_core.h"
#include "tidegate/log/v1/commands.pb.h"

namespace tidegate::dispatch {

class OneLane {
 public:
  static constexpr char kCorp[] = "ww1";

  explicit OneLane(wecom_table::Limits limits) : limits_(std::move(limits)) {
    core_ = MakeCore();
    TakeOver("a");
  }

  DispatchCore& core() { return *core_; }
  const Now& now() const { return now_; }
  void Pass(int64_t ns) {
    now_.wall_ns += ns;
    now_.raw_ns += ns;
    now_.boot_ns += ns;
  }

  // A campaign with one call for each sender; customers are named after their sender and a number.
  void Launch(const std::string& campaign, int senders, int customers_of_each,
              uint32_t reminders = 0) {
    ::tidegate::log::v1::Proposal proposal;
    proposal.set_corp(kCorp);
    proposal.set_request_id(campaign);
    proposal.set_proposal_id(campaign);
    proposal.set_expected_revision(core_->revision(kCorp));
    auto* definition = proposal.add_definitions();
    definition->set_id(campaign);
    definition->mutable_campaign()->set_intent(::tidegate::log::v1::CAMPAIGN_INTENT_RUN);
    definition->mutable_campaign()->set_reminders(reminders);
    auto* variant = definition->mutable_campaign()->add_variants();
    variant->set_text("spring");
    variant->set_link_url("https://example.com/");
    variant->set_link_title("look");
    Fold(log::Topic::kDefinitions, proposal.SerializeAsString());
    ::tidegate::log::v1::AudienceChunk chunk;
    chunk.set_corp(kCorp);
    chunk.set_audience(campaign);
    chunk.set_round(1);
    chunk.set_shards(1);
    for (int sender = 0; sender < senders; ++sender) {
      for (int number = 0; number < customers_of_each; ++number) {
        auto* customer = chunk.add_customers();
        customer->set_customer(Customer(sender, number));
        customer->set_owner(Sender(sender));
      }
    }
    chunk.mutable_manifest()->set_customers(chunk.customers_size());
    chunk.mutable_manifest()->set_chunks(1);
    Fold(log::Topic::kAudiences, chunk.SerializeAsString());
  }
  static std::string Sender(int sender) { return absl::StrCat("m", sender); }
  static std::string Customer(int sender, int number) {
    return absl::StrCat("wm", sender, "x", number);
  }
  // As an outbox sends it.
  void Fold(log::Topic topic, std::string value) {
    log::StoredRecord record{.offset = ++offsets_[topic] - 1};
    record.record.value = std::move(value);
    history_.push_back({.folded = {{log::TopicPartition{topic, 0}, record}}});
    FoldInto(core_.get(), *history_.back().folded);
  }

  void TakeOver(const std::string& owner) {
    ::tidegate::log::v1::Fence fence;
    fence.set_owner(owner);
    fence.set_boot_id("boot");
    fence.set_wall_time_ns(now_.wall_ns);
    fence.set_boot_time_ns(now_.boot_ns);
    fence.set_raw_time_ns(now_.raw_ns);
    fence.set_predecessor_dead(true);
    history_.push_back({.fence = fence, .epoch = ++epoch_});
    core_->ApplyFence(fence, epoch_);
  }

  // Decides, journals and applies, batch after batch; the records that this made.
  std::vector<::tidegate::log::v1::LedgerRecord> Decide(const core::Input& input = {}) {
    std::vector<::tidegate::log::v1::LedgerRecord> made;
    std::vector<core::Decision> batch;
    do {
      batch.clear();
      while (auto decision = core_->Decide(input, now_)) {
        EXPECT_TRUE(made.emplace_back().ParseFromString(decision->value));
        batch.push_back(*std::move(decision));
        if (input.local != nullptr) break;
      }
      for (const core::Decision& decision : batch) Commit(decision);
      core_->EndBatch();
    } while (!batch.empty() && input.local == nullptr);
    return made;
  }
  // Journals and applies what was decided; without it the batch is void at the next TakeOver().
  void Commit(const core::Decision& decision) {
    history_.push_back({.value = decision.value, .epoch = epoch_, .decided_time_ns = now_.wall_ns});
    Apply(core_.get(), history_.back(), /*live=*/true);
  }
  // Ticks now; the calls that leave.
  std::vector<CallToMake> Calls() {
    std::vector<CallToMake> calls;
    core_->OnCalls([&](std::vector<CallToMake> more) {
      for (CallToMake& call : more) calls.push_back(std::move(call));
    });
    Decide();
    core_->Release(now_);
    core_->OnCalls(nullptr);
    return calls;
  }
  // An empty body: the connection ends without an answer.
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

  // Replays all that happened in a new core, as a restart does: what is folded comes before the
  // ledger. It must know the same.
  void ExpectReplayGivesTheSame() {
    const auto replayed = MakeCore();
    Replay(replayed.get());
    core::StateHash replayed_hash, hash;
    replayed->AddStateTo(&replayed_hash, now_.raw_ns);
    core_->AddStateTo(&hash, now_.raw_ns);
    EXPECT_EQ(replayed_hash.Hex(), hash.Hex());
  }
  // What a start finds here now, if the corp was moved to another lane.
  std::vector<std::string> LeftWorkAfterAMove() const {
    DispatchCore core({.lane = 0, .partitions = 1, .elsewhere = {{kCorp, 1}}}, &limits_);
    Replay(&core);
    core.Release(now_);
    std::vector<std::string> what;
    for (const LeftWork& left : core.left_work()) what.push_back(left.what);
    return what;
  }

 private:
  void Replay(DispatchCore* core) const {
    for (const Entry& entry : history_) {
      if (entry.folded.has_value()) FoldInto(core, *entry.folded);
    }
    for (const Entry& entry : history_) {
      if (!entry.folded.has_value()) Apply(core, entry, /*live=*/false);
    }
  }

  using Folded = std::pair<log::TopicPartition, log::StoredRecord>;
  // One of them is set.
  struct Entry {
    std::optional<Folded> folded;
    std::optional<::tidegate::log::v1::Fence> fence;
    std::string value;  // of a decision
    uint64_t epoch = 0;
    int64_t decided_time_ns = 0;
  };

  std::unique_ptr<DispatchCore> MakeCore() const {
    return std::make_unique<DispatchCore>(
        DispatchOptions{.lane = 0, .partitions = 1, .agent_ids = {{kCorp, "1000002"}}}, &limits_);
  }
  static void FoldInto(DispatchCore* core, const Folded& folded) {
    ::tidegate::log::v1::RecordHeader header;
    if (folded.first.topic != log::Topic::kDefinitions) {
      header.mutable_source()->set_journal("tidegate.memberships/0");
      header.mutable_source()->set_out_seq(folded.second.offset + 1);
    }
    core->Fold(folded.first, folded.second, header);
  }
  static void Apply(DispatchCore* core, const Entry& entry, bool live) {
    if (entry.fence.has_value()) return core->ApplyFence(*entry.fence, entry.epoch);
    std::vector<core::OutboxRecord> outbox;
    core->Apply("", entry.value,
                {.epoch = entry.epoch, .decided_time_ns = entry.decided_time_ns, .live = live},
                &outbox);
  }

  const wecom_table::Limits limits_;
  std::map<log::Topic, uint64_t> offsets_;
  std::vector<Entry> history_;
  uint64_t epoch_ = 0;
  Now now_{.wall_ns = 1'790'000'000 * kNanosPerSecond,
           .raw_ns = 1000 * kNanosPerSecond,
           .boot_ns = 1000 * kNanosPerSecond};
  std::unique_ptr<DispatchCore> core_;
};

}  // namespace tidegate::dispatch
