#include "common/process/measured_log.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/log/memory_log.h"

namespace tidegate::process {
namespace {

constexpr log::TopicPartition kAt{log::Topic::kLedger, 0};

TEST(MeasuredLogTest, AppendsAreTimedAndFailuresCounted) {
  metrics::Metrics metrics;
  auto memory = std::make_unique<log::MemoryLog>();
  log::MemoryLog* const below = memory.get();
  MeasuredLog log(std::move(memory), &metrics);
  std::vector<absl::Status> ends;
  const auto append = [&](std::string value) {
    std::vector<log::Record> records;
    records.push_back({.key = "k", .header = "", .value = std::move(value)});
    log.Append(kAt, std::move(records),
               [&](absl::Status status) { ends.push_back(std::move(status)); });
  };
  append("one");
  append("two");
  append(std::string(log::kRecordBytesMax + 1, 'x'));
  ASSERT_EQ(ends.size(), 3u);
  EXPECT_TRUE(ends[0].ok());
  EXPECT_TRUE(absl::IsInvalidArgument(ends[2])) << ends[2];
  EXPECT_EQ(log.End(kAt), 2u);
  EXPECT_EQ(below->End(kAt), 2u);

  const std::string page = metrics.Render();
  for (const char* line : {"tidegate_log_append_seconds_count{topic=\"tidegate.ledger\"} 2\n",
                           "tidegate_log_append_failures_total{topic=\"tidegate.ledger\"} 1\n",
                           "tidegate_log_append_seconds_count{topic=\"tidegate.events\"} 0\n"}) {
    EXPECT_NE(page.find(line), std::string::npos) << line;
  }
}

}  // namespace
}  // namespace tidegate::process
