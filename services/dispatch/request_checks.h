// What several handlers of dispatch read, write and check alike.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/grpc/checks.h"
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

}  // namespace tidegate::dispatch
