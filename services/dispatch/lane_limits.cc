#include "services/dispatch/lane_limits.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/status_macros.h"
#include "common/wecom_table/address_share.h"

namespace tidegate::dispatch {
namespace {

using wecom_table::Limits;

int64_t Millis(int64_t ns) { return (ns + kNanosPerMilli - 1) / kNanosPerMilli; }

absl::Status TooSoon(const char* key, int64_t at_least_ns) {
  return absl::InvalidArgumentError(
      absl::StrCat("limits file: ", key, ": write at least ", Millis(at_least_ns),
                   ", since a lane has a forward proxy, or a smaller settle.proxy_ms"));
}

// `limits` with the proxy's part in hold_ns.
absl::Status CheckWaits(const Limits& limits) {
  const wecom_table::Settle& settle = limits.settle;
  // Later than the second of the two listings may begin.
  const int64_t settled_ns = limits.SettleWaitNs() + settle.list_gap_ns;
  if (settle.park_after_ns <= settled_ns) {
    return TooSoon("settle.park_after_ms", settled_ns + kNanosPerMilli);
  }
  // From the decision to repeat until it has taken effect.
  const int64_t repeated_ns =
      2 * limits.http_deadline_ns + settle.user_timeout_ns + settle.hold_ns + settle.skew_ns;
  if (limits.app_messages.repeat_margin_ns < repeated_ns) {
    return TooSoon("app_messages.repeat_margin_ms", repeated_ns);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Limits> LimitsOfLane(const Config& config, int64_t share, uint32_t lane) {
  ASSIGN_OR_RETURN(Limits limits, wecom_table::LimitsOfShare(config.limits, share));
  if (config.EgressOf(lane).proxy.empty()) return limits;
  limits.settle.hold_ns += limits.settle.proxy_ns;
  for (auto& [corp, own] : limits.corps) {
    Limits changed = *own;
    changed.settle = limits.settle;
    own = std::make_shared<const Limits>(std::move(changed));
  }
  RETURN_IF_ERROR(CheckWaits(limits));
  return limits;
}

}  // namespace tidegate::dispatch
