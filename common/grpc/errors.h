// Errors at the RPC edge: an absl::Status or a list of wrong fields becomes a grpc::Status with
// google.rpc.ErrorInfo (and BadRequest) in its details. The one mapping of codes.
#pragma once

#include <grpcpp/grpcpp.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/expression/expression.h"

namespace tidegate::rpc {

// ErrorInfo.domain of every error.
inline constexpr char kErrorDomain[] = "tidegate";

struct FieldViolation {
  std::string field;        // path, as in "campaign.variants[1].text"
  std::string description;  // what is wrong and what to write instead
};

grpc::StatusCode ToGrpcCode(absl::StatusCode code);

// OK stays OK; UNAVAILABLE gets RetryInfo. `reason` is UPPER_SNAKE_CASE.
grpc::Status ToGrpcStatus(const absl::Status& status, absl::string_view reason);

// The end of a call to `other`, as the callers of this process are to see it: where `other` did not
// answer, UNAVAILABLE with RetryInfo; what it answered stays.
grpc::Status Explain(const grpc::Status& status, absl::string_view other, absl::string_view reason);

// INVALID_ARGUMENT with BadRequest; `violations` is not empty.
grpc::Status InvalidArgument(const std::vector<FieldViolation>& violations);

// NOT_FOUND: the corps file does not name the corp.
grpc::Status UnknownCorp();

// Ends a call whose answer is known at once.
grpc::ServerUnaryReactor* Finish(grpc::CallbackServerContext* context, grpc::Status status);

// Of an expression that did not parse: one violation per fault, the drawing as message (cut at 2
// KB, since trailers are limited to 8 KB).
grpc::Status InvalidExpression(absl::string_view field, absl::string_view text,
                               const std::vector<expression::Violation>& violations);

}  // namespace tidegate::rpc
