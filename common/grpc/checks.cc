#include "common/grpc/checks.h"

#include <chrono>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace tidegate::rpc {

bool IsUtf8(absl::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = lead < 0x80                   ? 1
                          : lead >= 0xC2 && lead < 0xE0 ? 2
                          : (lead & 0xF0) == 0xE0       ? 3
                          : lead >= 0xF0 && lead < 0xF5 ? 4
                                                        : 0;
    if (length == 0 || i + length > text.size()) return false;
    for (size_t k = 1; k < length; ++k) {
      if ((static_cast<unsigned char>(text[i + k]) & 0xC0) != 0x80) return false;
    }
    i += length;
  }
  return true;
}

void CheckId(absl::string_view field, absl::string_view value, std::vector<FieldViolation>* wrong) {
  bool fits = !value.empty() && value.size() <= 63;
  for (const char c : value) {
    fits = fits && (absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-' || c == '_');
  }
  if (!fits) {
    wrong->push_back({std::string(field), "write 1 to 63 characters of a-z 0-9 - _"});
  }
}

void CheckText(absl::string_view field, absl::string_view value, size_t bytes_max,
               std::vector<FieldViolation>* wrong) {
  if (value.empty()) {
    wrong->push_back({std::string(field), "is required"});
  } else if (value.size() > bytes_max) {
    wrong->push_back({std::string(field), absl::StrCat("has ", value.size(), " bytes; at most ",
                                                       bytes_max, " are allowed")});
  } else if (!IsUtf8(value)) {
    wrong->push_back({std::string(field), "is not UTF-8"});
  } else {
    for (const char c : value) {
      if (static_cast<unsigned char>(c) < 0x20 && c != '\n') {
        wrong->push_back({std::string(field), "holds a control character"});
        return;
      }
    }
  }
}

void CheckRequestId(absl::string_view value, std::vector<FieldViolation>* wrong) {
  bool fits = value.size() == 36;
  for (size_t i = 0; fits && i < value.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    fits = dash ? value[i] == '-' : absl::ascii_isxdigit(value[i]);
  }
  if (!fits)
    wrong->push_back({"request_id", "write a UUID; the same one only to repeat this request"});
}

absl::Time DeadlineOf(const grpc::ServerContextBase& context) {
  const auto deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max())
    return absl::Now() + absl::Seconds(30);
  return absl::FromChrono(deadline);
}

}  // namespace tidegate::rpc
