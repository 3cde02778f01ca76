// What a limit may be at most, wherever it is written: in the limits file or by an operator.
#pragma once

#include <cstdint>

namespace tidegate::wecom_table {

// Calls, or people.
inline constexpr int64_t kAmountMax = 1'000'000'000;
// Of a window, and of every other time that has no bound of its own.
inline constexpr int64_t kWindowMillisMax = int64_t{366} * 24 * 3600 * 1000;
inline constexpr int64_t kInFlightMax = 10'000;
inline constexpr int64_t kWeightMax = 1000;

}  // namespace tidegate::wecom_table
