#include "common/grpc/errors.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/grpc/retry.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace tidegate::rpc {
namespace {

constexpr size_t kMessageBytesMax = 2048;
constexpr size_t kViolationsMax = 20;
// A partition that recovers or changes its owner is back in about this time.
constexpr absl::Duration kRetryAfter = absl::Seconds(1);

grpc::Status WithDetails(grpc::StatusCode code, std::string message, absl::string_view reason,
                         const google::rpc::BadRequest* bad_request, absl::Duration retry_after) {
  if (message.size() > kMessageBytesMax) {
    message.resize(kMessageBytesMax);
    while (!message.empty() && (static_cast<unsigned char>(message.back()) & 0xC0) == 0x80) {
      message.pop_back();
    }
    if (!message.empty() && static_cast<unsigned char>(message.back()) >= 0x80) message.pop_back();
  }
  google::rpc::Status details;
  details.set_code(code);
  details.set_message(message);
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(reason));
  info.set_domain(kErrorDomain);
  details.add_details()->PackFrom(info);
  if (bad_request != nullptr) details.add_details()->PackFrom(*bad_request);
  if (retry_after > absl::ZeroDuration()) {
    google::rpc::RetryInfo retry;
    absl::Duration rest;
    retry.mutable_retry_delay()->set_seconds(
        absl::IDivDuration(retry_after, absl::Seconds(1), &rest));
    retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(rest)));
    details.add_details()->PackFrom(retry);
  }
  return grpc::Status(code, message, details.SerializeAsString());
}

}  // namespace

grpc::StatusCode ToGrpcCode(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return grpc::StatusCode::OK;
    case absl::StatusCode::kCancelled:
      return grpc::StatusCode::CANCELLED;
    case absl::StatusCode::kUnknown:
      return grpc::StatusCode::UNKNOWN;
    case absl::StatusCode::kInvalidArgument:
      return grpc::StatusCode::INVALID_ARGUMENT;
    case absl::StatusCode::kDeadlineExceeded:
      return grpc::StatusCode::DEADLINE_EXCEEDED;
    case absl::StatusCode::kNotFound:
      return grpc::StatusCode::NOT_FOUND;
    case absl::StatusCode::kAlreadyExists:
      return grpc::StatusCode::ALREADY_EXISTS;
    case absl::StatusCode::kPermissionDenied:
      return grpc::StatusCode::PERMISSION_DENIED;
    case absl::StatusCode::kResourceExhausted:
      return grpc::StatusCode::RESOURCE_EXHAUSTED;
    case absl::StatusCode::kFailedPrecondition:
      return grpc::StatusCode::FAILED_PRECONDITION;
    case absl::StatusCode::kAborted:
      return grpc::StatusCode::ABORTED;
    case absl::StatusCode::kOutOfRange:
      return grpc::StatusCode::OUT_OF_RANGE;
    case absl::StatusCode::kUnimplemented:
      return grpc::StatusCode::UNIMPLEMENTED;
    case absl::StatusCode::kInternal:
      return grpc::StatusCode::INTERNAL;
    case absl::StatusCode::kUnavailable:
      return grpc::StatusCode::UNAVAILABLE;
    case absl::StatusCode::kDataLoss:
      return grpc::StatusCode::DATA_LOSS;
    case absl::StatusCode::kUnauthenticated:
      return grpc::StatusCode::UNAUTHENTICATED;
    default:
      return grpc::StatusCode::UNKNOWN;
  }
}

grpc::Status ToGrpcStatus(const absl::Status& status, absl::string_view reason) {
  if (status.ok()) return grpc::Status::OK;
  return WithDetails(ToGrpcCode(status.code()), std::string(status.message()), reason, nullptr,
                     absl::IsUnavailable(status) ? kRetryAfter : absl::ZeroDuration());
}

grpc::Status NotNow(absl::string_view message, absl::string_view reason, absl::Duration wait) {
  return WithDetails(grpc::StatusCode::RESOURCE_EXHAUSTED, std::string(message), reason, nullptr,
                     wait);
}

grpc::Status Explain(const grpc::Status& status, absl::string_view other,
                     absl::string_view reason) {
  // An answer has details; what is the channel's own has none.
  if (status.error_code() != grpc::StatusCode::UNAVAILABLE || !status.error_details().empty()) {
    return status;
  }
  return ToGrpcStatus(absl::UnavailableError(absl::StrCat(other, " does not answer (",
                                                          status.error_message(), "); repeat")),
                      reason);
}

grpc::Status UnknownCorp() {
  return ToGrpcStatus(absl::NotFoundError("corp is not known here; see the corps file"),
                      "CORP_NOT_FOUND");
}

grpc::ServerUnaryReactor* Finish(grpc::CallbackServerContext* context, grpc::Status status) {
  auto* reactor = context->DefaultReactor();
  reactor->Finish(std::move(status));
  return reactor;
}

grpc::Status InvalidArgument(const std::vector<FieldViolation>& violations) {
  google::rpc::BadRequest bad_request;
  std::string message;
  for (const FieldViolation& violation : violations) {
    if (static_cast<size_t>(bad_request.field_violations_size()) == kViolationsMax) break;
    auto* added = bad_request.add_field_violations();
    added->set_field(violation.field);
    added->set_description(violation.description);
    absl::StrAppend(&message, message.empty() ? "" : "; ", violation.field, ": ",
                    violation.description);
  }
  return WithDetails(grpc::StatusCode::INVALID_ARGUMENT, std::move(message), "INVALID_FIELD",
                     &bad_request, absl::ZeroDuration());
}

grpc::Status InvalidExpression(absl::string_view field, absl::string_view text,
                               const std::vector<expression::Violation>& violations) {
  google::rpc::BadRequest bad_request;
  for (const auto& violation : violations) {
    if (static_cast<size_t>(bad_request.field_violations_size()) == kViolationsMax) break;
    auto* added = bad_request.add_field_violations();
    added->set_field(std::string(field));
    added->set_description(absl::StrCat(violation.line, ":", violation.column, " ",
                                        violation.reason, ": ", violation.message, " (byte ",
                                        violation.offset, ", length ", violation.length, ")"));
  }
  return WithDetails(grpc::StatusCode::INVALID_ARGUMENT,
                     expression::DrawViolations(text, violations),
                     violations.empty() ? "SYNTAX" : violations.front().reason, &bad_request,
                     absl::ZeroDuration());
}

}  // namespace tidegate::rpc
