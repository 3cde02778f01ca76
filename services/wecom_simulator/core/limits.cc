#include "services/wecom_simulator/core/limits.h"

#include <algorithm>
#include <boost/json.hpp>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace tidegate::wecom_simulator {
namespace {

namespace json = boost::json;

absl::Status Bad(absl::string_view place, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("limits: ", place, ": ", what));
}

absl::Status OnlyKeys(const json::object& object, const std::set<std::string>& known,
                      absl::string_view place) {
  for (const auto& member : object) {
    const std::string key(member.key());
    if (known.count(key) == 0) return Bad(place, absl::StrCat("unknown key \"", key, "\""));
  }
  return absl::OkStatus();
}

// Leaves `out` alone if the key is absent.
absl::Status ReadNumber(const json::object& object, const char* key, int64_t least,
                        absl::string_view place, int64_t* out) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr) return absl::OkStatus();
  const int64_t* number = value->if_int64();
  if (number == nullptr || *number < least || *number > int64_t{1'000'000'000'000}) {
    return Bad(place, absl::StrCat("\"", key, "\" must be a whole number from ", least));
  }
  *out = *number;
  return absl::OkStatus();
}

absl::Status ReadName(const json::object& object, const char* key, absl::string_view place,
                      std::string* out) {
  const json::value* value = object.if_contains(key);
  const json::string* text = value == nullptr ? nullptr : value->if_string();
  if (text == nullptr || text->empty()) {
    return Bad(place, absl::StrCat("\"", key, "\" must be a non-empty string"));
  }
  *out = std::string(text->data(), text->size());
  return absl::OkStatus();
}

absl::StatusOr<LimitRow> ParseRow(const json::value& value, const std::string& place) {
  const json::object* object = value.if_object();
  if (object == nullptr) return Bad(place, "must be an object");
  RETURN_IF_ERROR(OnlyKeys(*object, {"api", "scope", "amount", "window_ms", "lockout_ms"}, place));
  LimitRow row;
  RETURN_IF_ERROR(ReadName(*object, "api", place, &row.api));
  std::string scope;
  RETURN_IF_ERROR(ReadName(*object, "scope", place, &scope));
  if (scope != "corp" && scope != "ip") {
    return Bad(place, "\"scope\" must be \"corp\" or \"ip\"");
  }
  row.scope = scope == "corp" ? Scope::kCorp : Scope::kIp;
  RETURN_IF_ERROR(ReadNumber(*object, "amount", 1, place, &row.amount));
  RETURN_IF_ERROR(ReadNumber(*object, "window_ms", 1, place, &row.window_ms));
  if (row.amount == 0 || row.window_ms == 0) {
    return Bad(place, "\"amount\" and \"window_ms\" are required");
  }
  row.lockout_ms = row.window_ms;
  RETURN_IF_ERROR(ReadNumber(*object, "lockout_ms", 0, place, &row.lockout_ms));
  return row;
}

absl::Status ParseRows(const json::value& value, Limits* limits) {
  const json::array* array = value.if_array();
  if (array == nullptr) return Bad("limits", "must be an array");
  std::vector<LimitRow> rows;
  for (size_t i = 0; i < array->size(); ++i) {
    ASSIGN_OR_RETURN(LimitRow row, ParseRow((*array)[i], absl::StrCat("limits[", i, "]")));
    rows.push_back(std::move(row));
  }
  for (Scope scope : {Scope::kCorp, Scope::kIp}) {
    const bool replaced = std::any_of(rows.begin(), rows.end(), [scope](const LimitRow& row) {
      return row.api == "*" && row.scope == scope;
    });
    if (!replaced) continue;
    std::erase_if(limits->rows, [scope](const LimitRow& row) { return row.scope == scope; });
  }
  limits->rows.insert(limits->rows.end(), rows.begin(), rows.end());
  return absl::OkStatus();
}

absl::Status ParseInFlight(const json::value& value, Limits* limits) {
  const json::array* array = value.if_array();
  if (array == nullptr) return Bad("in_flight", "must be an array");
  for (size_t i = 0; i < array->size(); ++i) {
    const std::string place = absl::StrCat("in_flight[", i, "]");
    const json::object* object = (*array)[i].if_object();
    if (object == nullptr) return Bad(place, "must be an object");
    RETURN_IF_ERROR(OnlyKeys(*object, {"api", "amount"}, place));
    std::string api;
    int64_t amount = 0;
    RETURN_IF_ERROR(ReadName(*object, "api", place, &api));
    RETURN_IF_ERROR(ReadNumber(*object, "amount", 1, place, &amount));
    if (amount == 0) return Bad(place, "\"amount\" is required");
    limits->in_flight[api] = amount;
  }
  return absl::OkStatus();
}

absl::Status CheckFactor(const json::object& object, const char* place) {
  const json::value* factor = object.if_contains("factor");
  if (factor == nullptr) return absl::OkStatus();
  json::error_code error;
  const double number = factor->to_number<double>(error);
  if (error || number < 1) return Bad(place, "\"factor\" must be a number from 1");
  return absl::OkStatus();
}

absl::Status ParseSettle(const json::value& value, Limits* limits) {
  const json::object* object = value.if_object();
  if (object == nullptr) return Bad("settle", "must be an object");
  RETURN_IF_ERROR(OnlyKeys(*object,
                           {"user_timeout_ms", "hold_ms", "list_lag_ms", "skew_ms", "factor",
                            "list_gap_ms", "park_after_ms"},
                           "settle"));
  RETURN_IF_ERROR(ReadNumber(*object, "hold_ms", 1, "settle", &limits->hold_ms));
  RETURN_IF_ERROR(ReadNumber(*object, "list_lag_ms", 0, "settle", &limits->list_lag_ms));
  int64_t of_the_product = 0;
  for (const char* key : {"user_timeout_ms", "skew_ms", "list_gap_ms", "park_after_ms"}) {
    RETURN_IF_ERROR(ReadNumber(*object, key, 0, "settle", &of_the_product));
  }
  return CheckFactor(*object, "settle");
}

// What only the product uses is still checked: one file, one meaning.
absl::Status CheckNumbers(const json::value& value, const char* place,
                          const std::vector<const char*>& keys) {
  const json::object* object = value.if_object();
  if (object == nullptr) return Bad(place, "must be an object");
  RETURN_IF_ERROR(OnlyKeys(*object, {keys.begin(), keys.end()}, place));
  int64_t of_the_product = 0;
  for (const char* key : keys) {
    RETURN_IF_ERROR(ReadNumber(*object, key, 0, place, &of_the_product));
  }
  return absl::OkStatus();
}

absl::Status CheckHarm(const json::value& value) {
  const json::object* object = value.if_object();
  if (object == nullptr) return Bad("harm", "must be an object");
  json::object numbers = *object;
  numbers.erase("factor");
  RETURN_IF_ERROR(CheckFactor(*object, "harm"));
  return CheckNumbers(numbers, "harm", {"min_deletions", "window_ms"});
}

}  // namespace

std::vector<LimitRow> Limits::RowsFor(absl::string_view api, Scope scope) const {
  std::vector<LimitRow> own, general;
  for (const LimitRow& row : rows) {
    if (row.scope != scope) continue;
    if (row.api == api) own.push_back(row);
    if (row.api == "*") general.push_back(row);
  }
  return own.empty() ? general : own;
}

Limits DefaultLimits() {
  constexpr int64_t kMinute = 60'000;
  constexpr int64_t kHour = 3'600'000;
  Limits limits;
  limits.rows = {{"*", Scope::kCorp, 10'000, kMinute, kMinute},
                 {"*", Scope::kCorp, 150'000, kHour, kHour},
                 {"*", Scope::kIp, 20'000, kMinute, kMinute},
                 {"*", Scope::kIp, 600'000, kHour, kHour}};
  limits.in_flight = {{"mark_tag", 5}};
  return limits;
}

absl::StatusOr<Limits> ParseLimits(absl::string_view text) {
  json::error_code error;
  const json::value parsed = json::parse(json::string_view(text.data(), text.size()), error);
  if (error) return Bad("file", absl::StrCat("not JSON: ", error.message()));
  const json::object* object = parsed.if_object();
  if (object == nullptr) return Bad("file", "must be a JSON object");
  RETURN_IF_ERROR(OnlyKeys(*object,
                           {"limits", "in_flight", "http_deadline_ms", "settle", "results",
                            "messages", "slots_per_window", "harm", "audit"},
                           "file"));
  Limits limits = DefaultLimits();
  int64_t http_deadline_ms = 0;
  RETURN_IF_ERROR(ReadNumber(*object, "http_deadline_ms", 1, "file", &http_deadline_ms));
  int64_t slots_per_window = 0;  // of the product
  RETURN_IF_ERROR(ReadNumber(*object, "slots_per_window", 1, "file", &slots_per_window));
  if (const json::value* part = object->if_contains("limits"); part != nullptr) {
    RETURN_IF_ERROR(ParseRows(*part, &limits));
  }
  if (const json::value* part = object->if_contains("in_flight"); part != nullptr) {
    RETURN_IF_ERROR(ParseInFlight(*part, &limits));
  }
  if (const json::value* part = object->if_contains("settle"); part != nullptr) {
    RETURN_IF_ERROR(ParseSettle(*part, &limits));
  }
  if (const json::value* part = object->if_contains("results"); part != nullptr) {
    RETURN_IF_ERROR(CheckNumbers(*part, "results", {"first_poll_ms", "poll_ms", "close_after_ms"}));
  }
  if (const json::value* part = object->if_contains("messages"); part != nullptr) {
    RETURN_IF_ERROR(CheckNumbers(*part, "messages",
                                 {"urgent_linger_ms", "interactive_linger_ms", "bulk_linger_ms"}));
  }
  if (const json::value* part = object->if_contains("harm"); part != nullptr) {
    RETURN_IF_ERROR(CheckHarm(*part));
  }
  if (const json::value* part = object->if_contains("audit"); part != nullptr) {
    RETURN_IF_ERROR(CheckNumbers(*part, "audit", {"every_ms"}));
  }
  return limits;
}

}  // namespace tidegate::wecom_simulator
