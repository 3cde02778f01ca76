#include "common/expression/expression.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/expression/canonical.h"
#include "common/expression/parser.h"
#include "common/expression/tree.h"

namespace tidegate::expression {

absl::StatusOr<Expression> Expression::Parse(absl::string_view text, const ParseLimits& limits,
                                             std::vector<Violation>* violations) {
  std::vector<Violation> found;
  auto root = std::make_shared<Node>(ParseTree(text, limits, &found));
  std::string canonical_text;
  if (found.empty()) {
    canonical_text = Canonicalise(*root);
    if (canonical_text.size() > limits.bytes_max) {
      found.push_back(
          MakeViolation(text, "TOO_LARGE", 0, text.size(),
                        absl::StrCat("written out with all parentheses an expression has at most ",
                                     limits.bytes_max, " bytes")));
    }
  }
  absl::Status status;
  if (!found.empty()) status = absl::InvalidArgumentError(DrawViolations(text, found));
  if (violations != nullptr) *violations = std::move(found);
  if (!status.ok()) return status;
  return Expression(std::move(root), std::move(canonical_text));
}

}  // namespace tidegate::expression
