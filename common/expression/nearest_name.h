// "Did you mean ..?": the known word closest to a misspelt one.
#pragma once

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace tidegate::expression {

// The candidate with the fewest single-letter changes (insert, delete, replace, swap of neighbours)
// from `word`; empty when even the best needs more than about a third of the word.
absl::string_view NearestName(absl::string_view word,
                              absl::Span<const absl::string_view> candidates);

}  // namespace tidegate::expression
