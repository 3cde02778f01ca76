#include "services/dispatch/core/block_list.h"

#include <algorithm>

#include "services/dispatch/core/token_buckets.h"

namespace tidegate::dispatch {

using ::tidegate::log::v1::SendingBlocked;
using ::tidegate::log::v1::SendingUnblocked;

namespace {

bool HasEnded(const SendingBlocked& block, int64_t wall_ns) {
  return block.until_ns() != 0 && block.until_ns() <= wall_ns;
}

}  // namespace

void BlockList::Apply(const SendingBlocked& blocked) {
  blocks_[{blocked.corp(), blocked.campaign()}] = blocked;
}

void BlockList::Apply(const SendingUnblocked& unblocked) {
  blocks_.erase({unblocked.corp(), unblocked.campaign()});
}

bool BlockList::Holds(const Key& key, int64_t wall_ns) const {
  const auto found = blocks_.find(key);
  return found != blocks_.end() && !HasEnded(found->second, wall_ns);
}

bool BlockList::Holds(const std::string& corp, const std::string& campaign, int64_t wall_ns) const {
  if (blocks_.empty()) return false;
  return Holds(Key{"", ""}, wall_ns) || Holds(Key{corp, ""}, wall_ns) ||
         (!campaign.empty() && Holds(Key{corp, campaign}, wall_ns));
}

const SendingBlocked* BlockList::Find(const Key& campaign, int64_t wall_ns) const {
  for (const Key& key : {campaign, Key{campaign.first, ""}, Key{"", ""}}) {
    if (Holds(key, wall_ns)) return &blocks_.at(key);
  }
  return nullptr;
}

int64_t BlockList::NextEndNs(int64_t wall_ns) const {
  int64_t next = kNever;
  for (const auto& [key, block] : blocks_) {
    if (block.until_ns() > wall_ns) next = std::min(next, block.until_ns());
  }
  return next;
}

void BlockList::AddStateTo(core::StateHash* hash) const {
  hash->Add(blocks_.size());
  for (const auto& [key, block] : blocks_) hash->Add(block);
}

}  // namespace tidegate::dispatch
