// What each way to keep a limit lets through, and how often it is refused: 10,000 calls a minute, a
// lockout of 60 s after a refusal, calls always waiting, for half an hour. Latency is lognormal
// with a median of 35 ms each way, and 4 of 1,000 requests take up to 2 s longer. The sender knows
// at once when a lockout ends. Prints one JSON object. Used by sim.py.
//
//   yardstick --seed 7
//   yardstick --stalls        with a stall of the network of 3 s every 5 minutes

#include <iostream>
#include <limits>
#include <queue>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "boost/json.hpp"
#include "common/base/clock.h"
#include "common/base/seeded_random.h"
#include "services/wecom_simulator/core/windows.h"
#include "tests/sim/network.h"
#include "tests/sim/optimum.h"
#include "tests/sim/policies.h"

namespace tidegate::sim {
namespace {

namespace json = boost::json;
using wecom_simulator::LimitRow;
using wecom_simulator::Window;
using wecom_simulator::WindowKind;

constexpr int64_t kLimit = 10'000;
constexpr int64_t kWindowNs = 60 * kNanosPerSecond;
constexpr int64_t kLockoutNs = 60 * kNanosPerSecond;
constexpr int64_t kPhaseNs = 23 * kNanosPerSecond;
constexpr int64_t kLengthNs = 1800 * kNanosPerSecond;

class Network {
 public:
  Network(uint64_t seed, bool stalls) : random_(seed), stalls_(stalls) {}
  // When what leaves at `at_ns` arrives.
  int64_t Arrival(int64_t at_ns) {
    double ms = Lognormal(&random_, 35, 0.3);
    if (random_.Chance(0.004)) ms += 2000 * random_.Unit();
    const int64_t arrives = at_ns + static_cast<int64_t>(ms * 1e6);
    return stalls_ ? AfterStall(arrives, 300 * kNanosPerSecond, 3 * kNanosPerSecond) : arrives;
  }

 private:
  SeededRandom random_;
  const bool stalls_;
};

struct Verdict {
  int64_t accepted = 0;
  int64_t refused = 0;
  int64_t lockouts = 0;
};

Verdict Run(Policy* policy, WindowKind kind, uint64_t seed, bool stalls) {
  struct Event {
    int64_t at_ns;
    bool arrives;  // at WeCom, else back here
    bool refused = false;
    bool operator>(const Event& other) const { return at_ns > other.at_ns; }
  };
  Network network(seed, stalls);
  Window window(kind, kLimit, kWindowNs, kPhaseNs);
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events;
  Verdict verdict;
  int64_t locked_until_ns = -1;
  // What the sender knows of it.
  int64_t known_until_ns = -1;
  int64_t now_ns = 0;
  constexpr int64_t kAtOnce = 2'000;  // calls that the sender has connections for
  int64_t under_way = 0;
  while (now_ns < kLengthNs) {
    const int64_t earliest = std::max(policy->EarliestNs(now_ns), known_until_ns);
    if (earliest <= now_ns && under_way < kAtOnce) {
      policy->OnSend(now_ns);
      ++under_way;
      events.push({.at_ns = network.Arrival(now_ns), .arrives = true});
      now_ns += 10'000;  // 100,000 calls a second are enough
      continue;
    }
    if (!events.empty() && (under_way >= kAtOnce || events.top().at_ns <= earliest)) {
      const Event event = events.top();
      events.pop();
      now_ns = std::max(now_ns, event.at_ns);
      if (!event.arrives) {
        policy->OnAnswer(event.at_ns);
        --under_way;
        if (event.refused) known_until_ns = locked_until_ns;
        continue;
      }
      const bool locked = event.at_ns < locked_until_ns;
      const bool refused = locked || !window.HasRoom(event.at_ns);
      if (refused) {
        ++verdict.refused;
        if (!locked) {
          ++verdict.lockouts;
          locked_until_ns = event.at_ns + kLockoutNs;
        }
      } else {
        window.Count(event.at_ns);
        ++verdict.accepted;
      }
      events.push({.at_ns = network.Arrival(event.at_ns), .arrives = false, .refused = refused});
      continue;
    }
    now_ns = earliest;
  }
  return verdict;
}

json::object Measure(const NamedPolicy& named, uint64_t seed, bool stalls) {
  LimitRow row;
  row.amount = kLimit;
  row.window_ms = kWindowNs / kNanosPerMilli;
  const int64_t optimum = Optimum({row}).CallsBy(kLengthNs - 1);
  json::object found{{"policy", named.name}};
  for (const auto& [name, kind] :
       {std::pair{"sliding", WindowKind::kSliding}, std::pair{"fixed", WindowKind::kFixed}}) {
    const auto policy = named.make(kLimit, kWindowNs);
    const Verdict verdict = Run(policy.get(), kind, seed, stalls);
    found[name] = {
        {"utilisation", static_cast<double>(verdict.accepted) / static_cast<double>(optimum)},
        {"refused", verdict.refused},
        {"lockouts", verdict.lockouts}};
  }
  return found;
}

}  // namespace
}  // namespace tidegate::sim

int main(int argc, char** argv) {
  uint64_t seed = 1;
  bool stalls = false;
  CLI::App app("What each way to keep a limit lets through.");
  app.add_option("--seed", seed);
  app.add_flag("--stalls", stalls, "the network stands still for 3 s every 5 minutes");
  CLI11_PARSE(app, argc, argv);
  boost::json::array rows;
  for (const auto& policy : tidegate::sim::Policies()) {
    rows.push_back(tidegate::sim::Measure(policy, seed, stalls));
  }
  std::cout << boost::json::serialize(boost::json::object{
                   {"seed", seed}, {"stalls", stalls}, {"policies", std::move(rows)}})
            << std::endl;
  return 0;
}
