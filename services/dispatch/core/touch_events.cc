#include "services/dispatch/core/touch_events.h"

#include "absl/strings/str_cat.h"
#include "common/base/partitioner.h"
#include "services/dispatch/core/campaign_book.h"
#include "tidegate/log/v1/events.pb.h"

namespace tidegate::dispatch {

core::OutboxRecord TouchEvent(const TouchEnd& end, uint32_t partitions) {
  ::tidegate::log::v1::CustomerEvent event;
  event.set_corp(end.corp);
  event.set_customer(end.customer);
  event.set_source("dispatch");
  event.set_event_id(absl::StrCat("touch/", end.id));
  event.set_kind(end.kind);
  event.set_event_time_ns(end.time_ns);
  event.set_received_time_ns(end.time_ns);
  event.mutable_touch()->set_campaign(end.campaign);
  event.mutable_touch()->set_member(end.member);
  event.mutable_touch()->set_reason(end.reason);
  const std::string key = CustomerKey(end.corp, end.customer);
  return {.target = {log::Topic::kEvents, PartitionOf(key, partitions)},
          .key = key,
          .value = event.SerializeAsString()};
}

std::pair<std::string, std::string> TouchKindOf(uint8_t status) {
  switch (status) {
    case kTouchSent:
      return {"touch_sent", ""};
    case kTouchNotFriend:
      return {"touch_failed", "not_friend"};
    case kTouchOverQuota:
      return {"touch_failed", "over_quota"};
    case kTouchFailList:
      return {"touch_failed", "fail_list"};
    case kTouchRefused:
      return {"touch_failed", "refused"};
    case kTouchAbandoned:
      return {"touch_failed", "abandoned"};
    case kTouchExpired:
      return {"touch_skipped", "expired"};
    case kTouchCancelled:
      return {"touch_skipped", "cancelled"};
    default:
      return {"touch_unconfirmed", "results_closed"};
  }
}

}  // namespace tidegate::dispatch
