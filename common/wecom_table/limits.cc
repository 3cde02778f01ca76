#include "common/wecom_table/limits.h"

#include <boost/json.hpp>
#include <limits>
#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace tidegate::wecom_table {
namespace {

namespace json = boost::json;

constexpr int64_t kMillisMax = int64_t{366} * 24 * 3600 * 1000;
constexpr int64_t kSettleMillisMax = int64_t{24} * 3600 * 1000;  // times factor, far below overflow
constexpr int64_t kAmountMax = 1'000'000'000;

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
  void Millis(const char* key, int64_t min, int64_t* target_ns, int64_t max = kMillisMax) {
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

absl::StatusOr<WindowLimit> ParseWindow(const json::value& value, const std::string& where) {
  WindowLimit limit;
  Reader reader(value, where);
  for (const char* key : {"api", "scope", "amount", "window_ms"}) reader.Require(key);
  std::string scope = "corp";
  reader.Text("api", &limit.api);
  reader.Text("scope", &scope);
  reader.Whole("amount", 1, kAmountMax, &limit.amount);
  reader.Millis("window_ms", 1, &limit.window_ns);
  limit.lockout_ns = limit.window_ns;
  reader.Millis("lockout_ms", 0, &limit.lockout_ns);
  if (scope != "corp" && scope != "ip")
    reader.Fault(reader.Path("scope"), "write \"corp\" or \"ip\"");
  limit.scope = scope == "ip" ? Scope::kIp : Scope::kCorp;
  RETURN_IF_ERROR(reader.Finish());
  return limit;
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

int64_t Limits::InFlight(absl::string_view api) const {
  const auto it = in_flight.find(std::string(api));
  return it == in_flight.end() ? in_flight_default : it->second;
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
  if (const json::value* windows = reader.Find("limits")) {
    if (!windows->is_array()) {
      reader.Fault("limits", "write an array");
    } else {
      // A file that speaks of a scope's "*" replaces its defaults; one api's own limits stand
      // beside them.
      std::vector<WindowLimit> given;
      for (size_t i = 0; i < windows->as_array().size(); ++i) {
        ASSIGN_OR_RETURN(WindowLimit limit,
                         ParseWindow(windows->as_array()[i], absl::StrCat("limits[", i, "]")));
        given.push_back(std::move(limit));
      }
      std::erase_if(limits.windows, [&](const WindowLimit& standard) {
        for (const WindowLimit& limit : given) {
          if (limit.api == "*" && limit.scope == standard.scope) return true;
        }
        return false;
      });
      limits.windows.insert(limits.windows.end(), given.begin(), given.end());
    }
  }
  if (const json::value* in_flight = reader.Find("in_flight")) {
    if (!in_flight->is_array()) {
      reader.Fault("in_flight", "write an array");
    } else {
      for (size_t i = 0; i < in_flight->as_array().size(); ++i) {
        Reader entry(in_flight->as_array()[i], absl::StrCat("in_flight[", i, "]"));
        entry.Require("api");
        entry.Require("amount");
        std::string api;
        int64_t amount = 1;
        entry.Text("api", &api);
        entry.Whole("amount", 1, 10'000, &amount);
        RETURN_IF_ERROR(entry.Finish());
        if (api == "*") {
          limits.in_flight_default = amount;
        } else {
          limits.in_flight[api] = amount;
        }
      }
    }
  }
  reader.Millis("http_deadline_ms", 1, &limits.http_deadline_ns);
  reader.Whole("slots_per_window", 20, 240, &limits.slots_per_window);
  if (const json::value* value = reader.Find("settle")) {
    Reader settle(*value, "settle");
    settle.Millis("user_timeout_ms", 1, &limits.settle.user_timeout_ns, kSettleMillisMax);
    settle.Millis("hold_ms", 0, &limits.settle.hold_ns, kSettleMillisMax);
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
    RETURN_IF_ERROR(results.Finish());
  }
  if (const json::value* value = reader.Find("messages")) {
    Reader messages(*value, "messages");
    messages.Millis("urgent_linger_ms", 0, &limits.messages.urgent_linger_ns);
    messages.Millis("interactive_linger_ms", 0, &limits.messages.interactive_linger_ns);
    messages.Millis("bulk_linger_ms", 0, &limits.messages.bulk_linger_ns);
    RETURN_IF_ERROR(messages.Finish());
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
