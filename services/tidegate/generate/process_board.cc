#include <string>

#include "absl/strings/str_cat.h"
#include "services/tidegate/generate/boards.h"

namespace tidegate::generate {
namespace {

// {job, service, instance} as chosen above the board, and what else is given.
std::string Chosen(const std::string& more = "") {
  return absl::StrCat("{job=\"tidegate\",service=~\"$service\",instance=~\"$instance\"",
                      more.empty() ? "" : ",", more, "}");
}

std::string HandlingQuantile(const char* quantile) {
  return absl::StrCat("histogram_quantile(", quantile, ", sum by (le, grpc_service, grpc_method) ",
                      "(rate(grpc_server_handling_seconds_bucket", Chosen(),
                      "[$__rate_interval])))");
}

Section Grpc() {
  const char* const method = "{{grpc_service}}/{{grpc_method}}";
  return {.title = "gRPC",
          .panels = {
              {.title = "RPCs",
               .description = "RPCs that ended, by method.",
               .unit = "reqps",
               .queries = {{absl::StrCat("sum by (grpc_service, grpc_method) "
                                         "(rate(grpc_server_handled_total",
                                         Chosen(), "[$__rate_interval]))"),
                            method}}},
              {.title = "Codes other than OK",
               .description = "By status code. ResourceExhausted: a queue is full, callers slow "
                              "down. Unavailable: a partition changes its owner or Kafka is away. "
                              "Internal and Unknown are bugs.",
               .unit = "reqps",
               .queries = {{absl::StrCat("sum by (grpc_code) (rate(grpc_server_handled_total",
                                         Chosen("grpc_code!=\"OK\""),
                                         "[$__rate_interval])) or vector(0)"),
                            "{{grpc_code}}"}}},
              {.title = "RPCs under way",
               .description = "Begun and not ended, watches included. A line that only rises is a "
                              "method that does not answer.",
               .unit = "short",
               .queries = {{absl::StrCat("sum by (grpc_service, grpc_method) "
                                         "(grpc_server_started_total",
                                         Chosen(),
                                         ") - sum by (grpc_service, grpc_method) "
                                         "(grpc_server_handled_total",
                                         Chosen(), ")"),
                            method}}},
              {.title = "Time, half of the RPCs",
               .description = "Median time by method. A watch takes as long as its campaign.",
               .unit = "s",
               .width = 12,
               .queries = {{HandlingQuantile("0.5"), method}}},
              {.title = "Time, 99 % of the RPCs",
               .description = "99th percentile by method. A watch takes as long as its campaign.",
               .unit = "s",
               .width = 12,
               .queries = {{HandlingQuantile("0.99"), method}}}}};
}

}  // namespace

Board ProcessBoard() {
  const char* const process = "{{service}} {{instance}}";
  return {
      .uid = "tidegate-process",
      .title = "Tidegate / gRPC and process",
      .description = "RPCs by method and code, and what each process uses.",
      .variables = {{"service", "Service", "label_values(tidegate_build_info, service)"},
                    {"instance", "Instance",
                     "label_values(tidegate_build_info{service=~\"$service\"}, instance)"}},
      .sections = {
          Grpc(),
          {.title = "Process",
           .panels = {
               {.title = "CPU",
                .description = "Cores in use. A partition is one thread, so one busy partition "
                               "takes at most about one core.",
                .unit = "short",
                .queries = {{absl::StrCat("sum by (service, instance) "
                                          "(rate(process_cpu_seconds_total",
                                          Chosen(), "[$__rate_interval]))"),
                             process}}},
               {.title = "Memory",
                .description = "Resident memory. It holds the folded state: it grows with "
                               "customers and campaigns, not with time.",
                .unit = "bytes",
                .queries = {{absl::StrCat("max by (service, instance) "
                                          "(process_resident_memory_bytes",
                                          Chosen(), ")"),
                             process}}},
               {.title = "File descriptors",
                .description = "Share of the limit in use. At 100 % no callback and no RPC is "
                               "accepted.",
                .unit = "percentunit",
                .queries = {{absl::StrCat("max by (service, instance) (process_open_fds", Chosen(),
                                          " / process_max_fds", Chosen(), ")"),
                             process}},
                .thresholds = {{0, "green"}, {0.8, "orange"}, {0.95, "red"}}},
               {.title = "Threads",
                .description = "Threads of each process; flat after the start.",
                .unit = "short",
                .queries = {{absl::StrCat("max by (service, instance) (process_threads", Chosen(),
                                          ")"),
                             process}}},
               {.title = "Up since",
                .description = "Time since the process started. Saw teeth are restarts.",
                .unit = "s",
                .queries = {{absl::StrCat("time() - max by (service, instance) "
                                          "(process_start_time_seconds",
                                          Chosen(), ")"),
                             process}}},
               {.title = "What runs",
                .description = "Version, commit and kind of build of each service. More than one "
                               "per service: an upgrade is under way.",
                .unit = "short",
                .kind = PanelKind::kStat,
                .queries = {{absl::StrCat("count by (service, version, commit, build_type) "
                                          "(tidegate_build_info",
                                          Chosen(), ")"),
                             "{{service}} {{version}} {{commit}} {{build_type}}"}},
                .thresholds = {{0, "blue"}},
                .show_legend_text = true}}}}};
}

}  // namespace tidegate::generate
