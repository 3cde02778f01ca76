// The segments of one customer partition: an index folded from profiles, and audiences frozen into
// the log.
//
// Journal: tidegate.memberships. Folded inputs: tidegate.definitions, tidegate.profiles. Outbox:
// tidegate.audiences.
//
// A freeze is one definition that every shard sees. A shard evaluates it at one moment into pieces
// of at most kChunkCustomers, and writes them one decision at a time. A crash in between starts the
// next round; readers plan from a complete one.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "common/base/lane_map.h"
#include "common/core/core.h"
#include "common/definitions/definitions_fold.h"
#include "services/segmentation/core/segment_index.h"
#include "tidegate/log/v1/audiences.pb.h"

namespace tidegate::segmentation {

// About 48 bytes each: a chunk stays well under 900 KB whatever the ids.
inline constexpr int kChunkCustomers = 5000;

struct SegmentationOptions {
  uint32_t partition = 0;
  uint32_t partitions = 1;
  LaneMap lanes = LaneMap(1);
};

class SegmentationCore : public core::Core {
 public:
  SegmentationCore(SegmentationOptions options, std::unique_ptr<SegmentIndex> index);

  void Fold(log::TopicPartition from, const log::StoredRecord& record,
            const ::tidegate::log::v1::RecordHeader& header) override;
  // Ticks only: the next chunk of an audience that is wanted and not complete.
  std::optional<core::Decision> Decide(const core::Input& input, const Now& now) override;
  void Apply(absl::string_view key, absl::string_view value, const core::ApplyContext& context,
             std::vector<core::OutboxRecord>* outbox) override;
  void ApplyFence(const ::tidegate::log::v1::Fence& fence, uint64_t epoch) override;
  void EndBatch() override;
  // An evaluation under way is a decision, not state: a new owner begins its round again.
  void AddStateTo(core::StateHash* hash, int64_t at_raw_ns) const override;

  const SegmentIndex& index() const { return *index_; }
  // Position of tidegate.events that the profiles seen here cover.
  uint64_t events_position() const { return events_position_; }
  uint64_t profiles_folded() const { return profiles_folded_; }
  // When tagging decided the last profile seen here; wall.
  int64_t last_profile_time_ns() const { return last_profile_time_ns_; }

 private:
  using AudienceKey = std::pair<std::string, std::string>;  // corp, audience id
  using Chunk = ::tidegate::log::v1::AudienceChunk;

  void FoldDefinitions(const log::StoredRecord& record);
  void Evaluate(const AudienceKey& key, const std::string& expression, const Now& now);

  const SegmentationOptions options_;
  const std::unique_ptr<SegmentIndex> index_;
  definitions::DefinitionsFold definitions_;
  uint64_t events_position_ = 0;
  uint64_t profiles_folded_ = 0;
  int64_t last_profile_time_ns_ = 0;

  std::map<AudienceKey, std::string> wanted_;  // canonical expression; not complete
  std::set<AudienceKey> complete_;             // journal has a last chunk
  std::map<AudienceKey, uint32_t> rounds_;     // highest round in the journal
  // The evaluation under way, and its chunks that are not decided yet.
  std::optional<AudienceKey> freezing_;
  std::deque<Chunk> chunks_left_;
  bool last_chunk_pending_ = false;
};

}  // namespace tidegate::segmentation
