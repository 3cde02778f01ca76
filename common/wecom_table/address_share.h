// What a lane may use of its address's limits, where several lanes or processes share the address.
//
// Pure.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "common/wecom_table/limits.h"

namespace tidegate::wecom_table {

// The limits with so many millionths (1 to 1,000,000) of each amount of an address, rounded down,
// so that shares that add up to at most 1 let no more through than the limit; the limits of corps
// are as they were. INVALID_ARGUMENT: an amount is less than one call then.
absl::StatusOr<Limits> LimitsOfShare(const Limits& limits, int64_t millionths);

}  // namespace tidegate::wecom_table
