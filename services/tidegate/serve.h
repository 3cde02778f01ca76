// `tidegate serve`: all services in one process. Not for the client verbs.
#pragma once

#include "absl/status/status.h"
#include "services/tidegate/serve_options.h"

namespace tidegate {

// Runs until SIGTERM or SIGINT, drains in order, and returns OK. Errors: INVALID_ARGUMENT a file or
// an address is wrong; FAILED_PRECONDITION the directory is locked or foreign, or a port is taken;
// UNAVAILABLE, DATA_LOSS the store. Call once, on the main thread.
absl::Status RunServe(const ServeOptions& options);

}  // namespace tidegate
