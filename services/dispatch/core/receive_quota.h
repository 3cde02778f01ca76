// How many mass sends each customer may still receive (M6 of WeCom's limits). A unit is reserved
// when a touch gets its call, used when the customer got the message, and free again when that is
// known not to happen.
//
// A fold of the ledger. All a record says of the corp's mode and of time stands in it, so that a
// replay under other limits gives the same state. Days, weeks and months are China's; WeCom does
// not say when its week begins, so 7 per week are 7 in any 7 days. What was used is known of each
// day, so that another mode finds it.
//
// Not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "common/core/state_hash.h"
#include "services/dispatch/core/corp_limits.h"
#include "services/dispatch/core/planner.h"
#include "tidegate/common/v1/types.pb.h"

namespace tidegate::dispatch {

// A natural day of China; days are counted from 1969 on, so that 0 is none.
struct ChinaDay {
  int64_t day = 0;
  int64_t month_first = 0;
  uint32_t days_in_month = 0;
};
ChinaDay ChinaDayOf(int64_t wall_ns);

// How a unit that was reserved ends.
enum class UnitEnd : uint8_t {
  kUsed,
  kFree,
  kFull,  // free, and WeCom says that the customer has none left
};

class ReceiveQuotas {
 public:
  using Mode = ::tidegate::common::v1::ReceiveQuota;

  // `limits` outlives the object.
  explicit ReceiveQuotas(const CorpLimits* limits) : limits_(limits) {}

  // The mode of a corp now, as records name it.
  Mode ModeOf(absl::string_view corp) const;
  // Whether customers have a quota in this mode.
  static bool Counts(Mode mode);

  // ---- Decide ----

  // Those of the audience who have a sender and may not get one more, ascending.
  std::vector<uint32_t> OverQuota(const std::string& corp, Mode mode,
                                  std::span<const AudienceCustomer> audience, int64_t wall_ns);
  // False if the customer may not get one more. Else one is taken until EndBatch().
  bool MayReserve(const std::string& corp, Mode mode, absl::string_view customer, int64_t wall_ns);
  // A plan is decided and not applied: whom it reserves for is not known yet, so that nothing else
  // that reserves may be decided until EndBatch().
  void NotePlan() { plan_undecided_ = true; }
  bool plan_undecided() const { return plan_undecided_; }
  void EndBatch();

  // ---- Apply ----

  // The next record was decided at this moment. An end takes effect on what is decided at another
  // moment than itself: the ends of one batch are not known yet when a plan of it is decided, and
  // the plan must find the same when it is applied.
  void Advance(int64_t decided_wall_ns);
  // The same as OverQuota(); reserves for the others.
  std::vector<uint32_t> ReservePlanned(const std::string& corp, Mode mode,
                                       std::span<const AudienceCustomer> audience, int64_t wall_ns);
  void Reserve(const std::string& corp, absl::string_view customer);
  void End(const std::string& corp, absl::string_view customer, UnitEnd end, int64_t wall_ns);

  // Customers of whom anything is known, and the bytes that they take.
  size_t customers(const std::string& corp) const;
  size_t bytes(const std::string& corp) const;
  void AddStateTo(core::StateHash* hash) const;

 private:
  // Of one customer.
  struct Used {
    uint16_t day = 0;           // of the newest use; 0 = never
    uint16_t full_day = 0;      // when WeCom said that none is left; 0 = never
    uint32_t reserved : 6 = 0;  // units
    uint32_t month : 5 = 0;     // used in the month of `day`; at most 31
    uint32_t week : 21 = 0;     // used on `day` and each of six days before it, 3 bits each
    bool IsEmpty() const { return day == 0 && full_day == 0 && reserved == 0; }
  };
  // By a hash of the customer's id: two of equal 64 bits share a quota.
  using Key = uint64_t;
  using Table = absl::flat_hash_map<Key, Used>;
  static_assert(sizeof(Table::value_type) == 16);
  struct Ended {
    Table* table;
    Key key;
    int64_t wall_ns;
    UnitEnd end;
  };

  static Key KeyOf(absl::string_view customer);
  static bool MayGetOneMore(const Used& used, Mode mode, const ChinaDay& today, uint32_t pending);
  // Whether it counts against the customer in any mode.
  static bool Matters(const Used& used, const ChinaDay& today);
  static void Take(UnitEnd end, const ChinaDay& day, Used* used);
  static uint64_t HashOf(Key key, const Used& used);
  void TakeEnds();
  // Forgets customers whose windows are over.
  void Sweep(const ChinaDay& today);

  const CorpLimits* const limits_;
  std::map<std::string, Table> tables_;  // by corp
  std::vector<Ended> ends_;              // of records decided at `decided_wall_ns_`
  int64_t decided_wall_ns_ = 0;
  int64_t swept_day_ = 0;

  // Of the batch at hand: units that were decided and are not applied.
  absl::flat_hash_map<std::pair<const Table*, Key>, uint32_t> pending_;
  bool plan_undecided_ = false;
};

}  // namespace tidegate::dispatch
