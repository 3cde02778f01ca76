// wecom_simulator: parse, start, wait for a signal, stop.
#include <signal.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <ctime>
#include <random>
#include <string>

#include "common/base/clock.h"
#include "services/wecom_simulator/config.h"
#include "services/wecom_simulator/service.h"

namespace {

namespace simulator = tidegate::wecom_simulator;

constexpr const char* kExamples = R"(Examples:
  wecom_simulator
  wecom_simulator --address 127.0.0.1:0 --ports-file ports.json --witness witness.jsonl --seed 7
  wecom_simulator --window fixed --limits limits.json
  curl -s http://127.0.0.1:7700/control/status)";

simulator::WindowKind WindowOf(const std::string& name) {
  if (name == "fixed") return simulator::WindowKind::kFixed;
  return name == "sliding" ? simulator::WindowKind::kSliding
                           : simulator::WindowKind::kSlidingCountingRefusals;
}

simulator::ReceiveQuotaKind ReceiveQuotaOf(const std::string& name) {
  if (name == "days_in_month") return simulator::ReceiveQuotaKind::kDaysInMonth;
  if (name == "7_per_week") return simulator::ReceiveQuotaKind::kSevenPerWeek;
  return name == "1_per_day" ? simulator::ReceiveQuotaKind::kOnePerDay
                             : simulator::ReceiveQuotaKind::kNone;
}

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "wecom_simulator: %s\n", std::string(status.message()).c_str());
  return absl::IsInvalidArgument(status) || absl::IsNotFound(status) ? 2 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  simulator::Config config;
  simulator::CoreOptions& core = config.core;
  CLI::App app("A stand-in for WeCom's API and the independent witness of what was called.");
  app.footer(kExamples);
  CLI::Option* seed =
      app.add_option("--seed", core.seed, "All chance comes from it; random and printed if absent");
  app.option_defaults()->always_capture_default();
  app.add_option("--address", config.address, "Listen here; port 0 = any free one");
  std::string window = "sliding";
  app.add_option("--window", window, "How calls are counted")
      ->check(CLI::IsMember({"fixed", "sliding", "sliding-counting-refusals"}));
  app.add_option("--limits", config.limits_file, "Limits file; absent = the documented limits");
  app.add_option("--witness", config.witness_file, "Witness log: a new file, JSON lines");
  app.add_option("--ports-file", config.ports_file, "{address, port, pid}, there once ready");
  app.add_option("--latency-median-ms", core.latency_median_ms, "Answers: median latency");
  app.add_option("--latency-p99-ms", core.latency_p99_ms, "Answers: 99th percentile");
  app.add_option("--confirm-mean-ms", core.confirm_mean_ms, "Members confirm after, on average");
  app.add_option("--confirm-never", core.confirm_never, "Share of members who never confirm");
  app.add_option("--confirm-reminded", core.confirm_reminded,
                 "Chance that a member who has not confirmed does after a reminder");
  app.add_option("--reminded-mean-ms", core.reminded_mean_ms,
                 "Those members confirm so long after it, on average");
  app.add_option("--broken", core.broken, "Share of customers ending as status 2");
  app.add_option("--over-quota", core.over_quota, "Share of customers ending as status 3");
  app.add_option("--fail-list", core.fail_list, "Share of customers in fail_list");
  std::string receive_quota = "days_in_month";
  app.add_option("--receive-quota", receive_quota, "What a customer may receive; else status 3")
      ->check(CLI::IsMember({"days_in_month", "7_per_week", "1_per_day", "none"}));
  app.add_option("--list-page", core.list_page_max, "Most tasks that a listing answers at once")
      ->check(CLI::PositiveNumber);
  app.add_option("--distributing-ms", core.distributing_ms, "41063 for so long after a create");
  app.add_option("--token-seconds", core.token_seconds, "Life of an access token");
  app.add_option("--welcome-seconds", core.welcome_seconds, "Life of a welcome code");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  core.window = WindowOf(window);
  core.receive_quota = ReceiveQuotaOf(receive_quota);

  if (seed->count() == 0) {
    core.seed = std::random_device{}();
    std::printf("seed %llu\n", static_cast<unsigned long long>(core.seed));
    std::fflush(stdout);
  }
  if (absl::Status status = config.Complete(); !status.ok()) return Fail(status);

  // Blocked before any thread exists, so that only the wait below gets them.
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGTERM);
  sigaddset(&stop_signals, SIGINT);
  sigprocmask(SIG_BLOCK, &stop_signals, nullptr);
  signal(SIGPIPE, SIG_IGN);

  const tidegate::SystemClock clock;
  auto service = simulator::Service::Start(config, clock);
  if (!service.ok()) return Fail(service.status());
  const timespec look_again{.tv_sec = 0, .tv_nsec = 200'000'000};
  while (sigtimedwait(&stop_signals, nullptr, &look_again) < 0) {
    if (absl::Status health = (*service)->health(); !health.ok()) return Fail(health);
  }
  (*service)->Stop();
  return 0;
}
