// The limits file: frequency limits, in-flight limits and waits, shared as data with the product
// and the judge (never as code). Each part that a file leaves out keeps its documented default.
//
//   ASSIGN_OR_RETURN(Limits limits, ParseLimits(text));
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tidegate::wecom_simulator {

enum class Scope { kCorp, kIp };

// At most `amount` calls of one API by one corp (or address) in one window.
struct LimitRow {
  std::string api;  // "*" = every API that has no row of this scope of its own
  Scope scope = Scope::kCorp;
  int64_t amount = 0;
  int64_t window_ms = 0;
  int64_t lockout_ms = 0;  // counted from the hit; a file that leaves it out means window_ms
};

// At most so many messages of an app to one member in any window; one more is dropped.
struct MemberLimit {
  int64_t amount = 0;
  int64_t window_ms = 0;
};

struct Limits {
  // Default: F1 and F2 per corp, F3 and F4 per address, all for "*". A file's "*" rows of a scope
  // replace the default ones of that scope.
  std::vector<LimitRow> rows;
  // Calls of one corp served at once, by API; absent = not limited. Default: mark_tag 5.
  std::map<std::string, int64_t> in_flight;
  std::vector<MemberLimit> per_member = {{30, 60'000}, {1'000, 3'600'000}};
  // No call executes, and no permit is held, later than this after the call's arrival.
  int64_t hold_ms = 30'000;
  // A mass send is in the list at the latest (here: exactly) this long after it was executed.
  int64_t list_lag_ms = 30'000;

  // The rows that count for one API, in file order.
  std::vector<LimitRow> RowsFor(absl::string_view api, Scope scope) const;
};

Limits DefaultLimits();

// Errors: INVALID_ARGUMENT with the place and the name of the offending key.
absl::StatusOr<Limits> ParseLimits(absl::string_view json);

}  // namespace tidegate::wecom_simulator
