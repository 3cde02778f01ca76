#include "services/tagging/core/profile_update.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/hash.h"
#include "services/tagging/core/event_kinds.h"

namespace tidegate::tagging {

using ::tidegate::log::v1::CustomerEvent;
using ::tidegate::log::v1::Follow;
using ::tidegate::log::v1::OrderLine;
using ::tidegate::log::v1::Profile;
using ::tidegate::log::v1::ProfileOrder;

namespace {

// The owner serves the customer: named by an import, else the first live follow.
void ChooseOwner(Profile* profile) {
  if (const Follow* owner = FindFollow(profile->owner(), profile);
      owner != nullptr && owner->live()) {
    return;
  }
  profile->clear_owner();
  for (const Follow& follow : profile->follows()) {
    if (!follow.live()) continue;
    profile->set_owner(follow.member());
    return;
  }
}

Follow* FindOrAddFollow(const std::string& member, Profile* profile) {
  if (Follow* follow = FindFollow(member, profile)) return follow;
  Follow* follow = profile->add_follows();
  follow->set_member(member);
  return follow;
}

Follow* BeginFollow(const std::string& member, int64_t time_ns, bool confirmed, Profile* profile) {
  Follow* follow = FindOrAddFollow(member, profile);
  if (!follow->live()) {
    // A customer who comes back starts without the tags of the former relation, as at WeCom.
    follow->clear_tags();
    follow->set_added_time_s(time_ns / 1'000'000'000);
    follow->set_confirmed(false);
  }
  follow->set_live(true);
  if (confirmed) follow->set_confirmed(true);
  return follow;
}

void EndFollow(const CustomerEvent& event, Profile* profile) {
  Follow* follow = FindOrAddFollow(event.follow().member(), profile);
  follow->set_live(false);
}

absl::Status UpsertOrder(const std::string& source, const OrderLine& line, Profile* profile) {
  auto* orders = profile->mutable_orders();
  const auto same = std::find_if(orders->begin(), orders->end(), [&](const ProfileOrder& order) {
    return order.order_id() == line.order_id() && order.source() == source;
  });
  if (same != orders->end()) {
    orders->erase(same);
  } else if (orders->size() >= kOrdersMax) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the customer has ", kOrdersMax, " order lines already"));
  }
  ProfileOrder* added = orders->Add();
  added->set_source(source);
  added->set_order_id(line.order_id());
  added->set_amount_fen(line.amount_fen());
  added->set_paid_time_s(line.paid_time_s());
  for (int i = orders->size() - 1; i > 0; --i) {
    if (orders->Get(i - 1).paid_time_s() <= orders->Get(i).paid_time_s()) break;
    orders->SwapElements(i - 1, i);
  }
  return absl::OkStatus();
}

}  // namespace

std::string EventFingerprint(const CustomerEvent& event) {
  std::string text = event.source();
  text.push_back('\0');
  text += event.event_id();
  return Sha256(text).substr(0, 16);
}

bool HasSeen(const Profile& profile, const std::string& fingerprint) {
  return std::find(profile.seen_events().begin(), profile.seen_events().end(), fingerprint) !=
         profile.seen_events().end();
}

void Remember(const std::string& fingerprint, Profile* profile) {
  if (profile->seen_events_size() >= kSeenEventsMax) {
    profile->mutable_seen_events()->DeleteSubrange(
        0, profile->seen_events_size() - kSeenEventsMax + 1);
  }
  profile->add_seen_events(fingerprint);
}

Follow* FindFollow(absl::string_view member, Profile* profile) {
  for (Follow& follow : *profile->mutable_follows()) {
    if (member == follow.member()) return &follow;
  }
  return nullptr;
}

absl::Status ApplyEvent(const CustomerEvent& event, Profile* profile) {
  const std::string& kind = event.kind();
  if (kind == kFollowAdded || kind == kFollowHalfAdded) {
    if (event.follow().member().empty())
      return absl::InvalidArgumentError("follow.member is empty");
    Follow* follow =
        BeginFollow(event.follow().member(), event.event_time_ns(), kind == kFollowAdded, profile);
    if (!event.follow().state().empty()) follow->set_state(event.follow().state());
  } else if (kind == kFollowDeleted || kind == kFollowLost) {
    if (event.follow().member().empty())
      return absl::InvalidArgumentError("follow.member is empty");
    EndFollow(event, profile);
  } else if (kind == kCustomerImported) {
    const std::string& owner = event.customer_import().owner();
    if (owner.empty()) return absl::InvalidArgumentError("customer_import.owner is empty");
    BeginFollow(owner, event.event_time_ns(), /*confirmed=*/true, profile);
    profile->set_owner(owner);
  } else if (kind == kOrderPaid) {
    if (event.order().order_id().empty())
      return absl::InvalidArgumentError("order.order_id is empty");
    if (event.order().amount_fen() < 0) return absl::InvalidArgumentError("order.amount_fen < 0");
    if (absl::Status status = UpsertOrder(event.source(), event.order(), profile); !status.ok()) {
      return status;
    }
  } else if (kind == kTouchSent) {
    profile->mutable_touches()->set_sent(profile->touches().sent() + 1);
  } else if (kind == kTouchFailed) {
    profile->mutable_touches()->set_failed(profile->touches().failed() + 1);
  } else if (kind == kTouchUnconfirmed) {
    profile->mutable_touches()->set_unconfirmed(profile->touches().unconfirmed() + 1);
  } else if (kind == kTouchSkipped) {
    profile->mutable_touches()->set_skipped(profile->touches().skipped() + 1);
  } else {
    return absl::InvalidArgumentError(absl::StrCat("unknown event kind \"", kind, "\""));
  }
  ChooseOwner(profile);
  return absl::OkStatus();
}

ProfileForExpression::ProfileForExpression(const Profile& profile, absl::string_view event_kind)
    : event_kind_(event_kind) {
  orders_.reserve(profile.orders_size());
  for (const ProfileOrder& order : profile.orders()) {
    orders_.push_back({.time_seconds = order.paid_time_s(), .amount_fen = order.amount_fen()});
  }
  for (const Follow& follow : profile.follows()) {
    if (!follow.live()) continue;
    for (const std::string& tag : follow.tags()) tags_.push_back(tag);
  }
  std::sort(tags_.begin(), tags_.end());
  tags_.erase(std::unique(tags_.begin(), tags_.end()), tags_.end());
}

expression::ProfileView ProfileForExpression::view() const {
  return {.orders = orders_, .tags = tags_, .event_kind = event_kind_};
}

}  // namespace tidegate::tagging
