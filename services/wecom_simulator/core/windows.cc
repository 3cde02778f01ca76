#include "services/wecom_simulator/core/windows.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/hash.h"

namespace tidegate::wecom_simulator {
namespace {

constexpr int64_t kDayNs = int64_t{24} * 3600 * kNanosPerSecond;
constexpr int64_t kEastNs = int64_t{8} * 3600 * kNanosPerSecond;  // of China before Greenwich

int64_t FloorDivide(int64_t value, int64_t by) { return value / by - (value % by < 0 ? 1 : 0); }

}  // namespace

void Window::Forget(int64_t raw_ns) {
  while (!calls_.empty() && calls_.front().raw_ns <= raw_ns - window_ns_) {
    in_calls_ -= calls_.front().cost;
    calls_.pop_front();
  }
}

bool Window::HasRoom(int64_t raw_ns, int64_t cost) {
  if (kind_ == WindowKind::kFixed) {
    const bool new_cell = FloorDivide(raw_ns + phase_ns_, window_ns_) != cell_;
    return (new_cell ? 0 : in_cell_) + cost <= amount_;
  }
  Forget(raw_ns);
  return in_calls_ + cost <= amount_;
}

void Window::Count(int64_t raw_ns, int64_t cost) {
  if (kind_ == WindowKind::kFixed) {
    const int64_t cell = FloorDivide(raw_ns + phase_ns_, window_ns_);
    if (cell != cell_) in_cell_ = 0;
    cell_ = cell;
    in_cell_ += cost;
    return;
  }
  calls_.push_back({.raw_ns = raw_ns, .cost = cost});
  in_calls_ += cost;
  while (in_calls_ - calls_.front().cost >= amount_) {
    in_calls_ -= calls_.front().cost;
    calls_.pop_front();
  }
}

int64_t CalendarCount::PeriodOf(int64_t wall_ns) const {
  const int64_t day = FloorDivide(wall_ns + kEastNs, kDayNs);
  if (calendar_ == Calendar::kDay) return day;
  const std::chrono::year_month_day date{std::chrono::sys_days(std::chrono::days(day))};
  return int64_t{static_cast<int>(date.year())} * 100 + static_cast<unsigned>(date.month());
}

bool CalendarCount::HasRoom(int64_t wall_ns, int64_t cost) const {
  return (PeriodOf(wall_ns) == period_ ? in_period_ : 0) + cost <= amount_;
}

void CalendarCount::Count(int64_t wall_ns, int64_t cost) {
  const int64_t period = PeriodOf(wall_ns);
  in_period_ = (period == period_ ? in_period_ : 0) + cost;
  period_ = period;
}

int64_t CalendarCount::RestNs(int64_t wall_ns) const {
  int64_t end_ns = (FloorDivide(wall_ns + kEastNs, kDayNs) + 1) * kDayNs - kEastNs;
  while (PeriodOf(end_ns) == PeriodOf(wall_ns)) end_ns += kDayNs;
  return end_ns - wall_ns;
}

Frequency::Frequency(const Limits& limits, WindowKind kind, uint64_t seed)
    : limits_(limits), kind_(kind), seed_(seed) {}

Frequency::Caller& Frequency::Find(Scope scope, const std::string& api, const std::string& who) {
  auto [found, is_new] = callers_.try_emplace({scope, api, who});
  Caller& caller = found->second;
  if (!is_new) return caller;
  caller.rows = limits_.RowsFor(api, scope, scope == Scope::kCorp ? who : "");
  for (size_t i = 0; i < caller.rows.size(); ++i) {
    const LimitRow& row = caller.rows[i];
    if (row.calendar != Calendar::kNone) {
      caller.counts.emplace_back(CalendarCount(row.calendar, row.amount));
      continue;
    }
    const int64_t window_ns = row.window_ms * kNanosPerMilli;
    const uint64_t chance = StableHash64(absl::StrCat(
        seed_, "|phase|", scope == Scope::kCorp ? "corp" : "ip", "|", api, "|", who, "|", i));
    caller.counts.emplace_back(
        Window(kind_, row.amount, window_ns,
               static_cast<int64_t>(chance % static_cast<uint64_t>(window_ns))));
  }
  return caller;
}

bool Frequency::Count(const std::string& api, const std::string& corp, const std::string& ip,
                      int64_t raw_ns, int64_t wall_ns, int64_t people) {
  std::vector<Caller*> callers = {&Find(Scope::kIp, api, ip)};
  if (!corp.empty()) callers.push_back(&Find(Scope::kCorp, api, corp));
  bool refused = false;
  for (Caller* caller : callers) {
    if (raw_ns < caller->locked_until_ns) {
      refused = true;
      continue;
    }
    int64_t lockout_ms = -1;
    for (size_t i = 0; i < caller->counts.size(); ++i) {
      const LimitRow& row = caller->rows[i];
      const int64_t cost = row.counts_people ? people : 1;
      if (cost == 0) continue;
      int64_t row_ms = row.lockout_ms;
      if (const auto* calendar = std::get_if<CalendarCount>(&caller->counts[i])) {
        if (calendar->HasRoom(wall_ns, cost)) continue;
        if (row_ms == 0) row_ms = calendar->RestNs(wall_ns) / kNanosPerMilli;
      } else if (std::get<Window>(caller->counts[i]).HasRoom(raw_ns, cost)) {
        continue;
      }
      lockout_ms = std::max(lockout_ms, row_ms);
    }
    if (lockout_ms < 0) continue;
    refused = true;
    caller->locked_until_ns = raw_ns + lockout_ms * kNanosPerMilli;
    ++lockouts_;
    lockout_ms_total_ += lockout_ms;
  }
  if (refused && kind_ != WindowKind::kSlidingCountingRefusals) return false;
  for (Caller* caller : callers) {
    for (size_t i = 0; i < caller->counts.size(); ++i) {
      const int64_t cost = caller->rows[i].counts_people ? people : 1;
      if (cost == 0) continue;
      if (auto* calendar = std::get_if<CalendarCount>(&caller->counts[i])) {
        calendar->Count(wall_ns, cost);
      } else {
        std::get<Window>(caller->counts[i]).Count(raw_ns, cost);
      }
    }
  }
  return !refused;
}

}  // namespace tidegate::wecom_simulator
