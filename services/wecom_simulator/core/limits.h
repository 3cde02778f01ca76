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
enum class Calendar { kNone, kDay, kMonth };

// At most `amount` calls (or people called for) of one API by one corp (or address) in one window,
// or in one natural day or month of China.
struct LimitRow {
  std::string api;  // "*" = every API that has no row of this scope of its own
  Scope scope = Scope::kCorp;
  int64_t amount = 0;
  int64_t window_ms = 0;   // 0 with a calendar
  int64_t lockout_ms = 0;  // counted from the hit; with a calendar 0 = until the day or month ends
  bool counts_people = false;
  Calendar calendar = Calendar::kNone;
};

// At most so many messages of an app to one member in any window; one more is dropped.
struct MemberLimit {
  int64_t amount = 0;
  int64_t window_ms = 0;
};

struct Limits {
  // Default: F1 and F2 per corp, F3 and F4 per address, all for "*"; message_send counts people of
  // a day instead. A file's rows of an API and scope replace the default ones of both.
  std::vector<LimitRow> rows;
  // Calls of one corp served at once, by API; "*" = every API that has none of its own; absent =
  // not limited. Default: mark_tag 5.
  std::map<std::string, int64_t> in_flight;
  std::vector<MemberLimit> per_member = {{30, 60'000}, {1'000, 3'600'000}};
  // What a corp has of its own: rows stand in place of those of their API and scope.
  struct OfCorp {
    std::vector<LimitRow> rows;
    std::map<std::string, int64_t> in_flight;
  };
  std::map<std::string, OfCorp> corps;
  // No call executes, and no permit is held, later than this after the call's arrival.
  int64_t hold_ms = 30'000;
  // A mass send is in the list at the latest (here: exactly) this long after it was executed.
  int64_t list_lag_ms = 30'000;

  // The rows that count for one API, in file order; of a corp, if one is named.
  std::vector<LimitRow> RowsFor(absl::string_view api, Scope scope,
                                const std::string& corp = "") const;
  // nullptr: not limited.
  const int64_t* InFlight(const std::string& api, const std::string& corp) const;
};

Limits DefaultLimits();

// Errors: INVALID_ARGUMENT with the place and the name of the offending key.
absl::StatusOr<Limits> ParseLimits(absl::string_view json);

}  // namespace tidegate::wecom_simulator
