// The one way of writing an expression.
#pragma once

#include <string>

#include "common/expression/tree.h"

namespace tidegate::expression {

// Brings the tree into canonical order (children and lists sorted; and, or and lists without
// repeats, nested and / or of one kind merged) and returns its text, which parses to the same tree.
std::string Canonicalise(Node& node);

}  // namespace tidegate::expression
