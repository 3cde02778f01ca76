// The one language of segments and rules: text in, yes or no for one customer out.
// Grammar, meanings and error reasons: docs/expression.md.
//
// Known so far: all, none, tag(..), orders.count|sum|days [(Nd)] compared, first_order /
// last_order with "within" and "older than", and / or / not, parentheses, at least N of (..), and
// this.kind = "..." for rules.
//
//   auto expression = Expression::Parse("orders.count >= 3 and not tag(\"vip\")", {});
//   if (expression.ok() && expression->Matches(profile, at)) ...
//
// Pure: no clock, no I/O. An Expression is immutable; any number of threads may use it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tidegate::expression {

// One paid order line of a customer.
struct OrderView {
  int64_t time_seconds;  // Unix
  int64_t amount_fen;
};

// What a condition may look at. Views only: the owner keeps the data alive during Matches.
struct ProfileView {
  std::span<const OrderView> orders;        // ascending by time_seconds
  std::span<const absl::string_view> tags;  // tags on any live follow, sorted, without repeats
  absl::string_view event_kind;             // this.kind; empty outside rules
};

// When the question is asked. Orders after `now_seconds` do not exist yet for it.
struct EvaluationTime {
  int64_t now_seconds;  // Unix; "within 6h" and "30m" count back from here
  int64_t today;        // civil day (civil_day.h); the last day of "(30d)" and "within 30d"
};
EvaluationTime AtInstant(int64_t unix_seconds);
// The end (last second) of a civil day.
EvaluationTime AtEndOfDay(int64_t day);

// Settings; the defaults are the documented ones.
struct ParseLimits {
  size_t bytes_max = 64 * 1024;
  size_t leaves_max = 1000;
  size_t depth_max = 64;
  size_t list_max = 10'000;
  size_t errors_max = 20;
  bool allow_event = false;  // this.kind: rules only
};

// One fault in a text. Reasons: SYNTAX, UNKNOWN_NAME, TYPE_MISMATCH, OUT_OF_RANGE, TOO_LARGE,
// TOO_DEEP.
struct Violation {
  std::string reason;
  size_t offset;        // bytes from the start of the text
  size_t length;        // bytes; 0 at the end of the text
  size_t line;          // from 1
  size_t column;        // from 1, in code points
  std::string message;  // what was expected, the nearest name where there is one
};

// The text line with carets under each fault and "line:column REASON: message", as a terminal shows
// it.
std::string DrawViolations(absl::string_view text, const std::vector<Violation>& violations);

// Syntax tree; defined in tree.h for the parser, the evaluator and tests.
struct Node;

class Expression {
 public:
  // INVALID_ARGUMENT, with all faults found (up to limits.errors_max) in *violations if it is
  // given; the message of the status is DrawViolations.
  static absl::StatusOr<Expression> Parse(absl::string_view text, const ParseLimits& limits = {},
                                          std::vector<Violation>* violations = nullptr);

  bool Matches(const ProfileView& profile, const EvaluationTime& at) const;

  // Sorted, with all parentheses; parses to an equal expression. Equal meaning of order-free parts
  // (and, or, lists) gives equal text.
  const std::string& canonical_text() const { return canonical_text_; }
  const Node& root() const { return *root_; }

 private:
  Expression(std::shared_ptr<const Node> root, std::string canonical_text)
      : root_(std::move(root)), canonical_text_(std::move(canonical_text)) {}
  std::shared_ptr<const Node> root_;
  std::string canonical_text_;
};

}  // namespace tidegate::expression
