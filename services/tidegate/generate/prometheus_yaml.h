// Two files of Prometheus as YAML: the alert rules and a scrape configuration. A writer for these
// two shapes only; texts are quoted, so any text is safe. Deterministic and pure.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/tidegate/generate/alerts.h"

namespace tidegate::generate {

// The page that has a heading for every alert.
inline constexpr const char* kDefaultRunbooksUrl =
    "https://github.com/tidegate/tidegate/blob/main/docs/runbooks.md";

// One rule group. Each alert's runbook_url is `runbooks_url`, # and its anchor.
std::string AlertsYaml(const std::vector<Alert>& alerts, const std::string& runbooks_url);

// One process to scrape.
struct ScrapeTarget {
  std::string service;  // ingestion, tagging, segmentation, dispatch or serve
  std::string address;  // HOST:PORT of its admin port
};

// SERVICE=HOST:PORT or SERVICE=[IPV6]:PORT. INVALID_ARGUMENT says what is wrong.
absl::StatusOr<ScrapeTarget> ParseScrapeTarget(absl::string_view text);

// One job, "tidegate", with the label `service`; the rules are read from `alerts_file` beside it.
std::string PrometheusYaml(const std::vector<ScrapeTarget>& targets,
                           const std::string& alerts_file);

}  // namespace tidegate::generate
