#include "common/definitions/definitions_fold.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tidegate::definitions {
namespace {

using ::tidegate::log::v1::Proposal;
using Verdict = DefinitionsFold::Verdict;

constexpr int64_t kHourNs = int64_t{3600} * 1'000'000'000;

Proposal Rule(const std::string& corp, uint64_t expected_revision, const std::string& request_id,
              const std::string& rule_id, int64_t time_ns = 0) {
  Proposal proposal;
  proposal.set_corp(corp);
  proposal.set_expected_revision(expected_revision);
  proposal.set_caller("caller");
  proposal.set_request_id(request_id);
  proposal.set_body_hash("hash of " + request_id);
  proposal.set_time_ns(time_ns);
  auto* definition = proposal.add_definitions();
  definition->set_id(rule_id);
  definition->mutable_rule()->set_event_kind("order");
  return proposal;
}

TEST(DefinitionsFoldTest, AcceptsOnlyTheRevisionItExpects) {
  DefinitionsFold fold;
  EXPECT_EQ(fold.Apply(Rule("a", 1, "r1", "x")), Verdict::kLostRace);
  EXPECT_EQ(fold.Apply(Rule("a", 0, "r2", "x")), Verdict::kAccepted);
  EXPECT_EQ(fold.Apply(Rule("a", 0, "r3", "y")), Verdict::kLostRace);
  EXPECT_EQ(fold.Apply(Rule("a", 1, "r4", "y")), Verdict::kAccepted);
  EXPECT_EQ(fold.Corp("a").revision, 2u);
  EXPECT_EQ(fold.Corp("a").rules.size(), 2u);
}

TEST(DefinitionsFoldTest, KeepsCorpsApart) {
  DefinitionsFold fold;
  EXPECT_EQ(fold.Apply(Rule("a", 0, "r", "x")), Verdict::kAccepted);
  EXPECT_EQ(fold.Apply(Rule("b", 0, "r", "y")), Verdict::kAccepted);
  EXPECT_TRUE(fold.Corp("a").rules.contains("x"));
  EXPECT_FALSE(fold.Corp("a").rules.contains("y"));
  EXPECT_EQ(fold.Corp("nobody").revision, 0u);
}

TEST(DefinitionsFoldTest, ARepeatedRequestChangesNothingWhateverItExpects) {
  DefinitionsFold fold;
  fold.Apply(Rule("a", 0, "r", "x"));
  EXPECT_EQ(fold.Apply(Rule("a", 1, "r", "y")), Verdict::kRepeated);
  EXPECT_EQ(fold.Apply(Rule("a", 0, "r", "y")), Verdict::kRepeated);
  EXPECT_EQ(fold.Corp("a").revision, 1u);
  EXPECT_FALSE(fold.Corp("a").rules.contains("y"));
}

TEST(DefinitionsFoldTest, ALostRaceIsNotRememberedAsARequest) {
  DefinitionsFold fold;
  fold.Apply(Rule("a", 7, "r", "x"));
  EXPECT_EQ(fold.FindRequest("a", "caller", "r"), nullptr);
  EXPECT_EQ(fold.Apply(Rule("a", 0, "r", "x")), Verdict::kAccepted);
}

TEST(DefinitionsFoldTest, PartsOfARequestKeyDoNotRunIntoEachOther) {
  DefinitionsFold fold;
  Proposal proposal = Rule("a", 0, "r", "x");
  proposal.set_caller("bc");
  fold.Apply(proposal);
  EXPECT_NE(fold.FindRequest("a", "bc", "r"), nullptr);
  EXPECT_EQ(fold.FindRequest("ab", "c", "r"), nullptr);
  EXPECT_EQ(fold.FindRequest("a", "b", "cr"), nullptr);
}

TEST(DefinitionsFoldTest, ForgetsRequestsAfterADayOfRecordTime) {
  DefinitionsFold fold;
  fold.Apply(Rule("a", 0, "r", "x", 0));
  fold.Apply(Rule("b", 0, "s", "x", 24 * kHourNs));
  ASSERT_NE(fold.FindRequest("a", "caller", "r"), nullptr);
  EXPECT_EQ(fold.FindRequest("a", "caller", "r")->revision, 1u);
  fold.Apply(Rule("b", 1, "t", "x", 24 * kHourNs + 1));
  EXPECT_EQ(fold.FindRequest("a", "caller", "r"), nullptr);
  EXPECT_NE(fold.FindRequest("b", "caller", "s"), nullptr);
}

TEST(DefinitionsFoldTest, ARequestIdUsedAgainAfterADayIsKeptForAnother) {
  DefinitionsFold fold;
  fold.Apply(Rule("a", 0, "r", "x", 0));
  EXPECT_EQ(fold.Apply(Rule("a", 1, "r", "x", 25 * kHourNs)), Verdict::kAccepted);
  fold.Apply(Rule("b", 0, "s", "x", 30 * kHourNs));
  ASSERT_NE(fold.FindRequest("a", "caller", "r"), nullptr);
  EXPECT_EQ(fold.FindRequest("a", "caller", "r")->revision, 2u);
}

TEST(DefinitionsFoldTest, TakesAllValuesOfAProposalTogether) {
  Proposal proposal = Rule("a", 0, "r", "x");
  auto* channel = proposal.add_definitions();
  channel->set_id("c");
  channel->mutable_channel()->set_state("shop");
  auto* campaign = proposal.add_definitions();
  campaign->set_id("k");
  campaign->mutable_campaign();
  auto* audience = proposal.add_definitions();
  audience->set_id("u");
  audience->mutable_audience();
  proposal.add_definitions()->set_id("of a newer version");
  DefinitionsFold fold;
  EXPECT_EQ(fold.Apply(proposal), Verdict::kAccepted);
  const CorpDefinitions& corp = fold.Corp("a");
  EXPECT_EQ(corp.revision, 1u);
  EXPECT_EQ(corp.rules.at("x").event_kind(), "order");
  EXPECT_EQ(corp.channels.at("c").state(), "shop");
  EXPECT_EQ(corp.campaigns.count("k"), 1u);
  EXPECT_EQ(corp.audiences.count("u"), 1u);
}

}  // namespace
}  // namespace tidegate::definitions
