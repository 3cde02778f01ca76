// The queues in which calls wait: the books fill them, the scheduler chooses among them.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <string>

#include "services/dispatch/core/token_buckets.h"

namespace tidegate::dispatch {

enum class FlowKind : uint8_t {
  kProbe,
  kWelcome,
  kListing,
  kCreate,
  kUrgentMessage,
  kInteractiveMessage,
  kBulkMessage,
  kUrgentAppMessage,
  kInteractiveAppMessage,
  kBulkAppMessage,
  kMarkTag,
  kReadTask,
  kReadResult,
  kRemind,
  kCancel,
  kAudit,
};

// Urgent calls have seconds; interactive ones keep somebody or something waiting.
enum class CallClass : uint8_t { kInteractive, kBulk, kUrgent };

struct FlowName {
  FlowKind kind = FlowKind::kMarkTag;
  std::string corp;
  std::string campaign;  // of kCreate, kRemind and messages
  auto operator<=>(const FlowName&) const = default;
};

// Of messages to members, which stand in the campaigns of those to customers.
inline bool IsAppMessage(FlowKind kind) {
  return kind == FlowKind::kUrgentAppMessage || kind == FlowKind::kInteractiveAppMessage ||
         kind == FlowKind::kBulkAppMessage;
}

// When the first call of a flow may leave.
struct FlowHead {
  int64_t not_before_raw_ns = 0;
  int64_t deadline_ns = kNever;  // orders urgent calls; wall time
  int64_t waiting = 1;           // calls of the flow, those whose time has not come too; roughly
  uint32_t person_times = 0;     // of that call
};

// A book tells that the first call of a flow may be another one than before.
using FlowChanged = std::function<void(FlowName)>;

// The endpoint that a flow's calls are made to.
const char* ApiOf(FlowKind kind);
CallClass ClassOf(FlowKind kind);
// Its calls reach people who did not ask for them: none in quiet hours.
bool KeepsQuiet(FlowKind kind);

}  // namespace tidegate::dispatch
