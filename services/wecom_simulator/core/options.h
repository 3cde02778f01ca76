// Every setting of the simulator's core, with the values the demo uses as defaults.
#pragma once

#include <cstdint>
#include <vector>

#include "services/wecom_simulator/core/limits.h"
#include "services/wecom_simulator/core/receive_quota.h"
#include "services/wecom_simulator/core/windows.h"

namespace tidegate::wecom_simulator {

struct CoreOptions {
  // All chance comes from here: phases, latencies, which follows are broken, who never confirms.
  uint64_t seed = 1;
  WindowKind window = WindowKind::kSliding;
  Limits limits = DefaultLimits();
  // Answers leave after a lognormal latency, cut at limits.hold_ms.
  double latency_median_ms = 20;
  double latency_p99_ms = 80;  // at least the median
  // A member confirms an exponential time after the execution, or is one who never does.
  double confirm_mean_ms = 6000;
  double confirm_never = 0.1;  // share of members
  // One who has not, at a reminder: the chance to confirm an exponential time after it.
  double confirm_reminded = 0.5;
  double reminded_mean_ms = 6000;
  // A member does the same with each task, as one who goes through all that are there; false: each
  // task has its own chance.
  bool confirm_alike = false;
  // Shares of customers, disjoint, stable for a seed: status 2 when sent, status 3 when sent,
  // fail_list at the create.
  double broken = 0.01;
  double over_quota = 0.01;
  double fail_list = 0.005;
  // What each customer may receive beyond these lots; who is over it gets status 3.
  ReceiveQuotaKind receive_quota = ReceiveQuotaKind::kDaysInMonth;
  int64_t list_page_max = 100;     // get_groupmsg_list_v2 answers at most so many tasks at once
  int64_t distributing_ms = 1000;  // 41063 for so long after a create
  int64_t token_seconds = 7200;
  int64_t welcome_seconds = 20;  // a welcome code works for so long, inclusive
  // Waits after the first and the second failed delivery of a callback; then it is exhausted.
  std::vector<int64_t> callback_retry_ms = {1000, 3000};
  int64_t callback_deadline_ms = 5000;  // no answer by then is a failed delivery
  int64_t callbacks_in_flight_max = 32;
  // Bound of callbacks that wait and customers that are still to be added; policy when full: the
  // control request that would exceed it is refused as a whole.
  int64_t events_pending_max = 200'000;
};

}  // namespace tidegate::wecom_simulator
