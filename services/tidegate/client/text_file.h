// Reads small files whole. Not for imports (csv.h), which are read line by line.
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"

namespace tidegate::client {

// INVALID_ARGUMENT, with the path and the reason, as OpenTextFile, and if it is larger.
absl::StatusOr<std::string> ReadTextFile(const std::string& path, size_t bytes_max);

}  // namespace tidegate::client
