// Histograms that many threads observe at once: no lock and no shared cache line on that way.
// prometheus-cpp's own takes a mutex per observation.
#pragma once

#include <prometheus/metric_family.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/metrics/names.h"

namespace tidegate::metrics {

// From half a millisecond to a minute.
inline constexpr std::array<double, 14> kLatencyBounds = {
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 15, 60};

// Of durations in seconds, with kLatencyBounds. Thread-safe.
class Histogram {
 public:
  void Observe(double seconds);
  // Sums up what was observed until now.
  prometheus::ClientMetric::Histogram Collect() const;

 private:
  static constexpr size_t kShards = 8;
  struct alignas(64) Shard {
    std::array<std::atomic<uint64_t>, kLatencyBounds.size() + 1> counts{};  // the last: beyond all
    std::atomic<double> sum{0};
  };
  std::array<Shard, kShards> shards_;
};

using Labels = std::map<std::string, std::string>;

// All histograms of one name. Thread-safe; a histogram lives as long as its family.
class HistogramFamily {
 public:
  explicit HistogramFamily(const MetricDescription& metric) : metric_(metric) {}
  Histogram& Add(const Labels& labels);
  prometheus::MetricFamily Collect() const;

 private:
  const MetricDescription& metric_;
  mutable std::mutex mu_;
  std::map<Labels, std::unique_ptr<Histogram>> histograms_;  // guarded by mu_
};

}  // namespace tidegate::metrics
