#include "common/base/civil_day.h"

#include <gtest/gtest.h>

#include <string>

namespace tidegate {
namespace {

TEST(CivilDayTest, BeginsAtMidnightInShanghai) {
  struct Case {
    int64_t unix_seconds;
    int64_t day;
  };
  for (const Case& known : {
           Case{0, 0},               // 08:00 of 1970-01-01
           Case{57599, 0},           // 23:59:59
           Case{57600, 1},           // 00:00 of 1970-01-02
           Case{-28800, 0},          // 00:00 of 1970-01-01
           Case{-28801, -1},         // one second before
           Case{-115200, -1},        // 00:00 of 1969-12-31
           Case{-115201, -2},        //
           Case{1767196799, 20453},  // 2025-12-31T23:59:59+08:00
           Case{1767196800, 20454},  // 2026-01-01T00:00:00+08:00
           Case{1767225600, 20454},  // 2026-01-01T08:00:00+08:00
       }) {
    EXPECT_EQ(CivilDayOf(known.unix_seconds), known.day) << known.unix_seconds;
  }
}

TEST(CivilDayTest, StartIsTheFirstSecondOfItsDay) {
  for (int64_t day : {-20000, -1, 0, 1, 11016, 20454, 30000}) {
    EXPECT_EQ(CivilDayOf(StartOfCivilDay(day)), day);
    EXPECT_EQ(CivilDayOf(StartOfCivilDay(day) - 1), day - 1);
    EXPECT_EQ(StartOfCivilDay(day + 1) - StartOfCivilDay(day), 86400);
  }
  EXPECT_EQ(StartOfCivilDay(20454), 1767196800);
}

TEST(CivilDayTest, ParsesAndFormatsDates) {
  struct Case {
    const char* text;
    int64_t day;
  };
  for (const Case& date : {Case{"1970-01-01", 0}, Case{"1969-12-31", -1}, Case{"2000-02-29", 11016},
                           Case{"2026-01-01", 20454}, Case{"2026-11-24", 20781}}) {
    const auto day = ParseCivilDay(date.text);
    ASSERT_TRUE(day.ok()) << date.text << ": " << day.status();
    EXPECT_EQ(*day, date.day) << date.text;
    EXPECT_EQ(FormatCivilDay(date.day), date.text);
  }
}

TEST(CivilDayTest, RefusesWhatIsNotADate) {
  for (const char* text :
       {"",           "today",      "2026-11",    "2026-11-24 ", " 2026-11-24", "2026-1-1",
        "2026/11/24", "2026-11-2x", "2026-13-01", "2026-00-10",  "2026-01-00",  "2026-02-29",
        "2026-04-31", "24-11-2026", "20261124",   "12026-1-24",  " 2026-1-24",  "2026-1-24 ",
        "+2026-1-24", "-202-11-24", "2026- 1-24", "2026-11- 4",  "2026-011-4"}) {
    const auto day = ParseCivilDay(text);
    EXPECT_TRUE(absl::IsInvalidArgument(day.status()))
        << "\"" << text << "\" was read as " << (day.ok() ? FormatCivilDay(*day) : "an error");
  }
}

TEST(CivilDayTest, SaysWhatToWriteInstead) {
  EXPECT_EQ(ParseCivilDay("24.11.2026").status().message(),
            "\"24.11.2026\" is not a date; write YYYY-MM-DD, as in 2026-11-24");
}

}  // namespace
}  // namespace tidegate
