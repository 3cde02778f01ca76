// Simulated days of dispatch: its core, as it runs in the product, against the simulated WeCom's
// core on a fake clock. Prints one JSON object for each kind of window. Used by sim.py.
//
//   dispatch_sim --hours 24 --corps 100 --seed 7
//   dispatch_sim --hours 1 --corps 10 --calls 150000 --kind fixed

#include <algorithm>
#include <chrono>
#include <cmath>
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
  int64_t urgent = 333'334;
  std::vector<std::string> kinds = {"fixed", "sliding", "sliding_counting_refusals"};
};

constexpr double kFairSeconds = 900;
constexpr int64_t kPatienceNs = int64_t{48} * 3600 * kNanosPerSecond;
// Welcomes of a corp, one by one; and now and then as many at once as there are corps. A corp's own
// four at once let some 60 a second through; of 100 corps these are 12,600 a minute of the 20,000
// that the address allows. Calls of mark_tag beside them: what it allows in a minute, for as many
// minutes.
constexpr double kWelcomesPerSecond = 2;
constexpr double kBurstEverySeconds = 10;
constexpr int64_t kBulkOfMinute = 20'000;
// As the caller of dispatch has them: for welcomes, and for the rest.
constexpr size_t kConnections = 64;
constexpr int64_t kCreates = 2'000;
constexpr int64_t kTagsAtOnce = 20'000;
// Windows that bind nobody: two programs share the calls at once and no limit.
constexpr char kWideLimits[] =
    R"("limits":[{"api":"*","scope":"corp","amount":10000000,"window_ms":60000},
                 {"api":"*","scope":"ip","amount":10000000,"window_ms":60000}],)";
constexpr int64_t kSmallCampaign = 20;
constexpr int64_t kLargeCampaign = 1000 * kSmallCampaign;

WindowKind KindOf(const std::string& name) {
  if (name == "fixed") return WindowKind::kFixed;
  return name == "sliding" ? WindowKind::kSliding : WindowKind::kSlidingCountingRefusals;
}

// So many calls of one corp at once.
std::string WithInFlight(int64_t in_flight, const std::string& api = "mark_tag",
                         const std::string& limits = "") {
  return absl::StrCat(R"({)", limits, R"("in_flight":[{"api":")", api, R"(","amount":)", in_flight,
                      "}]}");
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
  (*to)["late"] = result.late;
}

// Every corp always has calls: what the address's limits let through.
json::object Steady(const Options& options, WindowKind kind) {
  LaneOptions lane;
  lane.seed = options.seed;
  lane.window = kind;
  lane.corps = options.corps;
  lane.connections = lane.urgent_connections = kConnections;
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
  lane.reset_share = lane.late_share = 0;
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
  run.RunFor(kPatienceNs);
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

// The value that a share of all does not exceed, in milliseconds.
double Quantile(std::vector<int64_t> values, double share) {
  if (values.empty()) return 0;
  const auto place = static_cast<size_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + static_cast<int64_t>(place), values.end());
  return static_cast<double>(values[place]) * 1e-6;
}

json::object UrgentRow(const LaneOptions& lane, const LaneResult& alone) {
  Lane run(lane);
  run.RunFor(kPatienceNs);
  const LaneResult& result = run.result();
  const UrgentResult& urgent = result.urgent;
  const auto seconds = [](const LaneResult& of) {
    return Seconds(of.last_accepted_ns - of.first_arrival_ns);
  };
  json::object found{{"urgent_calls", urgent.arrived},
                     {"urgent_missed", urgent.arrived - urgent.executed},
                     {"urgent_p50_ms", Quantile(urgent.released_ns, 0.5)},
                     {"urgent_p999_ms", Quantile(urgent.released_ns, 0.999)},
                     {"urgent_max_ms", Quantile(urgent.released_ns, 1)},
                     {"first_byte_p999_ms", Quantile(urgent.first_byte_ns, 0.999)},
                     {"urgent_connections", lane.urgent_connections},
                     {"stall_seconds", lane.stall_seconds},
                     {"bulk_calls", lane.calls_per_corp * static_cast<int64_t>(lane.corps)},
                     {"bulk_fulfilled", result.fulfilled},
                     {"bulk_seconds", seconds(result)},
                     {"bulk_seconds_alone", seconds(alone)},
                     {"bulk_inflation", seconds(result) / seconds(alone)}};
  AddRefusals(result, &found);
  return found;
}

// Welcomes while calls of mark_tag of all corps take all that the address allows, beside the same
// calls without welcomes: with connections of their own, with those of the rest, and where the
// network now and then stands still, for longer than all that dispatch may take.
json::array Urgent(const Options& options, WindowKind kind) {
  LaneOptions lane;
  lane.seed = options.seed;
  lane.window = kind;
  lane.corps = options.corps;
  lane.connections = kConnections;
  const auto corps = static_cast<int64_t>(options.corps);
  const double per_second = kWelcomesPerSecond * static_cast<double>(corps);
  const double per_minute = 60 * (per_second + static_cast<double>(corps) / kBurstEverySeconds);
  const auto minutes =
      static_cast<int64_t>(std::ceil(static_cast<double>(options.urgent) / per_minute));
  lane.calls_per_corp = minutes * kBulkOfMinute / corps;
  const UrgentOptions urgent{.calls = options.urgent,
                             .per_second = per_second,
                             .burst = corps,
                             .burst_every_seconds = kBurstEverySeconds};
  json::array rows;
  for (const double stall_seconds : {0.0, lane.stall_seconds}) {
    LaneOptions bulk = lane;
    bulk.stall_seconds = stall_seconds;
    Lane alone(bulk);
    alone.RunFor(kPatienceNs);
    bulk.urgent = urgent;
    bulk.urgent_connections = kConnections;
    rows.push_back(UrgentRow(bulk, alone.result()));
    bulk.urgent_connections = 0;
    if (stall_seconds == 0) rows.push_back(UrgentRow(bulk, alone.result()));
  }
  return rows;
}

// Two campaigns of one corp, and ten: one is a thousand times as large as the others, which come
// two seconds after it.
json::object Campaigns(const Options& options, WindowKind kind, size_t campaigns) {
  LaneOptions lane;
  lane.seed = options.seed;
  lane.window = kind;
  lane.calls_per_corp = 0;
  lane.reset_share = lane.late_share = 0;
  lane.campaigns.push_back({.calls = kLargeCampaign});
  while (lane.campaigns.size() < campaigns) {
    lane.campaigns.push_back({.calls = kSmallCampaign, .at_seconds = 2});
  }
  Lane run(lane);
  run.RunFor(30 * kNanosPerSecond);
  const auto& served = run.result().served_by_campaign;
  json::object found{{"campaigns", campaigns},
                     {"sizes", absl::StrCat(kLargeCampaign, ":", kSmallCampaign)},
                     {"served", json::value_from(served)},
                     {"jain_campaigns", Jain(served)}};
  AddRefusals(run.result(), &found);
  return found;
}

// Calls of one corp, so many at once as the product is told and as WeCom serves. `seconds` 0: N
// calls, which take N * latency / calls at once; else as many as it can make in that time.
struct AtOnce {
  std::string api;
  int64_t known;
  int64_t of_wecom;
  double seconds = 0;
  OtherProgram other = {};
};

json::object Concurrency(const Options& options, WindowKind kind, const AtOnce& row) {
  LaneOptions lane;
  lane.seed = options.seed;
  lane.window = kind;
  const std::string limits = row.seconds == 0 ? "" : kWideLimits;
  lane.limits_json = WithInFlight(row.known, row.api, limits);
  lane.wecom_limits_json = WithInFlight(row.of_wecom, row.api, limits);
  lane.reset_share = lane.late_share = lane.stall_seconds = 0;
  lane.other = row.other;
  const bool creates = row.api == "add_msg_template";
  if (row.seconds == 0) lane.calls_per_corp = creates ? 0 : kTagsAtOnce;
  if (creates) lane.campaigns = {{.calls = kCreates}};
  Lane run(lane);
  run.RunFor(row.seconds == 0 ? kPatienceNs : static_cast<int64_t>(row.seconds * 1e9));
  const LaneResult& result = run.result();
  const double latency = Seconds(result.answered_ns) / static_cast<double>(result.answered);
  const auto calls = static_cast<double>(result.accepted);
  int64_t refused = 0;
  for (const int64_t each : result.ceilings) refused += each;
  json::object found{{"api", row.api},
                     {"known", row.known},
                     {"at_once", row.of_wecom},
                     {"calls", result.accepted},
                     {"fulfilled", result.fulfilled},
                     {"latency_ms", latency * 1e3},
                     {"ceilings_learnt", result.ceilings.size()},
                     {"refused_per_10000", static_cast<double>(refused) * 1e4 / calls}};
  if (refused > 0) {
    const auto later = static_cast<double>(result.ceilings.size() - 1);
    found["refused_first"] = result.ceilings.front();
    found["refused_per_later_ceiling"] =
        later > 0 ? static_cast<double>(refused - result.ceilings.front()) / later : 0;
  }
  if (row.seconds == 0) {
    const double seconds = Seconds(result.last_accepted_ns - result.first_arrival_ns);
    const double best = calls * latency / static_cast<double>(row.of_wecom);
    found["seconds"] = seconds;
    found["best_seconds"] = best;
    found["over_best"] = seconds / best;
  } else {
    found["others"] = row.other.at_once;
    found["all_used_after_seconds"] = result.all_used_ns < 0
                                          ? json::value()
                                          : Seconds(result.all_used_ns) - row.other.until_seconds;
  }
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
  Progress(absl::StrCat(name, ": ", options.urgent, " welcomes beside tags"));
  found["urgent"] = Urgent(options, kind);
  found["campaigns"] = json::array{Campaigns(options, kind, 2), Campaigns(options, kind, 10)};
  json::array concurrency;
  for (const AtOnce& row :
       std::vector<AtOnce>{{.api = "mark_tag", .known = 5, .of_wecom = 5},
                           {.api = "add_msg_template", .known = 4, .of_wecom = 4},
                           {.api = "mark_tag", .known = 10, .of_wecom = 5},
                           {.api = "mark_tag",
                           .known = 10,
                           .of_wecom = 10,
                           .seconds = 7800,
                           .other = {.at_once = 5, .until_seconds = 3600}},
                           {.api = "mark_tag",
                           .known = 5,
                           .of_wecom = 5,
                           .seconds = 1200,
                           .other = {.at_once = 2, .from_seconds = 60, .until_seconds = 660}}}) {
    concurrency.push_back(Concurrency(options, kind, row));
  }
  found["concurrency"] = std::move(concurrency);
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
  app.add_option("--urgent", options.urgent, "welcomes beside tags at the full limit")
      ->check(CLI::Range(1, 100'000'000));
  app.add_option("--kind", options.kinds, "of WeCom's windows; may be repeated")
      ->check(CLI::IsMember({"fixed", "sliding", "sliding_counting_refusals"}));
  app.add_option("--seed", options.seed);
  CLI11_PARSE(app, argc, argv);
  for (const std::string& kind : options.kinds) {
    std::cout << boost::json::serialize(tidegate::sim::Measure(options, kind)) << std::endl;
  }
  return 0;
}
