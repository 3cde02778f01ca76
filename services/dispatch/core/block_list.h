// What must not leave: the kill switch, per corp, campaign or of everything.
//
// A fold of the ledger. Not thread-safe; the value may be copied to whoever writes to sockets.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "common/core/state_hash.h"
#include "tidegate/log/v1/ledger.pb.h"

namespace tidegate::dispatch {

class BlockList {
 public:
  // By corp and campaign; empty = all of them.
  using Key = std::pair<std::string, std::string>;
  using Blocks = std::map<Key, ::tidegate::log::v1::SendingBlocked>;

  void Apply(const ::tidegate::log::v1::SendingBlocked& blocked);
  void Apply(const ::tidegate::log::v1::SendingUnblocked& unblocked);

  // Whether a call of the corp may not begin at this wall time; `campaign` is empty for calls of
  // none.
  bool Holds(const std::string& corp, const std::string& campaign, int64_t wall_ns) const;
  // The block that holds a campaign, the narrowest of them; nullptr if there is none.
  const ::tidegate::log::v1::SendingBlocked* Find(const Key& campaign, int64_t wall_ns) const;
  // When the next block ends by itself after `wall_ns`; kNever: none does.
  int64_t NextEndNs(int64_t wall_ns) const;
  // With those that have ended by themselves.
  const Blocks& blocks() const { return blocks_; }
  void AddStateTo(core::StateHash* hash) const;

 private:
  bool Holds(const Key& key, int64_t wall_ns) const;

  Blocks blocks_;
};

}  // namespace tidegate::dispatch
