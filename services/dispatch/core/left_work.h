// What keeps a corp from being moved to another lane: work that this lane alone knows of.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "services/dispatch/core/address_trust.h"
#include "services/dispatch/core/block_list.h"
#include "services/dispatch/core/bucket_set.h"
#include "services/dispatch/core/campaign_book.h"
#include "services/dispatch/core/command_book.h"
#include "services/dispatch/core/corp_limits.h"
#include "services/dispatch/core/message_book.h"
#include "services/dispatch/core/token_grants.h"

namespace tidegate::dispatch {

struct LeftWork {
  std::string corp;
  uint32_t lane = 0;  // that the corp is in now
  std::string what;   // "campaign spring: 12 calls", for people; what to do, where it does not end
};

struct LaneBooks {
  const CampaignBook& campaigns;
  const CommandBook& commands;
  const MessageBook& messages;
  const AddressTrust& trust;
  const BlockList& blocks;
  const TokenGrants& grants;
  const CorpLimits& limits;
  const BucketSet& buckets;
};

// Of the corps in `elsewhere` (corp -> lane): what is open here, messages whose keys are still
// known, calls, those of other programs too, that windows of the corp still count, and what
// operators have set: the new lane would not know of it. Empty = they are drained. Looks at all
// work of these corps: for the start.
std::vector<LeftWork> FindLeftWork(const LaneBooks& books,
                                   const std::map<std::string, uint32_t>& elsewhere,
                                   const Now& now);

}  // namespace tidegate::dispatch
