#include "services/tidegate/client/error_report.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <cstdint>
#include <functional>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/types/optional.h"

namespace tidegate::client {
namespace {

using ::google::protobuf::internal::WireFormatLite;
using ::google::protobuf::io::CodedInputStream;

// Calls `visit` for each length-delimited field of a message; skips the others. Stops at a fault.
void ForEachBytesField(absl::string_view message,
                       const std::function<void(int field, const std::string& bytes)>& visit) {
  if (message.size() > static_cast<size_t>(std::numeric_limits<int>::max())) return;
  CodedInputStream input(reinterpret_cast<const uint8_t*>(message.data()),
                         static_cast<int>(message.size()));
  while (const uint32_t tag = input.ReadTag()) {
    if (WireFormatLite::GetTagWireType(tag) != WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
      if (!WireFormatLite::SkipField(&input, tag)) return;
      continue;
    }
    uint32_t length = 0;
    std::string bytes;
    if (!input.ReadVarint32(&length) || length > message.size() ||
        !input.ReadString(&bytes, static_cast<int>(length))) {
      return;
    }
    visit(WireFormatLite::GetTagFieldNumber(tag), bytes);
  }
}

// Two string fields numbered 1 and 2: FieldViolation, and an entry of a map<string, string>.
std::pair<std::string, std::string> StringPair(absl::string_view message) {
  std::pair<std::string, std::string> pair;
  ForEachBytesField(message, [&](int field, const std::string& bytes) {
    if (field == 1) pair.first = bytes;
    if (field == 2) pair.second = bytes;
  });
  return pair;
}

void DecodeDetail(absl::string_view type_url, absl::string_view value, ErrorDetails* details) {
  if (absl::EndsWith(type_url, "/google.rpc.BadRequest")) {
    ForEachBytesField(value, [&](int field, const std::string& bytes) {
      if (field != 1) return;
      auto [name, description] = StringPair(bytes);
      details->violations.push_back({std::move(name), std::move(description)});
    });
  } else if (absl::EndsWith(type_url, "/google.rpc.ErrorInfo")) {
    ForEachBytesField(value, [&](int field, const std::string& bytes) {
      if (field == 1) details->reason = bytes;
      if (field == 3) details->metadata.push_back(StringPair(bytes));
    });
  }
}

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
  // google.rpc.Status: details = 3, each an Any: type_url = 1, value = 2.
  ForEachBytesField(serialized_status, [&](int field, const std::string& bytes) {
    if (field != 3) return;
    const auto [type_url, value] = StringPair(bytes);
    DecodeDetail(type_url, value, &details);
  });
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
  std::string lines;
  // Our own failures are kUnknown: the word would only puzzle.
  const std::string label = status.code() == absl::StatusCode::kUnknown
                                ? "tidegate"
                                : absl::StrCat("tidegate: ", CodeWords(status.code()));
  AppendBlock(label, status.message(), &lines);
  const absl::optional<absl::Cord> payload = status.GetPayload(kErrorDetailsPayload);
  if (!payload.has_value()) return lines;
  const ErrorDetails details = DecodeErrorDetails(std::string(*payload));
  for (const FieldViolation& violation : details.violations) {
    // Servers put the only violation into the message as well.
    const bool shown =
        !violation.description.empty() && absl::StrContains(status.message(), violation.description);
    AppendBlock(absl::StrCat("  ", violation.field), shown ? "" : violation.description, &lines);
  }
  if (!details.reason.empty()) {
    absl::StrAppend(&lines, "  reason: ", details.reason);
    for (const auto& [key, value] : details.metadata) absl::StrAppend(&lines, " ", key, "=", value);
    lines.push_back('\n');
  }
  return lines;
}

}  // namespace tidegate::client
