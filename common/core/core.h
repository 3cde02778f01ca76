// What a stateful core is: pure decisions over folded state. The partition runtime
// (common/runtime/partition_runner.h) drives it:
//
//   decide  - Decide() looks at state, pending decisions of the batch, one input and now; it
//   returns
//             at most one journal record and changes nothing but its pending overlay.
//   append  - the runtime makes the batch durable.
//   apply   - Apply() folds each record when it comes back from the journal, and names what other
//             services must hear of it. Only here does state change.
//   release - Release() hands out what the applied records allow: calls, replies.
//
// A core has no I/O, clock, thread or randomness of its own. It is used by one thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/base/clock.h"
#include "common/core/state_hash.h"
#include "common/log/log.h"
#include "tidegate/log/v1/header.pb.h"

namespace tidegate::core {

// Something the shell tells its core: the answer to a call, for example. Cores derive from it.
class LocalInput {
 public:
  virtual ~LocalInput() = default;
};

// One input of a decision. Exactly one of `record` and `local` is set, or none: a timer tick.
struct Input {
  const log::StoredRecord* record = nullptr;
  log::TopicPartition from{};  // of `record`
  const LocalInput* local = nullptr;
};

// What Decide returns: key and value of one journal record, at most 900 KB.
struct Decision {
  std::string key;
  std::string value;
};

// What another service must hear of an applied record.
struct OutboxRecord {
  log::TopicPartition target;
  std::string key;
  std::string value;
};

// Circumstances of an Apply.
struct ApplyContext {
  uint64_t epoch = 0;           // of the record
  uint64_t seq = 0;             // of the record
  uint64_t offset = 0;          // of the record in the journal
  int64_t decided_time_ns = 0;  // wall
  bool live = false;  // false while the journal is replayed: nothing may be released for it
};

class Core {
 public:
  virtual ~Core() = default;

  // Folds a record of an input that is state and not a question: definitions, audiences, the
  // profiles that an index is made of. Read from offset 0 at each start, before the journal. Of an
  // input that is a journal, only counted records come, those without a decision too.
  virtual void Fold(log::TopicPartition from, const log::StoredRecord& record,
                    const ::tidegate::log::v1::RecordHeader& header) = 0;

  // Whether this input may be decided now. False holds its partition back (and nothing else) until
  // more was folded.
  virtual bool Ready(const Input&) { return true; }

  // See above. Called again with a tick until it returns nothing.
  virtual std::optional<Decision> Decide(const Input& input, const Now& now) = 0;

  // Folds one counted record. Must give the same result and the same outbox records at every
  // replay.
  virtual void Apply(absl::string_view key, absl::string_view value, const ApplyContext& context,
                     std::vector<OutboxRecord>* outbox) = 0;

  // A new owner's epoch begins, here or in the journal's history. What was under way is over.
  virtual void ApplyFence(const ::tidegate::log::v1::Fence& fence, uint64_t epoch) = 0;

  // The batch is over: all of it was applied, or it is void. Forgets the pending overlay.
  virtual void EndBatch() = 0;

  // After EndBatch and after recovery: hands out what may leave now.
  virtual void Release(const Now&) {}

  // When a tick could decide something without any further input (Now::raw_ns); nothing = never.
  // Asked after a tick that decided nothing.
  virtual std::optional<int64_t> NextTickRawNs(const Now&) { return std::nullopt; }

  // Adds all that was folded and applied, and nothing else: no overlay of a batch, no counters of
  // the process, nothing of who owns the partition. What time alone takes away (tokens that
  // return) goes in as it will stand at `at_raw_ns`, not before now; so two folds can be asked for
  // the same moment, one after the other.
  virtual void AddStateTo(StateHash* /*hash*/, int64_t /*at_raw_ns*/) const {}
};

}  // namespace tidegate::core
