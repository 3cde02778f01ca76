#include "common/wecom_table/quiet_hours.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/civil_day.h"
#include "common/base/clock.h"

namespace tidegate::wecom_table {
namespace {

// Minutes since the first of three days began; "" = not quiet, else when it ends.
std::string Quiet(const QuietHours& hours, int64_t minute, int64_t ahead_minutes = 0) {
  constexpr int64_t kMinuteNs = 60 * kNanosPerSecond;
  const int64_t start_ns = StartOfCivilDay(20'000) * kNanosPerSecond;
  const auto until = QuietUntilNs(hours, start_ns + minute * kMinuteNs, ahead_minutes * kMinuteNs);
  if (!until.has_value()) return "";
  return absl::StrCat((*until - start_ns) / kMinuteNs);
}

TEST(QuietHoursTest, HoldFromTheirBeginningToTheirEndInChina) {
  struct Row {
    const char* what;
    QuietHours hours;
    int64_t minute;
    const char* until;
  };
  const QuietHours night{.from = 22 * 60, .to = 8 * 60};
  const QuietHours noon{.from = 12 * 60, .to = 13 * 60};
  for (const Row& row : std::vector<Row>{
           {"never", {.from = 480, .to = 480}, 480, ""},
           {"before midnight", night, 23 * 60, "1920"},
           {"after midnight", night, 1440 + 60, "1920"},
           {"of the day before", night, 60, "480"},
           {"the first minute", night, 22 * 60, "1920"},
           {"before it", night, 22 * 60 - 1, ""},
           {"the last minute", night, 8 * 60 - 1, "480"},
           {"after it", night, 8 * 60, ""},
           {"within a day", noon, 12 * 60 + 30, "780"},
           {"after that", noon, 13 * 60, ""},
           {"from midnight", {.from = 0, .to = 60}, 1440, "1500"},
           {"until midnight", {.from = 1380, .to = 0}, 1439, "1440"},
       }) {
    EXPECT_EQ(Quiet(row.hours, row.minute), row.until) << row.what;
  }
}

TEST(QuietHoursTest, AreSeenAhead) {
  const QuietHours night{.from = 22 * 60, .to = 8 * 60};
  EXPECT_EQ(Quiet(night, 22 * 60 - 5, 5), "1920");
  EXPECT_EQ(Quiet(night, 22 * 60 - 6, 5), "");
  EXPECT_EQ(Quiet({.from = 0, .to = 60}, 1439, 1), "1500");
}

}  // namespace
}  // namespace tidegate::wecom_table
