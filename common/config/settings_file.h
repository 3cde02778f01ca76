// The layer of the YAML file.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "common/config/settings_faults.h"

namespace tidegate::config {

// Reads the file at `path` into the sheet; what is wrong goes to `faults`, with its place. Errors:
// if next to nothing could be read, so that checks of settings with others say nothing: NOT_FOUND,
// PERMISSION_DENIED or INVALID_ARGUMENT; what is wrong is in `faults` then too.
absl::Status LoadSettingsFile(const std::string& path, Sheet* sheet, Faults* faults);

// The working folder, absolute; empty if it was removed.
std::string WorkingFolder();

}  // namespace tidegate::config
