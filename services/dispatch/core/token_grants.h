// Tokens that other programs of a corp were given for calls of their own, under the same limits. A
// grant is open, its calls under way, until the program releases it or its lease is over for good.
//
// A fold of the ledger's TokensAcquired and TokensReleased; who charges the buckets is told what
// each record means for them. Both ends of a grant are records: what was under way never depends on
// when one looks. Raw times are CLOCK_MONOTONIC_RAW in nanoseconds. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "common/base/clock.h"
#include "common/core/state_hash.h"
#include "tidegate/log/v1/ledger.pb.h"

namespace tidegate::dispatch {

class TokenGrants {
 public:
  // Bounds of one corp; when full, no more are given.
  static constexpr size_t kOpenMax = 1000;
  static constexpr size_t kKnownMax = 100'000;  // with those that have ended
  // A grant is known for so long, from its acquisition on.
  static constexpr int64_t kKnownNs = int64_t{24} * 3600 * kNanosPerSecond;

  // By corp and the name that the caller chose.
  using Key = std::pair<std::string, std::string>;
  struct Grant {
    std::string api;
    uint32_t calls = 0;
    int64_t acquired_wall_ns = 0;
    int64_t lease_ns = 0;
    // Then its calls count as completed, if nobody has released it before.
    int64_t ends_raw_ns = 0;
    bool open = true;
  };
  // What the end of a grant means for its buckets.
  struct End {
    std::string api;
    uint32_t used = 0;
    uint32_t unused = 0;
    bool released = false;  // by its program, which saw the answers; else its lease is over
  };

  // `hold_ns`: so long after its lease a call may still take effect at WeCom.
  explicit TokenGrants(int64_t hold_ns) : hold_ns_(hold_ns) {}

  // nullptr: not known (any more).
  const Grant* Find(const Key& key, int64_t wall_ns) const;
  size_t open(const std::string& corp) const { return CountsOf(corp).open; }
  // When calls of the corp's grants ended last; 0: none have.
  int64_t LastUseWallNs(const std::string& corp) const;
  // As many are known as may be; one that is forgotten with the next acquisition is not counted.
  bool AllKnown(const std::string& corp, int64_t wall_ns) const;

  // ---- Deciding ----

  // A decision about the grant is under way in this batch.
  bool deciding(const Key& key) const { return deciding_.contains(key); }
  size_t deciding() const { return deciding_.size(); }
  void NoteDeciding(const Key& key) { deciding_.insert(key); }
  void EndBatch() { deciding_.clear(); }
  // The record that ends a grant whose lease is over for good; one at a time.
  std::optional<::tidegate::log::v1::TokensReleased> NextOver(const Now& now) const;
  // When NextOver() will have one; kNever: no grant is open.
  int64_t NextRawNs() const;

  // ---- Applying ----

  // False: the grant is known, and the record changes nothing.
  bool OnAcquired(const ::tidegate::log::v1::TokensAcquired& acquired);
  // nullopt: the grant is not open, and the record changes nothing.
  std::optional<End> OnReleased(const ::tidegate::log::v1::TokensReleased& released);
  // The raw clock began anew (another boot), at `now_raw_ns`: how long the leases had to go on
  // cannot be told, so they begin once more.
  void Rebase(int64_t now_raw_ns);

  void AddStateTo(core::StateHash* hash) const;

 private:
  struct Counts {
    size_t known = 0;
    size_t open = 0;
  };

  Counts CountsOf(const std::string& corp) const;
  // Forgets what has ended and is older than kKnownNs.
  void Forget(int64_t wall_ns);

  const int64_t hold_ns_;
  std::map<Key, Grant> grants_;
  std::map<std::string, Counts> counts_;             // by corp; none without a grant
  std::map<std::string, int64_t> last_use_wall_ns_;  // by corp
  std::set<std::pair<int64_t, Key>> by_age_;         // acquired_wall_ns
  std::set<std::pair<int64_t, Key>> open_by_end_;    // ends_raw_ns
  std::set<Key> deciding_;
};

}  // namespace tidegate::dispatch
