// What a timer of the scheduler costs: of the timing wheel, and beside it of what it had before, a
// std::set of times. N timers wait; each that fires is set anew. Both are asked the same. Prints
// one JSON object. Used by bucket_bench.py.
//
//   timer_bench --timers 1000 --timers 100000 --rounds 7 --seed 1

#include <time.h>

#include <algorithm>
#include <iostream>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "boost/json.hpp"
#include "common/base/clock.h"
#include "common/base/seeded_random.h"
#include "services/dispatch/core/timing_wheel.h"
#include "tests/bench/spread.h"
#include "tests/bench/thread_clock.h"

namespace tidegate::bench {
namespace {

namespace json = boost::json;
using dispatch::kNever;
using dispatch::TimingWheel;

struct Options {
  std::vector<size_t> timers = {1'000, 100'000, 1'000'000};
  int rounds = 7;
  size_t fires = 500'000;
  uint64_t seed = 1;
};

// How long timers wait: up to `longest_ns`, evenly, and on to a multiple of `slot_ns`.
struct Waits {
  const char* name;
  int64_t longest_ns;
  int64_t slot_ns;
};
constexpr int64_t kMinute = 60 * kNanosPerSecond;
// To any nanosecond; and as tokens return, to the slots of an hour's window.
constexpr Waits kWaits[] = {{"minute", kMinute, 1}, {"hour_slots", 60 * kMinute, kMinute / 4}};
// Where a slot of 13 days begins: all that wait are in it then.
constexpr int64_t kTurn = int64_t{1} << 50;

// With the interface of the wheel.
class SetOfTimers {
 public:
  void Set(TimingWheel::Id id, int64_t at_ns) {
    if (id >= at_ns_.size()) at_ns_.resize(id + 1, kNever);
    if (at_ns_[id] != kNever) timers_.erase({at_ns_[id], id});
    timers_.emplace(at_ns, id);
    at_ns_[id] = at_ns;
  }
  std::optional<TimingWheel::Due> PopDue(int64_t now_ns) {
    if (timers_.empty() || timers_.begin()->first > now_ns) return std::nullopt;
    const TimingWheel::Due due{.at_ns = timers_.begin()->first, .id = timers_.begin()->second};
    timers_.erase(timers_.begin());
    at_ns_[due.id] = kNever;
    return due;
  }
  int64_t NextNs() const { return timers_.empty() ? kNever : timers_.begin()->first; }

 private:
  std::set<std::pair<int64_t, TimingWheel::Id>> timers_;
  std::vector<int64_t> at_ns_;
};

template <typename Timers>
class Waiting {
 public:
  Waiting(size_t timers, const Waits& waits, int64_t now_ns, uint64_t seed)
      : waits_(waits), random_(seed), timers_count_(timers), now_ns_(now_ns) {
    for (size_t i = 0; i < timers; ++i) {
      timers_.Set(static_cast<TimingWheel::Id>(i), EndOf(SomeWait()));
    }
  }

  // ns per timer that fires and is set anew.
  double FireAndSet(size_t fires) {
    const std::vector<int64_t> waits = SomeWaits(fires);
    const int64_t start = ThreadNs();
    for (size_t fired = 0; fired < fires;) {
      now_ns_ = std::max(now_ns_, timers_.NextNs());
      while (fired < fires) {
        const auto due = timers_.PopDue(now_ns_);
        if (!due.has_value()) break;
        timers_.Set(due->id, EndOf(waits[fired++]));
      }
    }
    return static_cast<double>(ThreadNs() - start) / static_cast<double>(fires);
  }

  // ns per timer whose time is replaced, each another one at random.
  double Replace(size_t times) {
    const std::vector<int64_t> waits = SomeWaits(times);
    std::vector<TimingWheel::Id> ids(times);
    for (auto& id : ids) id = static_cast<TimingWheel::Id>(random_.Below(timers_count_));
    const int64_t start = ThreadNs();
    for (size_t i = 0; i < times; ++i) timers_.Set(ids[i], EndOf(waits[i]));
    return static_cast<double>(ThreadNs() - start) / static_cast<double>(times);
  }

  // ns of the question that took longest, of all up to the first timer after `until_ns`.
  double LongestUntil(int64_t until_ns) {
    int64_t longest = 0;
    while (now_ns_ <= until_ns) {
      now_ns_ = std::max(now_ns_, timers_.NextNs());
      const int64_t start = ThreadNs();
      const auto due = timers_.PopDue(now_ns_);
      longest = std::max(longest, ThreadNs() - start);
      if (due.has_value()) timers_.Set(due->id, EndOf(SomeWait()));
    }
    return static_cast<double>(longest);
  }

 private:
  int64_t SomeWait() {
    return 1 + static_cast<int64_t>(random_.Below(static_cast<uint64_t>(waits_.longest_ns)));
  }
  std::vector<int64_t> SomeWaits(size_t count) {
    std::vector<int64_t> waits(count);
    for (int64_t& wait : waits) wait = SomeWait();
    return waits;
  }
  int64_t EndOf(int64_t wait_ns) const {
    return (now_ns_ + wait_ns + waits_.slot_ns - 1) / waits_.slot_ns * waits_.slot_ns;
  }

  const Waits waits_;
  SeededRandom random_;
  const size_t timers_count_;
  Timers timers_;
  int64_t now_ns_;
};

// One way to keep timers, round by round.
template <typename Timers>
class Contender {
 public:
  Contender(size_t timers, const Waits& waits, const Options& options)
      : timers_(timers),
        waits_(waits),
        options_(options),
        waiting_(timers, waits, kNanosPerSecond, options.seed) {
    waiting_.FireAndSet(timers);  // pages are touched
  }
  void Run() {
    fire_.push_back(waiting_.FireAndSet(options_.fires));
    replace_.push_back(waiting_.Replace(options_.fires / 5));
    // Anew, so that every round has a turn of that slot.
    Waiting<Timers> at_the_turn(timers_, waits_, kTurn - waits_.longest_ns / 2, options_.seed);
    longest_.push_back(at_the_turn.LongestUntil(kTurn));
  }
  json::object Result() {
    return {{"fire_ns", Spread(fire_)},
            {"replace_ns", Spread(replace_)},
            {"longest_ns", Spread(longest_)}};
  }

 private:
  const size_t timers_;
  const Waits waits_;
  const Options options_;
  Waiting<Timers> waiting_;
  std::vector<double> fire_;
  std::vector<double> replace_;
  std::vector<double> longest_;
};

json::object Measure(size_t timers, const Waits& waits, const Options& options) {
  Contender<TimingWheel> wheel(timers, waits, options);
  Contender<SetOfTimers> set(timers, waits, options);
  for (int round = 0; round < options.rounds; ++round) {
    wheel.Run();
    set.Run();
  }
  return {
      {"timers", timers}, {"waits", waits.name}, {"wheel", wheel.Result()}, {"set", set.Result()}};
}

}  // namespace
}  // namespace tidegate::bench

int main(int argc, char** argv) {
  tidegate::bench::Options options;
  CLI::App app("What a timer of the scheduler costs.");
  app.add_option("--timers", options.timers, "how many wait; may be repeated")
      ->check(CLI::Range(1, 100'000'000));
  app.add_option("--rounds", options.rounds)->check(CLI::Range(1, 1000));
  app.add_option("--fires", options.fires, "of one round")->check(CLI::Range(1000, 100'000'000));
  app.add_option("--seed", options.seed);
  CLI11_PARSE(app, argc, argv);
  boost::json::array rows;
  for (const auto& waits : tidegate::bench::kWaits) {
    for (const size_t timers : options.timers) {
      rows.push_back(tidegate::bench::Measure(timers, waits, options));
    }
  }
  std::cout << boost::json::serialize(boost::json::object{{"rows", std::move(rows)}}) << "\n";
  return 0;
}
