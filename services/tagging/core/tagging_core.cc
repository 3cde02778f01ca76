#include "services/tagging/core/tagging_core.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/log.h"
#include "common/base/partitioner.h"
#include "common/core/header_codec.h"
#include "services/tagging/core/event_kinds.h"
#include "services/tagging/core/profile_update.h"

namespace tidegate::tagging {

using ::tidegate::log::v1::Command;
using ::tidegate::log::v1::Follow;
using ::tidegate::log::v1::ProfileRecord;
using ::tidegate::log::v1::Proposal;

namespace {

// What a journal record may hold (core.h), and what stays of the value of a dead letter that would
// not fit: the record itself stays where it was.
constexpr size_t kDecisionBytesMax = 900'000;
constexpr size_t kDeadLetterWholeMax = 800'000;
constexpr size_t kDeadLetterCutTo = 100'000;
constexpr size_t kReasonBytesMax = 1000;  // it may tell what stood in the event

// Puts tags on and takes tags off a follow's wanted tags; they stay sorted.
void ChangeTags(const std::vector<std::string>& add, const std::vector<std::string>& remove,
                Follow* follow) {
  std::set<std::string> wanted(follow->tags().begin(), follow->tags().end());
  wanted.insert(add.begin(), add.end());
  for (const std::string& tag : remove) wanted.erase(tag);
  follow->clear_tags();
  for (const std::string& tag : wanted) follow->add_tags(tag);
}

// What WeCom has to be told so that its tags of the pair become the wanted ones.
// A follow that is not confirmed cannot be tagged yet (84061): its tags go when it is.
void WishTags(const ::tidegate::log::v1::Profile& before, const ::tidegate::log::v1::Profile& after,
              ProfileRecord* record) {
  for (const Follow& follow : after.follows()) {
    if (!follow.live() || !follow.confirmed()) continue;
    std::set<std::string> had;
    for (const Follow& old : before.follows()) {
      if (old.member() == follow.member() && old.live() && old.confirmed()) {
        had.insert(old.tags().begin(), old.tags().end());
      }
    }
    Command command;
    for (const std::string& tag : follow.tags()) {
      if (had.erase(tag) == 0) command.mutable_mark_tag()->add_add(tag);
    }
    for (const std::string& tag : had) command.mutable_mark_tag()->add_remove(tag);
    if (!command.has_mark_tag()) continue;
    command.set_corp(after.corp());
    command.set_member(follow.member());
    command.set_customer(after.customer());
    command.set_profile_version(after.version());
    *record->add_commands() = std::move(command);
  }
}

// Dispatch weighs who leaves after which touch. A follow that had ended before ends only once.
void TellLeft(const ::tidegate::log::v1::CustomerEvent& event,
              const ::tidegate::log::v1::Profile& before, uint64_t version, ProfileRecord* record) {
  if (event.kind() != kFollowLost) return;
  for (const Follow& follow : before.follows()) {
    if (follow.member() == event.follow().member() && !follow.live()) return;
  }
  Command* command = record->add_commands();
  command->set_corp(event.corp());
  command->set_member(event.follow().member());
  command->set_customer(event.customer());
  command->set_profile_version(version);
  command->mutable_customer_left()->set_time_ns(event.event_time_ns());
}

void WishWelcome(const ::tidegate::log::v1::CustomerEvent& event,
                 const ::tidegate::log::v1::Channel& channel, int64_t valid_ns, uint64_t version,
                 ProfileRecord* record) {
  if (event.follow().welcome_code().empty() || channel.welcome_text().empty()) return;
  Command* command = record->add_commands();
  command->set_corp(event.corp());
  command->set_member(event.follow().member());
  command->set_customer(event.customer());
  command->set_profile_version(version);
  // WeCom tells the time of the event in whole seconds; the code lives from there.
  command->set_deadline_ns(event.event_time_ns() + valid_ns);
  command->mutable_welcome()->set_welcome_code(event.follow().welcome_code());
  command->mutable_welcome()->set_text(channel.welcome_text());
  command->mutable_welcome()->set_expires_ns(event.event_time_ns() + valid_ns);
}

// At most so many bytes, cut between two characters.
std::string Cut(std::string text, size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  while (bytes_max > 0 && (static_cast<unsigned char>(text[bytes_max]) & 0xC0) == 0x80) --bytes_max;
  text.resize(bytes_max);
  return text + " ...";
}

std::vector<std::string> ToVector(const google::protobuf::RepeatedPtrField<std::string>& field) {
  return {field.begin(), field.end()};
}

}  // namespace

TaggingCore::TaggingCore(TaggingOptions options) : options_(std::move(options)) {}

void TaggingCore::Fold(log::TopicPartition, const log::StoredRecord& record,
                       const ::tidegate::log::v1::RecordHeader&) {
  Proposal proposal;
  if (proposal.ParseFromString(record.record.value)) definitions_.Apply(proposal);
}

void TaggingCore::Parse(const core::Input& input) {
  if (parsed_offset_ == input.record->offset) return;
  parsed_offset_ = input.record->offset;
  parsed_.Clear();
  fault_ = Parsed(input.record->record, &parsed_);
}

std::string TaggingCore::Parsed(const log::Record& record, Event* event) const {
  const size_t bytes = record.key.size() + record.header.size() + record.value.size();
  if (bytes > log::kRecordBytesMax) {
    return absl::StrCat("a record of ", bytes, " bytes, at most ", log::kRecordBytesMax);
  }
  // Who sent it, and whether it is a repeat, cannot be told.
  if (!core::DecodeHeader(record.header).ok()) return "the header is not a RecordHeader";
  if (!event->ParseFromString(record.value)) return "not a CustomerEvent";
  // Its revision may never come: nothing must wait for it.
  if (!options_.corps.empty() && !options_.corps.contains(event->corp())) {
    return absl::StrCat("unknown corp \"", event->corp(), "\"");
  }
  return "";
}

bool TaggingCore::Ready(const core::Input& input) {
  Parse(input);
  return !fault_.empty() || parsed_.corp_revision() <= definitions_.Corp(parsed_.corp()).revision;
}

const RuleSet& TaggingCore::RulesOf(const std::string& corp) {
  const definitions::CorpDefinitions& current = definitions_.Corp(corp);
  auto it = rules_.find(corp);
  if (it == rules_.end() || it->second.revision() != current.revision) {
    std::vector<std::string> unusable;
    it = rules_.insert_or_assign(corp, RuleSet(current, &unusable)).first;
    for (const std::string& id : unusable) {
      LogEvent(LogLevel::kError, "rule_unusable", {{"rule", id}});
    }
  }
  return it->second;
}

std::optional<core::Decision> TaggingCore::Decide(const core::Input& input, const Now& now) {
  if (input.record == nullptr) return std::nullopt;
  Parse(input);
  ++counters_.events;
  if (!fault_.empty()) return DeadLetter(input, fault_);
  const Event& event = parsed_;
  if (event.received_time_ns() > 0) {
    counters_.last_event_age_ns = now.wall_ns - event.received_time_ns();
  }
  // Kept in the events topic, not interpreted.
  if (event.payload_case() == Event::kRaw) return std::nullopt;
  if (event.corp().empty() || event.customer().empty()) {
    return DeadLetter(input, "corp or customer is empty");
  }
  return DecideEvent(input, event, now);
}

std::optional<core::Decision> TaggingCore::DecideEvent(const core::Input& input, const Event& event,
                                                       const Now& now) {
  const std::string key = CustomerKey(event.corp(), event.customer());
  const Profile* before = nullptr;
  if (const auto it = pending_.find(key); it != pending_.end()) {
    before = &it->second;
  } else if (const auto applied = profiles_.find(key); applied != profiles_.end()) {
    before = &applied->second;
  }
  static const Profile kNone;
  if (before == nullptr) before = &kNone;

  const std::string fingerprint = EventFingerprint(event);
  if (HasSeen(*before, fingerprint)) {
    ++counters_.repeats;
    return std::nullopt;
  }
  ProfileRecord record;
  Profile& profile = *record.mutable_profile();
  profile = *before;
  profile.set_corp(event.corp());
  profile.set_customer(event.customer());
  profile.set_version(profile.version() + 1);
  Remember(fingerprint, &profile);
  if (absl::Status status = ApplyEvent(event, &profile); !status.ok()) {
    return DeadLetter(input, std::string(status.message()));
  }

  const RuleSet& rules = RulesOf(event.corp());
  // The relation that the event is about, else the owner's.
  Follow* follow =
      FindFollow(event.has_follow() ? event.follow().member() : profile.owner(), &profile);
  if (follow != nullptr && follow->live()) {
    const auto* channel = event.has_follow() ? rules.ChannelOf(event.follow().state()) : nullptr;
    if (channel != nullptr) {
      ChangeTags(ToVector(channel->tags()), {}, follow);
      WishWelcome(event, *channel, options_.welcome_valid_ns, profile.version(), &record);
    }
    // All conditions look at the same profile; only then tags change (no cascade within one event).
    std::vector<const CompiledRule*> fired;
    {
      const ProfileForExpression seen(profile, event.kind());
      const auto at = expression::AtInstant(now.wall_ns / kNanosPerSecond);
      for (const auto* set : {&rules.OfKind(event.kind()), &rules.OfEveryKind()}) {
        for (const CompiledRule& rule : *set) {
          if (rule.condition.Matches(seen.view(), at)) fired.push_back(&rule);
        }
      }
    }
    for (const CompiledRule* rule : fired) ChangeTags(rule->tags, rule->untags, follow);
    counters_.rules_fired += fired.size();
  }
  WishTags(*before, profile, &record);
  TellLeft(event, *before, profile.version(), &record);
  if (const auto lane = options_.lanes.ToRecord(event.corp());
      lane.has_value() && record.commands_size() > 0) {
    record.set_lane(*lane);
  }

  core::Decision decision{.key = key, .value = record.SerializeAsString()};
  // The log would refuse it, and that would end the partition at every start.
  if (const size_t bytes = decision.key.size() + decision.value.size(); bytes > kDecisionBytesMax) {
    return DeadLetter(input, absl::StrCat("the profile would become ", bytes, " bytes, at most ",
                                          kDecisionBytesMax));
  }
  pending_[key] = std::move(profile);
  return decision;
}

core::Decision TaggingCore::DeadLetter(const core::Input& input, std::string reason) {
  ++counters_.dead_letters;
  reason = Cut(std::move(reason), kReasonBytesMax);
  ProfileRecord record;
  auto* dead = record.mutable_dead_letter();
  dead->set_input(log::Name(input.from));
  dead->set_position(input.record->offset);
  const std::string& value = input.record->record.value;
  if (value.size() > kDeadLetterWholeMax) {
    absl::StrAppend(&reason, "; here are the first ", kDeadLetterCutTo, " of ", value.size(),
                    " bytes of its value");
    dead->set_value(value.substr(0, kDeadLetterCutTo));
  } else {
    dead->set_value(value);
  }
  dead->set_reason(std::move(reason));
  return {.key = "", .value = record.SerializeAsString()};
}

void TaggingCore::Apply(absl::string_view key, absl::string_view value, const core::ApplyContext&,
                        std::vector<core::OutboxRecord>* outbox) {
  ProfileRecord record;
  CHECK(record.ParseFromArray(value.data(), static_cast<int>(value.size())));
  for (const Command& command : record.commands()) {
    const uint32_t lane = options_.lanes.OfRecord(
        record.has_lane() ? std::optional(record.lane()) : std::nullopt, command.corp());
    outbox->push_back(
        {.target = {log::Topic::kCommands, lane},
         .key = absl::StrCat(command.corp(), "/", command.member(), "/", command.customer()),
         .value = command.SerializeAsString()});
  }
  if (record.has_dead_letter()) {
    outbox->push_back({.target = {log::Topic::kDeadLetters, options_.partition},
                       .key = record.dead_letter().input(),
                       .value = record.dead_letter().SerializeAsString()});
  }
  if (record.has_profile()) profiles_[std::string(key)] = std::move(*record.mutable_profile());
}

void TaggingCore::AddStateTo(core::StateHash* hash, int64_t) const {
  definitions_.AddStateTo(hash);
  std::vector<const std::string*> keys;
  keys.reserve(profiles_.size());
  for (const auto& [key, profile] : profiles_) keys.push_back(&key);
  std::sort(keys.begin(), keys.end(),
            [](const std::string* a, const std::string* b) { return *a < *b; });
  hash->Add(keys.size());
  for (const std::string* key : keys) hash->Add(*key).Add(profiles_.at(*key));
}

const ::tidegate::log::v1::Profile* TaggingCore::FindProfile(const std::string& corp,
                                                             const std::string& customer) const {
  const auto it = profiles_.find(CustomerKey(corp, customer));
  return it == profiles_.end() ? nullptr : &it->second;
}

}  // namespace tidegate::tagging
