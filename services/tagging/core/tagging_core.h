// Customer truth of one partition: takes events exactly once, keeps profiles, applies rules and
// channel codes, and wishes tags and welcomes of WeCom.
//
// Journal: tidegate.profiles (the whole profile per change). Decided input: tidegate.events. Folded
// input: tidegate.definitions. Outbox: tidegate.commands, tidegate.dead-letters.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "common/base/lane_map.h"
#include "common/core/core.h"
#include "common/definitions/definitions_fold.h"
#include "services/tagging/core/rule_set.h"
#include "tidegate/log/v1/events.pb.h"
#include "tidegate/log/v1/profiles.pb.h"

namespace tidegate::tagging {

struct TaggingOptions {
  uint32_t partition = 0;
  LaneMap lanes = LaneMap(1);
  // How long a welcome code works after its event (W1 of WeCom's limits).
  int64_t welcome_valid_ns = 20 * kNanosPerSecond;
  // Events of other corps are dead letters; empty = any corp is known.
  std::set<std::string> corps = {};
};

// Counts since the start of the process; for metrics.
struct TaggingCounters {
  uint64_t events = 0;
  uint64_t repeats = 0;
  uint64_t dead_letters = 0;
  uint64_t rules_fired = 0;
  int64_t last_event_age_ns = 0;  // from receipt to decision
};

class TaggingCore : public core::Core {
 public:
  explicit TaggingCore(TaggingOptions options);

  void Fold(log::TopicPartition from, const log::StoredRecord& record,
            const ::tidegate::log::v1::RecordHeader& header) override;
  bool Ready(const core::Input& input) override;
  std::optional<core::Decision> Decide(const core::Input& input, const Now& now) override;
  void Apply(absl::string_view key, absl::string_view value, const core::ApplyContext& context,
             std::vector<core::OutboxRecord>* outbox) override;
  void ApplyFence(const ::tidegate::log::v1::Fence&, uint64_t) override {}
  void EndBatch() override { pending_.clear(); }
  void AddStateTo(core::StateHash* hash, int64_t at_raw_ns) const override;

  // nullptr if unknown.
  const ::tidegate::log::v1::Profile* FindProfile(const std::string& corp,
                                                  const std::string& customer) const;
  size_t profiles() const { return profiles_.size(); }
  const TaggingCounters& counters() const { return counters_; }

 private:
  using Profile = ::tidegate::log::v1::Profile;
  using Event = ::tidegate::log::v1::CustomerEvent;

  void Parse(const core::Input& input);
  // Why the record can be no event of ours, whatever is known of the customer; empty if it can.
  std::string Parsed(const log::Record& record, Event* event) const;
  const RuleSet& RulesOf(const std::string& corp);
  core::Decision DeadLetter(const core::Input& input, std::string reason);
  std::optional<core::Decision> DecideEvent(const core::Input& input, const Event& event,
                                            const Now& now);

  const TaggingOptions options_;
  definitions::DefinitionsFold definitions_;
  std::map<std::string, RuleSet> rules_;  // by corp, rebuilt when the revision moved
  absl::flat_hash_map<std::string, Profile> profiles_;
  absl::flat_hash_map<std::string, Profile> pending_;  // this batch's newest, not yet applied
  TaggingCounters counters_;

  // The record that Ready() looked at, for Decide(): what is wrong with it, else the event.
  std::optional<uint64_t> parsed_offset_;
  std::string fault_;
  Event parsed_;
};

}  // namespace tidegate::tagging
