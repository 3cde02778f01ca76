// librdkafka, with partitioner=murmur2, puts every key where we do. Needs no broker.
#include <gtest/gtest.h>
#include <librdkafka/rdkafka.h>

#include <set>
#include <string>

#include "common/base/partitioner.h"
#include "tests/unit/common/base/partitioner_keys.h"

namespace tidegate::log {
namespace {

TEST(KafkaPartitionerTest, IsLibrdkafkasMurmur2) {
  std::set<uint32_t> used;
  for (const int32_t partitions : {1, 4, 7, 1000}) {
    for (const std::string& key : PartitionerKeys()) {
      // It looks at no topic.
      const int32_t theirs = rd_kafka_msg_partitioner_murmur2(nullptr, key.data(), key.size(),
                                                              partitions, nullptr, nullptr);
      ASSERT_EQ(PartitionOf(key, static_cast<uint32_t>(partitions)), static_cast<uint32_t>(theirs));
      if (partitions == 1000) used.insert(static_cast<uint32_t>(theirs));
    }
  }
  EXPECT_EQ(used.size(), 1000u) << "the keys tell partitioners apart";
}

}  // namespace
}  // namespace tidegate::log
