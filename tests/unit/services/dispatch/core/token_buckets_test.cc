
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/seeded_random.h"
#include "tests/unit/services/dispatch/core/one_bucket.h"

namespace tidegate::dispatch {
namespace {

constexpr int64_t kMilli = 1'000'000;
constexpr int64_t kSecond = 1'000'000'000;

// A server that counts each call at some moment between its first byte and its end, and looks back
// over every window. Brute force, on purpose.
class Server {
 public:
  Server(int64_t window_ns, int64_t phase_ns) : window_ns_(window_ns), phase_ns_(phase_ns) {}
  void Count(int64_t at_ns) { counted_.push_back(at_ns); }
  int64_t MostInASlidingWindow() {
    std::sort(counted_.begin(), counted_.end());
    int64_t most = 0;
    for (size_t i = 0, from = 0; i < counted_.size(); ++i) {
      while (counted_[i] - counted_[from] >= window_ns_) ++from;
      most = std::max(most, static_cast<int64_t>(i - from + 1));
    }
    return most;
  }
  int64_t MostInAFixedWindow() {
    std::sort(counted_.begin(), counted_.end());
    int64_t most = 0;
    int64_t count = 0;
    int64_t window = -1;
    for (const int64_t at : counted_) {
      const int64_t here = (at + phase_ns_) / window_ns_;
      count = here == window ? count + 1 : 1;
      window = here;
      most = std::max(most, count);
    }
    return most;
  }

 private:
  const int64_t window_ns_;
  const int64_t phase_ns_;
  std::vector<int64_t> counted_;
};

TEST(TokenBucketsTest, NeverLetsAWindowOfAnyKindSeeMoreThanItsCapacity) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    SeededRandom random(seed);
    const int64_t capacity = 1 + static_cast<int64_t>(random.Below(60));
    const int64_t window = (50 + static_cast<int64_t>(random.Below(5000))) * kMilli;
    const int64_t slots = 20 + static_cast<int64_t>(random.Below(221));
    OneBucket bucket(capacity, window, slots);
    Server server(window, static_cast<int64_t>(random.Below(static_cast<uint64_t>(window))));
    struct Call {
      int64_t ends_ns;
      int64_t kind;  // 0 answered, 1 nobody saw its end
    };
    std::vector<Call> open;
    int64_t now = 1'000 * kSecond;
    for (int step = 0; step < 3000; ++step) {
      now += static_cast<int64_t>(random.Below(static_cast<uint64_t>(window / 20 + 1)));
      if (random.Chance(0.002)) now += 3 * window;  // idle: every token is back
      for (auto it = open.begin(); it != open.end();) {
        if (it->ends_ns > now) {
          ++it;
          continue;
        }
        if (it->kind == 0) bucket.Complete(1, it->ends_ns);
        it = open.erase(it);
      }
      while (random.Chance(0.8)) {
        const int64_t earliest = bucket.EarliestNs(1, now);
        ASSERT_GE(earliest, now);
        if (earliest > now) break;
        bucket.Take(1);
        if (random.Chance(0.05)) {
          bucket.ReturnUnused(1);
          continue;
        }
        const bool stall = random.Chance(0.02);
        const int64_t latency = static_cast<int64_t>(
            random.Below(static_cast<uint64_t>(stall ? 2 * window : window / 10 + 1)));
        Call call{.ends_ns = now + latency, .kind = random.Chance(0.1) ? 1 : 0};
        if (call.kind == 1) bucket.HoldUntil(1, call.ends_ns);
        server.Count(now + static_cast<int64_t>(random.Below(static_cast<uint64_t>(latency + 1))));
        open.push_back(call);
      }
    }
    EXPECT_LE(server.MostInASlidingWindow(), capacity);
    EXPECT_LE(server.MostInAFixedWindow(), capacity);
    // No token leaks: after everything ended and a window passed, all are back.
    for (const Call& call : open) {
      if (call.kind == 0) bucket.Complete(1, call.ends_ns);
    }
    EXPECT_EQ(bucket.Used(now + 10 * window), 0);
  }
}

TEST(TokenBucketsTest, KeepsNothingBackWhereLatencyIsShort) {
  for (const int64_t capacity : {1, 7, 60, 1000}) {
    const int64_t window = 5 * kSecond;
    OneBucket bucket(capacity, window, 240);
    int64_t now = 10 * kSecond;
    const int64_t end = now + 20 * window;
    int64_t sent = 0;
    while (now < end) {
      const int64_t earliest = bucket.EarliestNs(1, now);
      if (earliest > now) {
        ASSERT_NE(earliest, kNever);
        now = earliest;
        continue;
      }
      bucket.Take(1);
      bucket.Complete(1, now);
      ++sent;
    }
    // The optimum is a full bucket at the start of each window.
    EXPECT_GE(static_cast<double>(sent), 0.97 * 20 * static_cast<double>(capacity)) << capacity;
    EXPECT_LE(sent, 21 * capacity) << capacity;
  }
}

TEST(TokenBucketsTest, ReturnsATokenOneWindowAfterTheEndNotTheStart) {
  OneBucket bucket(1, kSecond, 100);
  bucket.Take(1);
  EXPECT_EQ(bucket.EarliestNs(1, 0), kNever);
  bucket.Complete(1, 400 * kMilli);
  const int64_t earliest = bucket.EarliestNs(1, 500 * kMilli);
  EXPECT_GE(earliest, 1400 * kMilli);
  EXPECT_LE(earliest, 1420 * kMilli);
  EXPECT_GT(bucket.EarliestNs(1, earliest - 1), earliest - 1);
  EXPECT_EQ(bucket.EarliestNs(1, earliest), earliest);
}

TEST(TokenBucketsTest, ACostThatCanNeverFitNeverFits) {
  OneBucket bucket(5, kSecond, 100);
  EXPECT_EQ(bucket.EarliestNs(6, 0), kNever);
  EXPECT_EQ(bucket.EarliestNs(5, 0), 0);
}

TEST(TokenBucketsTest, LoweringBelowThePresentUseMeansWaiting) {
  OneBucket bucket(10, kSecond, 100);
  for (int i = 0; i < 8; ++i) {
    bucket.Take(1);
    bucket.Complete(1, 10 * kMilli);
  }
  bucket.SetCapacity(4);
  EXPECT_EQ(bucket.Used(20 * kMilli), 8);
  EXPECT_GT(bucket.EarliestNs(1, 20 * kMilli), kSecond);
  EXPECT_EQ(bucket.EarliestNs(4, 2 * kSecond), 2 * kSecond);
}

TEST(TokenBucketsTest, AClockThatStepsBackFreesNothing) {
  OneBucket bucket(1, kSecond, 100);
  bucket.Take(1);
  bucket.Complete(1, 10 * kSecond);
  EXPECT_GT(bucket.EarliestNs(1, 5 * kSecond), 11 * kSecond - 1);
  EXPECT_EQ(bucket.Used(0), 1);
}

TEST(TokenBucketsTest, AnotherBootChargesEverythingAnew) {
  OneBucket bucket(3, kSecond, 100);
  bucket.Take(1);
  bucket.Complete(1, 100 * kSecond);
  bucket.Take(1);
  bucket.HoldUntil(1, 101 * kSecond);
  bucket.Rebase(2 * kSecond);
  EXPECT_EQ(bucket.Used(2 * kSecond), 2);
  EXPECT_EQ(bucket.Used(2 * kSecond + 999 * kMilli), 2);
  EXPECT_EQ(bucket.Used(4 * kSecond), 0);
}

TEST(CallsInFlightTest, LearnsALowerCeilingAndGrowsBack) {
  OneBucket in_flight = OneBucket::InFlight(5);
  for (int i = 0; i < 5; ++i) in_flight.Take(1);
  EXPECT_EQ(in_flight.EarliestNs(1, 0), kNever);
  in_flight.Refuse(0, 0);
  EXPECT_EQ(in_flight.ceiling(), 4);
  for (int i = 0; i < 1000; ++i) {
    in_flight.Complete(1, 59 * kSecond, true);
    in_flight.Take(1);
    ASSERT_EQ(in_flight.ceiling(), 4) << "it waits for a minute";
  }
  int tried = 0;
  for (int i = 0; i < 64 * 2 * 5 * 2; ++i) {
    in_flight.Complete(1, 61 * kSecond, true);
    while (in_flight.Allows(1, 61 * kSecond)) in_flight.Take(1);
    tried += in_flight.under_way() == 5 ? 1 : 0;
  }
  EXPECT_GE(tried, 64);
  EXPECT_EQ(in_flight.ceiling(), 5);
}

TEST(CallsInFlightTest, AHeldCallKeepsItsPermitUntilItsBound) {
  OneBucket in_flight = OneBucket::InFlight(1);
  in_flight.Take(1);
  in_flight.HoldUntil(1, kSecond);
  EXPECT_EQ(in_flight.EarliestNs(1, 0), kSecond);
  EXPECT_EQ(in_flight.EarliestNs(1, kSecond), kSecond);
  EXPECT_EQ(in_flight.under_way(), 0);
}

}  // namespace
}  // namespace tidegate::dispatch
