// How one event changes one profile. Pure functions over the profile message.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/expression/expression.h"
#include "tidegate/log/v1/events.pb.h"
#include "tidegate/log/v1/profiles.pb.h"

namespace tidegate::tagging {

inline constexpr int kOrdersMax = 5000;
inline constexpr int kSeenEventsMax = 6000;

// First 16 bytes of SHA-256(source, 0, event id): how a profile remembers an event.
std::string EventFingerprint(const ::tidegate::log::v1::CustomerEvent& event);
bool HasSeen(const ::tidegate::log::v1::Profile& profile, const std::string& fingerprint);
// Remembers it; forgets the oldest beyond kSeenEventsMax.
void Remember(const std::string& fingerprint, ::tidegate::log::v1::Profile* profile);

// Applies what the event says of the customer (follows, owner, orders, touches).
// INVALID_ARGUMENT: the payload does not fit its kind; RESOURCE_EXHAUSTED: too many order lines.
absl::Status ApplyEvent(const ::tidegate::log::v1::CustomerEvent& event,
                        ::tidegate::log::v1::Profile* profile);

// nullptr if there is none.
::tidegate::log::v1::Follow* FindFollow(absl::string_view member,
                                        ::tidegate::log::v1::Profile* profile);

// Keeps the data that an expression's view of a profile points to.
class ProfileForExpression {
 public:
  ProfileForExpression(const ::tidegate::log::v1::Profile& profile, absl::string_view event_kind);
  expression::ProfileView view() const;

 private:
  std::vector<expression::OrderView> orders_;
  std::vector<absl::string_view> tags_;
  absl::string_view event_kind_;
};

}  // namespace tidegate::tagging
