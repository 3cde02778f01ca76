// Record headers to bytes and back.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tidegate/log/v1/header.pb.h"

namespace tidegate::core {

std::string EncodeHeader(const ::tidegate::log::v1::RecordHeader& header);
// Empty bytes are an empty header. DATA_LOSS if they are not a header.
absl::StatusOr<::tidegate::log::v1::RecordHeader> DecodeHeader(absl::string_view bytes);

}  // namespace tidegate::core
