#include "common/base/civil_day.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/civil_time.h"

namespace tidegate {

int64_t CivilDayOf(int64_t unix_seconds) {
  const int64_t local = unix_seconds + kZoneOffsetSeconds;
  return local >= 0 ? local / 86400 : -((-local + 86399) / 86400);
}

int64_t StartOfCivilDay(int64_t day) { return day * 86400 - kZoneOffsetSeconds; }

absl::StatusOr<int64_t> ParseCivilDay(absl::string_view text) {
  // absl also takes spaces, signs and numbers of any length.
  bool digits = text.size() == 10;
  for (size_t i = 0; digits && i < text.size(); ++i) {
    digits = i == 4 || i == 7 ? text[i] == '-' : absl::ascii_isdigit(text[i]);
  }
  absl::CivilDay day;
  if (!digits || !absl::ParseCivilTime(text, &day)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\" is not a date; write YYYY-MM-DD, as in 2026-11-24"));
  }
  return day - absl::CivilDay(1970, 1, 1);
}

std::string FormatCivilDay(int64_t day) {
  return absl::FormatCivilTime(absl::CivilDay(1970, 1, 1) + day);
}

}  // namespace tidegate
