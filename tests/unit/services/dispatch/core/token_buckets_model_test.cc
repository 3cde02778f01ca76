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

int64_t Below(SeededRandom* random, int64_t bound) {
  return static_cast<int64_t>(random->Below(static_cast<uint64_t>(bound)));
}

// What a bucket says, computed anew from every call there ever was: each token returns exactly one
// window after the end of its call, or `slack_ns` later.
class BruteForce {
 public:
  BruteForce(int64_t window_ns, int64_t slack_ns) : return_ns_(window_ns + slack_ns) {}

  void Take(int64_t cost) { under_way_ += cost; }
  void ReturnUnused(int64_t cost) { under_way_ -= cost; }
  void End(int64_t cost, int64_t at_ns) {
    under_way_ -= cost;
    ends_.push_back({.at_ns = at_ns, .cost = cost});
  }
  // `seen_ns`: the latest time the bucket was told.
  int64_t Used(int64_t now_ns, int64_t seen_ns) const {
    int64_t used = under_way_;
    for (const Ended& end : ends_) {
      if (end.at_ns + return_ns_ > std::max(now_ns, seen_ns)) used += end.cost;
    }
    return used;
  }
  int64_t EarliestNs(int64_t cost, int64_t capacity, int64_t now_ns, int64_t seen_ns) {
    if (cost > capacity) return kNever;
    int64_t missing = Used(now_ns, seen_ns) + cost - capacity;
    if (missing <= 0) return now_ns;
    std::sort(ends_.begin(), ends_.end(),
              [](const Ended& a, const Ended& b) { return a.at_ns < b.at_ns; });
    for (const Ended& end : ends_) {
      if (end.at_ns + return_ns_ <= std::max(now_ns, seen_ns)) continue;
      missing -= end.cost;
      if (missing <= 0) return end.at_ns + return_ns_;
    }
    return kNever;
  }
  void Rebase(int64_t now_ns, int64_t held_until_ns, int64_t seen_ns) {
    std::erase_if(ends_, [&](const Ended& end) { return end.at_ns + return_ns_ <= seen_ns; });
    for (Ended& end : ends_) end.at_ns = end.at_ns > seen_ns ? held_until_ns : now_ns;
  }

 private:
  struct Ended {
    int64_t at_ns;
    int64_t cost;
  };
  const int64_t return_ns_;
  int64_t under_way_ = 0;
  std::vector<Ended> ends_;
};

TEST(TokenBucketsModelTest, IsNeverBeforeBruteForceAndAtMostOneSlotBehind) {
  for (uint64_t seed = 1; seed <= 400; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    SeededRandom random(seed);
    const int64_t window = (20 + Below(&random, 5000)) * kMilli + Below(&random, 1000);
    const int64_t slots = 20 + Below(&random, 221);
    int64_t capacity = 1 + Below(&random, 30);
    OneBucket bucket(capacity, window, slots);
    BruteForce soonest(window, 0);
    BruteForce latest(window, (window + slots - 1) / slots);
    std::vector<int64_t> open;  // costs
    int64_t now = Below(&random, 100 * kSecond);
    int64_t seen = 0;
    int64_t booted = 0;
    for (int step = 0; step < 600; ++step) {
      now += Below(&random, random.Chance(0.02) ? 3 * window : window / 15);
      // Whoever asks may have read its clock a little before.
      const int64_t asked = random.Chance(0.1) ? std::max<int64_t>(0, now - window / 3) : now;
      const int64_t cost = 1 + Below(&random, 3);
      const int64_t not_before = soonest.EarliestNs(cost, capacity, asked, seen);
      const int64_t not_after = latest.EarliestNs(cost, capacity, asked, seen);
      const int64_t least_used = soonest.Used(asked, seen);
      const int64_t most_used = latest.Used(asked, seen);
      const int64_t earliest = bucket.EarliestNs(cost, asked);
      seen = std::max(seen, asked);
      ASSERT_GE(earliest, not_before) << "step " << step;
      ASSERT_LE(earliest, not_after) << "step " << step;
      ASSERT_GE(bucket.Used(asked), least_used) << "step " << step;
      ASSERT_LE(bucket.Used(asked), most_used) << "step " << step;
      if (earliest != kNever && earliest > asked) {
        // Honest: then it is allowed, and not a nanosecond before.
        OneBucket before = bucket;
        ASSERT_EQ(before.EarliestNs(cost, earliest - 1), earliest) << "step " << step;
        OneBucket then = bucket;
        ASSERT_EQ(then.EarliestNs(cost, earliest), earliest) << "step " << step;
      }
      if (earliest <= asked) {
        bucket.Take(cost);
        soonest.Take(cost);
        latest.Take(cost);
        if (random.Chance(0.1)) {
          bucket.ReturnUnused(cost);
          soonest.ReturnUnused(cost);
          latest.ReturnUnused(cost);
        } else {
          open.push_back(cost);
        }
      }
      while (!open.empty() && random.Chance(0.4)) {
        const size_t i = static_cast<size_t>(random.Below(open.size()));
        const int64_t ended = open[i];
        open.erase(open.begin() + static_cast<int64_t>(i));
        if (random.Chance(0.2)) {
          const int64_t until = now + Below(&random, 2 * window);
          bucket.HoldUntil(ended, until);
          soonest.End(ended, until);
          latest.End(ended, until);
        } else {
          // Ends arrive out of order and late.
          const int64_t at = std::max(booted, now - Below(&random, window / 4));
          bucket.Complete(ended, at);
          seen = std::max(seen, at);
          soonest.End(ended, at);
          latest.End(ended, at);
        }
      }
      if (random.Chance(0.01)) {
        capacity = 1 + Below(&random, 30);
        bucket.SetCapacity(capacity);
      }
      if (random.Chance(0.005)) {
        const int64_t restarted = Below(&random, 10 * kSecond);
        const int64_t held_until = restarted + Below(&random, window);
        soonest.Rebase(restarted, held_until, seen);
        latest.Rebase(restarted, held_until, seen);
        bucket.Rebase(restarted, held_until);
        booted = restarted;
        now = restarted;
        seen = restarted;
      }
    }
    for (const int64_t cost : open) bucket.Complete(cost, now);
    EXPECT_EQ(bucket.Used(now + 4 * window), 0);
  }
}

// Reboots in between: the server's windows run on, ours begin anew, and calls of before may still
// be counted.
TEST(TokenBucketsModelTest, ServersSeeNoMoreThanTheCapacityAcrossReboots) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    SeededRandom random(seed);
    const int64_t capacity = 1 + Below(&random, 40);
    const int64_t window = (50 + Below(&random, 3000)) * kMilli;
    const int64_t hold = window / 2;
    OneBucket bucket(capacity, window, 20 + Below(&random, 200));
    struct Call {
      int64_t ends_ns;     // server time
      int64_t counted_ns;  // between its first byte and its end
    };
    std::vector<Call> open;
    std::vector<int64_t> counted;
    int64_t server_now = 1000 * kSecond;
    int64_t raw_zero = 0;  // server time at which our clock began
    for (int step = 0; step < 1500; ++step) {
      server_now += Below(&random, window / 20);
      std::erase_if(open, [&](const Call& call) {
        if (call.ends_ns > server_now) return false;
        bucket.Complete(1, call.ends_ns - raw_zero);
        counted.push_back(call.counted_ns);
        return true;
      });
      if (random.Chance(0.005)) {
        raw_zero = server_now - Below(&random, kSecond);
        bucket.Rebase(server_now - raw_zero, server_now + hold - raw_zero);
        for (const Call& call : open) {
          bucket.HoldUntil(1, server_now + hold - raw_zero);
          // Nobody knows any more when: up to the bound.
          counted.push_back(call.counted_ns <= server_now ? call.counted_ns
                                                          : server_now + Below(&random, hold + 1));
        }
        open.clear();
      }
      while (bucket.EarliestNs(1, server_now - raw_zero) <= server_now - raw_zero) {
        bucket.Take(1);
        const int64_t latency = Below(&random, random.Chance(0.03) ? window : window / 20 + 1);
        open.push_back({.ends_ns = server_now + latency,
                        .counted_ns = server_now + Below(&random, latency + 1)});
      }
    }
    std::sort(counted.begin(), counted.end());
    ASSERT_GT(counted.size(), 3 * static_cast<size_t>(capacity));
    const size_t most = static_cast<size_t>(capacity);
    for (size_t i = most; i < counted.size(); ++i) {
      ASSERT_GE(counted[i] - counted[i - most], window) << counted[i];
    }
  }
}

TEST(TokenBucketsModelTest, SendsNearlyAsMuchAsTheGreedyOptimum) {
  struct Row {
    int64_t capacity;
    int64_t window_ns;
    int64_t slots;
    int64_t latency_ns;
  };
  for (const Row& row : {Row{1, kSecond, 240, 0}, Row{60, 5 * kSecond, 240, 20 * kMilli},
                         Row{250, 50 * kSecond, 240, 100 * kMilli}, Row{7, kSecond, 100, kMilli},
                         Row{1000, 60 * kSecond, 240, 80 * kMilli}}) {
    SCOPED_TRACE(absl::StrCat(row.capacity, "/", row.window_ns, " slots ", row.slots));
    OneBucket bucket(row.capacity, row.window_ns, row.slots);
    std::vector<int64_t> open;  // ends, ascending
    const int64_t start = 100 * kSecond + 1;
    const int64_t end = start + 20 * row.window_ns;
    int64_t now = start;
    int64_t sent = 0;
    while (true) {
      while (!open.empty() && open.front() <= now) {
        bucket.Complete(1, open.front());
        open.erase(open.begin());
      }
      const int64_t earliest = bucket.EarliestNs(1, now);
      if (earliest > now) {
        now = open.empty() ? earliest : std::min(earliest, open.front());
        ASSERT_NE(now, kNever);
        if (now >= end) break;
        continue;
      }
      // Greedy sends the k-th call (k / capacity) windows after the first; each round costs us no
      // more than one latency and one slot beyond that.
      const int64_t round = sent / row.capacity;
      ASSERT_GE(now, start + round * row.window_ns) << "call " << sent;
      ASSERT_LE(now,
                start + round * (row.window_ns + row.latency_ns + row.window_ns / row.slots + 1))
          << "call " << sent;
      bucket.Take(1);
      open.push_back(now + row.latency_ns);
      ++sent;
    }
    EXPECT_GE(static_cast<double>(sent), 0.97 * 20 * static_cast<double>(row.capacity));
  }
}

TEST(TokenBucketsModelTest, ALoweredCapacityWaitsForWhatWasSentBefore) {
  OneBucket bucket(10, kSecond, 100);
  for (int i = 0; i < 10; ++i) {
    bucket.Take(1);
    bucket.Complete(1, i * 100 * kMilli);
  }
  bucket.SetCapacity(3);
  // Eight have to return first; the eighth ended at 700 ms.
  const int64_t earliest = bucket.EarliestNs(1, 950 * kMilli);
  EXPECT_GE(earliest, 1700 * kMilli);
  EXPECT_LE(earliest, 1710 * kMilli);
  bucket.SetCapacity(11);
  EXPECT_EQ(bucket.EarliestNs(1, 950 * kMilli), 950 * kMilli);
}

TEST(CallsInFlightModelTest, AFailureAloneNeitherRaisesNorLowers) {
  OneBucket in_flight = OneBucket::InFlight(5);
  for (int i = 0; i < 3; ++i) in_flight.Take(1);
  in_flight.Refuse(0, 0);
  ASSERT_EQ(in_flight.ceiling(), 2);
  EXPECT_EQ(in_flight.EarliestNs(1, 0), kNever);
  for (int i = 0; i < 50; ++i) {
    in_flight.Complete(1, 0, false);
    in_flight.Take(1);
  }
  EXPECT_EQ(in_flight.ceiling(), 2);
}

// Replayed without looks in between, the ceiling is the same.
TEST(CallsInFlightModelTest, ALowerCeilingDoesNotDependOnWhenTheBucketWasLookedAt) {
  for (const bool look : {false, true}) {
    OneBucket in_flight = OneBucket::InFlight(5);
    for (int i = 0; i < 5; ++i) in_flight.Take(1);
    in_flight.HoldUntil(1, 10 * kSecond);
    if (look) in_flight.EarliestNs(1, 11 * kSecond);
    in_flight.Refuse(0, 9 * kSecond);
    EXPECT_EQ(in_flight.ceiling(), 3) << look;
  }
}

TEST(CallsInFlightModelTest, HeldCallsReturnInOrderOfTheirBounds) {
  OneBucket in_flight = OneBucket::InFlight(3);
  for (int i = 0; i < 3; ++i) in_flight.Take(1);
  in_flight.HoldUntil(1, 30 * kSecond);
  in_flight.HoldUntil(1, 10 * kSecond);
  EXPECT_EQ(in_flight.EarliestNs(1, kSecond), 10 * kSecond);
  EXPECT_EQ(in_flight.EarliestNs(2, kSecond), 30 * kSecond);
  EXPECT_EQ(in_flight.EarliestNs(3, kSecond), kNever);  // the third still waits for its answer
  EXPECT_EQ(in_flight.EarliestNs(1, 10 * kSecond), 10 * kSecond);
  EXPECT_EQ(in_flight.under_way(), 2);
  in_flight.Rebase(2 * kSecond);
  EXPECT_EQ(in_flight.EarliestNs(2, 2 * kSecond), 2 * kSecond);
  EXPECT_EQ(in_flight.under_way(), 1);
}

}  // namespace
}  // namespace tidegate::dispatch
