#include "services/dispatch/core/flows.h"

namespace tidegate::dispatch {

const char* ApiOf(FlowKind kind) {
  switch (kind) {
    case FlowKind::kWelcome:
      return "send_welcome_msg";
    case FlowKind::kProbe:
    case FlowKind::kListing:
      return "get_groupmsg_list_v2";
    case FlowKind::kCreate:
    case FlowKind::kUrgentMessage:
    case FlowKind::kInteractiveMessage:
    case FlowKind::kBulkMessage:
      return "add_msg_template";
    case FlowKind::kUrgentAppMessage:
    case FlowKind::kInteractiveAppMessage:
    case FlowKind::kBulkAppMessage:
      return "message_send";
    case FlowKind::kMarkTag:
      return "mark_tag";
    case FlowKind::kReadTask:
      return "get_groupmsg_task";
    case FlowKind::kReadResult:
      return "get_groupmsg_send_result";
    case FlowKind::kRemind:
      return "remind_groupmsg_send";
    case FlowKind::kCancel:
      return "cancel_groupmsg_send";
    case FlowKind::kAudit:
      return "get_groupmsg_list_v2";
  }
  return "";
}

CallClass ClassOf(FlowKind kind) {
  switch (kind) {
    case FlowKind::kWelcome:
    case FlowKind::kUrgentMessage:
    case FlowKind::kUrgentAppMessage:
      return CallClass::kUrgent;
    // All calls of the corp wait for it.
    case FlowKind::kProbe:
    // The touches of a call in doubt wait for it.
    case FlowKind::kListing:
    case FlowKind::kInteractiveMessage:
    case FlowKind::kRemind:
    case FlowKind::kInteractiveAppMessage:
    // Until then customers may get the same twice.
    case FlowKind::kCancel:
      return CallClass::kInteractive;
    default:
      return CallClass::kBulk;
  }
}

bool KeepsQuiet(FlowKind kind) {
  return kind == FlowKind::kCreate || kind == FlowKind::kBulkMessage || kind == FlowKind::kRemind;
}

}  // namespace tidegate::dispatch
