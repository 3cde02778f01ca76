#include "common/wecom_table/limits.h"

#include <boost/json.hpp>
#include <limits>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/wecom_table/limit_bounds.h"
#include "common/wecom_table/time_of_day.h"

namespace tidegate::wecom_table {
namespace {

namespace json = boost::json;

constexpr int64_t kKeepMillisMin = int64_t{31} * 24 * 3600 * 1000;
constexpr int64_t kSettleMillisMax = int64_t{24} * 3600 * 1000;  // times factor, far below overflow

// Reads one JSON object: keeps the first fault, refuses keys that nobody asked for.
class Reader {
 public:
  Reader(const json::value& value, std::string where) : where_(std::move(where)) {
    if (value.is_object()) {
      object_ = &value.as_object();
    } else {
      Fault(where_, "write an object");
    }
  }

  void Whole(const char* key, int64_t min, int64_t max, int64_t* target) {
    const json::value* value = Find(key);
    if (value == nullptr) return;
    std::optional<int64_t> number;
    if (value->is_int64()) number = value->as_int64();
    if (value->is_uint64() &&
        value->as_uint64() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      number = static_cast<int64_t>(value->as_uint64());
    }
    if (!number.has_value() || *number < min || *number > max) {
      return Fault(Path(key), absl::StrCat("write a whole number from ", min, " to ", max));
    }
    *target = *number;
  }
  void Millis(const char* key, int64_t min, int64_t* target_ns, int64_t max = kWindowMillisMax) {
    int64_t millis = -1;
    Whole(key, min, max, &millis);
    if (millis >= 0) *target_ns = millis * kNanosPerMilli;
  }
  void Factor(const char* key, double* target) {
    const json::value* value = Find(key);
    if (value == nullptr) return;
    const double number = value->is_double()  ? value->as_double()
                          : value->is_int64() ? static_cast<double>(value->as_int64())
                                              : -1;
    if (!(number >= 1 && number <= 100)) return Fault(Path(key), "write a number from 1 to 100");
    *target = number;
  }
  void Text(const char* key, std::string* target) {
    const json::value* value = Find(key);
    if (value == nullptr) return;
    if (!value->is_string() || value->as_string().empty())
      return Fault(Path(key), "write a non-empty string");
    *target = std::string(value->as_string());
  }
  template <typename T>
  void OneOf(const char* key, const std::vector<std::pair<const char*, T>>& words, T* target) {
    const json::value* value = Find(key);
    if (value == nullptr) return;
    std::string choice;
    for (const auto& [word, meaning] : words) {
      if (value->is_string() && value->as_string() == word) {
        *target = meaning;
        return;
      }
      absl::StrAppend(&choice, choice.empty() ? "write \"" : "\" or \"", word);
    }
    Fault(Path(key), absl::StrCat(choice, "\""));
  }
  void TimeOfDay(const char* key, int32_t* target) {
    const json::value* value = Find(key);
    if (value == nullptr) return;
    const auto minutes =
        value->is_string() ? ParseMinutes(std::string(value->as_string())) : std::nullopt;
    if (!minutes.has_value()) return Fault(Path(key), "write a time as in \"22:00\"");
    *target = *minutes;
  }
  const json::value* Find(const char* key) {
    known_.insert(key);
    return object_ == nullptr ? nullptr : object_->if_contains(key);
  }
  void Require(const char* key) {
    if (object_ != nullptr && object_->if_contains(key) == nullptr) Fault(Path(key), "is required");
  }
  std::string Path(const std::string& key) const {
    return where_.empty() ? key : absl::StrCat(where_, ".", key);
  }
  void Fault(const std::string& path, const std::string& remedy) {
    if (status_.ok())
      status_ = absl::InvalidArgumentError(absl::StrCat("limits file: ", path, ": ", remedy));
  }
  absl::Status Finish() {
    if (status_.ok() && object_ != nullptr) {
      for (const auto& item : *object_) {
        const std::string key(item.key());
        if (!known_.contains(key)) Fault(Path(key), "unknown key; remove or correct it");
      }
    }
    return status_;
  }

 private:
  const std::string where_;
  const json::object* object_ = nullptr;
  std::set<std::string> known_;
  absl::Status status_;
};

// `of_corp`: in a corp's own part, where no limit of the address can stand.
absl::StatusOr<WindowLimit> ParseWindow(const json::value& value, const std::string& where,
                                        bool of_corp) {
  WindowLimit limit;
  Reader reader(value, where);
  for (const char* key : {"api", "amount"}) reader.Require(key);
  if (!of_corp) reader.Require("scope");
  reader.Text("api", &limit.api);
  reader.OneOf<Scope>("scope", {{"corp", Scope::kCorp}, {"ip", Scope::kIp}}, &limit.scope);
  if (of_corp && limit.scope == Scope::kIp) {
    reader.Fault(reader.Path("scope"), "write \"corp\"; an address's limits are those of all");
  }
  reader.Whole("amount", 1, kAmountMax, &limit.amount);
  reader.OneOf<Cost>("cost", {{"calls", Cost::kCalls}, {"person_times", Cost::kPersonTimes}},
                     &limit.cost);
  if (limit.cost == Cost::kPersonTimes && limit.api != kCountsPeople) {
    reader.Fault(reader.Path("cost"),
                 absl::StrCat("write \"calls\": people are counted of ", kCountsPeople, " only"));
  }
  reader.OneOf<Calendar>("calendar", {{"day", Calendar::kDay}, {"month", Calendar::kMonth}},
                         &limit.calendar);
  if (limit.calendar == Calendar::kNone) {
    reader.Require("window_ms");
    reader.Millis("window_ms", 1, &limit.window_ns);
  } else if (reader.Find("window_ms") != nullptr) {
    reader.Fault(reader.Path("window_ms"), "leave it out where there is a calendar");
  }
  limit.lockout_ns = limit.calendar == Calendar::kMonth ? kMonthLockoutNs : limit.window_ns;
  reader.Millis("lockout_ms", 0, &limit.lockout_ns);
  RETURN_IF_ERROR(reader.Finish());
  return limit;
}

absl::Status ParsePerMember(Reader* reader, AppMessages* app) {
  const json::value* windows = reader->Find("per_member");
  if (windows == nullptr) return absl::OkStatus();
  if (!windows->is_array()) {
    reader->Fault(reader->Path("per_member"), "write an array");
    return absl::OkStatus();
  }
  app->per_member.clear();
  for (size_t i = 0; i < windows->as_array().size(); ++i) {
    Reader entry(windows->as_array()[i], reader->Path(absl::StrCat("per_member[", i, "]")));
    for (const char* key : {"amount", "window_ms"}) entry.Require(key);
    MemberWindow& window = app->per_member.emplace_back();
    entry.Whole("amount", 1, kAmountMax, &window.amount);
    entry.Millis("window_ms", 1, &window.window_ns);
    RETURN_IF_ERROR(entry.Finish());
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<WindowLimit>> ParseWindows(Reader* reader, bool of_corp) {
  std::vector<WindowLimit> given;
  const json::value* windows = reader->Find("limits");
  if (windows == nullptr) return given;
  if (!windows->is_array()) {
    reader->Fault(reader->Path("limits"), "write an array");
    return given;
  }
  std::map<std::pair<std::string, Scope>, int> of_api;
  for (size_t i = 0; i < windows->as_array().size(); ++i) {
    const std::string where = reader->Path(absl::StrCat("limits[", i, "]"));
    ASSIGN_OR_RETURN(WindowLimit limit, ParseWindow(windows->as_array()[i], where, of_corp));
    if (++of_api[{limit.api, limit.scope}] > kWindowsMax) {
      reader->Fault(where, absl::StrCat("write at most ", kWindowsMax, " of one api and scope"));
    }
    given.push_back(std::move(limit));
  }
  return given;
}

absl::Status ParseInFlight(Reader* reader, Limits* limits) {
  const json::value* in_flight = reader->Find("in_flight");
  if (in_flight == nullptr) return absl::OkStatus();
  if (!in_flight->is_array()) {
    reader->Fault(reader->Path("in_flight"), "write an array");
    return absl::OkStatus();
  }
  for (size_t i = 0; i < in_flight->as_array().size(); ++i) {
    Reader entry(in_flight->as_array()[i], reader->Path(absl::StrCat("in_flight[", i, "]")));
    entry.Require("api");
    entry.Require("amount");
    std::string api;
    int64_t amount = 1;
    entry.Text("api", &api);
    entry.Whole("amount", 1, kInFlightMax, &amount);
    RETURN_IF_ERROR(entry.Finish());
    if (api == "*") {
      limits->in_flight_of_others = amount;
    } else {
      limits->in_flight[api] = amount;
    }
  }
  return absl::OkStatus();
}

// What a corp may have of its own beside windows.
absl::Status ParseOfCorp(Reader* reader, Limits* limits) {
  RETURN_IF_ERROR(ParseInFlight(reader, limits));
  reader->OneOf<ReceiveQuota>("receive_quota",
                              {{"days_in_month", ReceiveQuota::kDaysInMonth},
                               {"7_per_week", ReceiveQuota::kSevenPerWeek},
                               {"1_per_day", ReceiveQuota::kOnePerDay},
                               {"none", ReceiveQuota::kNone}},
                              &limits->receive_quota);
  if (const json::value* value = reader->Find("quiet_hours")) {
    Reader hours(*value, reader->Path("quiet_hours"));
    hours.Require("from");
    hours.Require("to");
    hours.TimeOfDay("from", &limits->quiet_hours.from);
    hours.TimeOfDay("to", &limits->quiet_hours.to);
    RETURN_IF_ERROR(hours.Finish());
  }
  reader->Whole("weight", 1, kWeightMax, &limits->weight);
  return absl::OkStatus();
}

absl::Status ParseCorps(const json::value& value, Limits* limits) {
  if (!value.is_object()) {
    return absl::InvalidArgumentError("limits file: corps: write an object, by corp id");
  }
  const Limits of_all = *limits;
  for (const auto& item : value.as_object()) {
    const std::string corp(item.key());
    Limits own = of_all;
    Reader reader(item.value(), absl::StrCat("corps.", corp));
    ASSIGN_OR_RETURN(auto windows, ParseWindows(&reader, /*of_corp=*/true));
    own.ReplaceWindows(std::move(windows));
    RETURN_IF_ERROR(ParseOfCorp(&reader, &own));
    RETURN_IF_ERROR(reader.Finish());
    limits->corps[corp] = std::make_shared<const Limits>(std::move(own));
  }
  return absl::OkStatus();
}

}  // namespace

Limits DefaultLimits() {
  constexpr int64_t kMinute = 60 * kNanosPerSecond;
  constexpr int64_t kHour = 3600 * kNanosPerSecond;
  Limits limits;
  limits.windows = {
      {.api = "*",
       .scope = Scope::kCorp,
       .amount = 10'000,
       .window_ns = kMinute,
       .lockout_ns = kMinute},
      {.api = "*",
       .scope = Scope::kCorp,
       .amount = 150'000,
       .window_ns = kHour,
       .lockout_ns = kHour},
      {.api = "*",
       .scope = Scope::kIp,
       .amount = 20'000,
       .window_ns = kMinute,
       .lockout_ns = kMinute},
      {.api = "*", .scope = Scope::kIp, .amount = 600'000, .window_ns = kHour, .lockout_ns = kHour},
      // Sending messages does not count towards the basic frequency (A3); what counts is people
      // (A1), 200 for each account of the corp, here for 1,000 accounts. WeCom publishes none of an
      // address: as much as a limit may be.
      {.api = "message_send",
       .scope = Scope::kCorp,
       .amount = 200'000,
       .cost = Cost::kPersonTimes,
       .calendar = Calendar::kDay},
      {.api = "message_send",
       .scope = Scope::kIp,
       .amount = kAmountMax,
       .cost = Cost::kPersonTimes,
       .calendar = Calendar::kDay},
  };
  limits.in_flight = {{"mark_tag", 5}};
  return limits;
}

std::vector<WindowLimit> Limits::WindowsOf(absl::string_view api, Scope scope) const {
  std::vector<WindowLimit> own;
  std::vector<WindowLimit> general;
  for (const WindowLimit& limit : windows) {
    if (limit.scope != scope) continue;
    if (api == limit.api) own.push_back(limit);
    if (limit.api == "*") general.push_back(limit);
  }
  return own.empty() ? general : own;
}

const Limits& Limits::OfCorp(absl::string_view corp) const {
  const auto found = corps.find(corp);
  return found == corps.end() ? *this : *found->second;
}

void Limits::ReplaceWindows(std::vector<WindowLimit> own) {
  std::set<std::pair<std::string, Scope>> named;
  for (const WindowLimit& limit : own) named.emplace(limit.api, limit.scope);
  std::erase_if(windows, [&](const WindowLimit& limit) {
    return named.contains({limit.api, limit.scope});
  });
  windows.insert(windows.end(), own.begin(), own.end());
}

int64_t Limits::InFlight(absl::string_view api) const {
  const auto it = in_flight.find(std::string(api));
  return it == in_flight.end() ? in_flight_of_others.value_or(kInFlightGuess) : it->second;
}

bool Limits::GuessesInFlight(absl::string_view api) const {
  return !in_flight_of_others.has_value() && !in_flight.contains(std::string(api));
}

int64_t Limits::SettleWaitNs() const {
  const int64_t sum = settle.user_timeout_ns + settle.hold_ns + settle.list_lag_ns + settle.skew_ns;
  return static_cast<int64_t>(static_cast<double>(sum) * settle.factor);
}

absl::StatusOr<Limits> ParseLimits(absl::string_view json_text) {
  boost::system::error_code error;
  const json::value root =
      json::parse(json::string_view(json_text.data(), json_text.size()), error);
  if (error)
    return absl::InvalidArgumentError(absl::StrCat("limits file: not JSON: ", error.message()));
  Limits limits = DefaultLimits();
  Reader reader(root, "");
  ASSIGN_OR_RETURN(const auto given, ParseWindows(&reader, /*of_corp=*/false));
  // A file that speaks of an api, or of "*", in a scope replaces its defaults there.
  limits.ReplaceWindows(given);
  RETURN_IF_ERROR(ParseOfCorp(&reader, &limits));
  reader.Millis("http_deadline_ms", 1, &limits.http_deadline_ns);
  reader.Whole("slots_per_window", 20, 240, &limits.slots_per_window);
  if (const json::value* value = reader.Find("settle")) {
    Reader settle(*value, "settle");
    settle.Millis("user_timeout_ms", 1, &limits.settle.user_timeout_ns, kSettleMillisMax);
    settle.Millis("hold_ms", 0, &limits.settle.hold_ns, kSettleMillisMax);
    settle.Millis("proxy_ms", 0, &limits.settle.proxy_ns, kSettleMillisMax);
    settle.Millis("list_lag_ms", 0, &limits.settle.list_lag_ns, kSettleMillisMax);
    settle.Millis("skew_ms", 0, &limits.settle.skew_ns, kSettleMillisMax);
    settle.Factor("factor", &limits.settle.factor);
    settle.Millis("list_gap_ms", 0, &limits.settle.list_gap_ns, kSettleMillisMax);
    settle.Millis("park_after_ms", 1, &limits.settle.park_after_ns, kSettleMillisMax);
    RETURN_IF_ERROR(settle.Finish());
  }
  if (const json::value* value = reader.Find("results")) {
    Reader results(*value, "results");
    results.Millis("first_poll_ms", 1, &limits.results.first_poll_ns);
    results.Millis("poll_ms", 1, &limits.results.poll_ns);
    results.Millis("close_after_ms", 0, &limits.results.close_after_ns);
    results.Millis("keep_after_ms", kKeepMillisMin, &limits.results.keep_after_ns);
    RETURN_IF_ERROR(results.Finish());
  }
  if (const json::value* value = reader.Find("messages")) {
    Reader messages(*value, "messages");
    messages.Millis("urgent_linger_ms", 0, &limits.messages.urgent_linger_ns);
    messages.Millis("interactive_linger_ms", 0, &limits.messages.interactive_linger_ns);
    messages.Millis("bulk_linger_ms", 0, &limits.messages.bulk_linger_ns);
    RETURN_IF_ERROR(messages.Finish());
  }
  if (const json::value* value = reader.Find("app_messages")) {
    constexpr int64_t kCheckMillisMax = int64_t{4} * 3600 * 1000;
    Reader app(*value, "app_messages");
    app.Millis("duplicate_check_ms", 1000, &limits.app_messages.duplicate_check_ns,
               kCheckMillisMax);
    app.Millis("repeat_margin_ms", 0, &limits.app_messages.repeat_margin_ns, kCheckMillisMax);
    RETURN_IF_ERROR(ParsePerMember(&app, &limits.app_messages));
    RETURN_IF_ERROR(app.Finish());
  }
  if (const json::value* value = reader.Find("corps")) {
    RETURN_IF_ERROR(ParseCorps(*value, &limits));
  }
  if (const json::value* value = reader.Find("harm")) {
    Reader harm(*value, "harm");
    harm.Factor("factor", &limits.harm.factor);
    harm.Whole("min_deletions", 1, kAmountMax, &limits.harm.min_deletions);
    harm.Millis("window_ms", 1, &limits.harm.window_ns);
    RETURN_IF_ERROR(harm.Finish());
  }
  if (const json::value* value = reader.Find("audit")) {
    Reader audit(*value, "audit");
    audit.Millis("every_ms", 1000, &limits.audit.every_ns);
    RETURN_IF_ERROR(audit.Finish());
  }
  RETURN_IF_ERROR(reader.Finish());
  return limits;
}

}  // namespace tidegate::wecom_table
