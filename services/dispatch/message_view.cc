#include "services/dispatch/message_view.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/dispatch/request_checks.h"

namespace tidegate::dispatch {

namespace v1 = ::tidegate::dispatch::v1;

namespace {

constexpr int kPageMax = 1000;
constexpr int kPageDefault = 100;
// What one question may look at on the lane's thread.
constexpr size_t kLooksMax = 100'000;
constexpr int kChangesPerMessage = 1000;

}  // namespace

std::pair<v1::TouchState, const char*> ToTouchState(MessageState state) {
  switch (state) {
    case MessageState::kRepeat:
      return {v1::TOUCH_STATE_UNSPECIFIED, ""};
    case MessageState::kWaiting:
      return {v1::TOUCH_STATE_WAITING, ""};
    case MessageState::kQueued:
      return {v1::TOUCH_STATE_QUEUED, ""};
    case MessageState::kSending:
      return {v1::TOUCH_STATE_SENDING, ""};
    case MessageState::kInDoubt:
      return {v1::TOUCH_STATE_IN_DOUBT, ""};
    case MessageState::kAccepted:
      return {v1::TOUCH_STATE_ACCEPTED, ""};
    case MessageState::kParked:
      return {v1::TOUCH_STATE_PARKED, ""};
    case MessageState::kSent:
      return {v1::TOUCH_STATE_SENT, ""};
    case MessageState::kNotFriend:
      return {v1::TOUCH_STATE_FAILED, "not_friend"};
    case MessageState::kOverQuota:
      return {v1::TOUCH_STATE_FAILED, "over_quota"};
    case MessageState::kFailList:
      return {v1::TOUCH_STATE_FAILED, "fail_list"};
    case MessageState::kRefused:
      return {v1::TOUCH_STATE_FAILED, "refused"};
    case MessageState::kAbandoned:
      return {v1::TOUCH_STATE_FAILED, "abandoned"};
    case MessageState::kUnconfirmed:
      return {v1::TOUCH_STATE_UNCONFIRMED, ""};
    case MessageState::kExpired:
      return {v1::TOUCH_STATE_SKIPPED, "expired"};
    case MessageState::kCancelled:
      return {v1::TOUCH_STATE_SKIPPED, "cancelled"};
    case MessageState::kSkippedOverQuota:
      return {v1::TOUCH_STATE_SKIPPED, "over_quota"};
  }
  return {v1::TOUCH_STATE_UNSPECIFIED, ""};
}

v1::Touch ToTouch(const DispatchCore& core, const MessageBook::Ref& ref) {
  const MessageBook::Batch& batch = core.messages().BatchOf(ref);
  const auto& message = batch.messages.messages(static_cast<int>(ref.index));
  const MessageBook::Touch& known = batch.touches[ref.index];
  const auto [state, reason] = ToTouchState(known.state);
  v1::Touch touch;
  touch.set_key(message.key());
  touch.set_customer(message.customer());
  touch.set_sender(message.sender());
  touch.set_member(message.member());
  // Both enums have the same numbers.
  touch.set_message_class(static_cast<v1::MessageClass>(message.message_class()));
  touch.set_state(state);
  touch.set_reason(reason);
  SetTime(batch.messages.received_ns(), touch.mutable_received_time());
  if (const CampaignCallState* call = core.CallOf(ref)) touch.set_call_id(call->call_id);
  return touch;
}

absl::Status ListTouchesOf(const DispatchCore& core, const v1::ListTouchesRequest& request,
                           v1::ListTouchesResponse* response) {
  MessageBook::Ref from;
  if (!request.page_token().empty()) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(request.page_token(), '.');
    if (!absl::SimpleAtoi(parts.first, &from.position) ||
        !absl::SimpleAtoi(parts.second, &from.index)) {
      return absl::InvalidArgumentError("page_token is none that ListTouches gave");
    }
  }
  const int size =
      request.page_size() <= 0 ? kPageDefault : std::min(request.page_size(), kPageMax);
  response->set_after(core.messages().last_change());
  size_t looks = 0;
  const auto& batches = core.messages().batches();
  for (auto it = batches.lower_bound(from.position); it != batches.end(); ++it) {
    const bool own = it->second.corp == request.corp();
    if (!own && ++looks > kLooksMax) {
      response->set_next_page_token(absl::StrCat(it->first, ".0"));
      return absl::OkStatus();
    }
    for (uint32_t i = it->first == from.position ? from.index : 0;
         own && i < it->second.touches.size(); ++i) {
      if (response->touches_size() == size || ++looks > kLooksMax) {
        response->set_next_page_token(absl::StrCat(it->first, ".", i));
        return absl::OkStatus();
      }
      const MessageState state = it->second.touches[i].state;
      if (state == MessageState::kRepeat) continue;
      if (request.state() != v1::TOUCH_STATE_UNSPECIFIED &&
          request.state() != ToTouchState(state).first) {
        continue;
      }
      *response->add_touches() = ToTouch(core, {.position = it->first, .index = i});
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::WatchTouchesResponse> ChangesAfter(const DispatchCore& core,
                                                      const std::string& corp,
                                                      const std::string& key_prefix,
                                                      uint64_t* after) {
  v1::WatchTouchesResponse response;
  const auto& changes = core.messages().changes();
  const uint64_t kept_from =
      changes.empty() ? core.messages().last_change() + 1 : changes.front().first_number;
  if (*after != 0 && *after + 1 < kept_from) {
    return absl::OutOfRangeError(
        absl::StrCat("changes before ", kept_from,
                     " are not kept any more; ListTouches tells the states "
                     "and from where to watch"));
  }
  auto it = std::upper_bound(changes.begin(), changes.end(), *after,
                             [](uint64_t number, const MessageBook::Change& change) {
                               return number < change.first_number + change.touches.size() - 1;
                             });
  size_t looks = 0;
  const auto enough = [&] {
    return response.changes_size() == kChangesPerMessage || looks > kLooksMax;
  };
  for (; it != changes.end() && !enough(); ++it) {
    ++looks;
    const uint64_t last = it->first_number + it->touches.size() - 1;
    if (it->corp != corp) {
      *after = last;
      continue;
    }
    const auto [state, reason] = ToTouchState(it->state);
    for (size_t i = *after >= it->first_number ? *after - it->first_number + 1 : 0;
         i < it->touches.size() && !enough(); ++i) {
      ++looks;
      *after = it->first_number + i;
      const MessageBook::Ref& ref = it->touches[i];
      if (!core.messages().Knows(ref)) continue;
      const std::string& key =
          core.messages().BatchOf(ref).messages.messages(static_cast<int>(ref.index)).key();
      if (!absl::StartsWith(key, key_prefix)) continue;
      v1::TouchChange* change = response.add_changes();
      change->set_number(*after);
      change->set_key(key);
      change->set_state(state);
      change->set_reason(reason);
      SetTime(it->time_ns, change->mutable_time());
    }
  }
  response.set_after(*after);
  return response;
}

}  // namespace tidegate::dispatch
