// `tidegate import purchases`: a file of purchases becomes order_paid events.
//
// The event id is made of the order id and a hash of the row's content after the shift, so
// importing the same file again changes nothing, while a corrected row corrects its order.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "services/tidegate/client/client.h"

namespace tidegate::client {

struct ImportPurchasesOptions {
  std::string corp;
  std::string file;
  // "cdnow" or "csv".
  std::string format;
  // Empty = "cdnow" for that format, else "purchases".
  std::string source;
  // Rows later than this civil day (YYYY-MM-DD, as written in the file) are left out; empty = none.
  std::string until;
  // Days added to every date.
  int64_t shift_days = 0;
  // Instead: so many days that the last imported date becomes today.
  bool shift_to_today = false;
};

// INVALID_ARGUMENT: a wrong file, header or option, or the server's. UNKNOWN: rows failed, the
// others are in. Else what ended it early; then the file can be imported again.
absl::Status ImportPurchases(const Client& client, const ImportPurchasesOptions& options);

}  // namespace tidegate::client
