// How WeCom counts calls: windows that are full, and the lockout after a hit. The judge's side of
// the product's token buckets: it looks only backwards and plans nothing.
//
//   Frequency frequency(limits, WindowKind::kSliding, seed);
//   if (!frequency.Count("add_msg_template", corp, ip, now.raw_ns)) return 45009;
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

#include "services/wecom_simulator/core/limits.h"

namespace tidegate::wecom_simulator {

// WeCom does not document its windows, so the simulator can be any of the three.
enum class WindowKind {
  kFixed,                    // cells of one window's length, phase from the seed
  kSliding,                  // the last window_ms before the call, accepted calls only
  kSlidingCountingRefusals,  // the same, and a refused call counts too
};

// Counts of one limit for one corp or address. Times never go back. Not thread-safe.
class Window {
 public:
  Window(WindowKind kind, int64_t amount, int64_t window_ns, int64_t phase_ns)
      : kind_(kind), amount_(amount), window_ns_(window_ns), phase_ns_(phase_ns) {}
  // Whether one more call at this time keeps the limit, of which it takes `cost`. A call exactly
  // one window ago is outside.
  bool HasRoom(int64_t raw_ns, int64_t cost = 1);
  void Count(int64_t raw_ns, int64_t cost = 1);

 private:
  void Forget(int64_t raw_ns);

  const WindowKind kind_;
  const int64_t amount_;
  const int64_t window_ns_;
  const int64_t phase_ns_;
  struct Call {
    int64_t raw_ns;
    int64_t cost;
  };
  int64_t cell_ = INT64_MIN;  // fixed only
  int64_t in_cell_ = 0;       // fixed only
  // Sliding only. Those before what amounts to the limit can never matter.
  std::deque<Call> calls_;
  int64_t in_calls_ = 0;  // their costs
};

// Counts of one limit of natural days or months of China, by the simulator's own wall clock.
class CalendarCount {
 public:
  CalendarCount(Calendar calendar, int64_t amount) : calendar_(calendar), amount_(amount) {}
  bool HasRoom(int64_t wall_ns, int64_t cost) const;
  void Count(int64_t wall_ns, int64_t cost);
  // Until its day or month ends.
  int64_t RestNs(int64_t wall_ns) const;

 private:
  int64_t PeriodOf(int64_t wall_ns) const;

  const Calendar calendar_;
  const int64_t amount_;
  int64_t period_ = INT64_MIN;
  int64_t in_period_ = 0;
};

// All frequency limits of all callers. Not thread-safe.
class Frequency {
 public:
  Frequency(const Limits& limits, WindowKind kind, uint64_t seed);

  // One call of `api` by `corp` (empty = unknown, then only the address counts) from `ip`. True: it
  // is counted in every window. False: 45009; the (caller, api) pair is locked from the first hit
  // for the lockout of the limit, and calls during a lockout do not prolong it.
  bool Count(const std::string& api, const std::string& corp, const std::string& ip, int64_t raw_ns,
             int64_t wall_ns = 0, int64_t people = 0);

  // Lockouts begun so far and their summed length, for reports.
  int64_t lockouts() const { return lockouts_; }
  int64_t lockout_ms_total() const { return lockout_ms_total_; }

 private:
  struct Caller {
    std::vector<LimitRow> rows;
    std::vector<std::variant<Window, CalendarCount>> counts;  // one per row
    int64_t locked_until_ns = INT64_MIN;
  };
  Caller& Find(Scope scope, const std::string& api, const std::string& who);

  const Limits limits_;
  const WindowKind kind_;
  const uint64_t seed_;
  std::map<std::tuple<Scope, std::string, std::string>, Caller> callers_;
  int64_t lockouts_ = 0;
  int64_t lockout_ms_total_ = 0;
};

}  // namespace tidegate::wecom_simulator
