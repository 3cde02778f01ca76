// The endpoints of WeCom that the product calls, as a table.
#pragma once

#include <span>

#include "absl/strings/string_view.h"

namespace tidegate::wecom_table {

// What a repeat of the same call does, and so what a doubt allows.
enum class Idempotency {
  kRead,          // R: repeat
  kRepeatable,    // N: a repeat changes nothing
  kDeduplicated,  // D: WeCom drops a repeat of the same bytes, for a time
  kSingleUse,     // U: a code that works once
  kCreates,       // X: a repeat acts twice; a list shows what was made
  kBlind,         // X: a repeat acts twice, and nothing shows it
};

struct Endpoint {
  absl::string_view name;
  absl::string_view method;
  absl::string_view path;
  Idempotency idempotency;
};

std::span<const Endpoint> Endpoints();
// nullptr if the product does not call it.
const Endpoint* FindEndpoint(absl::string_view name);

}  // namespace tidegate::wecom_table
