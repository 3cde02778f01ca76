// Civil days in the corp's time zone. One zone is known, Asia/Shanghai: UTC+8 without daylight
// saving since 1991, so a fixed offset is exact for every later day.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tidegate {

inline constexpr int64_t kZoneOffsetSeconds = 8 * 3600;

// Days since 1970-01-01 in the zone.
int64_t CivilDayOf(int64_t unix_seconds);
// Unix seconds of 00:00 of that day in the zone.
int64_t StartOfCivilDay(int64_t day);
// "2026-11-24" -> day. INVALID_ARGUMENT if it is no such date.
absl::StatusOr<int64_t> ParseCivilDay(absl::string_view text);
std::string FormatCivilDay(int64_t day);

}  // namespace tidegate
