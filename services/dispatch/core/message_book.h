// Messages of internal services: from the acknowledged batch, over the call that they share with
// others of the same class, sender and content, to the end of each touch.
//
// A fold of tidegate.commands (the messages) and of the ledger (what was decided about them). The
// calls themselves live in CampaignBook, in one endless campaign per corp and class. Part of
// DispatchCore; one thread. Times are Unix nanoseconds: they bound how long others are waited for,
// no limit of WeCom.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/core/state_hash.h"
#include "common/wecom_table/limits.h"
#include "services/dispatch/core/campaign_book.h"
#include "services/dispatch/core/corp_limits.h"
#include "services/dispatch/core/member_limits.h"
#include "tidegate/log/v1/commands.pb.h"
#include "tidegate/log/v1/ledger.pb.h"

namespace tidegate::dispatch {

// Where the touch of a message stands. Those from kSent on are ends.
enum class MessageState : uint8_t {
  kRepeat,  // of an earlier message with its key: no touch at all
  kWaiting,
  kQueued,
  kSending,
  kInDoubt,
  kAccepted,
  kParked,
  kSent,
  kNotFriend,
  kOverQuota,
  kFailList,
  kRefused,
  kUnconfirmed,
  kAbandoned,
  kExpired,
  kCancelled,
  kSkippedOverQuota,
};
// Of one customer of a call.
MessageState StateOfTouch(const CampaignCallState& call, uint8_t status);
inline bool HasEnded(MessageState state) { return state >= MessageState::kSent; }

class MessageBook {
 public:
  // One acknowledged batch and what became of its messages.
  struct Touch {
    MessageState state = MessageState::kWaiting;
    bool decided = false;  // something about it was decided in this batch of records
    bool packed = false;   // it has a call
    uint32_t call = 0;     // batch number of its call
    uint32_t place = 0;    // among the call's customers
  };
  struct Batch {
    uint64_t position = 0;
    std::string corp;
    ::tidegate::log::v1::MessageBatch messages;
    std::vector<Touch> touches;
    size_t open = 0;  // without an end
  };
  struct Ref {
    uint64_t position = 0;
    uint32_t index = 0;
    auto operator<=>(const Ref&) const = default;
  };
  // Touches that came into a state together.
  struct Change {
    uint64_t first_number = 0;  // of the first touch; the others follow
    int64_t time_ns = 0;
    std::string corp;
    MessageState state = MessageState::kWaiting;
    std::vector<Ref> touches;
  };

  // `limits` and `quotas` outlive the book.
  MessageBook(const wecom_table::Limits* limits, ReceiveQuotas* quotas);

  // The limits of each corp, whose windows of people bound a call to members; outlives the book.
  void UseCorpLimits(const CorpLimits* corp_limits) { corp_limits_ = corp_limits; }

  // A batch, in log order.
  void Fold(uint64_t position, const std::string& corp, ::tidegate::log::v1::MessageBatch messages);

  // Decide. What is returned is under way until it is applied; Rebuild() undoes a void batch.
  // A call in `campaigns` is held back while touches of it are skipped.
  std::optional<::tidegate::log::v1::LedgerRecord> NextExpired(CampaignBook* campaigns,
                                                               const Now& now);
  std::optional<::tidegate::log::v1::LedgerRecord> NextPacked(CampaignBook* campaigns,
                                                              const Now& now);
  // A call to members that the corp's present limits never let through: its messages are packed
  // again, by these.
  std::optional<::tidegate::log::v1::LedgerRecord> NextTakenApart(CampaignBook* campaigns,
                                                                  const Now& now);
  // Batches of which all have ended, whatever stands before them.
  std::optional<::tidegate::log::v1::LedgerRecord> NextForgotten(const Now& now);
  // Nothing: there is no such touch, or it was attempted or has ended.
  std::optional<::tidegate::log::v1::LedgerRecord> DecideCancel(const Ref& ref,
                                                                CampaignBook* campaigns,
                                                                const Now& now);
  // When one of these may have something; nothing = never.
  std::optional<int64_t> NextRawNs(const Now& now) const;

  // Apply. `outbox`: the ends of touches that were never attempted.
  void OnPacked(const ::tidegate::log::v1::MessagesPacked& packed, CampaignBook* campaigns);
  void OnSkipped(const ::tidegate::log::v1::MessagesSkipped& skipped, CampaignBook* campaigns,
                 uint32_t partitions, std::vector<core::OutboxRecord>* outbox);
  void OnForgotten(const ::tidegate::log::v1::CommandsDropped& forgotten);
  // Of ledgers that name a row of batches by its end.
  void OnForgotten(const ::tidegate::log::v1::MessagesForgotten& forgotten);
  // A key that was forgotten must not be met by a newer message that counts as its repeat, also
  // where the wall clock went back: messages are stamped with this time or a later one.
  int64_t keys_forgotten_until_ns() const { return keys_forgotten_until_ns_; }
  void OnCallsForgotten(const ::tidegate::log::v1::CallsForgotten& forgotten);
  // A call of messages stands elsewhere now.
  void OnCall(const ::tidegate::log::v1::CampaignCall& name, const CampaignCallState& call,
              int64_t time_ns);
  void Rebuild();
  // Another boot, as MemberLimits::Rebase; before Rebuild().
  void Rebase(int64_t over_raw_ns) { members_.Rebase(over_raw_ns); }

  // Readings.
  // True while the touch waits, or its call has not been tried and is not about to be.
  bool MaySkip(const Ref& ref, const CampaignBook& campaigns) const;
  // nullopt: unknown.
  std::optional<Ref> Find(absl::string_view corp, absl::string_view key) const;
  // The call of a message; nullopt while it waits for one, or if it ended without.
  std::optional<::tidegate::log::v1::CampaignCall> CallOf(const Ref& ref) const;
  // Whether a message of the call is still known.
  bool Needs(const ::tidegate::log::v1::CampaignCall& name) const;
  // How many calls are known.
  size_t calls() const;
  // False once it was forgotten.
  bool Knows(const Ref& ref) const { return batches_.contains(ref.position); }
  // Of a message that is known.
  const Batch& BatchOf(const Ref& ref) const { return batches_.at(ref.position); }
  const std::map<uint64_t, Batch>& batches() const { return batches_; }
  // The newest changes, of at most kChangesMax touches, oldest first; their touches may be
  // forgotten.
  const std::deque<Change>& changes() const { return changes_; }
  uint64_t last_change() const { return last_change_; }
  // Whether a message says the same as the known one of its key.
  static bool SameMessage(const ::tidegate::log::v1::MessageBatch& known, uint32_t index,
                          const ::tidegate::log::v1::QueuedMessage& message,
                          const ::tidegate::log::v1::MessageContent& content);
  // Touches without an end.
  uint64_t open() const { return open_; }
  void AddStateTo(core::StateHash* hash) const;

  // So long a key is known; what ended is forgotten later, so that forgetting never decides whether
  // a message repeats one.
  static constexpr int64_t kKeyKeptNs = int64_t{24} * 3600 * kNanosPerSecond;
  static constexpr int64_t kForgottenNs = int64_t{25} * 3600 * kNanosPerSecond;
  static constexpr size_t kChangesMax = 1'000'000;

 private:
  // With its hash, so that a growing set reads no keys.
  struct KeyRef {
    const Batch* batch;
    size_t hash;
    uint32_t index;
  };
  struct KeyView {
    absl::string_view corp;
    absl::string_view key;
  };
  struct KeyHash {
    using is_transparent = void;
    size_t operator()(const KeyView& view) const;
    size_t operator()(const KeyRef& ref) const { return ref.hash; }
  };
  struct KeyEq {
    using is_transparent = void;
    bool operator()(const KeyRef& a, const KeyView& b) const;
    bool operator()(const KeyRef& a, const KeyRef& b) const;
  };
  // Messages that may share a call.
  struct Group {
    std::string corp;
    std::string sender;
    ::tidegate::log::v1::MessageContent content;
    ::tidegate::log::v1::MessageClass message_class{};
    std::deque<Ref> waiting;  // in the order of acknowledgement; of members who are full, last
    // Messages to members: no member sends them.
    bool to_members() const { return sender.empty(); }
    int64_t due_ns = 0;
  };
  // Views of a group, or of a message that looks for its group.
  using GroupName = std::tuple<absl::string_view, int, absl::string_view, absl::string_view,
                               absl::string_view, absl::string_view>;
  static KeyView ViewOf(const Batch& batch, uint32_t index);
  static GroupName NameOf(absl::string_view corp, absl::string_view sender,
                          const ::tidegate::log::v1::MessageContent& content,
                          ::tidegate::log::v1::MessageClass message_class);
  using GroupNumber = uint64_t;
  // The groups of one batch, by sender, index of the content, class: contents may be long.
  using BatchGroups =
      absl::flat_hash_map<std::tuple<absl::string_view, uint32_t, int>, GroupNumber>;

  // Finds the batches of touches in a row, of which neighbours are mostly of one.
  class BatchesInARow {
   public:
    explicit BatchesInARow(std::map<uint64_t, Batch>* batches) : batches_(batches) {}
    // nullptr: it was forgotten.
    Batch* Find(const Ref& ref) {
      if (last_ == nullptr || last_->position != ref.position) {
        const auto found = batches_->find(ref.position);
        last_ = found == batches_->end() ? nullptr : &found->second;
      }
      return last_;
    }
    // Of one that is known.
    Batch& Of(const Ref& ref) {
      Batch* batch = Find(ref);
      CHECK(batch != nullptr);
      return *batch;
    }

   private:
    std::map<uint64_t, Batch>* const batches_;
    Batch* last_ = nullptr;
  };

  Touch& At(const Ref& ref) { return batches_.at(ref.position).touches[ref.index]; }
  void Queue(uint64_t position, Batch* batch, uint32_t index, BatchGroups* known);
  // Forgetting: message_forget.cc.
  void QueueForgetting(const Batch& batch);
  void ForgetBatch(std::map<uint64_t, Batch>::iterator it);
  GroupNumber GroupOf(const Batch& batch, const ::tidegate::log::v1::QueuedMessage& message);
  // When its group is to be packed for its sake.
  int64_t DueNs(const Ref& ref) const;
  void SetDue(GroupNumber number, int64_t due_ns);
  // How many members a call of the corp may be for.
  size_t MembersMax(const std::string& corp) const;
  // Takes the messages of the next call out of those that wait; empty: nobody can get one now.
  ::tidegate::log::v1::MessageRanges TakeCustomers(Group* group,
                                                   ::tidegate::common::v1::ReceiveQuota mode,
                                                   const Now& now, int64_t* due_ns);
  ::tidegate::log::v1::MessageRanges TakeMembers(Group* group, const Now& now, int64_t* due_ns);
  int64_t LingerNs(::tidegate::log::v1::MessageClass message_class) const;
  // When the first group is to be packed, wall; kNever. One that is due later than any message
  // waits was told so before the clock went back: it is due now.
  int64_t FirstDueNs(const Now& now) const;
  // Takes them out of what is decided next; their calls are held back until then.
  ::tidegate::log::v1::LedgerRecord SkipRecord(const std::string& corp,
                                               const std::vector<Ref>& refs, const char* reason,
                                               CampaignBook* campaigns, const Now& now);
  // They wait again.
  void TakeApart(const ::tidegate::log::v1::MessagesSkipped& skipped, std::vector<Ref> refs,
                 CampaignBook* campaigns);
  // Of one corp.
  void Move(const std::string& corp, std::vector<Ref> refs, MessageState state, int64_t time_ns);

  const wecom_table::Limits* const limits_;
  ReceiveQuotas* const quotas_;
  const CorpLimits* corp_limits_ = nullptr;
  MemberLimits members_;
  std::map<uint64_t, Batch> batches_;  // by position
  absl::flat_hash_set<KeyRef, KeyHash, KeyEq> keys_;
  // The touches of each call, by corp, campaign, batch number.
  std::map<CampaignKey, NumberedList<std::vector<Ref>>> calls_;
  std::map<CampaignKey, uint32_t> next_call_;  // with those decided in this batch of records
  uint64_t open_ = 0;

  std::deque<Change> changes_;
  size_t changed_touches_ = 0;  // in changes_
  uint64_t last_change_ = 0;

  // Queues, which follow from the state.
  std::map<GroupNumber, Group> groups_;
  absl::flat_hash_map<GroupName, GroupNumber> group_of_;
  GroupNumber next_group_ = 0;
  std::set<std::pair<int64_t, GroupNumber>> due_;
  std::set<std::pair<int64_t, Ref>> deadlines_;
  // Of one corp: found over their customers' quota when their group was packed, and to be skipped.
  std::vector<Ref> over_quota_;
  std::set<std::pair<int64_t, uint64_t>> forgettable_;  // from when on (wall), position
  bool forgetting_ = false;                             // decided in this batch of records
  int64_t keys_forgotten_until_ns_ = 0;
};

}  // namespace tidegate::dispatch
