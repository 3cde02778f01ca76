// Turns what the edge receives into events. Pure: `now` is handed in.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/clock.h"
#include "common/wecom/callback_xml.h"
#include "tidegate/ingestion/v1/ingestion_service.pb.h"
#include "tidegate/log/v1/events.pb.h"

namespace tidegate::ingestion {

// What is wrong with one published event.
struct ItemFault {
  std::string field;  // relative to the event, as in "order_paid.amount"
  std::string message;
};

// nullopt and a filled *fault if it cannot be taken.
std::optional<::tidegate::log::v1::CustomerEvent> FromPublished(
    const std::string& corp, const std::string& source,
    const ::tidegate::ingestion::v1::PublishedEvent& published, const Now& now, ItemFault* fault);

// A decrypted callback. Adds, half adds, deletions and lost follows of customers are normalised;
// all other events are kept raw. `event` is nullopt where the text is not an event we can read.
::tidegate::log::v1::CustomerEvent FromCallback(const std::string& corp,
                                                const std::string& decrypted,
                                                const absl::StatusOr<wecom::CallbackEvent>& event,
                                                const Now& now);

}  // namespace tidegate::ingestion
