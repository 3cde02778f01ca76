// What an expression of PromQL names: metrics and labels. Reads tokens, does not check grammar
// (promtool does).
#pragma once

#include <set>
#include <string>
#include <vector>

namespace tidegate::generate {

struct MetricUse {
  std::string metric;
  std::set<std::string> labels;  // of its matchers
};

struct Scan {
  std::vector<MetricUse> metrics;
  std::set<std::string> grouping;  // labels of by, without, on, ignoring, group_left, group_right
};

Scan ScanPromql(const std::string& expression);

// What is wrong with the names in it, one line each; empty if nothing is. Known are the metrics of
// common/metrics/names.h (of histograms their series) and what Prometheus makes itself.
std::vector<std::string> WrongNames(const std::string& expression);

}  // namespace tidegate::generate
