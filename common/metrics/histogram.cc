#include "common/metrics/histogram.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace tidegate::metrics {
namespace {

// Threads take shards in turn.
size_t ThreadShard() {
  static std::atomic<size_t> next{0};
  thread_local const size_t shard = next.fetch_add(1, std::memory_order_relaxed);
  return shard;
}

}  // namespace

void Histogram::Observe(double seconds) {
  Shard& shard = shards_[ThreadShard() % kShards];
  const auto bound = std::lower_bound(kLatencyBounds.begin(), kLatencyBounds.end(), seconds);
  shard.counts[static_cast<size_t>(bound - kLatencyBounds.begin())].fetch_add(
      1, std::memory_order_relaxed);
  shard.sum.fetch_add(seconds, std::memory_order_relaxed);
}

prometheus::ClientMetric::Histogram Histogram::Collect() const {
  prometheus::ClientMetric::Histogram histogram;
  for (size_t i = 0; i <= kLatencyBounds.size(); ++i) {
    for (const Shard& shard : shards_) {
      histogram.sample_count += shard.counts[i].load(std::memory_order_relaxed);
    }
    histogram.bucket.push_back({.cumulative_count = histogram.sample_count,
                                .upper_bound = i < kLatencyBounds.size()
                                                   ? kLatencyBounds[i]
                                                   : std::numeric_limits<double>::infinity()});
  }
  for (const Shard& shard : shards_) {
    histogram.sample_sum += shard.sum.load(std::memory_order_relaxed);
  }
  return histogram;
}

Histogram& HistogramFamily::Add(const Labels& labels) {
  std::lock_guard lock(mu_);
  std::unique_ptr<Histogram>& histogram = histograms_[labels];
  if (histogram == nullptr) histogram = std::make_unique<Histogram>();
  return *histogram;
}

prometheus::MetricFamily HistogramFamily::Collect() const {
  prometheus::MetricFamily family{
      std::string(metric_.name), std::string(metric_.help), prometheus::MetricType::Histogram, {}};
  std::lock_guard lock(mu_);
  for (const auto& [labels, histogram] : histograms_) {
    prometheus::ClientMetric metric;
    for (const auto& [name, value] : labels) metric.label.push_back({name, value});
    metric.histogram = histogram->Collect();
    family.metric.push_back(std::move(metric));
  }
  return family;
}

}  // namespace tidegate::metrics
