#include "services/tidegate/client/error_report.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/types/optional.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace tidegate::client {
namespace {

std::string CodeWords(absl::StatusCode code) {
  return absl::StrReplaceAll(absl::AsciiStrToLower(absl::StatusCodeToString(code)), {{"_", " "}});
}

void AppendBlock(absl::string_view label, absl::string_view text, std::string* out) {
  text = absl::StripTrailingAsciiWhitespace(text);
  if (!absl::StrContains(text, '\n')) {
    absl::StrAppend(out, label, text.empty() ? "" : ": ", text, "\n");
    return;
  }
  absl::StrAppend(out, label, ":\n");
  for (absl::string_view line : absl::StrSplit(text, '\n')) absl::StrAppend(out, "  ", line, "\n");
}

}  // namespace

ErrorDetails DecodeErrorDetails(absl::string_view serialized_status) {
  ErrorDetails details;
  google::rpc::Status status;
  if (!status.ParseFromString(std::string(serialized_status))) return details;
  for (const google::protobuf::Any& any : status.details()) {
    google::rpc::BadRequest bad_request;
    google::rpc::ErrorInfo info;
    if (any.UnpackTo(&bad_request)) {
      for (const auto& violation : bad_request.field_violations()) {
        details.violations.push_back({violation.field(), violation.description()});
      }
    } else if (any.UnpackTo(&info)) {
      details.reason = info.reason();
      details.metadata.insert(info.metadata().begin(), info.metadata().end());
    }
  }
  return details;
}

int ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return 0;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return 2;
    case absl::StatusCode::kNotFound:
      return 3;
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kFailedPrecondition:
      return 4;
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return 5;
    case absl::StatusCode::kResourceExhausted:
      return 6;
    case absl::StatusCode::kUnavailable:
      return 7;
    case absl::StatusCode::kDeadlineExceeded:
      return 8;
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kUnimplemented:
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kDataLoss:
    default:
      return 1;
  }
}

std::string DescribeError(const absl::Status& status) {
  ErrorDetails details;
  if (const absl::optional<absl::Cord> payload = status.GetPayload(kErrorDetailsPayload)) {
    details = DecodeErrorDetails(std::string(*payload));
  }
  // Our own failures are kUnknown: the word would only puzzle.
  const std::string label = status.code() == absl::StatusCode::kUnknown
                                ? "tidegate"
                                : absl::StrCat("tidegate: ", CodeWords(status.code()));
  // Servers sum the violations up in the message: the lines below say the same, one by one.
  const bool message_is_a_sum =
      !details.violations.empty() &&
      std::all_of(details.violations.begin(), details.violations.end(),
                  [&](const FieldViolation& violation) {
                    return absl::StrContains(status.message(), violation.description);
                  });
  std::string lines;
  AppendBlock(label, message_is_a_sum ? "" : status.message(), &lines);
  for (const FieldViolation& violation : details.violations) {
    AppendBlock(absl::StrCat("  ", violation.field), violation.description, &lines);
  }
  if (!details.reason.empty()) {
    absl::StrAppend(&lines, "  reason: ", details.reason);
    for (const auto& [key, value] : details.metadata) absl::StrAppend(&lines, " ", key, "=", value);
    lines.push_back('\n');
  }
  return lines;
}

}  // namespace tidegate::client
