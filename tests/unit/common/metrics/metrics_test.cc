#include "common/metrics/metrics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "common/metrics/names.h"

namespace tidegate::metrics {
namespace {

std::vector<std::string> LinesOf(Metrics& metrics) {
  return absl::StrSplit(metrics.Render(), '\n', absl::SkipEmpty());
}

// The page by series: "name{label="value"}" -> value.
std::map<std::string, double> SeriesOf(Metrics& metrics) {
  std::map<std::string, double> all;
  for (const std::string& line : LinesOf(metrics)) {
    if (line[0] == '#') continue;
    const size_t blank = line.rfind(' ');
    double value = 0;
    EXPECT_TRUE(absl::SimpleAtod(line.substr(blank + 1), &value)) << line;
    all[line.substr(0, blank)] = value;
  }
  return all;
}

// Makes every family that a process may have.
void TellAll(Metrics& metrics) {
  metrics.MakeStage("tagging", 3).Set(10, 8, 2, 500'000'000);
  metrics.MakeLag("tagging", 3, "tidegate.events").records->Set(7);
  metrics.MakeJournal("tidegate.profiles/3").live->Set(1);
  metrics.MakeAppend("tidegate.ledger").seconds->Observe(0.01);
  metrics.SetKafkaAnswerAge(1.5);
  metrics.MakeRpc("a.B", "C").started->Increment();
  metrics.RpcHandled("a.B", "C", "OK").Increment();
  metrics.SetBucket("mark_tag", "corp", "60", 4, 10, 0);
  metrics.SetLimits(0, "mark_tag", 1, 2);
  metrics.SetCalls(0, "mark_tag", "0", 5);
  metrics.SetDelayed(0, "token", 1);
  metrics.SetDoubts(0, 1, 2, 3);
  metrics.SetDuplicates(0, 1);
  metrics.SetNotTrusted(0, 1);
  metrics.SetCampaigns(0, "running", 1);
  metrics.SetTouches(0, "sent", 2);
  metrics.SetForecast(0, 3);
  metrics.Callbacks("taken").Increment();
  metrics.SetBuildInfo("1", "abc", "Release");
}

TEST(MetricsTest, ShowsWhatTheListDescribesAndNothingElse) {
  Metrics metrics;
  TellAll(metrics);
  std::map<std::string, std::string> types;
  for (const std::string& line : LinesOf(metrics)) {
    const std::vector<std::string> words = absl::StrSplit(line, absl::MaxSplits(' ', 3));
    if (words[0] != "#") continue;
    const MetricDescription* const known = FindMetric(words[2]);
    ASSERT_NE(known, nullptr) << line;
    if (words[1] == "HELP") {
      EXPECT_EQ(words[3], known->help);
    } else {
      types[words[2]] = words[3];
    }
  }
  for (const MetricDescription& metric : kMetrics) {
    const char* const type = metric.type == MetricType::kCounter ? "counter"
                             : metric.type == MetricType::kGauge ? "gauge"
                                                                 : "histogram";
    EXPECT_EQ(types[std::string(metric.name)], type) << metric.name;
  }
}

TEST(MetricsTest, EverySeriesHasTheLabelsOfTheList) {
  Metrics metrics;
  TellAll(metrics);
  for (const auto& [series, value] : SeriesOf(metrics)) {
    const std::vector<std::string> parts = absl::StrSplit(series, absl::MaxSplits('{', 1));
    std::string name = parts[0];
    for (const char* end : {"_bucket", "_sum", "_count"}) {
      const std::string base = name.substr(0, name.size() - std::min(name.size(), strlen(end)));
      if (absl::EndsWith(name, end) && FindMetric(base) != nullptr) name = base;
    }
    const MetricDescription* const known = FindMetric(name);
    ASSERT_NE(known, nullptr) << series;
    std::set<std::string> wanted, found;
    for (const auto label : known->labels) {
      if (!label.empty()) wanted.insert(std::string(label));
    }
    if (parts.size() == 2) {
      const std::vector<std::string> labels = absl::StrSplit(parts[1], ',');
      for (const std::string& label : labels) found.insert(label.substr(0, label.find('=')));
    }
    found.erase("le");
    EXPECT_EQ(found, wanted) << series;
  }
}

TEST(MetricsTest, OfBucketsTheEmptiestIsShownAndTheLongestLockout) {
  Metrics metrics;
  metrics.SetBucket("mark_tag", "corp", "60", 9, 10, 3);
  metrics.SetBucket("mark_tag", "corp", "60", 10, 100, 1);
  metrics.SetBucket("mark_tag", "corp", "60", 5, 5, 0);
  auto series = SeriesOf(metrics);
  const std::string labels = R"({api="mark_tag",scope="corp",window="60"})";
  EXPECT_EQ(series["tidegate_token_bucket_tokens" + labels], 10);
  EXPECT_EQ(series["tidegate_token_bucket_capacity" + labels], 100);
  EXPECT_EQ(series["tidegate_token_bucket_lockout_seconds" + labels], 3);
  // The next page begins anew; without news it shows the last ones.
  EXPECT_EQ(SeriesOf(metrics)["tidegate_token_bucket_tokens" + labels], 10);
  metrics.SetBucket("mark_tag", "corp", "60", 9, 10, 0);
  EXPECT_EQ(SeriesOf(metrics)["tidegate_token_bucket_tokens" + labels], 9);
}

TEST(MetricsTest, AWindowThatIsReplacedLeavesThePage) {
  Metrics metrics;
  const std::string before = R"({api="mark_tag",scope="corp",window="60"})";
  const std::string after = R"({api="mark_tag",scope="corp",window="30"})";
  const auto shows = [&](const std::string& labels) {
    auto series = SeriesOf(metrics);
    const size_t count = series.count("tidegate_token_bucket_tokens" + labels);
    EXPECT_EQ(series.count("tidegate_token_bucket_capacity" + labels), count);
    EXPECT_EQ(series.count("tidegate_token_bucket_lockout_seconds" + labels), count);
    return count == 1;
  };
  const auto tell = [&](const std::string& window) {
    metrics.SetBucket("mark_tag", "corp", window, 9, 10, 0);
  };
  tell("60");
  EXPECT_TRUE(shows(before));
  // Another lane may have told alone, and pages without news tell nothing.
  tell("30");
  for (int page = 0; page < 5; ++page) EXPECT_TRUE(shows(before));
  tell("60");
  EXPECT_TRUE(shows(before));
  for (int page = 0; page < 2; ++page) {
    tell("30");
    EXPECT_EQ(shows(before), page == 0);
  }
  EXPECT_TRUE(shows(after));
  tell("60");
  EXPECT_TRUE(shows(before));
}

TEST(MetricsTest, TotalsOfLanesAddUp) {
  Metrics metrics;
  metrics.SetCalls(0, "mark_tag", "0", 5);
  metrics.SetCalls(1, "mark_tag", "0", 7);
  metrics.SetCalls(0, "mark_tag", "0", 6);
  metrics.SetCalls(1, "mark_tag", "0", 7);
  EXPECT_EQ(SeriesOf(metrics)[R"(tidegate_wecom_calls_total{api="mark_tag",errcode="0"})"], 13);
}

TEST(MetricsTest, TheProcessIsOnThePage) {
  Metrics metrics;
  auto series = SeriesOf(metrics);
  EXPECT_GT(series["process_resident_memory_bytes"], 1e6);
  EXPECT_GE(series["process_threads"], 1);
  EXPECT_GE(series["process_open_fds"], 3);
  EXPECT_GT(series["process_max_fds"], series["process_open_fds"]);
  EXPECT_GT(series["process_start_time_seconds"], 1.6e9);
  EXPECT_TRUE(series.contains("process_cpu_seconds_total"));
}

}  // namespace
}  // namespace tidegate::metrics
