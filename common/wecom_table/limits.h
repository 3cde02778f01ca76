// WeCom's limits and the waits that follow from them, as data. Defaults are the documented values
// (F1-F4 and C1 of WeCom's frequency pages; waits: reliability 3.5); a limits file overrides them.
//
// Pure. Times in nanoseconds.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/clock.h"

namespace tidegate::wecom_table {

enum class Scope { kCorp, kIp };
// What of a call counts. People are those of this api's calls alone.
enum class Cost { kCalls, kPersonTimes };
inline constexpr char kCountsPeople[] = "message_send";
// Natural days and months are China's.
enum class Calendar { kNone, kDay, kMonth };

// WeCom's block after the limit of a month: from the hit on, whatever the month.
inline constexpr int64_t kMonthLockoutNs = int64_t{30} * 24 * 3600 * kNanosPerSecond;
inline constexpr int kWindowsMax = 8;  // of one api in one scope
// Calls at once of a corp to an api where WeCom publishes no number: one below the published ones.
inline constexpr int64_t kInFlightGuess = 4;

// At most `amount` in any `window_ns`; one more is answered 45009 and locks for `lockout_ns`.
struct WindowLimit {
  std::string api;  // endpoint name, or "*": every one without a limit of its own in this scope
  Scope scope = Scope::kCorp;
  int64_t amount = 0;
  int64_t window_ns = 0;   // 0 with a calendar
  int64_t lockout_ns = 0;  // with a calendar: 0 = until its day or month ends
  Cost cost = Cost::kCalls;
  Calendar calendar = Calendar::kNone;
};

// How many mass sends a customer may receive (M6 of WeCom's limits), in China's days.
enum class ReceiveQuota { kDaysInMonth, kSevenPerWeek, kOnePerDay, kNone };

// Part of each day of China in which no create of a campaign, no bulk message to customers and no
// reminder is decided. Messages to members, urgent and interactive messages to customers, welcomes,
// tags and readings go on. Minutes after midnight; it may pass midnight; equal = never.
struct QuietHours {
  int32_t from = 0;
  int32_t to = 0;
};

// How long a call may still take effect, and how late a list may show it.
struct Settle {
  int64_t user_timeout_ns = 5 * kNanosPerSecond;  // TCP_USER_TIMEOUT of the WeCom route
  int64_t hold_ns = 30 * kNanosPerSecond;  // WeCom executes nothing later than this after arrival
  // A forward proxy passes nothing on later than this after its client is gone. In the limits of a
  // lane behind one hold_ns is larger by it: see dispatch's lane_limits.h. An assumption: that the
  // proxy closes its connection to WeCom within a minute of our reset. Its kernel then still sends
  // what it has acknowledged to us; Linux ends that about 102 s after the first lost byte
  // (tcp_orphan_retries: 8 retries, doubling from 200 ms). A proxy that keeps the connection open
  // may send for a quarter of an hour (tcp_retries2): write more for such a one.
  int64_t proxy_ns = 180 * kNanosPerSecond;
  int64_t list_lag_ns = 30 * kNanosPerSecond;  // what was executed is listed after this
  int64_t skew_ns = 5 * kNanosPerSecond;       // between our clock and WeCom's
  double factor = 1.5;
  int64_t list_gap_ns = 10 * kNanosPerSecond;  // between the two clean listings
  // A doubt that listings cannot settle for so long is left to an operator (reliability 3.5).
  int64_t park_after_ns = int64_t{30} * 60 * kNanosPerSecond;
};

struct Results {
  int64_t first_poll_ns = 60 * kNanosPerSecond;
  int64_t poll_ns = 300 * kNanosPerSecond;
  // After a campaign's last create; what is not confirmed then ends unconfirmed.
  int64_t close_after_ns = int64_t{31} * 24 * 3600 * kNanosPerSecond;
  // Calls are kept so long after their last result, those of campaigns after results closed. Not
  // less than the 31 days of which audits list mass sends: they must know whose these are.
  int64_t keep_after_ns = int64_t{32} * 24 * 3600 * kNanosPerSecond;
};

// How long the first message of a call waits for others to share it.
struct Messages {
  int64_t urgent_linger_ns = 20 * kNanosPerMilli;
  int64_t interactive_linger_ns = 100 * kNanosPerMilli;
  int64_t bulk_linger_ns = 1000 * kNanosPerMilli;
};

struct MemberWindow {
  int64_t amount = 0;
  int64_t window_ns = 0;
};

// Messages of an app to members.
struct AppMessages {
  // To one member; WeCom drops one more without a word (A2).
  std::vector<MemberWindow> per_member = {{30, 60 * kNanosPerSecond},
                                          {1'000, 3600 * kNanosPerSecond}};
  // For how long WeCom drops a repeat of the same bytes: whole seconds, at most 4 h (A5).
  int64_t duplicate_check_ns = int64_t{1800} * kNanosPerSecond;
  // So long before its end nothing is repeated any more.
  int64_t repeat_margin_ns = int64_t{600} * kNanosPerSecond;
};

// When a campaign has done so much harm that it is blocked: see dispatch's harm_brake.h.
struct Harm {
  double factor = 3;  // times the removals that are usual; 1 to 100
  int64_t min_deletions = 20;
  int64_t window_ns = int64_t{24} * 3600 * kNanosPerSecond;
};

// How often all mass sends of a corp are listed, to find those that are one too many.
struct Audit {
  int64_t every_ns = int64_t{24} * 3600 * kNanosPerSecond;
};

struct Limits {
  std::vector<WindowLimit> windows;
  std::map<std::string, int64_t> in_flight;    // by api
  std::optional<int64_t> in_flight_of_others;  // of "*"; empty: kInFlightGuess
  int64_t http_deadline_ns = 5 * kNanosPerSecond;
  Settle settle;
  Results results;
  Messages messages;
  AppMessages app_messages;
  Harm harm;
  Audit audit;
  ReceiveQuota receive_quota = ReceiveQuota::kDaysInMonth;
  QuietHours quiet_hours;
  int64_t weight = 1;              // of a corp's share of the address, in [1, 1000]
  int64_t slots_per_window = 240;  // in [20, 240]; a token returns at most a slot late

  // Of corps with limits of their own: all of these. They name no corps.
  std::map<std::string, std::shared_ptr<const Limits>, std::less<>> corps;

  const Limits& OfCorp(absl::string_view corp) const;
  // These stand in place of all windows of each (api, scope) that they name.
  void ReplaceWindows(std::vector<WindowLimit> own);
  // The window limits of an api in a scope: its own, else those of "*".
  std::vector<WindowLimit> WindowsOf(absl::string_view api, Scope scope) const;
  int64_t InFlight(absl::string_view api) const;
  // Neither WeCom nor who runs Tidegate says how many it is.
  bool GuessesInFlight(absl::string_view api) const;
  // From when nothing of ours can write any more until a listing proves absence.
  int64_t SettleWaitNs() const;
};

Limits DefaultLimits();
// INVALID_ARGUMENT names the place in the JSON and what to write. What is left out keeps its
// default.
absl::StatusOr<Limits> ParseLimits(absl::string_view json_text);

}  // namespace tidegate::wecom_table
