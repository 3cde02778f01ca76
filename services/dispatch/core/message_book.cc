#include "services/dispatch/core/message_book.h"

#include <algorithm>

#include "absl/hash/hash.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "services/dispatch/core/flows.h"
#include "services/dispatch/core/touch_events.h"

namespace tidegate::dispatch {

using ::tidegate::log::v1::CallsForgotten;
using ::tidegate::log::v1::CampaignCall;
using ::tidegate::log::v1::LedgerRecord;
using ::tidegate::log::v1::MESSAGE_CLASS_INTERACTIVE;
using ::tidegate::log::v1::MESSAGE_CLASS_URGENT;
using ::tidegate::log::v1::MessageBatch;
using ::tidegate::log::v1::MessageClass;
using ::tidegate::log::v1::MessageContent;
using ::tidegate::log::v1::MessageRanges;
using ::tidegate::log::v1::MessagesPacked;
using ::tidegate::log::v1::MessagesSkipped;
using ::tidegate::log::v1::QueuedMessage;

using Phase = CampaignCallState::Phase;
using Ref = MessageBook::Ref;

namespace {

// What one record may name; the rest is named by the next.
constexpr size_t kSkipsMax = 10'000;
// Messages to customers of the call that is being packed, which are left for the next.
constexpr size_t kLeftMax = 1'000;
// What is looked at for one call to members; what is left then is looked at first the next time.
constexpr size_t kLooksMax = 100'000;
// A member whose messages are all under way is looked at again so much later.
constexpr int64_t kMemberRetryNs = 200 * kNanosPerMilli;
// Why messages are taken out of a call to wait for another one.
constexpr char kTakenApart[] = "too_many_people";

void AddRef(const Ref& ref, MessageRanges* ranges) {
  const int last = ranges->positions_size() - 1;
  if (last >= 0 && ranges->positions(last) == ref.position &&
      ranges->firsts(last) + ranges->counts(last) == ref.index) {
    ranges->set_counts(last, ranges->counts(last) + 1);
    return;
  }
  ranges->add_positions(ref.position);
  ranges->add_firsts(ref.index);
  ranges->add_counts(1);
}

std::vector<Ref> RefsOf(const MessageRanges& ranges) {
  std::vector<Ref> refs;
  for (int i = 0; i < ranges.positions_size(); ++i) {
    for (uint32_t n = 0; n < ranges.counts(i); ++n) {
      refs.push_back({.position = ranges.positions(i), .index = ranges.firsts(i) + n});
    }
  }
  return refs;
}

std::string CampaignOf(MessageClass message_class) {
  if (message_class == MESSAGE_CLASS_URGENT) return "@urgent";
  return message_class == MESSAGE_CLASS_INTERACTIVE ? "@interactive" : "@bulk";
}

CampaignCall NameOfCall(const std::string& corp, MessageClass message_class, uint32_t call) {
  return CallName({corp, CampaignOf(message_class)}, call);
}

}  // namespace

MessageState StateOfTouch(const CampaignCallState& call, uint8_t status) {
  switch (status) {
    case kTouchSent:
      return MessageState::kSent;
    case kTouchNotFriend:
      return MessageState::kNotFriend;
    case kTouchOverQuota:
      return MessageState::kOverQuota;
    case kTouchFailList:
      return MessageState::kFailList;
    case kTouchRefused:
      return MessageState::kRefused;
    case kTouchUnconfirmed:
      return MessageState::kUnconfirmed;
    case kTouchAbandoned:
      return MessageState::kAbandoned;
    case kTouchExpired:
      return MessageState::kExpired;
    case kTouchCancelled:
      return MessageState::kCancelled;
    default:
      break;
  }
  switch (call.phase) {
    case Phase::kPlanned:
      return MessageState::kQueued;
    case Phase::kUnderWay:
      return MessageState::kSending;
    case Phase::kDoubt:
      return MessageState::kInDoubt;
    case Phase::kParked:
      return MessageState::kParked;
    default:
      return MessageState::kAccepted;
  }
}

// ---- Keys ----

size_t MessageBook::KeyHash::operator()(const KeyView& view) const {
  return absl::HashOf(view.corp, view.key);
}

MessageBook::KeyView MessageBook::ViewOf(const Batch& batch, uint32_t index) {
  return {.corp = batch.corp, .key = batch.messages.messages(static_cast<int>(index)).key()};
}

bool MessageBook::KeyEq::operator()(const KeyRef& a, const KeyView& b) const {
  const KeyView view = ViewOf(*a.batch, a.index);
  return view.key == b.key && view.corp == b.corp;
}

bool MessageBook::KeyEq::operator()(const KeyRef& a, const KeyRef& b) const {
  return a.hash == b.hash && (*this)(a, ViewOf(*b.batch, b.index));
}

std::optional<Ref> MessageBook::Find(absl::string_view corp, absl::string_view key) const {
  const auto found = keys_.find(KeyView{.corp = corp, .key = key});
  if (found == keys_.end()) return std::nullopt;
  return Ref{.position = found->batch->position, .index = found->index};
}

std::optional<CampaignCall> MessageBook::CallOf(const Ref& ref) const {
  const Batch& batch = BatchOf(ref);
  const Touch& touch = batch.touches[ref.index];
  if (!touch.packed) return std::nullopt;
  const QueuedMessage& message = batch.messages.messages(static_cast<int>(ref.index));
  return NameOfCall(batch.corp, message.message_class(), touch.call);
}

bool MessageBook::SameMessage(const MessageBatch& known, uint32_t index,
                              const QueuedMessage& message, const MessageContent& content) {
  const QueuedMessage& other = known.messages(static_cast<int>(index));
  const MessageContent& said = known.contents(static_cast<int>(other.content()));
  return other.customer() == message.customer() && other.sender() == message.sender() &&
         other.member() == message.member() && other.message_class() == message.message_class() &&
         other.deadline_ns() == message.deadline_ns() && said.text() == content.text() &&
         said.link_url() == content.link_url() && said.link_title() == content.link_title();
}

MessageBook::MessageBook(const wecom_table::Limits* limits, ReceiveQuotas* quotas)
    : limits_(limits), quotas_(quotas), members_(limits->app_messages.per_member) {}

// ---- Folding ----

void MessageBook::Fold(uint64_t position, const std::string& corp, MessageBatch messages) {
  Batch& batch = batches_[position];
  batch.position = position;
  batch.corp = corp;
  batch.messages = std::move(messages);
  batch.touches.resize(static_cast<size_t>(batch.messages.messages_size()));
  BatchGroups groups;
  for (uint32_t i = 0; i < batch.touches.size(); ++i) {
    const KeyRef own{.batch = &batch, .hash = KeyHash()(ViewOf(batch, i)), .index = i};
    const auto [known, added] = keys_.insert(own);
    if (!added) {
      if (known->batch->messages.received_ns() + kKeyKeptNs > batch.messages.received_ns()) {
        batch.touches[i].state = MessageState::kRepeat;
        continue;
      }
      keys_.erase(known);
      keys_.insert(own);
    }
    ++batch.open;
    ++open_;
    Queue(position, &batch, i, &groups);
  }
  if (batch.open == 0) QueueForgetting(batch);
}

MessageBook::GroupName MessageBook::NameOf(absl::string_view corp, absl::string_view sender,
                                           const MessageContent& content,
                                           MessageClass message_class) {
  return {corp,
          static_cast<int>(message_class),
          sender,
          content.text(),
          content.link_url(),
          content.link_title()};
}

int64_t MessageBook::LingerNs(MessageClass message_class) const {
  if (message_class == MESSAGE_CLASS_URGENT) return limits_->messages.urgent_linger_ns;
  if (message_class == MESSAGE_CLASS_INTERACTIVE) return limits_->messages.interactive_linger_ns;
  return limits_->messages.bulk_linger_ns;
}

MessageBook::GroupNumber MessageBook::GroupOf(const Batch& batch, const QueuedMessage& message) {
  const MessageContent& content = batch.messages.contents(static_cast<int>(message.content()));
  const auto found =
      group_of_.find(NameOf(batch.corp, message.sender(), content, message.message_class()));
  if (found != group_of_.end()) return found->second;
  const GroupNumber number = next_group_++;
  Group& added = groups_[number];
  added.corp = batch.corp;
  added.sender = message.sender();
  added.content = content;
  added.message_class = message.message_class();
  added.due_ns = kNever;
  group_of_.emplace(NameOf(added.corp, added.sender, added.content, added.message_class), number);
  return number;
}

void MessageBook::Queue(uint64_t position, Batch* batch, uint32_t index, BatchGroups* known) {
  const QueuedMessage& message = batch->messages.messages(static_cast<int>(index));
  const Ref ref{.position = position, .index = index};
  if (message.deadline_ns() != 0) deadlines_.emplace(message.deadline_ns(), ref);
  const auto [place, is_new] =
      known->try_emplace({message.sender(), message.content(), message.message_class()}, 0);
  if (is_new) place->second = GroupOf(*batch, message);
  const GroupNumber number = place->second;
  Group& group = groups_.at(number);
  group.waiting.push_back(ref);
  const size_t full = group.to_members() ? kMembersPerCall : kCustomersPerCall;
  const int64_t due_ns = group.waiting.size() >= full ? 0 : DueNs(ref);
  if (due_ns < group.due_ns) SetDue(number, due_ns);
}

int64_t MessageBook::DueNs(const Ref& ref) const {
  const Batch& batch = BatchOf(ref);
  const QueuedMessage& message = batch.messages.messages(static_cast<int>(ref.index));
  const int64_t received_ns = batch.messages.received_ns();
  int64_t linger_ns = LingerNs(message.message_class());
  // It must not wait its deadline away.
  if (message.deadline_ns() > received_ns) {
    linger_ns = std::min(linger_ns, (message.deadline_ns() - received_ns) / 2);
  }
  return received_ns + linger_ns;
}

void MessageBook::SetDue(GroupNumber number, int64_t due_ns) {
  Group& group = groups_.at(number);
  due_.erase({group.due_ns, number});
  group.due_ns = due_ns;
  due_.emplace(due_ns, number);
}

// ---- Deciding ----

bool MessageBook::MaySkip(const Ref& ref, const CampaignBook& campaigns) const {
  const Touch& touch = BatchOf(ref).touches[ref.index];
  if (touch.decided) return false;
  if (touch.state == MessageState::kWaiting) return true;
  if (touch.state != MessageState::kQueued) return false;
  const QueuedMessage& message = BatchOf(ref).messages.messages(static_cast<int>(ref.index));
  return campaigns.MaySkipTouch(NameOfCall(BatchOf(ref).corp, message.message_class(), touch.call));
}

LedgerRecord MessageBook::SkipRecord(const std::string& corp, const std::vector<Ref>& refs,
                                     const char* reason, CampaignBook* campaigns, const Now& now) {
  LedgerRecord record;
  MessagesSkipped* skipped = record.mutable_messages_skipped();
  skipped->set_corp(corp);
  skipped->set_reason(reason);
  skipped->set_time_ns(now.wall_ns);
  for (const Ref& ref : refs) {
    AddRef(ref, skipped->mutable_messages());
    Touch& touch = At(ref);
    touch.decided = true;
    if (touch.state == MessageState::kWaiting) continue;
    const QueuedMessage& message = BatchOf(ref).messages.messages(static_cast<int>(ref.index));
    campaigns->Hold(NameOfCall(corp, message.message_class(), touch.call));
  }
  return record;
}

std::optional<LedgerRecord> MessageBook::NextExpired(CampaignBook* campaigns, const Now& now) {
  std::vector<Ref> expired;
  const std::string* corp = nullptr;
  for (auto it = deadlines_.begin(); it != deadlines_.end() && it->first <= now.wall_ns;) {
    const Ref ref = it->second;
    if (corp != nullptr && (BatchOf(ref).corp != *corp || expired.size() == kSkipsMax)) break;
    it = deadlines_.erase(it);
    // What was attempted is judged by its answer.
    if (!MaySkip(ref, *campaigns)) continue;
    corp = &BatchOf(ref).corp;
    expired.push_back(ref);
  }
  if (expired.empty()) return std::nullopt;
  std::sort(expired.begin(), expired.end());
  return SkipRecord(*corp, expired, "expired", campaigns, now);
}

std::optional<LedgerRecord> MessageBook::DecideCancel(const Ref& ref, CampaignBook* campaigns,
                                                      const Now& now) {
  if (!Knows(ref) || !MaySkip(ref, *campaigns)) return std::nullopt;
  return SkipRecord(BatchOf(ref).corp, {ref}, "cancelled", campaigns, now);
}

MessageRanges MessageBook::TakeCustomers(Group* group, ::tidegate::common::v1::ReceiveQuota mode,
                                         const Now& now, int64_t* due_ns) {
  MessageRanges ranges;
  // A customer is once in a call: its result is told by customer.
  absl::flat_hash_set<absl::string_view> customers;
  std::vector<Ref> left;
  std::deque<Ref>& waiting = group->waiting;
  BatchesInARow batches(&batches_);
  while (!waiting.empty() && customers.size() < kCustomersPerCall && left.size() < kLeftMax &&
         over_quota_.size() < kSkipsMax) {
    const Ref ref = waiting.front();
    waiting.pop_front();
    Batch* const known = batches.Find(ref);
    if (known == nullptr) continue;
    Batch& batch = *known;
    Touch& touch = batch.touches[ref.index];
    if (touch.state != MessageState::kWaiting || touch.decided) continue;
    const std::string& customer = batch.messages.messages(static_cast<int>(ref.index)).customer();
    const auto [place, added] = customers.insert(customer);
    if (!added) {
      left.push_back(ref);
      continue;
    }
    touch.decided = true;
    if (quotas_->MayReserve(group->corp, mode, customer, now.wall_ns)) {
      AddRef(ref, &ranges);
    } else {
      customers.erase(place);
      over_quota_.push_back(ref);
    }
  }
  waiting.insert(waiting.begin(), left.begin(), left.end());
  while (!waiting.empty() && !Knows(waiting.front())) waiting.pop_front();
  if (!waiting.empty()) *due_ns = waiting.size() >= kCustomersPerCall ? 0 : DueNs(waiting.front());
  return ranges;
}

size_t MessageBook::MembersMax(const std::string& corp) const {
  if (corp_limits_ == nullptr) return kMembersPerCall;
  const int64_t most = corp_limits_->PeopleMax(corp, ApiOf(FlowKind::kBulkAppMessage));
  return static_cast<size_t>(std::min(most, int64_t{kMembersPerCall}));
}

MessageRanges MessageBook::TakeMembers(Group* group, const Now& now, int64_t* due_ns) {
  MessageRanges ranges;
  // A member is once in a call, as a customer; one whose limit is reached is in a later one.
  absl::flat_hash_set<std::string> taken;
  std::vector<Ref> left;
  int64_t free_at_raw_ns = kNever;
  std::deque<Ref>& waiting = group->waiting;
  BatchesInARow batches(&batches_);
  const size_t most = MembersMax(group->corp);
  for (size_t looks = 0; !waiting.empty() && taken.size() < most && looks < kLooksMax; ++looks) {
    const Ref ref = waiting.front();
    waiting.pop_front();
    Batch* const known = batches.Find(ref);
    if (known == nullptr) continue;
    Batch& batch = *known;
    Touch& touch = batch.touches[ref.index];
    if (touch.state != MessageState::kWaiting || touch.decided) continue;
    // WeCom does not tell upper from lower case in one.
    const std::string member =
        absl::AsciiStrToLower(batch.messages.messages(static_cast<int>(ref.index)).member());
    const int64_t at = members_.FreeAt(group->corp, member, now.raw_ns);
    if (at <= now.raw_ns && taken.insert(member).second) {
      touch.decided = true;
      members_.Reserve(group->corp, member);
      AddRef(ref, &ranges);
    } else {
      left.push_back(ref);
      free_at_raw_ns = std::min(free_at_raw_ns, at);
    }
  }
  if (!waiting.empty()) {
    // Nobody has looked at these. Where none of so many could be taken, others go first.
    *due_ns = taken.empty() ? now.wall_ns + kMemberRetryNs : now.wall_ns;
  } else if (!left.empty()) {
    *due_ns = now.wall_ns + std::min(free_at_raw_ns - now.raw_ns,
                                     std::max(kMemberRetryNs, LingerNs(group->message_class)));
  }
  // They have one content, so their order tells nobody anything.
  waiting.insert(waiting.end(), left.begin(), left.end());
  return ranges;
}

int64_t MessageBook::FirstDueNs(const Now& now) const {
  if (due_.empty()) return kNever;
  const int64_t due_ns = due_.begin()->first;
  int64_t longest_ns = kMemberRetryNs;
  for (const auto message_class :
       {::tidegate::log::v1::MESSAGE_CLASS_URGENT, ::tidegate::log::v1::MESSAGE_CLASS_INTERACTIVE,
        ::tidegate::log::v1::MESSAGE_CLASS_BULK}) {
    longest_ns = std::max(longest_ns, LingerNs(message_class));
  }
  return due_ns - longest_ns > now.wall_ns ? now.wall_ns : due_ns;
}

std::optional<LedgerRecord> MessageBook::NextPacked(CampaignBook* campaigns, const Now& now) {
  while (!over_quota_.empty() || FirstDueNs(now) <= now.wall_ns) {
    if (!over_quota_.empty()) {
      std::vector<Ref> skipped;
      skipped.swap(over_quota_);
      std::sort(skipped.begin(), skipped.end());
      return SkipRecord(BatchOf(skipped.front()).corp, skipped, "over_quota", campaigns, now);
    }
    const GroupNumber number = due_.begin()->second;
    Group& group = groups_.at(number);
    LedgerRecord record;
    int64_t due_ns = 0;
    const auto mode = group.to_members() ? ::tidegate::common::v1::RECEIVE_QUOTA_NONE
                                         : quotas_->ModeOf(group.corp);
    MessageRanges ranges = group.to_members() ? TakeMembers(&group, now, &due_ns)
                                              : TakeCustomers(&group, mode, now, &due_ns);
    const bool packed = ranges.positions_size() > 0;
    if (packed) {
      const CampaignKey key{group.corp, CampaignOf(group.message_class)};
      *record.mutable_messages_packed()->mutable_messages() = std::move(ranges);
      *record.mutable_messages_packed()->mutable_call() = CallName(key, next_call_[key]++);
      record.mutable_messages_packed()->set_time_ns(now.wall_ns);
      record.mutable_messages_packed()->set_receive_quota(mode);
    }
    if (group.waiting.empty()) {
      due_.erase({group.due_ns, number});
      group_of_.erase(NameOf(group.corp, group.sender, group.content, group.message_class));
      groups_.erase(number);
    } else {
      SetDue(number, due_ns);
    }
    if (packed) return record;
  }
  return std::nullopt;
}

std::optional<LedgerRecord> MessageBook::NextTakenApart(CampaignBook* campaigns, const Now& now) {
  const auto name = campaigns->NextTooLarge();
  if (!name.has_value()) return std::nullopt;
  const CampaignCallState& call = *campaigns->FindCall(*name);
  const std::vector<Ref>& refs = calls_.at(KeyOf(*name))[name->batch()];
  std::vector<Ref> open;
  for (uint32_t place = 0; place < refs.size(); ++place) {
    if (call.statuses[place] == kTouchOpen) open.push_back(refs[place]);
  }
  return SkipRecord(name->corp(), open, kTakenApart, campaigns, now);
}

std::optional<int64_t> MessageBook::NextRawNs(const Now& now) const {
  int64_t next = FirstDueNs(now);
  if (!deadlines_.empty()) next = std::min(next, deadlines_.begin()->first);
  if (!forgettable_.empty() && !forgetting_) next = std::min(next, forgettable_.begin()->first);
  if (next == kNever) return std::nullopt;
  // Wall time; how far it is away is the same on any clock.
  return now.raw_ns + std::max<int64_t>(0, next - now.wall_ns);
}

// ---- Applying ----

void MessageBook::Move(const std::string& corp, std::vector<Ref> refs, MessageState state,
                       int64_t time_ns) {
  BatchesInARow batches(&batches_);
  for (const Ref& ref : refs) {
    Batch& batch = batches.Of(ref);
    Touch& touch = batch.touches[ref.index];
    touch.state = state;
    touch.decided = false;
    if (state == MessageState::kQueued) {
      const int64_t deadline_ns =
          batch.messages.messages(static_cast<int>(ref.index)).deadline_ns();
      if (deadline_ns != 0) deadlines_.emplace(deadline_ns, ref);
    }
    if (!HasEnded(state)) continue;
    --open_;
    if (--batch.open == 0) QueueForgetting(batch);
  }
  changed_touches_ += refs.size();
  const uint64_t first = last_change_ + 1;
  last_change_ += refs.size();
  changes_.push_back({.first_number = first,
                      .time_ns = time_ns,
                      .corp = corp,
                      .state = state,
                      .touches = std::move(refs)});
  while (changed_touches_ > kChangesMax && changes_.size() > 1) {
    changed_touches_ -= changes_.front().touches.size();
    changes_.pop_front();
  }
}

void MessageBook::OnPacked(const MessagesPacked& packed, CampaignBook* campaigns) {
  const CampaignKey key = KeyOf(packed.call());
  std::vector<Ref> refs = RefsOf(packed.messages());
  const Batch& first_batch = BatchOf(refs.front());
  const QueuedMessage& first = first_batch.messages.messages(static_cast<int>(refs.front().index));
  const MessageContent& content = first_batch.messages.contents(static_cast<int>(first.content()));
  const bool to_members = !first.member().empty();
  CampaignBook::MessageCall call{.sender = first.sender(),
                                 .channel = to_members ? Channel::kMembers : Channel::kCustomers,
                                 .content = {.text = content.text(),
                                             .link_url = content.link_url(),
                                             .link_title = content.link_title()},
                                 .counts = ReceiveQuotas::Counts(packed.receive_quota())};
  BatchesInARow batches(&batches_);
  for (uint32_t place = 0; place < refs.size(); ++place) {
    Batch& batch = batches.Of(refs[place]);
    const QueuedMessage& message = batch.messages.messages(static_cast<int>(refs[place].index));
    const std::string& recipient = to_members ? message.member() : message.customer();
    call.customers.push_back(recipient);
    if (to_members) members_.Hold(key.first, recipient);
    if (call.counts) quotas_->Reserve(key.first, recipient);
    if (message.message_class() == MESSAGE_CLASS_URGENT) {
      call.deadline_wall_ns = std::min(call.deadline_wall_ns, message.deadline_ns());
    }
    Touch& touch = batch.touches[refs[place].index];
    touch.packed = true;
    touch.call = packed.call().batch();
    touch.place = place;
  }
  campaigns->AddMessageCall(packed.call(), std::move(call));
  calls_[key].Add() = refs;
  next_call_[key] = std::max(next_call_[key], packed.call().batch() + 1);
  Move(key.first, std::move(refs), MessageState::kQueued, packed.time_ns());
}

void MessageBook::OnSkipped(const MessagesSkipped& skipped, CampaignBook* campaigns,
                            uint32_t partitions, std::vector<core::OutboxRecord>* outbox) {
  const auto [status, state] = skipped.reason() == "cancelled"
                                   ? std::pair(kTouchCancelled, MessageState::kCancelled)
                               : skipped.reason() == "over_quota"
                                   ? std::pair(kTouchOverQuota, MessageState::kSkippedOverQuota)
                                   : std::pair(kTouchExpired, MessageState::kExpired);
  std::vector<Ref> refs = RefsOf(skipped.messages());
  if (skipped.reason() == kTakenApart) return TakeApart(skipped, std::move(refs), campaigns);
  for (const Ref& ref : refs) {
    const QueuedMessage& message = BatchOf(ref).messages.messages(static_cast<int>(ref.index));
    const Touch& touch = At(ref);
    const std::string campaign = CampaignOf(message.message_class());
    if (touch.state == MessageState::kQueued) {
      campaigns->SkipTouch(NameOfCall(skipped.corp(), message.message_class(), touch.call),
                           touch.place, status, skipped.time_ns());
      if (!message.member().empty()) members_.Return(skipped.corp(), message.member());
      continue;  // its call tells its end
    }
    if (!message.member().empty()) continue;  // tagging knows of customers only
    outbox->push_back(TouchEvent({.corp = skipped.corp(),
                                  .campaign = campaign,
                                  .id = absl::StrCat(campaign, "/", ref.position, "/", ref.index),
                                  .customer = message.customer(),
                                  .kind = "touch_skipped",
                                  .reason = skipped.reason(),
                                  .member = message.sender(),
                                  .time_ns = skipped.time_ns()},
                                 partitions));
  }
  Move(skipped.corp(), std::move(refs), state, skipped.time_ns());
}

void MessageBook::TakeApart(const MessagesSkipped& skipped, std::vector<Ref> refs,
                            CampaignBook* campaigns) {
  const std::string& corp = skipped.corp();
  for (const Ref& ref : refs) {
    campaigns->SkipTouch(*CallOf(ref), At(ref).place, kTouchTakenApart, skipped.time_ns());
    const QueuedMessage& message = BatchOf(ref).messages.messages(static_cast<int>(ref.index));
    members_.Return(corp, message.member());
    At(ref) = Touch();
  }
  BatchGroups groups;
  uint64_t position = refs.front().position;
  for (const Ref& ref : refs) {
    // Contents are numbered in each batch.
    if (ref.position != position) groups.clear();
    position = ref.position;
    Queue(position, &batches_.at(position), ref.index, &groups);
  }
  Move(corp, std::move(refs), MessageState::kWaiting, skipped.time_ns());
}

void MessageBook::OnCall(const CampaignCall& name, const CampaignCallState& call, int64_t time_ns) {
  const auto& refs = calls_.at(KeyOf(name))[name.batch()];
  std::map<MessageState, std::vector<Ref>> moved;
  for (uint32_t place = 0; place < refs.size(); ++place) {
    const auto batch = batches_.find(refs[place].position);
    // Of a batch that was forgotten all have ended, though others of the call have not.
    if (batch == batches_.end()) continue;
    // It waits again, or is in another call.
    if (call.statuses[place] == kTouchTakenApart) continue;
    const MessageState state = StateOfTouch(call, call.statuses[place]);
    const MessageState before = batch->second.touches[refs[place].index].state;
    if (state == before || HasEnded(before)) continue;
    moved[state].push_back(refs[place]);
    if (call.channel == Channel::kMembers && HasEnded(state)) {
      const auto& messages = batch->second.messages;
      members_.Charge(name.corp(), messages.messages(static_cast<int>(refs[place].index)).member(),
                      call.over_raw_ns);
    }
  }
  for (auto& [state, touches] : moved) Move(name.corp(), std::move(touches), state, time_ns);
}

void MessageBook::OnCallsForgotten(const CallsForgotten& forgotten) {
  const auto calls = calls_.find({forgotten.corp(), forgotten.campaign()});
  if (calls == calls_.end()) return;
  for (int i = 0; i < forgotten.firsts_size(); ++i) {
    for (uint32_t n = 0; n < forgotten.counts(i); ++n) {
      calls->second.Forget(forgotten.firsts(i) + n);
    }
  }
}

bool MessageBook::Needs(const CampaignCall& name) const {
  const auto calls = calls_.find(KeyOf(name));
  const auto* refs = calls == calls_.end() ? nullptr : calls->second.Find(name.batch());
  if (refs == nullptr) return false;
  // Those of a batch stand in a row.
  const Ref* looked_at = nullptr;
  for (const Ref& ref : *refs) {
    if (looked_at != nullptr && looked_at->position == ref.position) continue;
    if (Knows(ref)) return true;
    looked_at = &ref;
  }
  return false;
}

size_t MessageBook::calls() const {
  size_t count = 0;
  for (const auto& [key, calls] : calls_) count += calls.kept();
  return count;
}

void MessageBook::Rebuild() {
  forgetting_ = false;
  over_quota_.clear();
  members_.ClearReserved();
  for (auto& [key, next] : next_call_) next = calls_[key].next();
  groups_.clear();
  group_of_.clear();
  due_.clear();
  deadlines_.clear();
  forgettable_.clear();
  for (auto& [position, batch] : batches_) {
    if (batch.open == 0) QueueForgetting(batch);
    BatchGroups groups;
    for (uint32_t i = 0; i < batch.touches.size(); ++i) {
      Touch& touch = batch.touches[i];
      touch.decided = false;
      if (touch.state == MessageState::kWaiting) {
        Queue(position, &batch, i, &groups);
      } else if (!HasEnded(touch.state) && touch.state != MessageState::kRepeat) {
        const int64_t deadline_ns = batch.messages.messages(static_cast<int>(i)).deadline_ns();
        if (deadline_ns != 0) deadlines_.emplace(deadline_ns, Ref{position, i});
      }
    }
  }
}

// What waits follows from the touches.
void MessageBook::AddStateTo(core::StateHash* hash) const {
  hash->Add(batches_.size());
  for (const auto& [position, batch] : batches_) {
    hash->Add(position).Add(batch.corp).Add(batch.messages).Add(batch.open);
    for (const Touch& touch : batch.touches) {
      hash->Add(static_cast<int>(touch.state)).Add(touch.call).Add(touch.place);
    }
  }
  hash->Add(keys_.size()).Add(open_).Add(last_change_).Add(calls()).Add(keys_forgotten_until_ns_);
  members_.AddStateTo(hash);
}

}  // namespace tidegate::dispatch
