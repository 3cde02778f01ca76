#include "common/wecom_table/limit_changes.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/wecom_table/endpoints.h"
#include "common/wecom_table/limit_bounds.h"
#include "common/wecom_table/time_of_day.h"

namespace tidegate::wecom_table {

namespace v1 = ::tidegate::common::v1;

namespace {

bool IsApi(const std::string& api) { return api == "*" || FindEndpoint(api) != nullptr; }

WindowLimit ToWindowLimit(const v1::WindowLimit& given) {
  WindowLimit limit{.api = given.api(), .scope = Scope::kCorp, .amount = given.amount()};
  limit.cost = given.cost() == "person_times" ? Cost::kPersonTimes : Cost::kCalls;
  limit.calendar = given.calendar() == "day"     ? Calendar::kDay
                   : given.calendar() == "month" ? Calendar::kMonth
                                                 : Calendar::kNone;
  limit.window_ns = given.window_ms() * kNanosPerMilli;
  limit.lockout_ns = limit.calendar == Calendar::kMonth ? kMonthLockoutNs : limit.window_ns;
  return limit;
}

void CheckWindow(const v1::WindowLimit& window, const std::string& where,
                 std::vector<LimitFault>* faults) {
  const auto fault = [&](const char* field, std::string remedy) {
    faults->push_back({absl::StrCat(where, ".", field), std::move(remedy)});
  };
  if (!IsApi(window.api())) fault("api", "write an endpoint as in add_msg_template, or *");
  if (!window.scope().empty() && window.scope() != "corp") {
    fault("scope", "write corp; limits of the address are those of the limits file");
  }
  if (window.amount() < 1 || window.amount() > kAmountMax) {
    fault("amount", absl::StrCat("write 1 to ", kAmountMax));
  }
  if (!window.cost().empty() && window.cost() != "calls" && window.cost() != "person_times") {
    fault("cost", "write calls or person_times");
  }
  if (window.cost() == "person_times" && window.api() != kCountsPeople) {
    fault("cost", absl::StrCat("write calls: only of ", kCountsPeople, " people are counted"));
  }
  if (window.calendar().empty()) {
    if (window.window_ms() < 1 || window.window_ms() > kWindowMillisMax) {
      fault("window_ms", absl::StrCat("write 1 to ", kWindowMillisMax, ", or a calendar"));
    }
  } else {
    if (window.calendar() != "day" && window.calendar() != "month") {
      fault("calendar", "write day or month");
    }
    if (window.window_ms() != 0) fault("window_ms", "leave it out where there is a calendar");
  }
}

}  // namespace

std::vector<LimitFault> CheckCorpLimits(const v1::CorpLimits& change) {
  std::vector<LimitFault> faults;
  std::map<std::string, int> of_api;
  for (int i = 0; i < change.windows_size(); ++i) {
    const std::string where = absl::StrCat("windows[", i, "]");
    CheckWindow(change.windows(i), where, &faults);
    if (++of_api[change.windows(i).api()] == kWindowsMax + 1) {
      faults.push_back({where, absl::StrCat("write at most ", kWindowsMax, " of one api")});
    }
  }
  for (int i = 0; i < change.in_flight_size(); ++i) {
    const auto& limit = change.in_flight(i);
    const std::string where = absl::StrCat("in_flight[", i, "]");
    if (!IsApi(limit.api())) {
      faults.push_back({where + ".api", "write an endpoint as in add_msg_template, or *"});
    }
    if (limit.amount() < 1 || limit.amount() > kInFlightMax) {
      faults.push_back({where + ".amount", absl::StrCat("write 1 to ", kInFlightMax)});
    }
  }
  if (!v1::ReceiveQuota_IsValid(change.receive_quota())) {
    faults.push_back({"receive_quota", "write one of its values"});
  }
  if (change.has_quiet_hours()) {
    if (!ParseMinutes(change.quiet_hours().from()).has_value()) {
      faults.push_back({"quiet_hours.from", "write a time as in 22:00"});
    }
    if (!ParseMinutes(change.quiet_hours().to()).has_value()) {
      faults.push_back({"quiet_hours.to", "write a time as in 08:00"});
    }
  }
  if (change.weight() > kWeightMax) {
    faults.push_back({"weight", absl::StrCat("write 1 to ", kWeightMax)});
  }
  return faults;
}

Limits LimitsWith(const Limits& deployment, const v1::CorpLimits& change) {
  Limits limits = deployment;
  limits.corps.clear();
  std::vector<WindowLimit> own;
  for (const auto& window : change.windows()) own.push_back(ToWindowLimit(window));
  limits.ReplaceWindows(std::move(own));
  for (const auto& limit : change.in_flight()) {
    if (limit.api() == "*") {
      limits.in_flight_of_others = limit.amount();
    } else {
      limits.in_flight[limit.api()] = limit.amount();
    }
  }
  switch (change.receive_quota()) {
    case v1::RECEIVE_QUOTA_DAYS_IN_MONTH:
      limits.receive_quota = ReceiveQuota::kDaysInMonth;
      break;
    case v1::RECEIVE_QUOTA_SEVEN_PER_WEEK:
      limits.receive_quota = ReceiveQuota::kSevenPerWeek;
      break;
    case v1::RECEIVE_QUOTA_ONE_PER_DAY:
      limits.receive_quota = ReceiveQuota::kOnePerDay;
      break;
    case v1::RECEIVE_QUOTA_NONE:
      limits.receive_quota = ReceiveQuota::kNone;
      break;
    default:
      break;
  }
  if (change.has_quiet_hours()) {
    limits.quiet_hours = {.from = ParseMinutes(change.quiet_hours().from()).value_or(0),
                          .to = ParseMinutes(change.quiet_hours().to()).value_or(0)};
  }
  if (change.weight() > 0) limits.weight = change.weight();
  return limits;
}

}  // namespace tidegate::wecom_table
