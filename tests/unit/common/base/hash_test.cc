#include "common/base/hash.h"

#include <gtest/gtest.h>

#include <string>

#include "common/base/seeded_random.h"

namespace tidegate {
namespace {

TEST(HashTest, MatchesThePublishedSha256) {
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256("abc").size(), 32u);
}

TEST(HashTest, TakesTheStableHashFromTheFirstBytesOfSha256) {
  EXPECT_EQ(StableHash64("abc"), 0xba7816bf8f01cfeau);
}

TEST(HashTest, MakesRandomUuidsOfVersionFour) {
  const std::string uuid = RandomUuid();
  ASSERT_EQ(uuid.size(), 36u);
  for (const int dash : {8, 13, 18, 23}) EXPECT_EQ(uuid[dash], '-') << uuid;
  EXPECT_EQ(uuid[14], '4') << uuid;
  EXPECT_NE(std::string("89ab").find(uuid[19]), std::string::npos) << uuid;
  EXPECT_NE(uuid, RandomUuid());
}

TEST(SeededRandomTest, RepeatsFromItsSeed) {
  for (const uint64_t seed : {0u, 1u, 42u}) {
    SeededRandom first(seed);
    SeededRandom second(seed);
    SeededRandom other(seed + 1);
    int equal_to_other = 0;
    for (int i = 0; i < 100; ++i) {
      const uint64_t value = first.Next();
      EXPECT_EQ(value, second.Next()) << "seed " << seed;
      equal_to_other += value == other.Next();
    }
    EXPECT_EQ(equal_to_other, 0) << "seed " << seed;
  }
}

TEST(SeededRandomTest, StaysWithinItsBounds) {
  SeededRandom random(7);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_LT(random.Below(3), 3u) << "seed 7";
    const double unit = random.Unit();
    EXPECT_GE(unit, 0.0) << "seed 7";
    EXPECT_LT(unit, 1.0) << "seed 7";
    EXPECT_TRUE(random.Chance(1.0)) << "seed 7";
    EXPECT_FALSE(random.Chance(0.0)) << "seed 7";
  }
}

}  // namespace
}  // namespace tidegate
