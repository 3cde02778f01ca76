// What several handlers of dispatch read, write and check alike.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/clock.h"
#include "common/grpc/checks.h"
#include "common/wecom_table/endpoints.h"
#include "google/protobuf/timestamp.pb.h"

namespace tidegate::dispatch {

inline void SetTime(int64_t wall_ns, google::protobuf::Timestamp* time) {
  time->set_seconds(wall_ns / kNanosPerSecond);
  time->set_nanos(static_cast<int32_t>(wall_ns % kNanosPerSecond));
}

// Unix nanoseconds; nothing if it is not after 1970, after the year 2255, or malformed.
inline std::optional<int64_t> TimeOf(const google::protobuf::Timestamp& time) {
  if (time.seconds() <= 0 || time.seconds() >= 9'000'000'000) return std::nullopt;
  if (time.nanos() < 0 || time.nanos() >= kNanosPerSecond) return std::nullopt;
  return time.seconds() * kNanosPerSecond + time.nanos();
}

// Who does something, and why: of every act that the audit trail keeps.
inline void CheckAct(const std::string& actor, const std::string& reason,
                     std::vector<rpc::FieldViolation>* wrong) {
  rpc::CheckText("actor", actor, 64, wrong);
  rpc::CheckText("reason", reason, 1000, wrong);
}

// An endpoint's name.
inline void CheckApi(const std::string& api, std::vector<rpc::FieldViolation>* wrong) {
  if (wecom_table::FindEndpoint(api) != nullptr) return;
  wrong->push_back({"api", "is none that Tidegate calls; write one as in add_msg_template"});
}

// An idempotency key of a caller.
inline void CheckKey(absl::string_view field, absl::string_view key,
                     std::vector<rpc::FieldViolation>* wrong) {
  constexpr size_t kBytesMax = 64;
  bool good = !key.empty() && key.size() <= kBytesMax;
  for (const char c : key) {
    good = good && (absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' ||
                    c == ':' || c == '-');
  }
  if (!good) {
    wrong->push_back({std::string(field), absl::StrCat("write 1 to ", kBytesMax,
                                                       " characters of a-z A-Z 0-9 . _ : -")});
  }
}

}  // namespace tidegate::dispatch
