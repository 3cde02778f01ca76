// Text to syntax tree, with every fault found on the way.
#pragma once

#include <vector>

#include "absl/strings/string_view.h"
#include "common/expression/expression.h"
#include "common/expression/tree.h"

namespace tidegate::expression {

// The tree of `text`, not yet in canonical order; of no use if *violations is not empty afterwards.
// Violations come in the order of the text, at most limits.errors_max (at least one) of them.
// Nesting is checked before it is entered, so no text makes the parser recurse deeper than
// limits.depth_max.
Node ParseTree(absl::string_view text, const ParseLimits& limits,
               std::vector<Violation>* violations);

// A violation at [offset, offset + length) of `text`, with line and column worked out.
Violation MakeViolation(absl::string_view text, absl::string_view reason, size_t offset,
                        size_t length, std::string message);

}  // namespace tidegate::expression
