// The kinds of events that tagging understands; rules name them (docs/events.md).
#pragma once

namespace tidegate::tagging {

inline constexpr char kFollowAdded[] = "follow_added";
inline constexpr char kFollowHalfAdded[] = "follow_half_added";
inline constexpr char kFollowDeleted[] = "follow_deleted";
inline constexpr char kFollowLost[] = "follow_lost";
inline constexpr char kOrderPaid[] = "order_paid";
inline constexpr char kCustomerImported[] = "customer_imported";
inline constexpr char kTouchSent[] = "touch_sent";
inline constexpr char kTouchFailed[] = "touch_failed";
inline constexpr char kTouchUnconfirmed[] = "touch_unconfirmed";
inline constexpr char kTouchSkipped[] = "touch_skipped";

}  // namespace tidegate::tagging
