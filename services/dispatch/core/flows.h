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
  kMarkTag,
  kReadTask,
  kReadResult,
};

// Urgent calls have seconds; interactive ones keep somebody or something waiting.
enum class CallClass : uint8_t { kInteractive, kBulk, kUrgent };

struct FlowName {
  FlowKind kind = FlowKind::kMarkTag;
  std::string corp;
  std::string campaign;  // of kCreate and messages
  auto operator<=>(const FlowName&) const = default;
};

// When the first call of a flow may leave.
struct FlowHead {
  int64_t not_before_raw_ns = 0;
  int64_t deadline_ns = kNever;  // orders urgent calls; wall time
};

// A book tells that the first call of a flow may be another one than before.
using FlowChanged = std::function<void(FlowName)>;

// The endpoint that a flow's calls are made to.
const char* ApiOf(FlowKind kind);
CallClass ClassOf(FlowKind kind);

}  // namespace tidegate::dispatch
