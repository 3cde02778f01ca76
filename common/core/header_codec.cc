#include "common/core/header_codec.h"

namespace tidegate::core {

std::string EncodeHeader(const ::tidegate::log::v1::RecordHeader& header) {
  return header.SerializeAsString();
}

absl::StatusOr<::tidegate::log::v1::RecordHeader> DecodeHeader(absl::string_view bytes) {
  ::tidegate::log::v1::RecordHeader header;
  if (!header.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::DataLossError("record header is not a tidegate.log.v1.RecordHeader");
  }
  return header;
}

}  // namespace tidegate::core
