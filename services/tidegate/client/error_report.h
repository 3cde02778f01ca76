// What people and scripts see of an error: an exit code and lines on standard error.
//
// The servers attach google.rpc.Status with BadRequest and ErrorInfo. Debian ships no headers of these
// messages, so the few fields that are shown are read from the wire format here.
#pragma once

#include <string>
#include <utility>
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
  std::vector<std::pair<std::string, std::string>> metadata;
};

// Reads what it knows; broken or foreign bytes give fewer details, never an error.
ErrorDetails DecodeErrorDetails(absl::string_view serialized_status);

// 0 ok, 1 failure, 2 INVALID_ARGUMENT, 3 not found, 4 conflict, 5 denied, 6 quota, 7 unavailable,
// 8 deadline.
int ExitCodeOf(const absl::Status& status);

// Lines that end with a newline: the code, the message, then each field violation. Text of more than
// one line (a drawn expression) starts on a line of its own, so that its carets stay in place.
std::string DescribeError(const absl::Status& status);

}  // namespace tidegate::client
