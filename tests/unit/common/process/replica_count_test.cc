#include "common/process/replica_count.h"

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/process/replica_watch.h"

namespace tidegate::process {
namespace {

const std::vector<std::string> kPeers = {"pod-0.tagging:7600", "pod-1.tagging:7600",
                                         "pod-2.tagging:7600", "pod-3.tagging:7600"};
constexpr ReplicaRange kFirst{.ordinal = 0, .least = 1, .most = 4};

// Names that are not in `names` are known not to exist.
AskName Answers(std::map<std::string, Known> names) {
  return [names = std::move(names)](const std::string& host) {
    const auto found = names.find(host);
    return found == names.end() ? Known::kNo : found->second;
  };
}

TEST(ParseReplicaTest, ReadsBothForms) {
  const ReplicaRange fixed = ParseReplica("1/2");
  EXPECT_EQ(fixed.ordinal, 1u);
  EXPECT_EQ(fixed.most, 2u);
  EXPECT_TRUE(fixed.fixed());
  const ReplicaRange range = ParseReplica("5/2-6");
  EXPECT_EQ(range.ordinal, 5u);
  EXPECT_EQ(range.least, 2u);
  EXPECT_EQ(range.most, 6u);
  EXPECT_FALSE(range.fixed());
}

TEST(CountReplicasTest, TheHighestKnownNameIsTheLastReplica) {
  EXPECT_EQ(CountReplicas(kFirst, kPeers, Answers({{"pod-0.tagging", Known::kYes}})), 1u);
  EXPECT_EQ(
      CountReplicas(kFirst, kPeers,
                    Answers({{"pod-0.tagging", Known::kYes}, {"pod-2.tagging", Known::kYes}})),
      3u)
      << "a pod in between that moves to another node still counts";
  EXPECT_EQ(CountReplicas(kFirst, kPeers, Answers({{"pod-3.tagging", Known::kYes}})), 4u);
}

TEST(CountReplicasTest, IsNeverLessThanTheLeastNorThanTheOwnOrdinalNeeds) {
  EXPECT_EQ(CountReplicas({.ordinal = 0, .least = 2, .most = 4}, kPeers, Answers({})), 2u);
  EXPECT_EQ(CountReplicas({.ordinal = 2, .least = 1, .most = 4}, kPeers, Answers({})), 3u)
      << "its own name may not be known yet";
  EXPECT_EQ(CountReplicas({.ordinal = 3, .least = 1, .most = 4}, kPeers, Answers({})), 4u);
}

TEST(CountReplicasTest, NothingIsFoundWhenNobodyAnswersForANameThatDecides) {
  EXPECT_EQ(CountReplicas(kFirst, kPeers, Answers({{"pod-3.tagging", Known::kUnsure}})),
            std::nullopt);
  EXPECT_EQ(
      CountReplicas(kFirst, kPeers,
                    Answers({{"pod-1.tagging", Known::kUnsure}, {"pod-2.tagging", Known::kYes}})),
      3u)
      << "a lower name decides nothing";
}

TEST(AskResolverTest, TellsNamesThatExistFromOthers) {
  EXPECT_EQ(AskResolver("localhost"), Known::kYes);
  EXPECT_EQ(AskResolver("127.0.0.1"), Known::kYes);
  // Without any name server nobody can tell.
  EXPECT_NE(AskResolver("no-such-pod.invalid"), Known::kYes);
}

class ReplicaCountWatchTest : public testing::Test {
 protected:
  bool Look(std::optional<uint32_t> found, int second) {
    return watch_.Look(found, absl::UnixEpoch() + absl::Seconds(second));
  }
  ReplicaCountWatch watch_{2, absl::Seconds(60)};
};

TEST_F(ReplicaCountWatchTest, AnotherNumberCountsOnceItHasLasted) {
  EXPECT_FALSE(Look(2, 0));
  EXPECT_FALSE(Look(3, 5));
  EXPECT_FALSE(Look(3, 64));
  EXPECT_TRUE(Look(3, 65));
}

TEST_F(ReplicaCountWatchTest, ItsOwnNumberInBetweenStartsAnew) {
  EXPECT_FALSE(Look(1, 0));
  EXPECT_FALSE(Look(2, 50));
  EXPECT_FALSE(Look(1, 55));
  EXPECT_FALSE(Look(1, 114));
  EXPECT_TRUE(Look(1, 115));
}

TEST_F(ReplicaCountWatchTest, AThirdNumberStartsAnew) {
  EXPECT_FALSE(Look(3, 0));
  EXPECT_FALSE(Look(4, 50));
  EXPECT_FALSE(Look(4, 109));
  EXPECT_TRUE(Look(4, 110));
}

TEST_F(ReplicaCountWatchTest, SilenceOfNameServersChangesNothing) {
  EXPECT_FALSE(Look(std::nullopt, 0));
  EXPECT_FALSE(Look(std::nullopt, 1000));
  EXPECT_FALSE(Look(3, 1001));
  EXPECT_FALSE(Look(std::nullopt, 1100)) << "only an answer confirms";
  EXPECT_TRUE(Look(3, 1101));
}

TEST_F(ReplicaCountWatchTest, TheSameNumberNeverCounts) {
  EXPECT_FALSE(Look(2, 0));
  EXPECT_FALSE(Look(2, 100000));
}

TEST(FindReplicaTest, AFixedNumberAsksNobody) {
  const auto replica = FindReplica(
      ParseReplica("1/3"), kPeers,
      [](const std::string&) {
        ADD_FAILURE() << "asked";
        return Known::kYes;
      },
      absl::ZeroDuration());
  ASSERT_TRUE(replica.ok());
  EXPECT_EQ(replica->Name(), "1/3");
}

TEST(FindReplicaTest, SaysWhatToDoWhenNobodyAnswers) {
  const auto replica = FindReplica(
      kFirst, kPeers, [](const std::string&) { return Known::kUnsure; }, -absl::Seconds(1));
  EXPECT_EQ(replica.status().message(),
            "no name server told whether pod-3.tagging:7600 and the peers before it exist, so the "
            "number of replicas is unknown; see /etc/resolv.conf, or set replica: r/R");
}

}  // namespace
}  // namespace tidegate::process
