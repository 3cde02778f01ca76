#include "services/tidegate/client/progress.h"

#include <gtest/gtest.h>

#include <sstream>
#include <string>

#include "tests/unit/services/tidegate/client/fakes.h"

namespace tidegate::client {
namespace {

TEST(ProgressTest, WithoutATerminalOneLinePerFiveSeconds) {
  FakeClock clock;
  std::ostringstream out;
  Progress progress(&out, &clock, {.label = "importing", .unit = "rows"});
  for (int second = 0; second <= 9; ++second) {
    progress.Update(second * 100, 10'000);
    clock.SleepMs(1'000);
  }
  progress.Finish();
  EXPECT_EQ(out.str(), "importing 500 of 10000 rows (5 %), 100/s, 1m35s left\n");
}

TEST(ProgressTest, OnATerminalTheBarRedrawsInPlaceAndEndsItsLine) {
  FakeClock clock;
  std::ostringstream out;
  Progress progress(&out, &clock, {.label = "importing", .unit = "rows", .terminal = true});
  progress.Update(0, 100);
  clock.SleepMs(1'000);
  progress.Update(50, 100, "fine");
  clock.SleepMs(50);
  progress.Update(60, 100);
  progress.Finish();
  EXPECT_EQ(out.str(),
            "\r\x1b[Kimporting [############............] 50 of 100 rows (50 %), 50/s, 1s left, "
            "fine\n");
}

TEST(ProgressTest, TheRateLeavesOutWhatWasThereBefore) {
  FakeClock clock;
  std::ostringstream out;
  Progress progress(&out, &clock, {.label = "spring", .unit = "touches"});
  progress.Update(1'000, 0);
  clock.SleepMs(10'000);
  progress.Update(1'100, 0);
  EXPECT_EQ(out.str(), "spring 1100 touches, 10/s\n");
}

TEST(ProgressTest, QuietSaysNothing) {
  FakeClock clock;
  std::ostringstream out;
  Progress progress(&out, &clock, {.label = "x", .unit = "y", .terminal = true, .quiet = true});
  clock.SleepMs(60'000);
  progress.Update(1, 2);
  progress.Finish();
  EXPECT_EQ(out.str(), "");
}

}  // namespace
}  // namespace tidegate::client
