// Simulated days of dispatch: its core, as it runs in the product, against the simulated WeCom's
// core on a fake clock. Prints one JSON object for each kind of window. Used by sim.py.
//
//   dispatch_sim --hours 24 --corps 100 --seed 7
//   dispatch_sim --hours 1 --corps 10 --calls 150000 --kind fixed

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "boost/json.hpp"
#include "tests/sim/lane.h"
#include "tests/sim/optimum.h"

namespace tidegate::sim {
namespace {

namespace json = boost::json;
using wecom_simulator::WindowKind;

struct Options {
  double hours = 24;
  size_t corps = 100;
  uint64_t seed = 1;
  std::vector<int64_t> calls = {10'000, 150'000, 160'000, 300'000, 500'000, 1'000'000};
  std::vector<std::string> kinds = {"fixed", "sliding", "sliding_counting_refusals"};
};

constexpr double kFairSeconds = 900;

WindowKind KindOf(const std::string& name) {
  if (name == "fixed") return WindowKind::kFixed;
  return name == "sliding" ? WindowKind::kSliding : WindowKind::kSlidingCountingRefusals;
}

// Both sides: so many calls of one corp at once.
std::string WithInFlight(int64_t in_flight) {
  return absl::StrCat(R"({"in_flight":[{"api":"mark_tag","amount":)", in_flight, "}]}");
}

double Seconds(int64_t ns) { return static_cast<double>(ns) * 1e-9; }

void Progress(const std::string& text) { std::cerr << "sim: " << text << std::endl; }

void AddRefusals(const LaneResult& result, json::object* to) {
  json::object rejected;
  int64_t rate = 0;
  for (const auto& [code, count] : result.rejected) {
    rejected[absl::StrCat(code)] = count;
    if (code == 45009 || code == 45033) rate += count;
  }
  (*to)["rejected"] = rate;
  (*to)["rejected_by_code"] = std::move(rejected);
  (*to)["lockout_seconds"] = static_cast<double>(result.lockout_ms) / 1e3;
  (*to)["unanswered"] = result.unanswered;
}

// Every corp always has calls: what the address's limits let through.
json::object Steady(const Options& options, WindowKind kind) {
  LaneOptions lane;
  lane.seed = options.seed;
  lane.window = kind;
  lane.corps = options.corps;
  Lane run(lane);
  const auto length = static_cast<int64_t>(options.hours * 3600e9);
  run.RunFor(length);
  const LaneResult& result = run.result();
  // Of one corp its own limits count as well.
  std::vector<wecom_simulator::LimitRow> limits;
  for (const auto& row : run.limits()) {
    if (options.corps == 1 || row.scope == wecom_simulator::Scope::kIp) {
      limits.push_back(row);
    } else {
      auto all = row;
      all.amount *= static_cast<int64_t>(options.corps);
      limits.push_back(all);
    }
  }
  const int64_t optimum = Optimum(limits).CallsBy(length);
  json::object found{
      {"accepted", result.accepted},
      {"optimum", optimum},
      {"utilisation", static_cast<double>(result.accepted) / static_cast<double>(optimum)}};
  AddRefusals(result, &found);
  return found;
}

// As steady, but the address alone holds the corps back: so it is the scheduler that shares.
json::object Fair(const Options& options, WindowKind kind) {
  LaneOptions lane;
  lane.seed = options.seed;
  lane.window = kind;
  lane.corps = options.corps;
  lane.limits_json = WithInFlight(1000);
  lane.reset_share = 0;
  Lane run(lane);
  run.RunFor(static_cast<int64_t>(std::min(options.hours * 3600, kFairSeconds) * 1e9));
  const LaneResult& result = run.result();
  json::object found{{"accepted", result.accepted}};
  AddRefusals(result, &found);
  found["jain_corps"] = {
      {"mean", result.jain_sum / static_cast<double>(std::max<int64_t>(1, result.jain_windows))},
      {"min", result.jain_min},
      {"windows", result.jain_windows}};
  return found;
}

// One corp makes so many calls.
json::object Makespan(const Options& options, WindowKind kind, int64_t calls) {
  LaneOptions lane;
  lane.seed = options.seed;
  lane.window = kind;
  lane.calls_per_corp = calls;
  lane.limits_json = WithInFlight(1000);
  Lane run(lane);
  run.RunFor(int64_t{48} * 3600 * kNanosPerSecond);
  const LaneResult& result = run.result();
  const int64_t took = result.last_accepted_ns - result.first_arrival_ns;
  // A call whose answer is lost is made again, and counts again.
  int64_t counted = result.accepted;
  for (const auto& [code, count] : result.rejected) counted += count;
  const int64_t optimum = Optimum(run.limits()).LastNs(counted);
  json::object found{{"calls", calls},
                     {"counted", counted},
                     {"fulfilled", result.fulfilled},
                     {"seconds", Seconds(took)},
                     {"optimum_seconds", Seconds(optimum)}};
  if (optimum > 0) found["over_optimum"] = Seconds(took) / Seconds(optimum);
  AddRefusals(result, &found);
  return found;
}

json::object Measure(const Options& options, const std::string& name) {
  const WindowKind kind = KindOf(name);
  const auto began = std::chrono::steady_clock::now();
  Progress(absl::StrCat(name, ": ", options.hours, " h of ", options.corps, " corps"));
  json::object found{{"window", name}};
  found["steady"] = Steady(options, kind);
  if (options.corps > 1) found["fair"] = Fair(options, kind);
  json::array makespans;
  for (const int64_t calls : options.calls) {
    Progress(absl::StrCat(name, ": ", calls, " calls of one corp"));
    makespans.push_back(Makespan(options, kind, calls));
  }
  found["makespan"] = std::move(makespans);
  found["took_seconds"] =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  return found;
}

}  // namespace
}  // namespace tidegate::sim

int main(int argc, char** argv) {
  tidegate::sim::Options options;
  CLI::App app("Simulated days of dispatch.");
  app.add_option("--hours", options.hours, "of every corp sending all it may")
      ->check(CLI::Range(0.01, 1000.0));
  app.add_option("--corps", options.corps)->check(CLI::Range(1, 10'000));
  app.add_option("--calls", options.calls, "of one corp, whose end is awaited; may be repeated");
  app.add_option("--kind", options.kinds, "of WeCom's windows; may be repeated")
      ->check(CLI::IsMember({"fixed", "sliding", "sliding_counting_refusals"}));
  app.add_option("--seed", options.seed);
  CLI11_PARSE(app, argc, argv);
  for (const std::string& kind : options.kinds) {
    std::cout << boost::json::serialize(tidegate::sim::Measure(options, kind)) << std::endl;
  }
  return 0;
}
