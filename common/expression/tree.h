// The syntax tree of an expression: what the parser builds, the evaluator walks and the canonical
// text is written from. Not for users of an Expression, who need only expression.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tidegate::expression {

enum class NodeKind : uint8_t {
  kAll,
  kNone,
  kNot,      // one child
  kAnd,      // two children or more, none of them kAnd
  kOr,       // two children or more, none of them kOr
  kAtLeast,  // `at_least` of the children
  kTag,      // any of `texts`
  kField,    // `field`, looked at through `duration`, put to `test`
};

enum class Field : uint8_t {
  kOrdersCount,
  kOrdersSum,
  kOrdersDays,
  kFirstOrder,
  kLastOrder,
  kEventKind,
};

enum class Test : uint8_t {
  kEqual,         // to numbers[0], or texts[0] of a text field
  kNotEqual,      //
  kLess,          //
  kLessEqual,     //
  kGreater,       //
  kGreaterEqual,  //
  kBetween,       // numbers[0] <= value <= numbers[1]
  kIn,            // any of numbers, or of texts
  kWithin,        // `duration`
  kOlderThan,     // `duration`
  kIsSet,
  kIsNotSet,
};

// 90d, 6h, 30m; unit 0: none is given.
struct Duration {
  int64_t count = 0;
  char unit = 0;
};

struct Node {
  NodeKind kind = NodeKind::kNone;
  Field field = Field::kOrdersCount;
  Test test = Test::kEqual;
  Duration duration;               // the window of orders.*, or the span of within and older than
  int64_t at_least = 0;            // 1..children.size()
  std::vector<int64_t> numbers;    // whole numbers, fen for orders.sum; ascending for kIn
  std::vector<std::string> texts;  // sorted, without repeats
  std::vector<Node> children;
  size_t height = 0;  // operators above the deepest leaf; 0 for a leaf
};

}  // namespace tidegate::expression
