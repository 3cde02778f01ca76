// What a decision of the token buckets costs: may one more call leave, by the limits of its corp
// (minute, hour, calls in flight, lockout), of its address (minute, hour) and of its member
// (minute, hour), all or nothing; then its tokens are taken, and returned one latency later. Every
// call is of another corp, chosen at random. Prints one JSON object. Used by bucket_bench.py.
//
//   bucket_bench --corps 1000 --corps 100000 --rounds 7 --seed 1

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <numeric>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "boost/json.hpp"
#include "common/base/clock.h"
#include "common/base/seeded_random.h"
#include "services/dispatch/core/token_buckets.h"
#include "tests/bench/spread.h"

namespace tidegate::bench {
namespace {

namespace json = boost::json;
using dispatch::BucketLimits;
using dispatch::TokenBuckets;

struct Options {
  std::vector<size_t> corps = {1'000, 100'000, 1'000'000};
  int rounds = 7;
  size_t decisions = 2'000'000;
  uint64_t seed = 1;
};

constexpr int64_t kMinute = 60 * kNanosPerSecond;
constexpr int64_t kHour = 3600 * kNanosPerSecond;
constexpr int64_t kSlots = 240;
// Calls that are under way while others are decided: so many that the two readings of the clock
// beside them cost little. So many ahead are known.
constexpr size_t kUnderWay = 256;
constexpr size_t kAhead = 24;
// Calls of a corp: 25 a second, which its limits allow for ever.
constexpr int64_t kCallOfCorpNs = 40'000'000;

BucketLimits MinuteAndHour(int64_t minute, int64_t hour, int64_t in_flight) {
  return {.windows = {BucketLimits::MakeWindow(minute, kMinute, kSlots),
                      BucketLimits::MakeWindow(hour, kHour, kSlots)},
          .in_flight = in_flight};
}

// Asked for twice in kUnderWay decisions, so not the CPU clock of the thread, which is a system
// call.
int64_t Nanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

class Decisions {
 public:
  Decisions(size_t corps, uint64_t seed)
      : random_(seed), step_ns_(kCallOfCorpNs / static_cast<int64_t>(corps)) {
    const uint32_t corp = buckets_.AddLimits(MinuteAndHour(10'000, 150'000, 100));
    const uint32_t member = buckets_.AddLimits(MinuteAndHour(9'000, 100'000, dispatch::kUnlimited));
    address_ = buckets_.Make(
        buckets_.AddLimits(MinuteAndHour(900'000'000, 900'000'000, dispatch::kUnlimited)));
    for (size_t i = 0; i < corps; ++i) {
      corps_.push_back(buckets_.Make(corp));  // its member's bucket is the next
      buckets_.Make(member);
    }
  }

  // ns per decision with its Take, and per end of a call.
  std::pair<double, double> Run(size_t decisions) {
    std::vector<TokenBuckets::Id> chosen(decisions);
    for (auto& id : chosen) id = corps_[random_.Below(corps_.size())];
    std::vector<TokenBuckets::Id> open;
    int64_t decide_ns = 0;
    int64_t complete_ns = 0;
    for (size_t from = 0; from < decisions; from += kUnderWay) {
      const size_t to = std::min(decisions, from + kUnderWay);
      open.clear();
      const int64_t start = Nanoseconds();
      for (size_t i = from; i < to; ++i) {
        if (i + kAhead < decisions) {
          buckets_.Prefetch(chosen[i + kAhead]);
          buckets_.Prefetch(chosen[i + kAhead] + 1);
        }
        now_ += step_ns_;
        const TokenBuckets::Id corp = chosen[i];
        if (!(buckets_.Allows(corp, 1, now_) && buckets_.Allows(address_, 1, now_) &&
              buckets_.Allows(corp + 1, 1, now_))) {
          ++refused_;
          continue;
        }
        for (const TokenBuckets::Id id : {corp, address_, corp + 1}) buckets_.Take(id, 1);
        open.push_back(corp);
      }
      const int64_t decided = Nanoseconds();
      for (size_t i = 0; i < open.size(); ++i) {
        for (const TokenBuckets::Id id : {open[i], address_, open[i] + 1}) {
          buckets_.Complete(id, 1, now_, true);
        }
      }
      complete_ns += Nanoseconds() - decided;
      decide_ns += decided - start;
    }
    return {static_cast<double>(decide_ns) / static_cast<double>(decisions),
            static_cast<double>(complete_ns) / static_cast<double>(decisions)};
  }

  size_t refused() const { return refused_; }
  size_t rings() const { return buckets_.rings_in_use(); }
  size_t buckets() const { return 1 + 2 * corps_.size(); }

 private:
  SeededRandom random_;
  const int64_t step_ns_;
  TokenBuckets buckets_;
  TokenBuckets::Id address_ = 0;
  std::vector<TokenBuckets::Id> corps_;
  int64_t now_ = 1'000 * kNanosPerSecond;
  size_t refused_ = 0;
};

json::object Measure(size_t corps, const Options& options) {
  Decisions decisions(corps, options.seed);
  decisions.Run(std::min<size_t>(options.decisions, 200'000));  // pages are touched, rings made
  std::vector<double> decide;
  std::vector<double> complete;
  for (int round = 0; round < options.rounds; ++round) {
    const auto [decide_ns, complete_ns] = decisions.Run(options.decisions);
    decide.push_back(decide_ns);
    complete.push_back(complete_ns);
  }
  return {{"corps", corps},
          {"decide_ns", Spread(std::move(decide))},
          {"complete_ns", Spread(std::move(complete))},
          {"refused", decisions.refused()},
          {"buckets", decisions.buckets()},
          {"active", decisions.rings()}};
}

}  // namespace
}  // namespace tidegate::bench

int main(int argc, char** argv) {
  tidegate::bench::Options options;
  CLI::App app("What a decision of the token buckets costs.");
  app.add_option("--corps", options.corps, "how many corps; may be repeated");
  app.add_option("--rounds", options.rounds)->check(CLI::Range(1, 1000));
  app.add_option("--decisions", options.decisions, "of one round")
      ->check(CLI::Range(1000, 100'000'000));
  app.add_option("--seed", options.seed);
  CLI11_PARSE(app, argc, argv);
  boost::json::array rows;
  for (const size_t corps : options.corps) {
    rows.push_back(tidegate::bench::Measure(corps, options));
  }
  std::cout << boost::json::serialize(boost::json::object{
                   {"rows", std::move(rows)},
                   {"bytes",
                    {{"idle", tidegate::dispatch::TokenBuckets::kIdleBytes},
                     {"active", tidegate::dispatch::TokenBuckets::kActiveBytes}}}})
            << "\n";
  return 0;
}
