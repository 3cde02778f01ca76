// Touches of messages as callers see them.
#pragma once

#include <string>
#include <utility>

#include "services/dispatch/core/dispatch_core.h"
#include "tidegate/dispatch/v1/dispatch_service.pb.h"

namespace tidegate::dispatch {

// With the reason of a touch that was not sent.
std::pair<::tidegate::dispatch::v1::TouchState, const char*> ToTouchState(MessageState state);

::tidegate::dispatch::v1::Touch ToTouch(const DispatchCore& core, const MessageBook::Ref& ref);

// The touches of one corp from `page_token` on; see ListTouches. INVALID_ARGUMENT: the token is not
// one of ours.
absl::Status ListTouchesOf(const DispatchCore& core,
                           const ::tidegate::dispatch::v1::ListTouchesRequest& request,
                           ::tidegate::dispatch::v1::ListTouchesResponse* response);

// The next changes after `*after`, which moves on. OUT_OF_RANGE: some are not kept any more.
absl::StatusOr<::tidegate::dispatch::v1::WatchTouchesResponse> ChangesAfter(
    const DispatchCore& core, const std::string& corp, const std::string& key_prefix,
    uint64_t* after);

}  // namespace tidegate::dispatch
