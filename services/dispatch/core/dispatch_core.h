// One egress lane: everything that leaves for WeCom through one address.
//
// Journal: tidegate.ledger. Folded inputs: tidegate.definitions, tidegate.audiences,
// tidegate.commands. Local inputs: CallAnswer. Outbox: tidegate.events (the ends of touches).
//
// An attempt is a decision like any other: its tokens are taken when it is applied, and only then
// does TakeCalls() hand it to the shell. The answer comes back as a CallAnswer and becomes an
// outcome.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/core/core.h"
#include "common/definitions/definitions_fold.h"
#include "common/wecom_table/limits.h"
#include "services/dispatch/core/address_trust.h"
#include "services/dispatch/core/block_list.h"
#include "services/dispatch/core/bucket_set.h"
#include "services/dispatch/core/call_types.h"
#include "services/dispatch/core/campaign_book.h"
#include "services/dispatch/core/command_book.h"
#include "services/dispatch/core/corp_limits.h"
#include "services/dispatch/core/flows.h"
#include "services/dispatch/core/ghost_book.h"
#include "services/dispatch/core/harm_brake.h"
#include "services/dispatch/core/left_work.h"
#include "services/dispatch/core/message_book.h"
#include "services/dispatch/core/receive_quota.h"
#include "services/dispatch/core/scheduler.h"
#include "services/dispatch/core/token_grants.h"
#include "services/dispatch/core/urgent_calls.h"
#include "tidegate/log/v1/ledger.pb.h"

namespace tidegate::dispatch {

struct DispatchOptions {
  uint32_t lane = 0;
  uint32_t partitions = 4;  // of the customer topics
  // The app that calls for a corp, by corp; of the lane's corps. Nothing leaves for others.
  std::map<std::string, std::string> agent_ids;
  std::map<std::string, uint32_t> elsewhere = {};  // corps of other lanes -> lane
  // The address that calls leave from, or the proxy, for people; empty = any. With one, each corp
  // is asked first whether it trusts it.
  std::string source = {};
};

// Counts of applied records since the start of the journal; for metrics.
struct DispatchCounters {
  std::map<std::pair<std::string, std::string>, uint64_t> calls;  // api, errcode class
  std::map<std::string, uint64_t> delayed;  // cause: window, concurrency, token, ...
  // By api, of this process: calls let go near a limit; times that a corp's calls began to wait
  // for tokens.
  std::map<std::string, uint64_t> near_limit;
  std::map<std::string, uint64_t> over_limit;
  uint64_t attempts = 0;
  uint64_t outcomes = 0;
  uint64_t skipped = 0;      // records of folded inputs that no outbox of ours can have sent
  uint64_t strays = 0;       // of this process: those of corps that are in another lane
  int64_t last_call_ns = 0;  // from decision to outcome
};

// Attempts and outcomes are in dispatch_calls.cc, what flows offer in dispatch_flows.cc.
class DispatchCore : public core::Core {
 public:
  // `limits` outlives the core.
  DispatchCore(DispatchOptions options, const wecom_table::Limits* limits);

  void Fold(log::TopicPartition from, const log::StoredRecord& record,
            const ::tidegate::log::v1::RecordHeader& header) override;
  std::optional<core::Decision> Decide(const core::Input& input, const Now& now) override;
  void Apply(absl::string_view key, absl::string_view value, const core::ApplyContext& context,
             std::vector<core::OutboxRecord>* outbox) override;
  void ApplyFence(const ::tidegate::log::v1::Fence& fence, uint64_t epoch) override;
  void EndBatch() override;
  void Release(const Now& now) override;
  std::optional<int64_t> NextTickRawNs(const Now& now) override;
  void AddStateTo(core::StateHash* hash, int64_t at_raw_ns) const override;

  // Where Release() sends the calls that may leave; set before the runner starts.
  void OnCalls(std::function<void(std::vector<CallToMake>)> on_calls) {
    on_calls_ = std::move(on_calls);
  }
  // Told of every change of what is blocked, before calls are handed out; set before the runner
  // starts.
  void OnBlocks(std::function<void(const BlockList&)> on_blocks) {
    on_blocks_ = std::move(on_blocks);
  }
  // While draining no attempt is decided; answers are taken on.
  void SetDraining() { draining_ = true; }
  // Nor while it is held back. The core's thread, or before it runs.
  void Hold(bool held) { held_ = held; }
  size_t open_attempts() const { return open_attempts_.size(); }
  // Former owners whose end is not known, with their boot ids: the shell finds out, and posts
  // FormerOwnerEnded.
  const std::map<std::string, std::string>& former_owners() const { return former_owners_; }

  const CampaignBook& campaigns() const { return campaigns_; }
  const CommandBook& commands() const { return commands_; }
  const MessageBook& messages() const { return messages_; }
  const BlockList& blocks() const { return blocks_; }
  const HarmBrake& harm() const { return harm_; }
  const GhostBook& ghosts() const { return ghosts_; }
  const CorpLimits& corp_limits() const { return corp_limits_; }
  const TokenGrants& grants() const { return grants_; }
  // Why another program cannot be given tokens for so many calls.
  struct Refusal {
    std::string why;           // as in "add_msg_template corp 60/5s"
    int64_t until_raw_ns = 0;  // when to ask again; kNever: cannot be told
  };
  // Nothing: it can, now. Counts what is decided in this batch. Changes nothing.
  std::optional<Refusal> RefusalOf(const ::tidegate::log::v1::TokensAcquired& wanted,
                                   const Now& now);
  const ReceiveQuotas& quotas() const { return quotas_; }
  const AddressTrust& trust() const { return trust_; }
  // After recovery: what is left here of corps that are in other lanes now. While there is
  // anything, nothing is decided: the shell ends the process.
  const std::vector<LeftWork>& left_work() const { return left_work_; }
  // Of a message; nullptr while it waits for one.
  const CampaignCallState* CallOf(const MessageBook::Ref& ref) const;
  // The shell has been told of all blocks.
  bool blocks_told() const { return !blocks_changed_; }
  BucketSet& buckets() { return buckets_; }
  const DispatchCounters& counters() const { return counters_; }
  uint64_t revision(const std::string& corp) const { return definitions_.Corp(corp).revision; }

 private:
  struct OpenAttempt {
    std::string corp;
    ::tidegate::log::v1::Attempt attempt;
    uint64_t epoch = 0;
  };
  using Record = ::tidegate::log::v1::LedgerRecord;

  void Skip(log::TopicPartition from, uint64_t offset, const char* why);
  // Tells if what has come is of a corp of another lane; it is kept, and never sent from here.
  void TellStray(log::TopicPartition from, uint64_t offset, const std::string& corp);
  void TellTrust(const std::string& corp, AddressTrust::Change change) const;
  // A call of messages has moved: their touches follow it.
  void TellMessages(const ::tidegate::log::v1::CallTarget& target, int64_t time_ns);
  void TellMessages(const ::tidegate::log::v1::CampaignCall& name, int64_t time_ns);
  std::optional<core::Decision> DecideOwnerEnded(const FormerOwnerEnded& ended, const Now& now);
  std::optional<core::Decision> DecideAnswer(const CallAnswer& answer, const Now& now);
  std::optional<core::Decision> DecideTick(const Now& now);
  // The call that leaves next, if one may.
  std::optional<WantedCall> NextCall(const Now& now);
  std::optional<core::Decision> DecideWish(const OperatorWish& wish, const Now& now);
  // Those of grants: dispatch_grants.cc.
  std::optional<core::Decision> DecideAcquire(const AcquireTokens& wish, const Now& now);
  std::optional<core::Decision> DecideRelease(const ReleaseTokens& wish, const Now& now);
  core::Decision EncodeReleased(::tidegate::log::v1::TokensReleased released);
  void ApplyAcquired(const ::tidegate::log::v1::TokensAcquired& acquired);
  void ApplyReleased(const ::tidegate::log::v1::TokensReleased& released);
  // Blocks were set or have ended: every flow is asked again.
  void ReconsiderAll();
  core::Decision DecideAttempt(WantedCall call, const Now& now);
  // The corp's limits have changed.
  void SetWeights(const std::string& corp);
  // A book tells that the flow's first call may be another one.
  void NoteChanged(const FlowName& name);
  // When the quiet hours end in which, or so shortly before which, no call of the flow is decided
  // (wall); nullopt: one may be.
  std::optional<int64_t> QuietUntilNs(const FlowName& name, const Now& now) const;
  // Of the book that has the flow.
  std::optional<FlowHead> HeadOf(const FlowName& name, const Now& now);
  std::optional<WantedCall> Take(const FlowName& name, const Now& now);
  // Tells the scheduler what the changed flows offer now.
  void OfferChanged(const Now& now);
  static core::Decision Encode(const Record& record);
  void ApplyAttempt(::tidegate::log::v1::Attempt&& attempt, const core::ApplyContext& context);
  void ApplyOutcome(const ::tidegate::log::v1::Outcome& outcome, const core::ApplyContext& context);
  // From when on WeCom cannot execute a call whose socket was closed at `closed_raw_ns`.
  int64_t HoldBound(int64_t closed_raw_ns) const;
  static CallCost CostOf(const ::tidegate::log::v1::Attempt& attempt);
  static std::string CorpOf(const ::tidegate::log::v1::CallTarget& target);
  static bool IsCommand(const ::tidegate::log::v1::Attempt& attempt);
  // It has to be repeated sooner than its hold bound: a welcome, whose code is valid for 20 s.
  static bool IsPressing(const ::tidegate::log::v1::Attempt& attempt);
  static bool IsCommand(FlowKind kind);
  Scheduler MakeScheduler();

  const DispatchOptions options_;
  const wecom_table::Limits* const limits_;
  CorpLimits corp_limits_;
  ReceiveQuotas quotas_;
  definitions::DefinitionsFold definitions_;
  BucketSet buckets_;
  UrgentCalls urgent_calls_;
  CampaignBook campaigns_;
  CommandBook commands_;
  MessageBook messages_;
  AddressTrust trust_;
  BlockList blocks_;
  TokenGrants grants_;
  HarmBrake harm_;
  GhostBook ghosts_;
  bool blocks_changed_ = true;                        // since they were told to the shell
  int64_t blocks_seen_wall_ns_ = 0;                   // when flows were held against them
  std::map<std::string, OpenAttempt> open_attempts_;  // by call id
  std::string boot_id_;
  std::string owner_;  // of the newest fence
  // Owners before it that may still be running: owner -> boot id.
  std::map<std::string, std::string> former_owners_;
  DispatchCounters counters_;
  bool recovered_ = false;  // once
  std::vector<LeftWork> left_work_;
  std::set<std::string> strays_told_;  // corps

  // Flows by number, as the scheduler knows them, and those whose first call may have changed.
  Scheduler scheduler_;
  std::map<FlowName, Scheduler::Flow> flow_of_;
  std::vector<const FlowName*> flows_;
  std::set<Scheduler::Flow> changed_flows_;

  // Of the batch at hand.
  std::map<std::string, CallToMake> decided_calls_;  // by call id
  std::vector<CallToMake> calls_to_make_;
  bool limit_refused_ = false;  // an answer closes a bucket, which only its apply does
  bool draining_ = false;
  std::function<void(std::vector<CallToMake>)> on_calls_;
  std::function<void(const BlockList&)> on_blocks_;
  bool held_ = false;
};

}  // namespace tidegate::dispatch
