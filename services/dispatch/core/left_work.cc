#include "services/dispatch/core/left_work.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace tidegate::dispatch {
namespace {

using ::tidegate::log::v1::CAMPAIGN_PHASE_COLLECTING;
using ::tidegate::log::v1::CAMPAIGN_PHASE_RUNNING;

bool Ran(const CampaignState& campaign) {
  return campaign.phase == CAMPAIGN_PHASE_RUNNING || campaign.phase == CAMPAIGN_PHASE_COLLECTING;
}

void AddCampaigns(const CampaignBook& campaigns, const std::string& corp,
                  std::vector<std::string>* what) {
  const auto& all = campaigns.campaigns();
  for (auto it = all.lower_bound({corp, ""}); it != all.end() && it->first.first == corp; ++it) {
    const auto& [key, campaign] = *it;
    const size_t calls = campaign.open.size();
    if (calls > 0 || (Ran(campaign) && !IsMessageCampaign(key.second))) {
      what->push_back(absl::StrCat("campaign ", key.second, ": ", calls, " calls without an end"));
    } else if (campaigns.HasAudience(key)) {
      what->push_back(absl::StrCat("campaign ", key.second, ": an audience that was not sent to"));
    }
  }
}

// Their keys would be unknown in another lane, and the same message would be sent again.
std::map<std::string, size_t> KnownMessages(const MessageBook& messages, const Now& now) {
  std::map<std::string, size_t> known;
  for (const auto& [position, batch] : messages.batches()) {
    const bool recent = batch.messages.received_ns() + MessageBook::kKeyKeptNs > now.wall_ns;
    if (recent || batch.open > 0) known[batch.corp] += batch.touches.size();
  }
  return known;
}

// Another lane would send all the same.
void AddBlocks(const BlockList& blocks, const std::string& corp, const Now& now,
               std::vector<std::string>* what) {
  const auto& all = blocks.blocks();
  for (auto it = all.lower_bound({corp, ""}); it != all.end() && it->first.first == corp; ++it) {
    const auto& [key, block] = *it;
    if (block.until_ns() != 0 && block.until_ns() <= now.wall_ns) continue;
    const std::string& campaign = key.second;
    what->push_back(absl::StrCat(
        "a block of ", campaign.empty() ? "all calls" : absl::StrCat("campaign ", campaign),
        ", by ", block.actor(), ": end it (block end), and set it again after the move"));
  }
}

// ... and by other limits.
void AddLimits(const CorpLimits& limits, const std::string& corp, std::vector<std::string>* what) {
  const auto* set = limits.Find(corp);
  if (set == nullptr || set->limits().ByteSizeLong() == 0) return;
  what->push_back(absl::StrCat("limits of its own, by ", set->actor(),
                               ": note them (quota limits show), set {} in their place (quota "
                               "limits set), and set them again after the move"));
}

void AddGrants(const TokenGrants& grants, const std::string& corp, std::vector<std::string>* what) {
  const size_t open = grants.open(corp);
  if (open == 0) return;
  what->push_back(absl::StrCat(open,
                               " grants of other programs: release them (quota release), or "
                               "wait until their leases are over"));
}

// Another lane does not know of these calls and would go beyond the corp's limits. Those of a day
// or a month are not waited for.
void AddLastCall(const LaneBooks& books, const std::string& corp, const Now& now,
                 std::vector<std::string>* what) {
  const int64_t last_ns =
      std::max(books.trust.LastCallWallNs(corp), books.grants.LastUseWallNs(corp));
  if (last_ns == 0) return;
  int64_t window_ns = 0;
  int64_t lockout_ns = 0;
  for (const wecom_table::WindowLimit& window : books.limits.Of(corp).windows) {
    if (window.scope != wecom_table::Scope::kCorp) continue;
    if (window.calendar != wecom_table::Calendar::kNone) continue;
    window_ns = std::max(window_ns, window.window_ns);
    lockout_ns = std::max(lockout_ns, window.lockout_ns);
  }
  // A lockout by a window was begun by a call, and is no longer than windows lock.
  const int64_t locked_ns = now.wall_ns + books.buckets.LockoutUntilNs(corp) - now.raw_ns;
  const int64_t until_ns = std::max(last_ns + window_ns, std::min(last_ns + lockout_ns, locked_ns));
  if (until_ns <= now.wall_ns) return;
  what->push_back(absl::StrCat("calls that its limits count for another ",
                               (until_ns - now.wall_ns) / kNanosPerSecond + 1, " s"));
}

}  // namespace

std::vector<LeftWork> FindLeftWork(const LaneBooks& books,
                                   const std::map<std::string, uint32_t>& elsewhere,
                                   const Now& now) {
  std::vector<LeftWork> left;
  if (elsewhere.empty()) return left;
  const auto commands = books.commands.OpenByCorp();
  const auto messages = KnownMessages(books.messages, now);
  for (const auto& [corp, lane] : elsewhere) {
    std::vector<std::string> what;
    AddCampaigns(books.campaigns, corp, &what);
    if (const auto open = commands.find(corp); open != commands.end()) {
      what.push_back(absl::StrCat(open->second, " tag changes and welcomes"));
    }
    if (const auto known = messages.find(corp); known != messages.end()) {
      what.push_back(absl::StrCat(
          known->second, " messages that are open or younger than 24 h: their keys count"));
    }
    AddBlocks(books.blocks, corp, now, &what);
    AddLimits(books.limits, corp, &what);
    AddGrants(books.grants, corp, &what);
    AddLastCall(books, corp, now, &what);
    for (std::string& text : what) {
      left.push_back({.corp = corp, .lane = lane, .what = std::move(text)});
    }
  }
  return left;
}

}  // namespace tidegate::dispatch
