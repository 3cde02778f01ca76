// The check of names can fail, and does not fail where it should not.
#include "tests/unit/services/tidegate/generate/promql_scan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tidegate::generate {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(PromqlScanTest, FindsMetricsMatchersAndGrouping) {
  const Scan scan = ScanPromql(
      "sum by (stage) (rate(tidegate_stage_in_total{stage=~\"a{2}|b\",partition=\"0\"}[5m]))\n"
      "/ on (stage) group_left () max(up) > 1e3 or vector(0)");
  ASSERT_EQ(scan.metrics.size(), 2u);
  EXPECT_EQ(scan.metrics[0].metric, "tidegate_stage_in_total");
  EXPECT_THAT(scan.metrics[0].labels, ElementsAre("partition", "stage"));
  EXPECT_EQ(scan.metrics[1].metric, "up");
  EXPECT_THAT(scan.grouping, ElementsAre("stage"));
}

TEST(PromqlScanTest, NamesOfTheListAreRight) {
  for (const char* expression :
       {"up", "count(ALERTS{alertname=\"x\"}) or vector(0)",
        "histogram_quantile(0.99, sum by (le, topic) (rate(tidegate_log_append_seconds_bucket"
        "{service=~\"$service\"}[$__rate_interval])))",
        "time() - process_start_time_seconds{job=\"tidegate\"} > 900"}) {
    EXPECT_THAT(WrongNames(expression), IsEmpty()) << expression;
  }
}

TEST(PromqlScanTest, NamesThatDoNotExistAreTold) {
  struct Case {
    const char* expression;
    const char* wrong;
  };
  for (const Case& row : {
           Case{"rate(tidegate_stage_input_total[5m])",
                "unknown metric tidegate_stage_input_total"},
           Case{"tidegate_log_append_seconds", "unknown metric tidegate_log_append_seconds"},
           Case{"tidegate_lag_seconds_sum", "unknown metric tidegate_lag_seconds_sum"},
           Case{"tidegate_doubt_open{stage=\"x\"}", "tidegate_doubt_open has no label stage"},
           Case{"sum by (lane) (tidegate_lag_seconds)", "no metric here has the label lane"},
           Case{"vector(0)", "no metric"},
       }) {
    EXPECT_THAT(WrongNames(row.expression), ElementsAre(row.wrong)) << row.expression;
  }
}

}  // namespace
}  // namespace tidegate::generate
