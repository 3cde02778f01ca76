// Refusals that tell when the same may be asked again.
#pragma once

#include <grpcpp/grpcpp.h>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace tidegate::rpc {

// RESOURCE_EXHAUSTED with ErrorInfo and RetryInfo. `reason` is UPPER_SNAKE_CASE; `wait` is
// positive.
grpc::Status NotNow(absl::string_view message, absl::string_view reason, absl::Duration wait);

}  // namespace tidegate::rpc
