#include "services/segmentation/core/segmentation_core.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/base/log.h"
#include "tidegate/log/v1/definitions.pb.h"
#include "tidegate/log/v1/memberships.pb.h"
#include "tidegate/log/v1/profiles.pb.h"

namespace tidegate::segmentation {

using ::tidegate::log::v1::MembershipRecord;
using ::tidegate::log::v1::ProfileRecord;
using ::tidegate::log::v1::Proposal;
using ::tidegate::log::v1::RECORD_KIND_DECISION;
using ::tidegate::log::v1::RecordHeader;

SegmentationCore::SegmentationCore(SegmentationOptions options, std::unique_ptr<SegmentIndex> index)
    : options_(std::move(options)), index_(std::move(index)) {}

void SegmentationCore::Fold(log::TopicPartition from, const log::StoredRecord& record,
                            const RecordHeader& header) {
  if (from.topic == log::Topic::kDefinitions) return FoldDefinitions(record);
  const std::string events = log::Name({log::Topic::kEvents, options_.partition});
  for (const auto& cover : header.covers()) {
    if (cover.input() == events) events_position_ = std::max(events_position_, cover.position());
  }
  if (header.kind() != RECORD_KIND_DECISION) return;
  ProfileRecord profile;
  CHECK(profile.ParseFromString(record.record.value));
  if (!profile.has_profile()) return;
  index_->Upsert(profile.profile());
  ++profiles_folded_;
  last_profile_time_ns_ = header.decided_time_ns();
}

void SegmentationCore::FoldDefinitions(const log::StoredRecord& record) {
  Proposal proposal;
  if (!proposal.ParseFromString(record.record.value)) return;
  if (definitions_.Apply(proposal) != definitions::DefinitionsFold::Verdict::kAccepted) return;
  for (const auto& definition : proposal.definitions()) {
    if (!definition.has_audience()) continue;
    const AudienceKey key{proposal.corp(), definition.id()};
    if (!complete_.contains(key)) wanted_.emplace(key, definition.audience().expression());
  }
}

std::optional<core::Decision> SegmentationCore::Decide(const core::Input& input, const Now& now) {
  if (input.record != nullptr || input.local != nullptr || last_chunk_pending_) return std::nullopt;
  // One that cannot be evaluated is dropped and holds back no other.
  while (!freezing_.has_value()) {
    if (wanted_.empty()) return std::nullopt;
    Evaluate(wanted_.begin()->first, wanted_.begin()->second, now);
  }
  MembershipRecord record;
  *record.mutable_audience_chunk() = std::move(chunks_left_.front());
  chunks_left_.pop_front();
  last_chunk_pending_ = chunks_left_.empty();
  if (const auto lane = options_.lanes.ToRecord(record.audience_chunk().corp())) {
    record.set_lane(*lane);
  }
  return core::Decision{.key = absl::StrCat(freezing_->first, "/", freezing_->second),
                        .value = record.SerializeAsString()};
}

void SegmentationCore::Evaluate(const AudienceKey& key, const std::string& text, const Now& now) {
  auto expression = expression::Expression::Parse(text);
  if (!expression.ok()) {
    // It was checked before it was stored; another version of the language may have stored it.
    LogEvent(LogLevel::kError, "audience_unusable", {{"audience", key.second}});
    wanted_.erase(key);
    return;
  }
  const auto at = expression::AtInstant(now.wall_ns / kNanosPerSecond);
  const uint32_t round = rounds_[key] + 1;
  std::string ids;
  uint64_t customers = 0;
  Chunk chunk;
  const auto begin_chunk = [&](uint32_t number) {
    chunk.Clear();
    chunk.set_corp(key.first);
    chunk.set_audience(key.second);
    chunk.set_round(round);
    chunk.set_shard(options_.partition);
    chunk.set_shards(options_.partitions);
    chunk.set_chunk(number);
  };
  begin_chunk(0);
  index_->ForEachMatching(key.first, *expression, at,
                          [&](const std::string& customer, const std::string& owner) {
                            if (chunk.customers_size() == kChunkCustomers) {
                              const uint32_t next = chunk.chunk() + 1;
                              chunks_left_.push_back(std::move(chunk));
                              begin_chunk(next);
                            }
                            auto* added = chunk.add_customers();
                            added->set_customer(customer);
                            added->set_owner(owner);
                            ids += customer;
                            ids.push_back('\0');
                            ++customers;
                          });
  auto* manifest = chunk.mutable_manifest();
  manifest->set_expression(text);
  manifest->set_day(at.today);
  manifest->set_customers(customers);
  manifest->set_chunks(chunk.chunk() + 1);
  manifest->set_events_position(events_position_);
  manifest->set_checksum(Sha256(ids));
  chunks_left_.push_back(std::move(chunk));
  freezing_ = key;
}

void SegmentationCore::Apply(absl::string_view key, absl::string_view value,
                             const core::ApplyContext&, std::vector<core::OutboxRecord>* outbox) {
  MembershipRecord record;
  CHECK(record.ParseFromArray(value.data(), static_cast<int>(value.size())));
  const Chunk& chunk = record.audience_chunk();
  const AudienceKey audience{chunk.corp(), chunk.audience()};
  rounds_[audience] = chunk.round();
  if (chunk.has_manifest()) {
    complete_.insert(audience);
    wanted_.erase(audience);
    if (freezing_ == audience) freezing_.reset();
    last_chunk_pending_ = false;
  }
  const uint32_t lane = options_.lanes.OfRecord(
      record.has_lane() ? std::optional(record.lane()) : std::nullopt, chunk.corp());
  outbox->push_back({.target = {log::Topic::kAudiences, lane},
                     .key = std::string(key),
                     .value = chunk.SerializeAsString()});
}

void SegmentationCore::ApplyFence(const ::tidegate::log::v1::Fence&, uint64_t) {
  // Chunks that were decided and did not count are gone: the audience starts its next round.
  freezing_.reset();
  chunks_left_.clear();
  last_chunk_pending_ = false;
}

void SegmentationCore::EndBatch() {}

void SegmentationCore::AddStateTo(core::StateHash* hash, int64_t) const {
  definitions_.AddStateTo(hash);
  hash->Add(events_position_).Add(profiles_folded_).Add(last_profile_time_ns_);
  index_->AddStateTo(hash);
  hash->Add(wanted_.size());
  for (const auto& [key, text] : wanted_) hash->Add(key.first).Add(key.second).Add(text);
  hash->Add(complete_.size());
  for (const auto& key : complete_) hash->Add(key.first).Add(key.second);
  hash->Add(rounds_.size());
  for (const auto& [key, round] : rounds_) hash->Add(key.first).Add(key.second).Add(round);
}

}  // namespace tidegate::segmentation
