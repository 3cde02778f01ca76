// Early return on error, so that a function reads as its good case.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define RETURN_IF_ERROR(expression)                                         \
  do {                                                                      \
    if (absl::Status status_ = (expression); !status_.ok()) return status_; \
  } while (false)

#define TIDEGATE_JOIN_INNER(a, b) a##b
#define TIDEGATE_JOIN(a, b) TIDEGATE_JOIN_INNER(a, b)
#define ASSIGN_OR_RETURN(target, expression) \
  TIDEGATE_ASSIGN_OR_RETURN(TIDEGATE_JOIN(status_or_, __LINE__), target, expression)
#define TIDEGATE_ASSIGN_OR_RETURN(result, target, expression) \
  auto result = (expression);                                 \
  if (!result.ok()) return std::move(result).status();        \
  target = std::move(result).value()
