#include "services/wecom_simulator/core/windows.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/hash.h"

namespace tidegate::wecom_simulator {
namespace {

int64_t FloorDivide(int64_t value, int64_t by) { return value / by - (value % by < 0 ? 1 : 0); }

}  // namespace

void Window::Forget(int64_t raw_ns) {
  while (!calls_.empty() && calls_.front() <= raw_ns - window_ns_) calls_.pop_front();
}

bool Window::HasRoom(int64_t raw_ns) {
  if (kind_ == WindowKind::kFixed) {
    return FloorDivide(raw_ns + phase_ns_, window_ns_) != cell_ || in_cell_ < amount_;
  }
  Forget(raw_ns);
  return static_cast<int64_t>(calls_.size()) < amount_;
}

void Window::Count(int64_t raw_ns) {
  if (kind_ == WindowKind::kFixed) {
    const int64_t cell = FloorDivide(raw_ns + phase_ns_, window_ns_);
    if (cell != cell_) in_cell_ = 0;
    cell_ = cell;
    ++in_cell_;
    return;
  }
  calls_.push_back(raw_ns);
  if (static_cast<int64_t>(calls_.size()) > amount_) calls_.pop_front();
}

Frequency::Frequency(const Limits& limits, WindowKind kind, uint64_t seed)
    : limits_(limits), kind_(kind), seed_(seed) {}

Frequency::Caller& Frequency::Find(Scope scope, const std::string& api, const std::string& who) {
  auto [found, is_new] = callers_.try_emplace({scope, api, who});
  Caller& caller = found->second;
  if (!is_new) return caller;
  caller.rows = limits_.RowsFor(api, scope);
  for (size_t i = 0; i < caller.rows.size(); ++i) {
    const LimitRow& row = caller.rows[i];
    const int64_t window_ns = row.window_ms * kNanosPerMilli;
    const uint64_t chance = StableHash64(absl::StrCat(
        seed_, "|phase|", scope == Scope::kCorp ? "corp" : "ip", "|", api, "|", who, "|", i));
    caller.windows.emplace_back(kind_, row.amount, window_ns,
                                static_cast<int64_t>(chance % static_cast<uint64_t>(window_ns)));
  }
  return caller;
}

bool Frequency::Count(const std::string& api, const std::string& corp, const std::string& ip,
                      int64_t raw_ns) {
  std::vector<Caller*> callers = {&Find(Scope::kIp, api, ip)};
  if (!corp.empty()) callers.push_back(&Find(Scope::kCorp, api, corp));
  bool refused = false;
  for (Caller* caller : callers) {
    if (raw_ns < caller->locked_until_ns) {
      refused = true;
      continue;
    }
    int64_t lockout_ms = -1;
    for (size_t i = 0; i < caller->windows.size(); ++i) {
      if (caller->windows[i].HasRoom(raw_ns)) continue;
      lockout_ms = std::max(lockout_ms, caller->rows[i].lockout_ms);
    }
    if (lockout_ms < 0) continue;
    refused = true;
    caller->locked_until_ns = raw_ns + lockout_ms * kNanosPerMilli;
    ++lockouts_;
    lockout_ms_total_ += lockout_ms;
  }
  if (refused && kind_ != WindowKind::kSlidingCountingRefusals) return false;
  for (Caller* caller : callers) {
    for (Window& window : caller->windows) window.Count(raw_ns);
  }
  return !refused;
}

}  // namespace tidegate::wecom_simulator
