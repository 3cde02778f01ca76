// How many mass sends each customer of a corp may receive, counted when a member confirms. Days and
// months are China's. When WeCom's week begins is not documented; here seven per week are seven in
// any seven days, which is the strictest reading.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace tidegate::wecom_simulator {

enum class ReceiveQuotaKind { kDaysInMonth, kSevenPerWeek, kOnePerDay, kNone };

// Not thread-safe. A copy goes on from the same counts.
class ReceiveQuota {
 public:
  explicit ReceiveQuota(ReceiveQuotaKind kind) : kind_(kind) {}

  // The customer gets one more at this time; false: it is one too many, and does not count. Keeps
  // the view.
  bool Receive(absl::string_view customer, int64_t wall_ns);

 private:
  const ReceiveQuotaKind kind_;
  // The days since 1970 on which each customer received one, without those that no rule asks about.
  absl::flat_hash_map<absl::string_view, std::vector<int32_t>> received_;
};

}  // namespace tidegate::wecom_simulator
