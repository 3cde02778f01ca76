// The part of a day in which customers and members are left alone.
//
// Pure. Wall times: Unix nanoseconds.
#pragma once

#include <cstdint>
#include <optional>

#include "common/wecom_table/limits.h"

namespace tidegate::wecom_table {

// When the quiet hours end that hold at `wall_ns`, or begin within `ahead_ns` (less than a day)
// after it; nullopt: there are none.
std::optional<int64_t> QuietUntilNs(const QuietHours& hours, int64_t wall_ns, int64_t ahead_ns);

}  // namespace tidegate::wecom_table
