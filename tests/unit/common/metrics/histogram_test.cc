#include "common/metrics/histogram.h"

#include <gtest/gtest.h>

#include <cmath>
#include <thread>
#include <vector>

namespace tidegate::metrics {
namespace {

TEST(HistogramTest, CountsIntoTheFirstBoundThatIsNotBelow) {
  Histogram histogram;
  for (const double seconds : {0.0, 0.0005, 0.00051, 0.25, 59.9, 61.0}) histogram.Observe(seconds);
  const auto collected = histogram.Collect();
  ASSERT_EQ(collected.bucket.size(), kLatencyBounds.size() + 1);
  EXPECT_EQ(collected.bucket[0].cumulative_count, 2u);
  EXPECT_EQ(collected.bucket[1].cumulative_count, 3u);
  EXPECT_EQ(collected.bucket[7].cumulative_count, 3u);
  EXPECT_EQ(collected.bucket[8].cumulative_count, 4u);
  EXPECT_EQ(collected.bucket[13].cumulative_count, 5u);
  EXPECT_EQ(collected.bucket[14].cumulative_count, 6u);
  EXPECT_TRUE(std::isinf(collected.bucket[14].upper_bound));
  EXPECT_EQ(collected.sample_count, 6u);
  EXPECT_DOUBLE_EQ(collected.sample_sum, 0.0005 + 0.00051 + 0.25 + 59.9 + 61.0);
}

TEST(HistogramTest, LosesNothingOfManyThreads) {
  Histogram histogram;
  std::vector<std::thread> threads;
  for (int t = 0; t < 20; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) histogram.Observe(0.5);
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto collected = histogram.Collect();
  EXPECT_EQ(collected.sample_count, 20'000u);
  EXPECT_DOUBLE_EQ(collected.sample_sum, 10'000.0);
}

TEST(HistogramFamilyTest, EqualLabelsAreOneHistogram) {
  HistogramFamily family(Described("tidegate_log_append_seconds"));
  Histogram& ledger = family.Add({{"topic", "tidegate.ledger"}});
  EXPECT_EQ(&family.Add({{"topic", "tidegate.ledger"}}), &ledger);
  EXPECT_NE(&family.Add({{"topic", "tidegate.events"}}), &ledger);
  ledger.Observe(1);
  const auto collected = family.Collect();
  EXPECT_EQ(collected.name, "tidegate_log_append_seconds");
  ASSERT_EQ(collected.metric.size(), 2u);
  EXPECT_EQ(collected.metric[1].label[0].value, "tidegate.ledger");
  EXPECT_EQ(collected.metric[1].histogram.sample_count, 1u);
}

}  // namespace
}  // namespace tidegate::metrics
