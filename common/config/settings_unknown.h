// What is said of a key that is no setting.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace tidegate::config {

struct Unknown {
  std::string text;   // for the error
  std::string meant;  // key of the setting that was probably meant; empty = nobody knows
};

// Of the entry `name` in a section of the file.
Unknown UnknownEntry(absl::string_view section, absl::string_view name);
// Of a flag's key.
Unknown UnknownFlag(absl::string_view key);
// Of a variable of the environment.
Unknown UnknownVariable(absl::string_view variable);

}  // namespace tidegate::config
