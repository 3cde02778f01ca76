#include "common/base/partitioner.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/hash.h"
#include "tests/unit/common/base/partitioner_keys.h"

namespace tidegate {
namespace {

TEST(PartitionerTest, HashesAsKafkasJavaProducerDoes) {
  struct Case {
    const char* key;
    int32_t hash;  // from Kafka's own unit test
  };
  for (const Case& known : {Case{"21", -973932308}, Case{"foobar", -790332482},
                            Case{"a-little-bit-long-string", -985981536},
                            Case{"a-little-bit-longer-string", -1486304829},
                            Case{"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
                            Case{"abc", 479470107}}) {
    EXPECT_EQ(static_cast<int32_t>(Murmur2(known.key)), known.hash) << known.key;
  }
}

TEST(PartitionerTest, PutsTenThousandKeysWhereKafkasJavaProducerPutsThem) {
  std::string partitions;
  for (const std::string& key : PartitionerKeys()) {
    absl::StrAppend(&partitions, PartitionOf(key, 1000), "\n");
  }
  // Printed by tests/kafka/Murmur2.java with kafka-clients 4.4.0 (BuiltInPartitioner) on
  // OpenJDK 17.
  EXPECT_EQ(Sha256Hex(partitions),
            "52bdf8ae98a90f83e4b6f4c3cc86a692ab359f17cd11a6ca635ef733cc699e1c");
}

TEST(PartitionerTest, TakesBytesAboveAsciiAsUnsigned) {
  // Computed by another implementation (Python), which gives Kafka's values above too.
  struct Case {
    std::string key;
    int32_t hash;
  };
  for (const Case& known :
       {Case{"", 275646681}, Case{"\xFF\x80\xFE\x81", -1333559100}, Case{"\xFF\x80\xFE", 957058525},
        Case{"\xE6\xAC\xA2\xE8\xBF\x8E", 692452803}}) {
    EXPECT_EQ(static_cast<int32_t>(Murmur2(known.key)), known.hash) << known.hash;
  }
}

TEST(PartitionerTest, DropsTheSignBeforeTheModulo) {
  // -973932308 & 0x7fffffff = 1173551340.
  EXPECT_EQ(PartitionOf("21", 4), 1173551340u % 4);
  EXPECT_EQ(PartitionOf("21", 7), 1173551340u % 7);
  EXPECT_EQ(PartitionOf("21", 1000), 340u);
  EXPECT_EQ(PartitionOf("abc", 1000), 107u);
  EXPECT_EQ(PartitionOf("whatever", 1), 0u);
}

TEST(PartitionerTest, SpreadsCustomersOverAllPartitions) {
  std::set<uint32_t> used;
  for (int i = 0; i < 200; ++i) {
    used.insert(PartitionOf(CustomerKey("ww1", "wm" + std::to_string(i)), 16));
  }
  EXPECT_EQ(used.size(), 16u);
}

TEST(PartitionerTest, KeysACustomerByCorpAndId) {
  EXPECT_EQ(CustomerKey("ww1", "wm2"), "ww1/wm2");
  EXPECT_EQ(CustomerKey("ww1", ""), "ww1/");
}

}  // namespace
}  // namespace tidegate
