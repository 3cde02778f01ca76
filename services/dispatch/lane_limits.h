// The limits of one lane: those of the limits file, with what its way to WeCom makes of them.
//
// Pure.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "common/wecom_table/limits.h"
#include "services/dispatch/config.h"

namespace tidegate::dispatch {

// `share`: millionths of its address that the lane has. Behind a forward proxy a call may take
// effect settle.proxy_ns later, in the limits of corps too: the proxy acknowledges our bytes, so
// neither TCP_USER_TIMEOUT nor a reset ends what it has taken. INVALID_ARGUMENT: the share of a
// limit is less than one call, or the limits file would park doubts before they can be settled
// behind a proxy, or repeat messages there until WeCom no longer knows the first; says what to
// write.
absl::StatusOr<wecom_table::Limits> LimitsOfLane(const Config& config, int64_t share,
                                                 uint32_t lane);

}  // namespace tidegate::dispatch
