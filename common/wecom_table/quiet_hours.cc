#include "common/wecom_table/quiet_hours.h"

#include "common/base/civil_day.h"
#include "common/base/clock.h"

namespace tidegate::wecom_table {

std::optional<int64_t> QuietUntilNs(const QuietHours& hours, int64_t wall_ns, int64_t ahead_ns) {
  if (hours.from == hours.to) return std::nullopt;
  constexpr int64_t kMinuteNs = 60 * kNanosPerSecond;
  constexpr int32_t kDayMinutes = 24 * 60;
  const int32_t minutes = (hours.to - hours.from + kDayMinutes) % kDayMinutes;
  const int64_t today = CivilDayOf(wall_ns / kNanosPerSecond);
  // Those that began yesterday may last until today, those of tomorrow may begin soon.
  for (const int64_t day : {today - 1, today, today + 1}) {
    const int64_t from_ns = StartOfCivilDay(day) * kNanosPerSecond + hours.from * kMinuteNs;
    const int64_t to_ns = from_ns + minutes * kMinuteNs;
    if (wall_ns + ahead_ns >= from_ns && wall_ns < to_ns) return to_ns;
  }
  return std::nullopt;
}

}  // namespace tidegate::wecom_table
