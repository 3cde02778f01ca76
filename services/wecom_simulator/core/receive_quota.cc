#include "services/wecom_simulator/core/receive_quota.h"

#include <chrono>

namespace tidegate::wecom_simulator {

bool ReceiveQuota::Receive(absl::string_view customer, int64_t wall_ns) {
  if (kind_ == ReceiveQuotaKind::kNone) return true;
  using std::chrono::days, std::chrono::sys_days, std::chrono::year_month_day;
  const auto china = std::chrono::nanoseconds(wall_ns) + std::chrono::hours(8);
  const sys_days today{std::chrono::floor<days>(china)};
  const year_month_day date(today);
  const sys_days month_first(date.year() / date.month() / 1);
  const sys_days month_last(date.year() / date.month() / std::chrono::last);
  sys_days from = today;
  int64_t most = 1;
  if (kind_ == ReceiveQuotaKind::kSevenPerWeek) {
    from = today - days(6);
    most = 7;
  } else if (kind_ == ReceiveQuotaKind::kDaysInMonth) {
    from = month_first;
    most = (month_last - month_first).count() + 1;
  }
  std::vector<int32_t>& received = received_[customer];
  const auto first = static_cast<int32_t>(from.time_since_epoch().count());
  std::erase_if(received, [first](int32_t day) { return day < first; });
  if (static_cast<int64_t>(received.size()) >= most) return false;
  received.push_back(static_cast<int32_t>(today.time_since_epoch().count()));
  return true;
}

}  // namespace tidegate::wecom_simulator
