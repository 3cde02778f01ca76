#include "services/ingestion/core/event_builder.h"

#include "absl/strings/str_cat.h"
#include "common/base/hash.h"

namespace tidegate::ingestion {

using ::tidegate::ingestion::v1::PublishedEvent;
using ::tidegate::log::v1::CustomerEvent;

namespace {

constexpr size_t kIdBytesMax = 64;
constexpr size_t kEventIdBytesMax = 128;
constexpr int64_t kAmountFenMax = 100'000'000'000'000;  // a million million yuan: surely a mistake
// Years 1970 to 2261: what fits nanoseconds.
constexpr int64_t kSecondsMax = 9'000'000'000;
// An event from the future is a clock gone wrong.
constexpr int64_t kFutureMaxNs = int64_t{24} * 3600 * kNanosPerSecond;

bool CheckId(const std::string& value, size_t bytes_max, const char* field, ItemFault* fault) {
  if (value.empty()) {
    *fault = {field, "is required"};
  } else if (value.size() > bytes_max) {
    *fault = {field, absl::StrCat("has ", value.size(), " bytes; at most ", bytes_max)};
  } else {
    for (const char c : value) {
      if (static_cast<unsigned char>(c) > 0x20 && static_cast<unsigned char>(c) < 0x7F && c != '/')
        continue;
      *fault = {field, "write visible ASCII characters without \"/\""};
      return false;
    }
    return true;
  }
  return false;
}

const char* KindOf(const wecom::CallbackEvent& event) {
  if (event.event != "change_external_contact") return nullptr;
  if (event.change_type == "add_external_contact") return "follow_added";
  if (event.change_type == "add_half_external_contact") return "follow_half_added";
  if (event.change_type == "del_external_contact") return "follow_deleted";
  if (event.change_type == "del_follow_user") return "follow_lost";
  return nullptr;
}

}  // namespace

std::optional<CustomerEvent> FromPublished(const std::string& corp, const std::string& source,
                                           const PublishedEvent& published, const Now& now,
                                           ItemFault* fault) {
  if (published.event_id().empty() || published.event_id().size() > kEventIdBytesMax) {
    *fault = {"event_id", absl::StrCat("write 1 to ", kEventIdBytesMax, " bytes")};
    return std::nullopt;
  }
  if (!CheckId(published.customer(), kIdBytesMax, "customer", fault)) return std::nullopt;
  const auto& time = published.event_time();
  if (!published.has_event_time() || time.seconds() <= 0 || time.seconds() > kSecondsMax ||
      time.nanos() < 0 || time.nanos() > 999'999'999) {
    *fault = {"event_time", "is required, between 1970 and 2255"};
    return std::nullopt;
  }
  CustomerEvent event;
  event.set_corp(corp);
  event.set_customer(published.customer());
  event.set_source(source);
  event.set_event_id(published.event_id());
  event.set_event_time_ns(time.seconds() * kNanosPerSecond + time.nanos());
  event.set_received_time_ns(now.wall_ns);
  if (event.event_time_ns() > now.wall_ns + kFutureMaxNs) {
    *fault = {"event_time", "is more than a day in the future"};
    return std::nullopt;
  }
  switch (published.payload_case()) {
    case PublishedEvent::kOrderPaid: {
      const auto& order = published.order_paid();
      if (!CheckId(order.order_id(), kIdBytesMax, "order_paid.order_id", fault))
        return std::nullopt;
      if (!order.has_amount() || order.amount().amount_fen() < 0 ||
          order.amount().amount_fen() > kAmountFenMax) {
        *fault = {"order_paid.amount",
                  absl::StrCat("is required, from 0 to ", kAmountFenMax, " fen")};
        return std::nullopt;
      }
      event.set_kind("order_paid");
      event.mutable_order()->set_order_id(order.order_id());
      event.mutable_order()->set_amount_fen(order.amount().amount_fen());
      event.mutable_order()->set_paid_time_s(time.seconds());
      return event;
    }
    case PublishedEvent::kCustomerImported:
      if (!CheckId(published.customer_imported().owner(), kIdBytesMax, "customer_imported.owner",
                   fault)) {
        return std::nullopt;
      }
      event.set_kind("customer_imported");
      event.mutable_customer_import()->set_owner(published.customer_imported().owner());
      return event;
    case PublishedEvent::PAYLOAD_NOT_SET:
      break;
  }
  *fault = {"payload", "say what happened: order_paid or customer_imported"};
  return std::nullopt;
}

CustomerEvent FromCallback(const std::string& corp, const std::string& decrypted,
                           const absl::StatusOr<wecom::CallbackEvent>& parsed, const Now& now) {
  CustomerEvent event;
  event.set_corp(corp);
  event.set_source("wecom");
  // Redeliveries carry the same text under another cipher text.
  event.set_event_id(Sha256Hex(decrypted));
  event.set_received_time_ns(now.wall_ns);
  event.set_event_time_ns(parsed.ok() ? parsed->create_time_s * kNanosPerSecond : now.wall_ns);
  const char* kind = parsed.ok() ? KindOf(*parsed) : nullptr;
  ItemFault ignored;
  if (kind == nullptr || !CheckId(parsed->external_user_id, kIdBytesMax, "", &ignored) ||
      !CheckId(parsed->user_id, kIdBytesMax, "", &ignored)) {
    event.set_kind("callback_other");
    event.mutable_raw()->set_text(decrypted);
    return event;
  }
  event.set_kind(kind);
  event.set_customer(parsed->external_user_id);
  auto* follow = event.mutable_follow();
  follow->set_member(parsed->user_id);
  follow->set_state(parsed->state);
  follow->set_welcome_code(parsed->welcome_code);
  follow->set_raw(decrypted);
  return event;
}

}  // namespace tidegate::ingestion
