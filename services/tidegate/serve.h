// `tidegate serve`: all services in this process.
#pragma once

#include "absl/status/status.h"
#include "services/tidegate/serve_options.h"

namespace tidegate {

// Runs until SIGTERM or SIGINT; see common/process/process.h. Errors: INVALID_ARGUMENT the
// settings, each fault with its place; else what kept it from being ready.
absl::Status RunServe(const ServeOptions& options);

}  // namespace tidegate
