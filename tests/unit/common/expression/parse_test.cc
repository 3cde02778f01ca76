// What is an expression: every form of the grammar, and the canonical text it is known by.
#include <string>
#include <vector>

#include "common/expression/expression.h"
#include "gtest/gtest.h"

namespace tidegate::expression {
namespace {

struct Case {
  std::string text;
  std::string canonical;
};

ParseLimits Rules() {
  ParseLimits limits;
  limits.allow_event = true;
  return limits;
}

TEST(ParseTest, ReadsEveryForm) {
  const std::vector<Case> cases = {
      {"all", "all"},
      {"none", "none"},
      {R"(tag("vip"))", R"(tag("vip"))"},
      {R"(tag("b","a","b"))", R"(tag("a", "b"))"},
      {R"(tag("渠道/门店"))", R"(tag("渠道/门店"))"},
      {R"(tag("a \"b\" \\ c"))", R"(tag("a \"b\" \\ c"))"},
      {"orders.count>=3", "orders.count >= 3"},
      {"orders.count = 007", "orders.count = 7"},
      {"orders.count != 0", "orders.count != 0"},
      {"orders.count(90d) < 2", "orders.count(90d) < 2"},
      {"orders.count ( 090 D ) <= 2", "orders.count(90d) <= 2"},
      {"orders.count(6h) > 2", "orders.count(6h) > 2"},
      {"orders.days(3660d) = 1", "orders.days(3660d) = 1"},
      {"orders.sum >= 100", "orders.sum >= 100.00"},
      {"orders.sum >= 100.5", "orders.sum >= 100.50"},
      {"orders.sum > -0.05", "orders.sum > -0.05"},
      {"orders.sum = -0.00", "orders.sum = 0.00"},
      {"orders.sum <= 1000000000000000", "orders.sum <= 1000000000000000.00"},
      {"orders.sum(30d) between 1 and 2.50", "orders.sum(30d) between 1.00 and 2.50"},
      {"orders.count in (3, 1, 10, 3)", "orders.count in (1, 3, 10)"},
      {"orders.count is set", "orders.count is set"},
      {"first_order within 30d", "first_order within 30d"},
      {"last_order within 6h", "last_order within 6h"},
      {"last_order within 30m", "last_order within 30m"},
      {"last_order older than 90d", "last_order older than 90d"},
      {"first_order is set", "first_order is set"},
      {"last_order is not set", "last_order is not set"},
      {R"(this.kind = "view")", R"(this.kind = "view")"},
      {R"(this.kind != "view")", R"(this.kind != "view")"},
      {R"(this.kind in ("view", "buy"))", R"(this.kind in ("buy", "view"))"},
      {"this.kind is set", "this.kind is set"},
      {"not all", "not (all)"},
      {"not not all", "not (not (all))"},
      {"((all))", "all"},
      {"all or none", "(all or none)"},
      {"at least 1 of (all)", "at least 1 of (all)"},
      {"at least 2 of (none, all or none, all)", "at least 2 of ((all or none), all, none)"},
  };
  for (const Case& c : cases) {
    const auto parsed = Expression::Parse(c.text, Rules());
    ASSERT_TRUE(parsed.ok()) << c.text << "\n" << parsed.status();
    EXPECT_EQ(parsed->canonical_text(), c.canonical) << c.text;
  }
}

TEST(ParseTest, TakesKeywordsAndNamesInAnyCase) {
  const auto parsed = Expression::Parse(
      "NOT (Orders.COUNT(90D) Between 1 AND 2) Or AT LEAST 1 OF (Tag(\"VIP\"), Last_Order OLDER "
      "Than 5D, FIRST_ORDER Is NOT Set)");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->canonical_text(),
            "(at least 1 of (first_order is not set, last_order older than 5d, tag(\"VIP\")) or "
            "not (orders.count(90d) between 1 and 2))");
}

TEST(ParseTest, BindsNotBeforeAndBeforeOr) {
  const std::vector<Case> cases = {
      {"all or none and all", "((all and none) or all)"},
      {"all and none or all", "((all and none) or all)"},
      {"(all or none) and all", "((all or none) and all)"},
      {"not all and none", "(none and not (all))"},
      {"not (all and none)", "not (all and none)"},
      {"not orders.count = 1 or all", "(all or not (orders.count = 1))"},
      {"orders.count between 1 and 2 and all", "(all and orders.count between 1 and 2)"},
  };
  for (const Case& c : cases) {
    const auto parsed = Expression::Parse(c.text);
    ASSERT_TRUE(parsed.ok()) << c.text << "\n" << parsed.status();
    EXPECT_EQ(parsed->canonical_text(), c.canonical) << c.text;
  }
}

TEST(ParseTest, ReadsOverLinesAndTabs) {
  const auto parsed = Expression::Parse("\n\tall\r\n  and\n  none\n");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->canonical_text(), "(all and none)");
}

}  // namespace
}  // namespace tidegate::expression
