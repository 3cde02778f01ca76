#include "services/tidegate/generate/prometheus_yaml.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace tidegate::generate {
namespace {

constexpr std::array<const char*, 5> kServices = {"ingestion", "tagging", "segmentation",
                                                  "dispatch", "serve"};

// In double quotes; the texts are one line each.
std::string Quoted(const std::string& text) {
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"\"", "\\\""}}), "\"");
}

// A literal block: line breaks stay, and nothing needs a quote.
std::string Block(const std::string& text, const std::string& indent) {
  std::string block = "|-";
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    absl::StrAppend(&block, "\n", indent, line);
  }
  return block;
}

absl::Status WrongTarget(absl::string_view text, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("target \"", text, "\": ", what,
                                                 "; write SERVICE=HOST:PORT, as in "
                                                 "dispatch=10.0.0.7:7602"));
}

bool IsHost(absl::string_view host) {
  if (absl::ConsumePrefix(&host, "[")) {
    return absl::ConsumeSuffix(&host, "]") && !host.empty() &&
           std::all_of(host.begin(), host.end(),
                       [](char c) { return absl::ascii_isxdigit(c) || c == ':' || c == '.'; });
  }
  return !host.empty() && std::all_of(host.begin(), host.end(), [](char c) {
    return absl::ascii_isalnum(c) || c == '-' || c == '.' || c == '_';
  });
}

}  // namespace

std::string AlertsYaml(const std::vector<Alert>& alerts, const std::string& runbooks_url) {
  std::string yaml =
      "# Written by `tidegate generate alerts`. Change services/tidegate/generate/alerts.cc.\n"
      "groups:\n"
      "  - name: tidegate\n"
      "    rules:\n";
  for (const Alert& alert : alerts) {
    absl::StrAppend(&yaml, "      - alert: ", alert.name, "\n");
    absl::StrAppend(&yaml, "        expr: ", Block(alert.expression, "          "), "\n");
    if (!alert.hold_for.empty()) absl::StrAppend(&yaml, "        for: ", alert.hold_for, "\n");
    absl::StrAppend(&yaml, "        labels:\n          severity: ", SeverityName(alert.severity),
                    "\n        annotations:\n");
    absl::StrAppend(&yaml, "          summary: ", Quoted(alert.summary), "\n");
    absl::StrAppend(&yaml, "          description: ", Quoted(alert.description), "\n");
    absl::StrAppend(&yaml, "          runbook_url: ",
                    Quoted(absl::StrCat(runbooks_url, "#", RunbookAnchor(alert))), "\n");
  }
  return yaml;
}

absl::StatusOr<ScrapeTarget> ParseScrapeTarget(absl::string_view text) {
  const std::vector<absl::string_view> parts = absl::StrSplit(text, absl::MaxSplits('=', 1));
  if (parts.size() != 2) return WrongTarget(text, "there is no =");
  if (std::find(kServices.begin(), kServices.end(), parts[0]) == kServices.end()) {
    return WrongTarget(text,
                       absl::StrCat("the service is one of ", absl::StrJoin(kServices, ", ")));
  }
  const size_t colon = parts[1].rfind(':');
  if (colon == absl::string_view::npos || !IsHost(parts[1].substr(0, colon))) {
    return WrongTarget(text, "there is no HOST:PORT");
  }
  uint32_t port = 0;
  if (!absl::SimpleAtoi(parts[1].substr(colon + 1), &port) || port == 0 || port > 65'535) {
    return WrongTarget(text, "the port is from 1 to 65535");
  }
  return ScrapeTarget{std::string(parts[0]), std::string(parts[1])};
}

std::string PrometheusYaml(const std::vector<ScrapeTarget>& targets,
                           const std::string& alerts_file) {
  std::map<std::string, std::vector<std::string>> by_service;
  for (const ScrapeTarget& target : targets) {
    by_service[target.service].push_back(target.address);
  }
  std::string yaml = absl::StrCat(
      "# Written by `tidegate generate prometheus-config`.\n"
      "global:\n"
      "  scrape_interval: 15s\n"
      "  evaluation_interval: 15s\n"
      "rule_files:\n"
      "  - ",
      Quoted(alerts_file),
      "\n"
      "scrape_configs:\n"
      "  - job_name: tidegate\n"
      "    static_configs:\n");
  for (const auto& [service, addresses] : by_service) {
    absl::StrAppend(&yaml, "      - labels:\n          service: ", service, "\n        targets:\n");
    for (const std::string& address : addresses) {
      absl::StrAppend(&yaml, "          - ", Quoted(address), "\n");
    }
  }
  return yaml;
}

}  // namespace tidegate::generate
