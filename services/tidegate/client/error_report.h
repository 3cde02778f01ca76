// What people and scripts see of an error: an exit code and lines on standard error, with what the
// server attached as google.rpc.BadRequest and ErrorInfo. Not for making such errors (common/grpc).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace tidegate::client {

// Payload of an absl::Status that holds a serialised google.rpc.Status.
inline constexpr char kErrorDetailsPayload[] = "type.googleapis.com/google.rpc.Status";

struct FieldViolation {
  std::string field;
  std::string description;
};

struct ErrorDetails {
  // BadRequest.field_violations.
  std::vector<FieldViolation> violations;
  // ErrorInfo.
  std::string reason;
  std::map<std::string, std::string> metadata;
};

// Reads what it knows; broken or foreign bytes give no details, never an error.
ErrorDetails DecodeErrorDetails(absl::string_view serialized_status);

// 0 ok, 1 failure, 2 INVALID_ARGUMENT, 3 not found, 4 conflict, 5 denied, 6 quota, 7 unavailable,
// 8 deadline.
int ExitCodeOf(const absl::Status& status);

// Lines that end with a newline: the code, the message, then each field violation. Text of more
// than one line (a drawn expression) starts on a line of its own, so that its carets stay in place.
std::string DescribeError(const absl::Status& status);

}  // namespace tidegate::client
