// Hostile sizes: refused with a reason, without deep recursion.
#include <string>
#include <vector>

#include "common/base/seeded_random.h"
#include "common/expression/expression.h"
#include "gtest/gtest.h"

namespace tidegate::expression {
namespace {

std::string Repeat(const std::string& text, size_t times) {
  std::string repeated;
  for (size_t i = 0; i < times; ++i) repeated += text;
  return repeated;
}

// The only violation of `text`, or none.
Violation Refusal(const std::string& text, const ParseLimits& limits = {}) {
  std::vector<Violation> violations;
  const bool ok = Expression::Parse(text, limits, &violations).ok();
  EXPECT_EQ(ok, violations.empty());
  EXPECT_LE(violations.size(), 1u);
  return violations.empty() ? Violation{"", 0, 0, 0, 0, ""} : violations[0];
}

TEST(LimitsTest, NestsToTheDepthLimitAndNoDeeper) {
  for (const std::string open : {"(", "not ", "not(", "at least 1 of ("}) {
    const bool closes = open.back() == '(';
    const auto nested = [&](size_t depth) {
      return Repeat(open, depth) + "all" + (closes ? Repeat(")", depth) : "");
    };
    EXPECT_EQ(Refusal(nested(64)).reason, "") << open;
    const Violation refusal = Refusal(nested(65));
    EXPECT_EQ(refusal.reason, "TOO_DEEP") << open;
    EXPECT_EQ(refusal.message, "an expression is nested at most 64 levels deep");
    EXPECT_GE(refusal.offset, 64 * open.size()) << open;
    EXPECT_EQ(Refusal(nested(5000 / open.size())).reason, "TOO_DEEP") << open;
  }
}

TEST(LimitsTest, RefusesThousandsOfLevelsOfAnyKind) {
  EXPECT_EQ(Refusal(Repeat("(", 5000)).reason, "TOO_DEEP");
  EXPECT_EQ(Refusal(Repeat("(", 5000) + "all" + Repeat(")", 5000)).reason, "TOO_DEEP");
  EXPECT_EQ(Refusal(Repeat("not ", 5000) + "all").reason, "TOO_DEEP");
  EXPECT_EQ(Refusal(Repeat("not(", 5000)).reason, "TOO_DEEP");
  EXPECT_EQ(Refusal(Repeat("all and (", 5000)).reason, "TOO_DEEP");
  EXPECT_EQ(Refusal(Repeat("at least 1 of(", 4500)).reason, "TOO_DEEP");
}

TEST(LimitsTest, CountsTheDepthOfOperatorsWithoutParentheses) {
  // 63 levels of parentheses in the text, but 126 in the canonical text.
  const std::string text = Repeat("all and none or all and (", 63) + "all" + Repeat(")", 63);
  EXPECT_EQ(Refusal(text).reason, "TOO_DEEP");
}

TEST(LimitsTest, AllowsAFlatThousandOfConditions) {
  EXPECT_EQ(Refusal("all" + Repeat(" or none", 999)).reason, "");
  const Violation refusal = Refusal("all" + Repeat(" or none", 1000));
  EXPECT_EQ(refusal.reason, "TOO_LARGE");
  EXPECT_EQ(refusal.offset, 3 + 999 * 8 + 4u);
  EXPECT_EQ(Refusal("at least 1 of (" + Repeat("all,", 999) + "all)").reason, "");
  EXPECT_EQ(Refusal("at least 1 of (" + Repeat("all,", 1000) + "all)").reason, "TOO_LARGE");
}

TEST(LimitsTest, RefusesLongListsAndTexts) {
  ParseLimits limits;
  limits.list_max = 3;
  EXPECT_EQ(Refusal(R"(tag("a","b","c"))", limits).reason, "");
  EXPECT_EQ(Refusal(R"(tag("a","b","c","d"))", limits).reason, "TOO_LARGE");
  EXPECT_EQ(Refusal("orders.count in (1,2,3,4)", limits).reason, "TOO_LARGE");
  EXPECT_EQ(Refusal("at least 1 of (all,all,all,all)", limits).reason, "TOO_LARGE");

  EXPECT_EQ(Refusal("all" + Repeat(" ", 64 * 1024 - 3)).reason, "");
  const Violation refusal = Refusal("all" + Repeat(" ", 64 * 1024 - 2));
  EXPECT_EQ(refusal.reason, "TOO_LARGE");
  EXPECT_EQ(refusal.offset, 64u * 1024);
  EXPECT_EQ(refusal.length, 1u);
}

TEST(LimitsTest, RefusesATextWhoseCanonicalTextIsTooLong) {
  ParseLimits limits;
  limits.bytes_max = 20;
  EXPECT_EQ(Refusal("orders.sum>1", limits).reason, "");
  EXPECT_EQ(Refusal("orders.sum in(1,2,3)", limits).reason, "TOO_LARGE");
}

// Cut, mixed and damaged texts: an answer, never a crash, and faults that lie in the text.
TEST(LimitsTest, SurvivesDamagedTexts) {
  const std::vector<std::string> pieces = {"all",
                                           "none",
                                           "not ",
                                           "(",
                                           ")",
                                           ",",
                                           " and ",
                                           " or ",
                                           "at least 2 of (",
                                           "tag",
                                           "\"a\"",
                                           "orders",
                                           ".count",
                                           ".sum",
                                           "(30d)",
                                           " >= ",
                                           "2",
                                           "1.234",
                                           "first_order",
                                           " within ",
                                           "6h",
                                           " between ",
                                           "attr.x",
                                           "\"",
                                           "\\",
                                           "\xE6",
                                           "渠",
                                           "\n",
                                           "\t",
                                           "99999999999999999999",
                                           "-",
                                           "this.kind",
                                           " is set",
                                           " older than ",
                                           " in "};
  for (uint64_t seed = 1; seed <= 20'000; ++seed) {
    SeededRandom random(seed);
    std::string text;
    for (uint64_t i = random.Below(24); i > 0; --i) text += pieces[random.Below(pieces.size())];
    std::vector<Violation> violations;
    const auto parsed = Expression::Parse(text, {}, &violations);
    ASSERT_EQ(parsed.ok(), violations.empty()) << "seed " << seed;
    size_t offset = 0;
    for (const Violation& violation : violations) {
      ASSERT_LE(violation.offset + violation.length, text.size()) << "seed " << seed;
      ASSERT_GE(violation.offset, offset) << "seed " << seed;
      ASSERT_FALSE(violation.message.empty()) << "seed " << seed;
      offset = violation.offset;
    }
    if (parsed.ok()) {
      const auto again = Expression::Parse(parsed->canonical_text());
      ASSERT_TRUE(again.ok()) << "seed " << seed << "\n" << again.status();
      ASSERT_EQ(again->canonical_text(), parsed->canonical_text()) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace tidegate::expression
