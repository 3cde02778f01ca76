// The canonical text: one text for one meaning, and stable when read again.
#include <string>
#include <vector>

#include "common/expression/expression.h"
#include "gtest/gtest.h"

namespace tidegate::expression {
namespace {

std::string Canonical(const std::string& text) {
  const auto parsed = Expression::Parse(text);
  EXPECT_TRUE(parsed.ok()) << text << "\n" << parsed.status();
  return parsed.ok() ? parsed->canonical_text() : "";
}

TEST(CanonicalTest, GivesOneTextToOrderFreeParts) {
  const std::vector<std::vector<std::string>> groups = {
      {R"(tag("a") and all)", R"(all and tag("a"))", R"((all) AND (tag("a")))",
       R"(all and tag("a") and all)"},
      {"all and (none and orders.count = 1)", "(orders.count = 1 and all) and none"},
      {"all or none or all", "none or (all or none)"},
      {"all and all", "all", "(all or all)"},
      {"orders.sum in (1, 2.5)", "orders.sum in (2.50, 1.00, 2.5)"},
      {"at least 2 of (all, none, all)", "at least 2 of (none, all, all)"},
      // The inner "or" loses its repeat, becomes an "and" and joins the outer one.
      {R"(all and ((none and tag("a")) or (tag("a") and none)))", R"(tag("a") and none and all)"},
  };
  for (const auto& group : groups) {
    for (const std::string& text : group) EXPECT_EQ(Canonical(text), Canonical(group[0])) << text;
  }
}

TEST(CanonicalTest, KeepsApartWhatDiffers) {
  EXPECT_NE(Canonical("at least 2 of (all, none)"), Canonical("at least 2 of (all, all, none)"));
  EXPECT_NE(Canonical("last_order within 24h"), Canonical("last_order within 1d"));
  EXPECT_NE(Canonical("(all or none) and all"), Canonical("all or none and all"));
  EXPECT_NE(Canonical(R"(tag("VIP"))"), Canonical(R"(tag("vip"))"));
}

TEST(CanonicalTest, IsStableAtTheDepthLimit) {
  ParseLimits limits;
  limits.depth_max = 4;
  // Accepted or refused, but never accepted with a canonical text that is refused.
  const std::vector<std::string> texts = {
      "not not not not all",
      "((((all))))",
      "all and (none or all and none)",
      "all and (none or all and (none or orders.count = 1))",
      "all and (none or all and (none or orders.count = 1 and last_order is set))",
      "not (all and (none or not all))",
      "at least 1 of (all or none and not all)",
      "at least 1 of (at least 1 of (all or none and not all))",
  };
  int accepted = 0;
  for (const std::string& text : texts) {
    const auto parsed = Expression::Parse(text, limits);
    if (!parsed.ok()) continue;
    ++accepted;
    const auto again = Expression::Parse(parsed->canonical_text(), limits);
    ASSERT_TRUE(again.ok()) << text << "\n" << again.status();
    EXPECT_EQ(again->canonical_text(), parsed->canonical_text());
  }
  EXPECT_EQ(accepted, 6);
}

}  // namespace
}  // namespace tidegate::expression
