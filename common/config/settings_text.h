// Text in errors: what may be shown, whether it is UTF-8, and what was perhaps meant.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace tidegate::config {

// Foreign text for an error: control characters escaped, cut after about 60 bytes. One line.
std::string Shown(absl::string_view text);

// Offset of the first byte that is no UTF-8, or NUL; text.size() if there is none.
size_t FirstBadByte(absl::string_view text);

bool HasControlCharacter(absl::string_view text);

// The candidate that `text` was probably meant to be: the same but for case, without "_file", or a
// few letters off (up to a third of them, at most 3; two neighbours exchanged count as one). Empty
// if there is none. Texts over 100 bytes are nobody's misspelling.
std::string Nearest(absl::string_view text, const std::vector<std::string>& candidates);

}  // namespace tidegate::config
