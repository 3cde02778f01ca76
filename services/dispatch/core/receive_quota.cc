#include "services/dispatch/core/receive_quota.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "absl/time/civil_time.h"
#include "common/base/civil_day.h"
#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/wecom_table/limits.h"

namespace tidegate::dispatch {

using ::tidegate::common::v1::RECEIVE_QUOTA_DAYS_IN_MONTH;
using ::tidegate::common::v1::RECEIVE_QUOTA_NONE;
using ::tidegate::common::v1::RECEIVE_QUOTA_ONE_PER_DAY;
using ::tidegate::common::v1::RECEIVE_QUOTA_SEVEN_PER_WEEK;
using ::tidegate::common::v1::RECEIVE_QUOTA_UNSPECIFIED;

namespace {

constexpr int64_t kWeekDays = 7;
constexpr uint32_t kPerWeek = 7;
constexpr uint32_t kMonthMax = 31;
// What is reserved may be sent in another month, and the shortest has so many days.
constexpr uint32_t kReservedMax = 28;
constexpr uint32_t kDayBits = 3;
constexpr uint32_t kDayMask = 7;
constexpr uint32_t kWeekMask = (1u << (kWeekDays * kDayBits)) - 1;
// A customer is looked up so many customers after its place in the table was fetched.
constexpr size_t kAhead = 32;

// visit(index, key) for each customer who has a sender.
template <typename Table, typename KeyOf, typename Visit>
void ForEachWithSender(std::span<const AudienceCustomer> audience, const Table& table,
                       const KeyOf& key_of, const Visit& visit) {
  std::array<std::pair<uint32_t, uint64_t>, kAhead> ahead;
  size_t fetched = 0;
  for (size_t i = 0; i < audience.size(); ++i) {
    if (audience[i].owner.empty()) continue;
    const uint64_t key = key_of(audience[i].customer);
    table.prefetch(key);
    auto& [index, before] = ahead[fetched % kAhead];
    if (fetched++ >= kAhead) visit(index, before);
    index = static_cast<uint32_t>(i);
    before = key;
  }
  for (size_t i = fetched - std::min(fetched, kAhead); i < fetched; ++i) {
    visit(ahead[i % kAhead].first, ahead[i % kAhead].second);
  }
}

uint64_t Folded(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

int64_t DayNumber(int64_t wall_ns) { return CivilDayOf(wall_ns / kNanosPerSecond) + 365; }

}  // namespace

ChinaDay ChinaDayOf(int64_t wall_ns) {
  const int64_t day = DayNumber(wall_ns);
  const absl::CivilDay civil = absl::CivilDay(1969, 1, 1) + day;
  const absl::CivilMonth month(civil);
  const absl::CivilDay first(month);
  return {.day = day,
          .month_first = day - (civil - first),
          .days_in_month = static_cast<uint32_t>(absl::CivilDay(month + 1) - first)};
}

ReceiveQuotas::Mode ReceiveQuotas::ModeOf(absl::string_view corp) const {
  switch (limits_->Of(corp).receive_quota) {
    case wecom_table::ReceiveQuota::kDaysInMonth:
      return RECEIVE_QUOTA_DAYS_IN_MONTH;
    case wecom_table::ReceiveQuota::kSevenPerWeek:
      return RECEIVE_QUOTA_SEVEN_PER_WEEK;
    case wecom_table::ReceiveQuota::kOnePerDay:
      return RECEIVE_QUOTA_ONE_PER_DAY;
    case wecom_table::ReceiveQuota::kNone:
      return RECEIVE_QUOTA_NONE;
  }
  return RECEIVE_QUOTA_NONE;
}

bool ReceiveQuotas::Counts(Mode mode) {
  return mode != RECEIVE_QUOTA_UNSPECIFIED && mode != RECEIVE_QUOTA_NONE;
}

// Sixteen bytes at a time. Ids are WeCom's: nobody chooses them so that they collide.
ReceiveQuotas::Key ReceiveQuotas::KeyOf(absl::string_view customer) {
  Key key = customer.size();
  while (!customer.empty()) {
    const size_t size = std::min<size_t>(16, customer.size());
    std::array<uint64_t, 2> part = {};
    std::memcpy(part.data(), customer.data(), size);
    key = Folded(part[0] ^ key ^ 0x9E3779B97F4A7C15u, part[1] ^ 0xD1B54A32D192ED03u);
    customer.remove_prefix(size);
  }
  return key;
}

// ---- What counts ----

bool ReceiveQuotas::MayGetOneMore(const Used& used, Mode mode, const ChinaDay& today,
                                  uint32_t pending) {
  const uint32_t reserved = used.reserved + pending;
  switch (mode) {
    case RECEIVE_QUOTA_DAYS_IN_MONTH: {
      if (used.full_day >= today.month_first) return false;
      const uint32_t sent = used.day >= today.month_first ? used.month : 0;
      return sent + reserved < today.days_in_month && reserved < kReservedMax;
    }
    case RECEIVE_QUOTA_SEVEN_PER_WEEK: {
      if (today.day - used.full_day < kWeekDays) return false;
      const int64_t before = std::max<int64_t>(0, today.day - used.day);
      uint32_t sent = 0;
      for (int64_t i = 0; before + i < kWeekDays; ++i) {
        sent += used.week >> (i * kDayBits) & kDayMask;
      }
      return sent + reserved < kPerWeek;
    }
    case RECEIVE_QUOTA_ONE_PER_DAY:
      return used.full_day < today.day && used.day < today.day && reserved == 0;
    default:
      return true;
  }
}

bool ReceiveQuotas::Matters(const Used& used, const ChinaDay& today) {
  const int64_t newest = std::max(used.day, used.full_day);
  return used.reserved > 0 || newest >= today.month_first || today.day - newest < kWeekDays;
}

void ReceiveQuotas::Take(UnitEnd end, const ChinaDay& day, Used* used) {
  if (used->reserved > 0) used->reserved -= 1;
  if (end == UnitEnd::kFull) {
    used->full_day = std::max(used->full_day, static_cast<uint16_t>(day.day));
  }
  if (end != UnitEnd::kUsed) return;
  const int64_t later = day.day - used->day;
  if (later > 0) {
    if (used->day < day.month_first) used->month = 0;
    used->week = later < kWeekDays ? used->week << (later * kDayBits) & kWeekMask : 0;
    used->day = static_cast<uint16_t>(day.day);
  }
  // What the wall clock takes back is counted on the newest day.
  if (used->month < kMonthMax) used->month += 1;
  if ((used->week & kDayMask) < kDayMask) used->week += 1;
}

// ---- Deciding ----

void ReceiveQuotas::BeginDecision(int64_t decided_wall_ns) {
  if (decided_wall_ns != decided_wall_ns_) TakeEnds();
}

std::vector<uint32_t> ReceiveQuotas::OverQuota(const std::string& corp, Mode mode,
                                               std::span<const AudienceCustomer> audience,
                                               int64_t wall_ns) const {
  std::vector<uint32_t> over;
  const auto found = tables_.find(corp);
  if (!Counts(mode) || found == tables_.end()) return over;
  const Table& table = found->second;
  const ChinaDay today = ChinaDayOf(wall_ns);
  ForEachWithSender(audience, table, KeyOf, [&](uint32_t index, Key key) {
    const auto used = table.find(key);
    if (used == table.end() && pending_.empty()) return;
    uint32_t pending = 0;
    if (!pending_.empty()) {
      if (const auto it = pending_.find({&table, key}); it != pending_.end()) pending = it->second;
    }
    if (!MayGetOneMore(used == table.end() ? Used{} : used->second, mode, today, pending)) {
      over.push_back(index);
    }
  });
  return over;
}

bool ReceiveQuotas::MayReserve(const std::string& corp, Mode mode, absl::string_view customer,
                               int64_t wall_ns) {
  if (!Counts(mode)) return true;
  const Table& table = tables_[corp];
  const Key key = KeyOf(customer);
  uint32_t& pending = pending_[{&table, key}];
  const auto used = table.find(key);
  if (!MayGetOneMore(used == table.end() ? Used{} : used->second, mode, ChinaDayOf(wall_ns),
                     pending)) {
    return false;
  }
  if (TIDEGATE_MUTANT != 26) ++pending;
  return true;
}

void ReceiveQuotas::EndBatch() {
  pending_.clear();
  plan_undecided_ = false;
}

// ---- Applying ----

void ReceiveQuotas::Advance(int64_t decided_wall_ns) {
  if (decided_wall_ns == decided_wall_ns_) return;
  TakeEnds();
  decided_wall_ns_ = decided_wall_ns;
  const int64_t day = DayNumber(decided_wall_ns);
  if (day <= swept_day_) return;
  swept_day_ = day;
  Sweep(ChinaDayOf(decided_wall_ns));
}

std::vector<uint32_t> ReceiveQuotas::ReservePlanned(const std::string& corp, Mode mode,
                                                    std::span<const AudienceCustomer> audience,
                                                    int64_t wall_ns) {
  std::vector<uint32_t> over;
  if (!Counts(mode)) return over;
  Table& table = tables_[corp];
  table.reserve(std::max(table.size(), audience.size()));
  const ChinaDay today = ChinaDayOf(wall_ns);
  ForEachWithSender(audience, table, KeyOf, [&](uint32_t index, Key key) {
    Used& used = table[key];
    if (!MayGetOneMore(used, mode, today, 0)) {
      over.push_back(index);
    } else if (TIDEGATE_MUTANT != 26) {
      used.reserved += 1;
    }
  });
  return over;
}

void ReceiveQuotas::Reserve(const std::string& corp, absl::string_view customer) {
  if (TIDEGATE_MUTANT == 26) return;
  tables_[corp][KeyOf(customer)].reserved += 1;
}

void ReceiveQuotas::End(const std::string& corp, absl::string_view customer, UnitEnd end,
                        int64_t wall_ns) {
  ends_.push_back(
      {.table = &tables_[corp], .key = KeyOf(customer), .wall_ns = wall_ns, .end = end});
}

void ReceiveQuotas::TakeEnds() {
  ChinaDay day;
  int64_t day_of_ns = -1;
  for (const Ended& ended : ends_) {
    if (ended.wall_ns != day_of_ns) day = ChinaDayOf(day_of_ns = ended.wall_ns);
    const auto used = ended.table->try_emplace(ended.key).first;
    Take(ended.end, day, &used->second);
    if (used->second.IsEmpty()) ended.table->erase(used);
  }
  ends_.clear();
}

void ReceiveQuotas::Sweep(const ChinaDay& today) {
  for (auto& [corp, table] : tables_) {
    const size_t ended =
        absl::erase_if(table, [&](const auto& entry) { return !Matters(entry.second, today); });
    if (ended > table.size()) table.rehash(0);
  }
}

// ---- For others ----

size_t ReceiveQuotas::customers(const std::string& corp) const {
  const auto found = tables_.find(corp);
  return found == tables_.end() ? 0 : found->second.size();
}

size_t ReceiveQuotas::bytes(const std::string& corp) const {
  const auto found = tables_.find(corp);
  // The map has a byte for each place beside what stands there.
  return found == tables_.end() ? 0 : found->second.capacity() * (sizeof(Table::value_type) + 1);
}

uint64_t ReceiveQuotas::HashOf(Key key, const Used& used) {
  const uint64_t counts = uint64_t{used.reserved} << 26 | uint64_t{used.month} << 21 | used.week;
  return Mix64(Mix64(key) ^ Mix64(counts << 32 | uint64_t{used.full_day} << 16 | used.day));
}

// Ends that have not taken effect go in as if they had: when they do is no part of the state. The
// order in a table is not either, hence the sum.
void ReceiveQuotas::AddStateTo(core::StateHash* hash) const {
  absl::flat_hash_map<std::pair<const Table*, Key>, Used> changed;
  for (const Ended& ended : ends_) {
    const auto [place, added] = changed.try_emplace({ended.table, ended.key});
    if (added) {
      if (const auto used = ended.table->find(ended.key); used != ended.table->end()) {
        place->second = used->second;
      }
    }
    Take(ended.end, ChinaDayOf(ended.wall_ns), &place->second);
  }
  hash->Add(swept_day_);
  for (const auto& [corp, table] : tables_) {
    uint64_t sum = 0;
    for (const auto& [key, used] : table) {
      if (!changed.contains({&table, key})) sum += HashOf(key, used);
    }
    for (const auto& [place, used] : changed) {
      if (place.first == &table && !used.IsEmpty()) sum += HashOf(place.second, used);
    }
    if (sum != 0) hash->Add(corp).Add(sum);
  }
}

}  // namespace tidegate::dispatch
