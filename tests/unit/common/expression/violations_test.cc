// What is no expression: reason, place and advice of every fault, and the drawing.
#include <string>
#include <vector>

#include "common/expression/expression.h"
#include "gtest/gtest.h"

namespace tidegate::expression {
namespace {

std::vector<Violation> Faults(const std::string& text, const ParseLimits& limits = {}) {
  std::vector<Violation> violations;
  const auto parsed = Expression::Parse(text, limits, &violations);
  EXPECT_FALSE(parsed.ok()) << text;
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(parsed.status().message(), DrawViolations(text, violations));
  return violations;
}

// `marked` holds the text with the faulty part between [ and ].
struct Case {
  std::string marked;
  std::string reason;
  std::string message;
};

void ExpectFaults(const std::vector<Case>& cases, const ParseLimits& limits = {}) {
  for (const Case& c : cases) {
    const size_t open = c.marked.find('[');
    const size_t close = c.marked.find(']');
    const std::string text = c.marked.substr(0, open) +
                             c.marked.substr(open + 1, close - open - 1) +
                             c.marked.substr(close + 1);
    const std::vector<Violation> faults = Faults(text, limits);
    ASSERT_EQ(faults.size(), 1u) << DrawViolations(text, faults);
    EXPECT_EQ(faults[0].reason, c.reason) << text;
    EXPECT_EQ(faults[0].offset, open) << text;
    EXPECT_EQ(faults[0].length, close - open - 1) << text;
    EXPECT_EQ(faults[0].message, c.message) << text;
  }
}

TEST(ViolationsTest, NamesFaultsOfSyntax) {
  ExpectFaults({
      {"[]", "SYNTAX", "the expression is empty; all means every customer"},
      {"all and []", "SYNTAX", "a condition was expected here"},
      {"[or] all", "SYNTAX", "a condition was expected here"},
      {"(all[]", "SYNTAX", ") is missing; its ( is at 1:1"},
      {"all[)]", "SYNTAX", "no parenthesis is open here"},
      {"all[,] none", "SYNTAX", "a comma stands only between the items of a list"},
      {"(all[,] none) and all", "SYNTAX", "a comma stands only between the items of a list"},
      {"all [none]", "SYNTAX", "and, or or the end was expected here"},
      {"all [adn] none", "SYNTAX", "and, or or the end was expected here; did you mean and?"},
      {"tag[]", "SYNTAX", "( was expected here, then a tag name in double quotes"},
      {"tag([)]", "SYNTAX", "a tag name in double quotes was expected here"},
      {"tag([vip])", "SYNTAX", "a tag name goes in double quotes; write \"vip\""},
      {"tag(\"a\" [\"b\"])", "SYNTAX", ", or ) was expected here"},
      {"tag([\"a)]", "SYNTAX", "the closing double quote is missing"},
      {"tag([\"a\\n\"])", "SYNTAX", R"(after \ only " and \ may follow)"},
      {"tag([\"a\x01\"])", "SYNTAX", "a text holds no control characters"},
      {"tag([\"a\xC3\"])", "SYNTAX", "the text is not UTF-8"},
      {"orders[]", "SYNTAX", "a point was expected here, as in orders.count"},
      {"orders.count[]", "SYNTAX",
       "orders.count is compared with =, !=, <, <=, >, >=, between or in"},
      {"orders.count [==] 2", "SYNTAX", "write = for equal"},
      {"orders.count >= []", "SYNTAX",
       "a number was expected here; orders.count is a whole number"},
      {"orders.count >= [3.]", "SYNTAX", "a digit is missing after the point"},
      {"orders.count(90[)] > 1", "SYNTAX", "a window ends in its unit, as in 90d or 6h"},
      {"orders.count(90[m]) > 1", "SYNTAX", "a window ends in its unit, as in 90d or 6h"},
      {"orders.count between 1 [or] 2", "SYNTAX", "and was expected here, as in between 1 and 5"},
      {"last_order within 90 [days]", "SYNTAX", "a span ends in its unit, as in 90d, 6h or 30m"},
      {"last_order older [then] 9d", "SYNTAX",
       "than was expected here, as in last_order older than 90d"},
      {"last_order [witin] 90d", "SYNTAX",
       "last_order is a time; write last_order within 90d, last_order older than 90d or last_order "
       "is set; did you mean within?"},
      {"last_order is [sat]", "SYNTAX", "set was expected here, as in is set or is not set"},
      {"at [most] 2 of (all, none)", "SYNTAX",
       "least was expected here, as in at least 2 of (.., ..)"},
      {"at least 2 [from] (all, none)", "SYNTAX",
       "of was expected here, as in at least 2 of (.., ..)"},
      {"all [&&] none", "SYNTAX", "write and"},
      {"[！]all", "SYNTAX", "outside double quotes only plain ASCII is allowed"},
      {"all and [;]", "SYNTAX", "this character has no meaning here"},
  });
}

TEST(ViolationsTest, NamesUnknownNamesAndTheNearestOne) {
  ExpectFaults({
      {"[order].count > 1", "UNKNOWN_NAME", "order is no known name; did you mean orders?"},
      {"[lastorder] within 3d", "UNKNOWN_NAME",
       "lastorder is no known name; did you mean last_order?"},
      {"[TGA](\"a\")", "UNKNOWN_NAME", "TGA is no known name; did you mean tag?"},
      {"[zzzzzz] = 1", "UNKNOWN_NAME",
       "zzzzzz is no known name; expected tag(..), orders.count, orders.sum, orders.days, "
       "first_order or last_order"},
      {"orders.[cuont] > 1", "UNKNOWN_NAME", "orders has count, sum and days; did you mean count?"},
  });
}

TEST(ViolationsTest, RefusesNamesOfLaterVersionsByName) {
  for (const std::string name : {"attr", "follow", "every", "event", "metric", "segment", "split",
                                 "stage", "stage_since", "member", "state", "remark", "add_way",
                                 "added", "created", "anniversary", "first", "last"}) {
    ExpectFaults({{"all and [" + name + "](\"x\").y between 1 and 2 or none", "UNKNOWN_NAME",
                   name + " is not available in this version"}});
  }
  ExpectFaults({
      {"[attr].city = \"A\"", "UNKNOWN_NAME", "attr is not available in this version"},
      {"[every] follow(tag(\"a\") and all)", "UNKNOWN_NAME",
       "every is not available in this version"},
      {"orders.[avg](30d) > 5", "UNKNOWN_NAME",
       "orders.avg is not available in this version; orders has count, sum and days"},
      {"last_order within [next] 7d", "UNKNOWN_NAME",
       "within next is not available in this version"},
  });
}

TEST(ViolationsTest, KnowsTheEventInRulesOnly) {
  ExpectFaults({{"all and [this].kind = \"x\"", "UNKNOWN_NAME",
                 "this is the event at hand, which only rules have"}});
  ParseLimits rules;
  rules.allow_event = true;
  ExpectFaults(
      {
          {"this.[amount] = 1", "UNKNOWN_NAME",
           "of the event at hand this version knows this.kind"},
          {"this.kind = [5]", "TYPE_MISMATCH", "this.kind is a text; write \"5\""},
          {"this.kind [>] \"x\"", "TYPE_MISMATCH",
           "this.kind is a text; it is compared with =, != or in"},
          {"this.kind = [\"\"]", "OUT_OF_RANGE", "this.kind is never empty"},
          {"this.kind [contains] \"x\"", "UNKNOWN_NAME",
           "contains is not available in this version"},
      },
      rules);
}

TEST(ViolationsTest, NamesValuesOfTheWrongType) {
  ExpectFaults({
      {"orders.count >= [\"2\"]", "TYPE_MISMATCH", "orders.count is a whole number; write 2"},
      {"orders.count >= [\"two\"]", "TYPE_MISMATCH", "orders.count is a whole number"},
      {"orders.sum >= [\"2.50\"]", "TYPE_MISMATCH", "orders.sum is an amount; write 2.50"},
      {"orders.count >= [2.0]", "TYPE_MISMATCH", "orders.count is a whole number; write 2"},
      {"orders.days(9d) >= [2.5]", "TYPE_MISMATCH", "orders.days is a whole number"},
      {"orders.count = [true]", "TYPE_MISMATCH", "orders.count is a whole number"},
      {"tag([5])", "TYPE_MISMATCH", "a tag name is a text; write \"5\""},
      {"first_order [>=] 5", "TYPE_MISMATCH",
       "first_order is a time; write first_order within 90d, first_order older than 90d or "
       "first_order is set"},
      {"orders.count([1.5]d) > 1", "TYPE_MISMATCH", "a window is a whole number, as in 90d or 6h"},
      {"last_order within [\"90d\"]", "TYPE_MISMATCH",
       "a span was expected here, as in 90d, 6h or 30m"},
  });
}

TEST(ViolationsTest, NamesValuesOutOfRange) {
  ExpectFaults({
      {"orders.sum >= [1.234]", "OUT_OF_RANGE", "orders.sum has at most 2 decimals"},
      {"orders.sum >= [1000000000000000.01]", "OUT_OF_RANGE", "numbers go up to 1000000000000000"},
      {"orders.count >= [1000000000000001]", "OUT_OF_RANGE", "numbers go up to 1000000000000000"},
      {"orders.count >= [99999999999999999999999999]", "OUT_OF_RANGE",
       "numbers go up to 1000000000000000"},
      {"orders.count >= [-1]", "OUT_OF_RANGE", "orders.count is never negative"},
      {"orders.count([0]d) > 1", "OUT_OF_RANGE", "a window is 1d to 3660d"},
      {"orders.count([3661]d) > 1", "OUT_OF_RANGE", "a window is 1d to 3660d"},
      {"orders.count([87841]h) > 1", "OUT_OF_RANGE", "a window is 1h to 87840h"},
      {"last_order within [5270401]m", "OUT_OF_RANGE", "a span is 1m to 5270400m"},
      {"last_order within [99999999999999999999]d", "OUT_OF_RANGE", "a span is 1d to 3660d"},
      {"orders.count between 3 and [2]", "OUT_OF_RANGE", "the smaller number comes first"},
      {"at least [0] of (all, none)", "OUT_OF_RANGE",
       "of 2 conditions at least 1 to 2 can be asked for"},
      {"at least [3] of (all, none)", "OUT_OF_RANGE",
       "of 2 conditions at least 1 to 2 can be asked for"},
      {"tag([\"\"])", "OUT_OF_RANGE", "a tag name is never empty"},
  });
}

TEST(ViolationsTest, FindsSeveralFaultsInOneText) {
  const std::string text =
      "order.count > 1 and tag(vip) or (orders.sum >= 1.999 and attr.x between 1 and 2) or\n"
      "at least 5 of (last_order witin 3d, orders.count = \"x\", all) and first_order is st";
  const std::vector<Violation> faults = Faults(text);
  std::vector<std::string> places;
  for (const Violation& fault : faults) {
    places.push_back(std::to_string(fault.line) + ":" + std::to_string(fault.column) + " " +
                     fault.reason);
  }
  EXPECT_EQ(places, (std::vector<std::string>{
                        "1:1 UNKNOWN_NAME", "1:25 SYNTAX", "1:48 OUT_OF_RANGE", "1:58 UNKNOWN_NAME",
                        "2:10 OUT_OF_RANGE", "2:27 SYNTAX", "2:52 TYPE_MISMATCH", "2:81 SYNTAX"}));
}

TEST(ViolationsTest, StopsAtTheMostFaultsAskedFor) {
  std::string text = "zzzzzz";
  for (int i = 0; i < 100; ++i) text += " and zzzzzz";
  EXPECT_EQ(Faults(text).size(), 20u);
  ParseLimits limits;
  limits.errors_max = 3;
  EXPECT_EQ(Faults(text, limits).size(), 3u);
}

TEST(ViolationsTest, EmptiesTheListOnSuccess) {
  std::vector<Violation> violations(1);
  EXPECT_TRUE(Expression::Parse("all", {}, &violations).ok());
  EXPECT_TRUE(violations.empty());
}

TEST(ViolationsTest, DrawsTheLineWithCaretsUnderTheFault) {
  const std::string text = R"(tag("VIP") and orders.count(90d) >= "2")";
  EXPECT_EQ(DrawViolations(text, Faults(text)),
            "tag(\"VIP\") and orders.count(90d) >= \"2\"\n"
            "                                    ^^^ 1:37 TYPE_MISMATCH: orders.count is a whole "
            "number; write 2");
}

TEST(ViolationsTest, CountsColumnsInCodePointsAndOffsetsInBytes) {
  const std::string text = R"(tag("渠道") and orders.count >= "二")";
  const std::vector<Violation> faults = Faults(text);
  ASSERT_EQ(faults.size(), 1u);
  EXPECT_EQ(faults[0].offset, 34u);
  EXPECT_EQ(faults[0].length, 5u);
  EXPECT_EQ(faults[0].column, 31u);
  EXPECT_EQ(DrawViolations(text, faults),
            "tag(\"渠道\") and orders.count >= \"二\"\n" + std::string(30, ' ') +
                "^^^ 1:31 TYPE_MISMATCH: orders.count is a whole number");
}

TEST(ViolationsTest, DrawsSeveralFaultsAndLines) {
  const std::string text = "tag(5) and tag(6)\r\n\tand tag(7)\nand";
  EXPECT_EQ(DrawViolations(text, Faults(text)),
            "tag(5) and tag(6)\n"
            "    ^ 1:5 TYPE_MISMATCH: a tag name is a text; write \"5\"\n"
            "               ^ 1:16 TYPE_MISMATCH: a tag name is a text; write \"6\"\n"
            "\tand tag(7)\n"
            "\t        ^ 2:10 TYPE_MISMATCH: a tag name is a text; write \"7\"\n"
            "and\n"
            "   ^ 3:4 SYNTAX: a condition was expected here");
}

TEST(ViolationsTest, CutsLongLinesAroundTheFault) {
  std::string text = "all";
  for (int i = 0; i < 100; ++i) text += " or none";
  text += " or tag(5)";
  for (int i = 0; i < 100; ++i) text += " or none";
  const std::string drawn = DrawViolations(text, Faults(text));
  EXPECT_LT(drawn.size(), 500u);
  const std::string line = drawn.substr(0, drawn.find('\n'));
  const std::string carets = drawn.substr(drawn.find('\n') + 1);
  EXPECT_EQ(line[carets.find('^')], '5');
  EXPECT_NE(carets.find("1:812 TYPE_MISMATCH"), std::string::npos) << carets;
}

}  // namespace
}  // namespace tidegate::expression
