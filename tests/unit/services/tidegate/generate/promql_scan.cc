#include "tests/unit/services/tidegate/generate/promql_scan.h"

#include <algorithm>
#include <cctype>
#include <string_view>

#include "common/metrics/names.h"

namespace tidegate::generate {
namespace {

using metrics::FindMetric;
using metrics::MetricDescription;
using metrics::MetricType;

const std::set<std::string> kGroupingWords = {"by",       "without",    "on",
                                              "ignoring", "group_left", "group_right"};
const std::set<std::string> kOperators = {"and", "or", "unless", "bool", "offset"};

bool StartsName(char c) { return std::isalpha(static_cast<unsigned char>(c)) || c == '_'; }
bool ContinuesName(char c) {
  return StartsName(c) || std::isdigit(static_cast<unsigned char>(c)) || c == ':';
}

// Tokens: names, strings (as one quote), and single characters. [ranges] and numbers are left out.
std::vector<std::string> Tokens(const std::string& text) {
  std::vector<std::string> tokens;
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c == '"') {
      i = text.find('"', i + 1) + 1;
      tokens.push_back("\"");
    } else if (c == '[') {
      i = text.find(']', i) + 1;
    } else if (StartsName(c)) {
      const size_t begin = i;
      while (i < text.size() && ContinuesName(text[i])) ++i;
      tokens.push_back(text.substr(begin, i - begin));
    } else if (std::isdigit(static_cast<unsigned char>(c))) {
      while (i < text.size() && (ContinuesName(text[i]) || text[i] == '.')) ++i;
    } else {
      if (!std::isspace(static_cast<unsigned char>(c))) tokens.push_back(std::string(1, c));
      ++i;
    }
  }
  return tokens;
}

// The series of a histogram are named after it.
const MetricDescription* Find(const std::string& name) {
  const MetricDescription* const metric = FindMetric(name);
  if (metric != nullptr) return metric->type == MetricType::kHistogram ? nullptr : metric;
  for (const std::string_view suffix : {"_bucket", "_sum", "_count"}) {
    if (!name.ends_with(suffix)) continue;
    const auto* histogram = FindMetric(name.substr(0, name.size() - suffix.size()));
    if (histogram != nullptr && histogram->type == MetricType::kHistogram) return histogram;
  }
  return nullptr;
}

bool HasLabel(const MetricDescription& metric, const std::string& label) {
  return std::find(metric.labels.begin(), metric.labels.end(), label) != metric.labels.end() ||
         (label == "le" && metric.type == MetricType::kHistogram);
}

}  // namespace

Scan ScanPromql(const std::string& expression) {
  Scan scan;
  const std::vector<std::string> tokens = Tokens(expression);
  const auto at = [&tokens](size_t i) { return i < tokens.size() ? tokens[i] : std::string(); };
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (!StartsName(tokens[i][0])) continue;
    if (kGroupingWords.contains(tokens[i])) {
      for (i += 2; i < tokens.size() && tokens[i] != ")"; ++i) {
        if (tokens[i] != ",") scan.grouping.insert(tokens[i]);
      }
    } else if (!kOperators.contains(tokens[i]) && at(i + 1) != "(" &&
               !kGroupingWords.contains(at(i + 1))) {
      MetricUse use{.metric = tokens[i]};
      if (at(i + 1) == "{") {
        for (i += 2; i < tokens.size() && tokens[i] != "}"; ++i) {
          if (StartsName(tokens[i][0])) use.labels.insert(tokens[i]);
        }
      }
      scan.metrics.push_back(std::move(use));
    }
  }
  return scan;
}

std::vector<std::string> WrongNames(const std::string& expression) {
  // Given to every series when it is scraped.
  const std::set<std::string> scraped = {"job", "service", "instance"};
  const std::set<std::string> of_prometheus = {"up", "ALERTS"};
  std::vector<std::string> wrong;
  const Scan scan = ScanPromql(expression);
  if (scan.metrics.empty()) wrong.push_back("no metric");
  std::set<std::string> labels = scraped;
  for (const MetricUse& use : scan.metrics) {
    if (of_prometheus.contains(use.metric)) continue;
    const MetricDescription* const metric = Find(use.metric);
    if (metric == nullptr) {
      wrong.push_back("unknown metric " + use.metric);
      continue;
    }
    for (const std::string_view label : metric->labels) labels.emplace(label);
    if (metric->type == MetricType::kHistogram) labels.insert("le");
    for (const std::string& label : use.labels) {
      if (!scraped.contains(label) && !HasLabel(*metric, label)) {
        wrong.push_back(use.metric + " has no label " + label);
      }
    }
  }
  for (const std::string& label : scan.grouping) {
    if (!labels.contains(label)) wrong.push_back("no metric here has the label " + label);
  }
  return wrong;
}

}  // namespace tidegate::generate
