// The harm brake: a campaign after whose touches far more customers than usual remove the member
// is blocked, until an operator ends the block; also if all its creates are out: reminders are
// left.
//
// What is compared: of the touches that became known as sent in the last window (24 h), the share
// whose customer has removed the member within a window; and what the corp loses anyway: removals
// that followed no touch, a day, over the last 7 days, per customer of the largest audience it has
// had. Nobody tells dispatch how many customers a corp has, so what is usual is taken as at least
// kUsualLeast and at most kUsualMost: with no removals a first campaign would be blocked by chance,
// and beside a small audience the corp's other removals would excuse everything.
//
// A fold of the ledger. Removals are commands (CustomerLeft), which a restart reads before the
// ledger: they wait until a record (CommandsDropped, reason kCounted) gives them their place in it.
// Memory: 24 bytes and a map's entry for each touch and removal of the last window. Part of
// DispatchCore; one thread.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "common/base/clock.h"
#include "common/core/state_hash.h"
#include "common/wecom_table/limits.h"
#include "services/dispatch/core/block_list.h"
#include "services/dispatch/core/campaign_book.h"
#include "tidegate/log/v1/commands.pb.h"
#include "tidegate/log/v1/ledger.pb.h"

namespace tidegate::dispatch {

class HarmBrake {
 public:
  static constexpr char kActor[] = "harm brake";
  static constexpr char kCounted[] = "counted";  // reason of CommandsDropped
  static constexpr double kUsualLeast = 0.001;   // of the customers, a day
  static constexpr double kUsualMost = 0.01;

  // `limits` outlives the object.
  explicit HarmBrake(const wecom_table::Limits* limits) : limits_(limits) {}

  // A CustomerLeft at its offset in tidegate.commands.
  void Fold(uint64_t position, const ::tidegate::log::v1::Command& command);

  // Decide. Rebuild() undoes a void batch.
  std::optional<::tidegate::log::v1::LedgerRecord> NextCounted();
  std::optional<::tidegate::log::v1::LedgerRecord> NextBlock(const CampaignBook& campaigns,
                                                             const BlockList& blocks,
                                                             const Now& now);

  // Apply; times of the decision, wall.
  void OnCounted(const ::tidegate::log::v1::CommandsDropped& counted, int64_t time_ns);
  // After the book has applied it.
  void OnResult(const ::tidegate::log::v1::Result& result, const CampaignBook& campaigns,
                int64_t time_ns);
  // `live`: no replay; only then it is told to the log.
  void OnBlocked(const ::tidegate::log::v1::SendingBlocked& blocked, bool live);
  void OnUnblocked(const ::tidegate::log::v1::SendingUnblocked& unblocked);
  void Rebuild();

  // Customers who removed the member within a window after a touch of the campaign, ever.
  int64_t Deletions(const CampaignKey& campaign) const;
  // Removals that wait to be counted.
  size_t waiting() const { return removals_.size(); }
  void AddStateTo(core::StateHash* hash) const;

 private:
  struct Removal {
    std::string corp;
    uint64_t pair = 0;  // hash of corp, member and customer
    int64_t time_ns = 0;
  };
  // What a campaign's touches came to.
  struct Tally {
    const CampaignKey* campaign;
    int64_t sent = 0;  // of the window
    int64_t left = 0;  // of these
    int64_t deletions = 0;
    bool braked = false;  // once is enough: an operator has looked at it since
  };
  struct Touch {
    int64_t time_ns = 0;
    uint64_t pair = 0;
    uint32_t tally = 0;
    bool left = false;
  };
  // Of the last window: that a later touch had been sent before may become known after it.
  struct CountedRemoval {
    int64_t counted_ns = 0;
    int64_t time_ns = 0;
    // The touch that it followed, and its tally; none: it counts as usual.
    std::optional<uint64_t> touch;
    uint32_t tally = 0;
  };
  // Removals that followed no touch.
  struct Usual {
    int64_t first_day = 0;              // in which the corp was seen
    std::map<int64_t, int64_t> by_day;  // of the last 7
  };

  static uint64_t PairOf(const std::string& corp, const std::string& member,
                         const std::string& customer);
  uint32_t TallyOf(const CampaignKey& campaign);
  Usual& UsualOf(const std::string& corp, int64_t time_ns);
  void Count(const Removal& removal, int64_t time_ns);
  // It followed another touch than it seemed.
  void Undo(const CountedRemoval& removal, Usual* usual);
  void CountSent(const CampaignKey& campaign, uint64_t pair, int64_t began_ns, int64_t time_ns);
  // Forgets what is older than a window.
  void Expire(int64_t time_ns);
  // Of a corp's customers, a day.
  double UsualRate(const std::string& corp, const CampaignBook& campaigns, int64_t time_ns) const;

  const wecom_table::Limits* const limits_;
  std::map<uint64_t, Removal> removals_;  // by position, not counted yet
  std::map<CampaignKey, uint32_t> tally_of_;
  std::vector<Tally> tallies_;
  std::map<std::string, Usual> usual_;  // by corp
  // In the order of the ledger; the first has number first_touch_.
  std::deque<Touch> touches_;
  uint64_t first_touch_ = 0;
  absl::flat_hash_map<uint64_t, uint64_t> newest_touch_;     // number, by pair
  absl::flat_hash_map<uint64_t, CountedRemoval> counted_;    // the newest, by pair
  std::deque<std::pair<int64_t, uint64_t>> counted_by_age_;  // when, pair

  uint64_t next_position_ = 0;        // removals before it are decided in this batch
  std::set<CampaignKey> to_look_at_;  // tallies that changed since they were looked at
};

}  // namespace tidegate::dispatch
