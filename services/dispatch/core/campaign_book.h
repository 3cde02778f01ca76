// Campaigns: from the wish to run, over the plan and its calls, to the end of every touch.
//
// A fold of tidegate.definitions (what is wanted), tidegate.audiences (to whom) and the ledger
// (what was done). Part of DispatchCore; one thread. Times are CLOCK_MONOTONIC_RAW unless named
// wall.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "common/base/clock.h"
#include "common/core/core.h"
#include "common/wecom_table/answers.h"
#include "common/wecom_table/limits.h"
#include "services/dispatch/core/call_types.h"
#include "services/dispatch/core/corp_limits.h"
#include "services/dispatch/core/flows.h"
#include "services/dispatch/core/numbered_list.h"
#include "services/dispatch/core/planner.h"
#include "services/dispatch/core/receive_quota.h"
#include "tidegate/log/v1/audiences.pb.h"
#include "tidegate/log/v1/definitions.pb.h"
#include "tidegate/log/v1/ledger.pb.h"

namespace tidegate::dispatch {

using CampaignKey = std::pair<std::string, std::string>;  // corp, campaign id

// How a touch stands; values of Result.statuses.
enum TouchStatus : uint8_t {
  kTouchOpen = 0,
  kTouchSent = 1,
  kTouchNotFriend = 2,
  kTouchOverQuota = 3,
  kTouchFailList = 4,
  kTouchRefused = 5,
  kTouchUnconfirmed = 6,
  kTouchExpired = 7,      // of messages: never attempted
  kTouchCancelled = 8,    // of messages: never attempted
  kTouchAbandoned = 9,    // in a call that an operator gave up
  kTouchTakenApart = 10,  // of messages: packed again, its call was never executed
};
inline constexpr size_t kTouchStatuses = kTouchTakenApart + 1;
inline constexpr uint8_t kNotOnThisPage = 255;
// No touch is open.
bool AllEnded(const std::vector<uint8_t>& statuses);

// A doubt while it is being settled.
struct DoubtState {
  uint32_t attempt = 0;
  int64_t opened_raw_ns = 0;
  int64_t opened_wall_ns = 0;  // of the attempt
  int64_t start_time_s = 0;    // of the listings' window, wall
  int64_t end_time_s = 0;      // when the first listing began, wall; 0 before that
  int64_t next_raw_ns = 0;     // when the next listing may begin
  uint32_t listing = 0;        // under way or next: 1, 2; 3 = both are clean
  uint32_t pages = 0;          // of all listings so far
  uint32_t page_errors = 0;    // in a row, at this page
  std::string cursor;
  // Tasks with the call's marker: msgid, when WeCom made it (Unix seconds).
  using Matches = std::map<std::string, int64_t>;
  Matches matches;  // of the listing under way
  Matches matches_before;
  bool under_way = false;  // an attempt is open, or something was decided in this batch
  // Whoever made the call may still be running, and still write it.
  bool waits_for_owner = false;
  // Lost at a fence of the owner that made it: that one may still write it, and is waited for as
  // soon as it is replaced.
  bool lost_by_own_fence = false;
  // Of an app message, which is repeated byte by byte: the first attempt in doubt.
  int64_t opened_boot_ns = 0;  // of it; kNever = of another boot
  std::string request_sha256;
  std::string unrepeatable;  // why its request cannot be made again; empty: it can
};

// So many reminders of a task does WeCom take in 24 h (M7 of its limits).
inline constexpr uint32_t kRemindersMax = 3;

// How members of an accepted call who have not confirmed are reminded. Wall times.
struct ReminderState {
  int64_t accepted_ns = 0;
  int64_t next_ns = kNever;  // when the next one is due
  uint32_t attempts = 0;
  uint32_t used = 0;  // under way, sent, refused or in doubt: none of these is made up for
  uint32_t sent = 0;
  bool under_way = false;  // an attempt is open, or was decided in this batch
};

// Whether the owner that made a call runs when the call is lost at a fence.
enum class CallOwner {
  kDead,
  kUnknown,
  kOwnsOn,  // the fence is its own
};

// To whom a call goes.
enum class Channel : uint8_t {
  kCustomers,  // a mass send: a member confirms, and its results are read
  kMembers,    // a message of the corp's app: its end is WeCom's answer
};

// One call of a campaign.
struct CampaignCallState {
  enum class Phase { kPlanned, kUnderWay, kAccepted, kRefused, kDoubt, kParked };
  std::string sender;
  Channel channel = Channel::kCustomers;
  uint32_t variant = 0;
  std::vector<uint32_t> customers;  // indices into the audience; of messages into `recipients`
  // Of messages, which no audience and no variant of a campaign outlives.
  std::vector<std::string> recipients;  // members of kMembers
  ContentVariant content;
  std::string call_id;
  std::string marker;

  Phase phase = Phase::kPlanned;
  uint32_t attempts = 0;
  std::string msgid;
  std::vector<uint8_t> statuses;      // TouchStatus of each customer
  bool counts = false;                // its open touches hold units of receive quotas
  bool final = false;                 // every status is an end, and told to others
  int64_t final_wall_ns = 0;          // since when
  bool decided = false;               // something about it was decided in this batch
  bool held = false;                  // touches of it are being skipped: no attempt in this batch
  int64_t not_before_raw_ns = 0;      // of the next attempt
  int64_t over_raw_ns = 0;            // of kMembers: WeCom executes it no later
  int64_t deadline_wall_ns = kNever;  // of the first attempt of an urgent message

  uint32_t reads = 0;  // result reads so far
  uint32_t reads_after_close = 0;
  bool read_under_way = false;
  bool member_confirmed = false;
  std::string result_cursor;
  std::vector<bool> listed;    // customers on the pages of this reading
  bool found_by_list = false;  // its fail_list was never seen
  int64_t next_read_raw_ns = 0;
  int64_t results_close_wall_ns = kNever;  // of messages; campaigns have one for all

  std::optional<DoubtState> doubt;
  ReminderState reminders;
  // Of a parked call, for the operator: what listings had told, when the attempt was, and who has
  // said that it was not executed.
  std::string evidence;
  int64_t attempt_wall_ns = 0;
  std::string first_actor;
  std::string resolved_by;  // whose word was the last
};

// A campaign whose name begins with this holds the calls of an internal service's messages: it has
// no audience of its own, grows by call, and never ends.
inline constexpr char kMessageCampaign = '@';
inline bool IsMessageCampaign(absl::string_view campaign) {
  return !campaign.empty() && campaign.front() == kMessageCampaign;
}

// What stays of calls that were forgotten.
struct ForgottenCalls {
  int64_t time_ns = 0;  // when the newest were, Unix nanoseconds; 0: none was
  uint64_t audience = 0;
  uint64_t accepted = 0;
  uint64_t refused = 0;
  uint64_t reminders_sent = 0;
  uint64_t touches_accepted = 0;
  std::array<uint64_t, kTouchStatuses> touches{};  // by TouchStatus
};

struct CampaignState {
  ::tidegate::log::v1::CampaignPhase phase = ::tidegate::log::v1::CAMPAIGN_PHASE_UNSPECIFIED;
  ::tidegate::log::v1::CampaignIntent intent = ::tidegate::log::v1::CAMPAIGN_INTENT_DRAFT;
  std::vector<AudienceCustomer> audience;
  std::vector<ContentVariant> variants;
  NumberedList<CampaignCallState> calls;
  std::set<uint32_t> open;  // those of them that are not final
  ForgottenCalls forgotten;
  uint64_t skipped_no_sender = 0;
  uint64_t skipped_over_quota = 0;
  int64_t first_attempt_wall_ns = 0;
  int64_t last_accepted_wall_ns = 0;
  int64_t results_close_wall_ns = 0;
  int64_t last_end_wall_ns = 0;  // when a call became final, or it was planned
  uint64_t doubts_opened = 0;
  uint64_t doubts_accepted = 0;
  uint64_t doubts_not_executed = 0;
  // Batches in phase kPlanned, by deadline, and those whose time has not come; stale entries are
  // skipped.
  std::set<std::pair<int64_t, uint32_t>> to_send;
  std::set<std::pair<int64_t, uint32_t>> to_send_later;  // not before, batch
  std::set<std::pair<int64_t, uint32_t>> to_remind;      // due (wall), batch; as to_send
  // The same of kMembers, with calls in doubt that are to be repeated.
  std::set<std::pair<int64_t, uint32_t>> app_to_send;
  std::set<std::pair<int64_t, uint32_t>> app_to_send_later;
  bool decided = false;  // its progress was decided in this batch

  // Also of one that was forgotten.
  uint64_t AudienceSize() const { return audience.size() + forgotten.audience; }
  // To whom a call of it goes, and what it says.
  const std::string& RecipientOf(const CampaignCallState& call, size_t place) const {
    return call.recipients.empty() ? audience[call.customers[place]].customer
                                   : call.recipients[place];
  }
  const ContentVariant& ContentOf(const CampaignCallState& call) const {
    return call.recipients.empty() ? variants[call.variant] : call.content;
  }
};

// The campaign of a call, and the call's name in records.
CampaignKey KeyOf(const ::tidegate::log::v1::CampaignCall& call);
::tidegate::log::v1::CampaignCall CallName(const CampaignKey& key, uint32_t batch);

// Plans and phases are in campaign_plan.cc, mass sends in campaign_creates.cc, doubt is in
// campaign_doubt.cc, what became of touches in campaign_results.cc, reminders are in
// campaign_reminders.cc, messages to members in campaign_app.cc, the end of calls that nobody needs
// any more in campaign_forget.cc.
class CampaignBook {
 public:
  // `limits` and `quotas` outlive the book. `partitions`: of the customer topics.
  CampaignBook(const wecom_table::Limits* limits, uint32_t partitions, ReceiveQuotas* quotas,
               FlowChanged changed);

  // The app of each corp, which writes to members, and the limits of each; both outlive the book.
  void UseApps(const std::map<std::string, std::string>* agent_ids, const CorpLimits* corp_limits) {
    agent_ids_ = agent_ids;
    corp_limits_ = corp_limits;
  }

  void FoldDefinitions(const ::tidegate::log::v1::Proposal& accepted);
  void FoldAudience(const ::tidegate::log::v1::AudienceChunk& chunk);

  // The call of messages that were packed together. Its touches may be skipped until its first
  // attempt: Hold() keeps that back in this batch, until SkipTouch() is applied.
  struct MessageCall {
    std::string sender;
    Channel channel = Channel::kCustomers;
    ContentVariant content;
    std::vector<std::string> customers;
    int64_t deadline_wall_ns = kNever;
    bool counts = false;  // its touches hold units of receive quotas
  };
  void AddMessageCall(const ::tidegate::log::v1::CampaignCall& name, MessageCall message_call);
  bool MaySkipTouch(const ::tidegate::log::v1::CampaignCall& name) const;
  void Hold(const ::tidegate::log::v1::CampaignCall& name);
  void SkipTouch(const ::tidegate::log::v1::CampaignCall& name, uint32_t place, TouchStatus status,
                 int64_t wall_ns);

  // Decide. What is returned is under way until it is applied; Rebuild() undoes a void batch.
  std::optional<::tidegate::log::v1::LedgerRecord> NextProgress(const Now& now);
  std::optional<::tidegate::log::v1::LedgerRecord> NextSettlement(const Now& now);
  std::optional<::tidegate::log::v1::LedgerRecord> NextResult();
  // Calls that ended long ago. `needed`: whether a message of the call is still known.
  using Needed = absl::FunctionRef<bool(const ::tidegate::log::v1::CampaignCall&)>;
  std::optional<::tidegate::log::v1::LedgerRecord> NextForgotten(Needed needed, const Now& now);
  // Flows: kCreate and kRemind of a campaign, those of messages; kListing, kReadTask, kReadResult
  // of a corp.
  std::optional<FlowHead> HeadOf(const FlowName& flow, const Now& now);
  std::optional<WantedCall> Take(const FlowName& flow, const Now& now);
  // From the closing of results on, customers are asked and not members: moves their reads.
  void CloseResults(const Now& now);
  // A call to members, not executed by any attempt, that is for more people than the corp's present
  // limits let through at once.
  std::optional<::tidegate::log::v1::CampaignCall> NextTooLarge();
  // When a doubt may be settled or parked, or results close; nothing = never.
  std::optional<int64_t> NextRawNs(const Now& now) const;

  // An operator's word about a parked call; nothing: it is not parked, or not at this attempt, or
  // has been spoken of in this batch, or by this actor before.
  std::optional<::tidegate::log::v1::LedgerRecord> DecideResolved(
      const ::tidegate::log::v1::DoubtResolved& resolved);

  // Fills in what an answer says beyond its class: msgid, fail_list, statuses, matches.
  void DescribeAnswer(const ::tidegate::log::v1::Attempt& attempt,
                      const wecom_table::Answer& answer,
                      ::tidegate::log::v1::Outcome* outcome) const;

  // Apply.
  void OnPlanned(const ::tidegate::log::v1::Planned& planned,
                 std::vector<core::OutboxRecord>* outbox);
  void OnAttempt(const ::tidegate::log::v1::Attempt& attempt);
  void OnOutcome(const AttemptEnd& end);
  // `settle_from_raw_ns`: a process that is gone cannot write to the call's socket any more. Of an
  // owner whose end is not known, a doubt waits for OnFormerOwnersDead.
  void OnLostOwner(const ::tidegate::log::v1::Attempt& attempt, int64_t settle_from_raw_ns,
                   CallOwner owner);
  // Another owner's fence, before its OnLostOwner and OnFormerOwnersDead: from now on the calls
  // that the former one had lost at its own fences wait for its end.
  void OnOwnerReplaced(int64_t raw_ns);
  // No former owner is running any more, since this moment at the latest.
  void OnFormerOwnersDead(int64_t raw_ns);
  void OnSettled(const ::tidegate::log::v1::Settled& settled);
  void OnResolved(const ::tidegate::log::v1::DoubtResolved& resolved);
  void OnResult(const ::tidegate::log::v1::Result& result, int64_t time_ns,
                std::vector<core::OutboxRecord>* outbox);
  void OnProgress(const ::tidegate::log::v1::CampaignProgress& progress);
  // `live`: this process decided it. In a replay nobody reads the queues before Rebuild().
  void OnForgotten(const ::tidegate::log::v1::CallsForgotten& forgotten, bool live);
  // `raw_restarted`: times of before mean nothing any more; what was sent then is not executed
  // later than `held_until_raw_ns`.
  void Rebuild(bool raw_restarted, int64_t raw_now_ns, int64_t held_until_raw_ns);

  void AddStateTo(core::StateHash* hash) const;
  // nullptr if it was never launched.
  const CampaignState* Find(const CampaignKey& key) const;
  // An audience has come that is not planned yet, or never will be.
  bool HasAudience(const CampaignKey& key) const { return audiences_.contains(key); }
  // nullptr if there is none, or none any more.
  const CampaignCallState* FindCall(const ::tidegate::log::v1::CampaignCall& call) const;
  const std::map<CampaignKey, CampaignState>& campaigns() const { return campaigns_; }
  // Whether an earlier attempt of this call may have been executed, and it is repeated.
  bool RepeatsInDoubt(const ::tidegate::log::v1::Attempt& attempt) const;
  bool HasUndecidedCreate(const CampaignKey& key) const;

 private:
  using CallRef = std::pair<CampaignKey, uint32_t>;  // campaign, batch
  struct Shard {
    // Complete rounds only, by round: chunks in order.
    std::map<uint32_t, std::vector<::tidegate::log::v1::AudienceChunk>> rounds;
  };
  struct Audience {
    uint32_t shards = 0;
    std::map<uint32_t, Shard> by_shard;
  };

  static void AddCallTo(core::StateHash* hash, const CampaignCallState& call);
  CampaignCallState* MutableCall(const ::tidegate::log::v1::CampaignCall& call);
  CampaignCallState& CallAt(const CallRef& ref) { return campaigns_[ref.first].calls[ref.second]; }
  // The lowest complete round of every shard; empty if a shard has none.
  std::vector<uint32_t> CompleteRounds(const CampaignKey& key) const;
  std::vector<AudienceCustomer> Assemble(const CampaignKey& key,
                                         const std::vector<uint32_t>& rounds) const;
  std::optional<::tidegate::log::v1::LedgerRecord> PlanRecord(const CampaignKey& key,
                                                              const Now& now) const;
  // By raw time. Stale entries are skipped when they are met.
  using CallQueue = std::set<std::pair<int64_t, CallRef>>;
  void QueueCreate(const CampaignKey& key, uint32_t batch);
  void QueueRead(const CallRef& ref);
  void QueueDoubt(const CallRef& ref);
  void ChangedCreates(const CampaignKey& key);
  // As CommandBook::TidyPairs. False: no call may leave yet.
  bool TidyCreates(CampaignState* campaign, int64_t raw_ns);
  // Whether a call waits in this queue at this time.
  bool ListsAt(const CallRef& ref, int64_t raw_ns);
  bool ReadsAt(const CallRef& ref, int64_t raw_ns);
  // When the doubt may be settled, or is to be parked.
  int64_t SettleRawNs(const DoubtState& doubt) const;
  CallQueue* TidyListings(const std::string& corp);
  CallQueue* TidyReads(FlowKind kind, const std::string& corp, const Now& now);
  WantedCall CreateCall(const CampaignKey& key, uint32_t batch);
  WantedCall ListingCall(const CallRef& ref, const Now& now);
  WantedCall ReadCall(const CallRef& ref, FlowKind kind);
  // (Re)starts the settle wait.
  void ScheduleDoubt(const CallRef& ref, int64_t settle_from_raw_ns);
  void OpenDoubt(const CallRef& ref, const ::tidegate::log::v1::Attempt& attempt,
                 int64_t settle_from_raw_ns);
  void OnCreateOutcome(const CallRef& ref, const AttemptEnd& end);
  void OnReadOutcome(const CallRef& ref, const AttemptEnd& end);
  void OnListOutcome(const CallRef& ref, const AttemptEnd& end);
  // After this what is not confirmed ends unconfirmed; kNever where that is not known yet.
  int64_t ResultsCloseNs(const CallRef& ref) const;
  void TakeResultPage(const CallRef& ref, const ::tidegate::log::v1::Outcome& outcome);
  // A touch ends once: what WeCom says of it afterwards changes nothing. Its unit of the customer's
  // receive quota is used or free from then on.
  void EndTouch(const CallRef& ref, size_t place, uint8_t status, int64_t wall_ns);
  // All that are open.
  void EndTouches(const CallRef& ref, uint8_t status, int64_t wall_ns);
  void ScheduleRead(const CallRef& ref, int64_t raw_ns);
  // Of a call that WeCom has accepted.
  void StartReminders(const CallRef& ref, int64_t accepted_wall_ns);
  void QueueReminder(const CallRef& ref);
  void ChangedReminders(const CampaignKey& key);
  // The next one is due when it is planned, but not before this.
  void PlanReminder(const CallRef& ref, int64_t not_before_wall_ns);
  bool RemindsAt(const CallRef& ref, int64_t due_wall_ns) const;
  std::optional<FlowHead> RemindHead(const FlowName& flow, const Now& now);
  WantedCall RemindCall(const CallRef& ref);
  void OnRemindAttempt(CampaignCallState* call);
  void OnRemindOutcome(const CallRef& ref, const AttemptEnd& end);
  void OnRemindLost(const CallRef& ref, int64_t attempt_wall_ns);
  // When to read, so that the next reminder rests on something new; kNever: it need not.
  static int64_t ReadForReminderNs(const CampaignCallState& call,
                                   const ::tidegate::log::v1::Stamp& now);
  // Of messages to members.
  void QueueApp(const CallRef& ref);
  bool MayRepeat(const DoubtState& doubt, const Now& now) const;
  // The doubt is to be parked.
  void Unrepeatable(const CallRef& ref, const char* why);
  // Its open touches are more people than the corp's limits ever let through at once.
  bool IsTooLarge(const std::string& corp, const CampaignCallState& call) const;
  bool TidyApp(const CampaignKey& key, const Now& now);
  std::optional<FlowHead> AppHead(const CampaignKey& key, const Now& now);
  std::optional<WantedCall> AppCall(const CampaignKey& key, const Now& now);
  // It ended at `ended_raw_ns`, or nobody knows when and it began then.
  void OpenAppDoubt(const CallRef& ref, const ::tidegate::log::v1::Attempt& attempt,
                    int64_t ended_raw_ns);
  void EndApp(const CallRef& ref, TouchStatus status);
  void OnAppOutcome(const CallRef& ref, const AttemptEnd& end);
  std::optional<::tidegate::log::v1::LedgerRecord> NextAppParked(const Now& now);
  std::optional<int64_t> NextAppParkedRawNs(const Now& now) const;
  // When a final call of messages, or a campaign that has completed, may be forgotten.
  int64_t ForgetWallNs(const CallRef& ref) const;
  void QueueForgetting(const CallRef& ref);
  bool MayForget(const CampaignKey& key, const CampaignState& campaign) const;
  void ForgetCall(uint32_t batch, CampaignState* campaign);
  void DropForgotten(const CampaignKey& key);
  void QueueProgress(const CampaignKey& key);
  bool AllCallsEnded(const CampaignState& campaign) const;
  bool AllResultsFinal(const CampaignState& campaign) const;

  const wecom_table::Limits* const limits_;
  const uint32_t partitions_;
  ReceiveQuotas* const quotas_;
  const std::map<std::string, std::string>* agent_ids_ = nullptr;
  const CorpLimits* corp_limits_ = nullptr;
  std::map<CampaignKey, CampaignState> campaigns_;
  std::map<CampaignKey, ::tidegate::log::v1::Campaign> definitions_;
  std::map<CampaignKey, Audience> audiences_;

  // Queues: stale entries are skipped when they are met.
  const FlowChanged changed_;
  std::set<CampaignKey> progress_queue_;
  std::map<std::string, CallQueue> listings_;           // by corp
  std::map<std::string, CallQueue> task_reads_;         // by corp
  std::map<std::string, CallQueue> result_reads_;       // by corp
  CallQueue settle_queue_;                              // doubts, by when to settle or park them
  std::set<CallRef> too_large_;                         // to be taken apart; stale ones are skipped
  CallQueue app_doubts_;                                // by the first attempt in doubt (wall)
  std::deque<CallRef> result_queue_;                    // a result may have become final
  std::set<std::pair<int64_t, CampaignKey>> closings_;  // when results close (wall), campaign
  // When they may be forgotten (wall): calls of messages, and campaigns, with batch 0.
  CallQueue forgettable_;
  bool forgetting_ = false;  // decided in this batch of records
};

}  // namespace tidegate::dispatch
