#include "services/wecom_simulator/core/limits.h"

#include <algorithm>
#include <boost/json.hpp>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
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

// Leaves `out` alone if the key is absent.
absl::Status ReadWord(const json::object& object, const char* key,
                      const std::set<std::string>& words, absl::string_view place,
                      std::string* out) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr) return absl::OkStatus();
  const json::string* text = value->if_string();
  if (text == nullptr || words.count(std::string(text->data(), text->size())) == 0) {
    return Bad(place,
               absl::StrCat("\"", key, "\" must be \"", absl::StrJoin(words, "\" or \""), "\""));
  }
  *out = std::string(text->data(), text->size());
  return absl::OkStatus();
}

absl::StatusOr<LimitRow> ParseRow(const json::value& value, const std::string& place,
                                  bool of_corp) {
  const json::object* object = value.if_object();
  if (object == nullptr) return Bad(place, "must be an object");
  RETURN_IF_ERROR(OnlyKeys(
      *object, {"api", "scope", "amount", "cost", "calendar", "window_ms", "lockout_ms"}, place));
  LimitRow row;
  RETURN_IF_ERROR(ReadName(*object, "api", place, &row.api));
  std::string scope = of_corp ? "corp" : "";
  RETURN_IF_ERROR(ReadWord(*object, "scope", {"corp", "ip"}, place, &scope));
  if (scope.empty()) return Bad(place, "\"scope\" must be \"corp\" or \"ip\"");
  row.scope = scope == "corp" ? Scope::kCorp : Scope::kIp;
  if (of_corp && row.scope != Scope::kCorp) return Bad(place, "\"scope\" must be \"corp\"");
  RETURN_IF_ERROR(ReadNumber(*object, "amount", 1, place, &row.amount));
  std::string cost, calendar;
  RETURN_IF_ERROR(ReadWord(*object, "cost", {"calls", "person_times"}, place, &cost));
  RETURN_IF_ERROR(ReadWord(*object, "calendar", {"day", "month"}, place, &calendar));
  row.counts_people = cost == "person_times";
  row.calendar = calendar == "day"     ? Calendar::kDay
                 : calendar == "month" ? Calendar::kMonth
                                       : Calendar::kNone;
  RETURN_IF_ERROR(ReadNumber(*object, "window_ms", 1, place, &row.window_ms));
  if (row.amount == 0 || (row.window_ms == 0) == calendar.empty()) {
    return Bad(place, "\"amount\" and one of \"window_ms\" and \"calendar\" are required");
  }
  constexpr int64_t kMonthBlockMs = int64_t{30} * 24 * 3600 * 1000;  // as WeCom says
  row.lockout_ms = row.calendar == Calendar::kMonth ? kMonthBlockMs : row.window_ms;
  RETURN_IF_ERROR(ReadNumber(*object, "lockout_ms", 0, place, &row.lockout_ms));
  return row;
}

absl::StatusOr<std::vector<LimitRow>> ParseRowsOf(const json::value& value,
                                                  const std::string& place, bool of_corp) {
  const json::array* array = value.if_array();
  if (array == nullptr) return Bad(place, "must be an array");
  std::vector<LimitRow> rows;
  for (size_t i = 0; i < array->size(); ++i) {
    ASSIGN_OR_RETURN(LimitRow row,
                     ParseRow((*array)[i], absl::StrCat(place, "[", i, "]"), of_corp));
    rows.push_back(std::move(row));
  }
  return rows;
}

absl::Status ParseRows(const json::value& value, Limits* limits) {
  ASSIGN_OR_RETURN(const std::vector<LimitRow> rows,
                   ParseRowsOf(value, "limits", /*of_corp=*/false));
  std::erase_if(limits->rows, [&](const LimitRow& standard) {
    return std::any_of(rows.begin(), rows.end(), [&](const LimitRow& row) {
      return row.api == standard.api && row.scope == standard.scope;
    });
  });
  limits->rows.insert(limits->rows.end(), rows.begin(), rows.end());
  return absl::OkStatus();
}

absl::Status ParseInFlight(const json::value& value, const std::string& at,
                           std::map<std::string, int64_t>* in_flight) {
  const json::array* array = value.if_array();
  if (array == nullptr) return Bad(at, "must be an array");
  for (size_t i = 0; i < array->size(); ++i) {
    const std::string place = absl::StrCat(at, "[", i, "]");
    const json::object* object = (*array)[i].if_object();
    if (object == nullptr) return Bad(place, "must be an object");
    RETURN_IF_ERROR(OnlyKeys(*object, {"api", "amount"}, place));
    std::string api;
    int64_t amount = 0;
    RETURN_IF_ERROR(ReadName(*object, "api", place, &api));
    RETURN_IF_ERROR(ReadNumber(*object, "amount", 1, place, &amount));
    if (amount == 0) return Bad(place, "\"amount\" is required");
    (*in_flight)[api] = amount;
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
                           {"user_timeout_ms", "hold_ms", "proxy_ms", "list_lag_ms", "skew_ms",
                            "factor", "list_gap_ms", "park_after_ms"},
                           "settle"));
  RETURN_IF_ERROR(ReadNumber(*object, "hold_ms", 1, "settle", &limits->hold_ms));
  RETURN_IF_ERROR(ReadNumber(*object, "list_lag_ms", 0, "settle", &limits->list_lag_ms));
  int64_t of_the_product = 0;
  for (const char* key :
       {"user_timeout_ms", "proxy_ms", "skew_ms", "list_gap_ms", "park_after_ms"}) {
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

absl::Status ParseAppMessages(const json::value& value, Limits* limits) {
  const json::object* object = value.if_object();
  if (object == nullptr) return Bad("app_messages", "must be an object");
  RETURN_IF_ERROR(
      OnlyKeys(*object, {"duplicate_check_ms", "repeat_margin_ms", "per_member"}, "app_messages"));
  int64_t of_the_product = 0;
  for (const char* key : {"duplicate_check_ms", "repeat_margin_ms"}) {
    RETURN_IF_ERROR(ReadNumber(*object, key, 0, "app_messages", &of_the_product));
  }
  const json::value* windows = object->if_contains("per_member");
  if (windows == nullptr) return absl::OkStatus();
  const json::array* array = windows->if_array();
  if (array == nullptr) return Bad("app_messages.per_member", "must be an array");
  limits->per_member.clear();
  for (size_t i = 0; i < array->size(); ++i) {
    const std::string place = absl::StrCat("app_messages.per_member[", i, "]");
    const json::object* window = (*array)[i].if_object();
    if (window == nullptr) return Bad(place, "must be an object");
    RETURN_IF_ERROR(OnlyKeys(*window, {"amount", "window_ms"}, place));
    MemberLimit& limit = limits->per_member.emplace_back();
    RETURN_IF_ERROR(ReadNumber(*window, "amount", 1, place, &limit.amount));
    RETURN_IF_ERROR(ReadNumber(*window, "window_ms", 1, place, &limit.window_ms));
    if (limit.amount == 0 || limit.window_ms == 0) {
      return Bad(place, "\"amount\" and \"window_ms\" are required");
    }
  }
  return absl::OkStatus();
}

// What the product alone uses of a corp, or of all.
absl::Status CheckPolicies(const json::object& object, const std::string& place) {
  std::string word;
  RETURN_IF_ERROR(ReadWord(object, "receive_quota",
                           {"days_in_month", "7_per_week", "1_per_day", "none"}, place, &word));
  int64_t weight = 0;
  RETURN_IF_ERROR(ReadNumber(object, "weight", 1, place, &weight));
  const json::value* hours = object.if_contains("quiet_hours");
  if (hours == nullptr) return absl::OkStatus();
  const json::object* span = hours->if_object();
  if (span == nullptr) return Bad(place, "\"quiet_hours\" must be an object");
  RETURN_IF_ERROR(OnlyKeys(*span, {"from", "to"}, "quiet_hours"));
  for (const char* key : {"from", "to"}) {
    RETURN_IF_ERROR(ReadName(*span, key, "quiet_hours", &word));
  }
  return absl::OkStatus();
}

absl::Status ParseCorps(const json::value& value, Limits* limits) {
  const json::object* corps = value.if_object();
  if (corps == nullptr) return Bad("corps", "must be an object");
  for (const auto& member : *corps) {
    const std::string corp(member.key());
    const std::string place = absl::StrCat("corps.", corp);
    const json::object* object = member.value().if_object();
    if (object == nullptr) return Bad(place, "must be an object");
    RETURN_IF_ERROR(OnlyKeys(
        *object, {"limits", "in_flight", "receive_quota", "quiet_hours", "weight"}, place));
    RETURN_IF_ERROR(CheckPolicies(*object, place));
    Limits::OfCorp& own = limits->corps[corp];
    if (const json::value* part = object->if_contains("limits"); part != nullptr) {
      ASSIGN_OR_RETURN(own.rows, ParseRowsOf(*part, place + ".limits", /*of_corp=*/true));
    }
    if (const json::value* part = object->if_contains("in_flight"); part != nullptr) {
      RETURN_IF_ERROR(ParseInFlight(*part, place + ".in_flight", &own.in_flight));
    }
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

std::vector<LimitRow> Limits::RowsFor(absl::string_view api, Scope scope,
                                      const std::string& corp) const {
  const auto of_corp = corps.find(corp);
  const auto rows_named = [&](absl::string_view name) {
    std::vector<LimitRow> found;
    if (of_corp != corps.end()) {
      for (const LimitRow& row : of_corp->second.rows) {
        if (row.scope == scope && row.api == name) found.push_back(row);
      }
    }
    if (!found.empty()) return found;
    for (const LimitRow& row : rows) {
      if (row.scope == scope && row.api == name) found.push_back(row);
    }
    return found;
  };
  const std::vector<LimitRow> own = rows_named(api);
  return own.empty() ? rows_named("*") : own;
}

const int64_t* Limits::InFlight(const std::string& api, const std::string& corp) const {
  const auto of_corp = corps.find(corp);
  for (const std::string& name : {api, std::string("*")}) {
    if (of_corp != corps.end()) {
      const auto own = of_corp->second.in_flight.find(name);
      if (own != of_corp->second.in_flight.end()) return &own->second;
    }
    const auto found = in_flight.find(name);
    if (found != in_flight.end()) return &found->second;
  }
  return nullptr;
}

Limits DefaultLimits() {
  constexpr int64_t kMinute = 60'000;
  constexpr int64_t kHour = 3'600'000;
  Limits limits;
  const auto add = [&](Scope scope, int64_t amount, int64_t window_ms) {
    limits.rows.push_back({.api = "*",
                           .scope = scope,
                           .amount = amount,
                           .window_ms = window_ms,
                           .lockout_ms = window_ms});
  };
  add(Scope::kCorp, 10'000, kMinute);
  add(Scope::kCorp, 150'000, kHour);
  add(Scope::kIp, 20'000, kMinute);
  add(Scope::kIp, 600'000, kHour);
  for (const auto& [scope, people] :
       {std::pair{Scope::kCorp, 200'000}, {Scope::kIp, 1'000'000'000}}) {
    limits.rows.push_back({.api = "message_send",
                           .scope = scope,
                           .amount = people,
                           .counts_people = true,
                           .calendar = Calendar::kDay});
  }
  limits.in_flight = {{"mark_tag", 5}};
  return limits;
}

absl::StatusOr<Limits> ParseLimits(absl::string_view text) {
  json::error_code error;
  const json::value parsed = json::parse(json::string_view(text.data(), text.size()), error);
  if (error) return Bad("file", absl::StrCat("not JSON: ", error.message()));
  const json::object* object = parsed.if_object();
  if (object == nullptr) return Bad("file", "must be a JSON object");
  RETURN_IF_ERROR(OnlyKeys(
      *object,
      {"limits", "in_flight", "http_deadline_ms", "settle", "results", "messages", "app_messages",
       "slots_per_window", "receive_quota", "quiet_hours", "weight", "corps", "harm", "audit"},
      "file"));
  RETURN_IF_ERROR(CheckPolicies(*object, "file"));
  Limits limits = DefaultLimits();
  int64_t http_deadline_ms = 0;
  RETURN_IF_ERROR(ReadNumber(*object, "http_deadline_ms", 1, "file", &http_deadline_ms));
  int64_t slots_per_window = 0;  // of the product
  RETURN_IF_ERROR(ReadNumber(*object, "slots_per_window", 1, "file", &slots_per_window));
  if (const json::value* part = object->if_contains("limits"); part != nullptr) {
    RETURN_IF_ERROR(ParseRows(*part, &limits));
  }
  if (const json::value* part = object->if_contains("in_flight"); part != nullptr) {
    RETURN_IF_ERROR(ParseInFlight(*part, "in_flight", &limits.in_flight));
  }
  if (const json::value* part = object->if_contains("settle"); part != nullptr) {
    RETURN_IF_ERROR(ParseSettle(*part, &limits));
  }
  if (const json::value* part = object->if_contains("results"); part != nullptr) {
    RETURN_IF_ERROR(CheckNumbers(*part, "results",
                                 {"first_poll_ms", "poll_ms", "close_after_ms", "keep_after_ms"}));
  }
  if (const json::value* part = object->if_contains("messages"); part != nullptr) {
    RETURN_IF_ERROR(CheckNumbers(*part, "messages",
                                 {"urgent_linger_ms", "interactive_linger_ms", "bulk_linger_ms"}));
  }
  if (const json::value* part = object->if_contains("app_messages"); part != nullptr) {
    RETURN_IF_ERROR(ParseAppMessages(*part, &limits));
  }
  if (const json::value* part = object->if_contains("corps"); part != nullptr) {
    RETURN_IF_ERROR(ParseCorps(*part, &limits));
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
