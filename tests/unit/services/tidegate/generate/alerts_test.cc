// What holds for every alert, and the YAML of both files of Prometheus.
#include "services/tidegate/generate/alerts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <set>
#include <string>

#include "services/tidegate/generate/prometheus_yaml.h"
#include "tests/unit/services/tidegate/generate/promql_scan.h"

namespace tidegate::generate {
namespace {

using ::testing::ContainsRegex;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

// The headings of docs/runbooks.md below its title.
std::set<std::string> RunbookHeadings() {
  std::set<std::string> headings;
  std::ifstream page(std::string(TIDEGATE_SOURCE_DIR) + "/docs/runbooks.md");
  for (std::string line; std::getline(page, line);) {
    if (line.starts_with("## ")) headings.insert(line.substr(3));
  }
  return headings;
}

// Alerts whose runbook has no heading.
std::vector<std::string> WithoutRunbook(const std::vector<Alert>& alerts) {
  const std::set<std::string> headings = RunbookHeadings();
  std::vector<std::string> missing;
  for (const Alert& alert : alerts) {
    if (!headings.contains(alert.name)) missing.push_back(alert.name);
  }
  return missing;
}

TEST(AlertsTest, EachIsWhole) {
  std::set<std::string> names;
  for (const Alert& alert : AllAlerts()) {
    SCOPED_TRACE(alert.name);
    EXPECT_TRUE(names.insert(alert.name).second);
    EXPECT_THAT(alert.name, StartsWith("Tidegate"));
    EXPECT_THAT(alert.hold_for, ::testing::MatchesRegex("([0-9]+[mh])?"));
    EXPECT_THAT(alert.summary, ContainsRegex("\\{\\{ \\$labels"));
    EXPECT_THAT(alert.summary, Not(EndsWith(".")));
    EXPECT_THAT(alert.description, EndsWith("."));
    EXPECT_THAT(alert.summary + alert.description, Not(HasSubstr("\n")));
  }
  EXPECT_THAT(names, SizeIs(16));
}

TEST(AlertsTest, ExpressionsUseKnownNamesOnly) {
  for (const Alert& alert : AllAlerts()) {
    EXPECT_THAT(WrongNames(alert.expression), IsEmpty()) << alert.name;
  }
}

// A label that the expression does not keep would be empty in the text.
TEST(AlertsTest, LabelsInTextsAreKeptByTheExpression) {
  const std::regex used("\\$labels\\.([a-z_]+)");
  for (const Alert& alert : AllAlerts()) {
    const Scan scan = ScanPromql(alert.expression);
    std::set<std::string> kept = scan.grouping;
    if (kept.empty()) kept = {"service", "instance"};  // nothing is summed up
    const std::string text = alert.summary + alert.description;
    for (std::sregex_iterator it(text.begin(), text.end(), used), end; it != end; ++it) {
      EXPECT_TRUE(kept.contains((*it)[1])) << alert.name << ": " << (*it)[1];
    }
  }
}

TEST(AlertsTest, EachHasARunbookAndEachRunbookAnAlert) {
  EXPECT_THAT(WithoutRunbook(AllAlerts()), IsEmpty());
  EXPECT_THAT(RunbookHeadings(), SizeIs(AllAlerts().size()));
}

TEST(AlertsTest, AMissingRunbookIsFound) {
  std::vector<Alert> alerts = AllAlerts();
  alerts[3].name = "TidegateNobodyKnows";
  EXPECT_THAT(WithoutRunbook(alerts), ::testing::ElementsAre("TidegateNobodyKnows"));
}

TEST(AlertsTest, TheAnchorIsTheHeadingInSmallLetters) {
  EXPECT_EQ(RunbookAnchor({.name = "TidegateDoubtOld"}), "tidegatedoubtold");
}

TEST(AlertsYamlTest, WritesOneRule) {
  EXPECT_EQ(AlertsYaml({{.name = "TidegateX",
                         .severity = Severity::kPage,
                         .expression = "a{b=\"c\"} > 0\nand d",
                         .hold_for = "5m",
                         .summary = "it's \"bad\"",
                         .description = "back\\slash"}},
                       "https://x/y.md"),
            "# Written by `tidegate generate alerts`. Change "
            "services/tidegate/generate/alerts.cc.\n"
            "groups:\n"
            "  - name: tidegate\n"
            "    rules:\n"
            "      - alert: TidegateX\n"
            "        expr: |-\n"
            "          a{b=\"c\"} > 0\n"
            "          and d\n"
            "        for: 5m\n"
            "        labels:\n"
            "          severity: page\n"
            "        annotations:\n"
            "          summary: \"it's \\\"bad\\\"\"\n"
            "          description: \"back\\\\slash\"\n"
            "          runbook_url: \"https://x/y.md#tidegatex\"\n");
}

TEST(PrometheusYamlTest, GroupsTargetsByService) {
  EXPECT_EQ(PrometheusYaml({{"dispatch", "d0:1"}, {"tagging", "[::1]:2"}, {"dispatch", "d1:1"}},
                           "alerts.yaml"),
            "# Written by `tidegate generate prometheus-config`.\n"
            "global:\n"
            "  scrape_interval: 15s\n"
            "  evaluation_interval: 15s\n"
            "rule_files:\n"
            "  - \"alerts.yaml\"\n"
            "scrape_configs:\n"
            "  - job_name: tidegate\n"
            "    static_configs:\n"
            "      - labels:\n"
            "          service: dispatch\n"
            "        targets:\n"
            "          - \"d0:1\"\n"
            "          - \"d1:1\"\n"
            "      - labels:\n"
            "          service: tagging\n"
            "        targets:\n"
            "          - \"[::1]:2\"\n");
}

TEST(PrometheusYamlTest, TargetsAreChecked) {
  struct Case {
    const char* text;
    const char* fault;  // empty = none
  };
  for (const Case& row : {
           Case{"serve=127.0.0.1:7602", ""},
           Case{"dispatch=dispatch-0.tidegate.svc:7602", ""},
           Case{"ingestion=[fe80::1]:80", ""},
           Case{"127.0.0.1:7602", "there is no ="},
           Case{"kafka=h:1", "the service is one of ingestion, tagging"},
           Case{"serve=7602", "there is no HOST:PORT"},
           Case{"serve=:7602", "there is no HOST:PORT"},
           Case{"serve=a\"b:1", "there is no HOST:PORT"},
           Case{"serve=[::1:1", "there is no HOST:PORT"},
           Case{"serve=h:", "the port is from 1 to 65535"},
           Case{"serve=h:0", "the port is from 1 to 65535"},
           Case{"serve=h:65536", "the port is from 1 to 65535"},
       }) {
    const auto target = ParseScrapeTarget(row.text);
    const std::string fault(target.status().message().data(), target.status().message().size());
    if (*row.fault == '\0') {
      EXPECT_TRUE(target.ok()) << fault;
    } else {
      EXPECT_THAT(fault, HasSubstr(row.fault)) << row.text;
      EXPECT_THAT(fault, HasSubstr(row.text));
    }
  }
}

}  // namespace
}  // namespace tidegate::generate
