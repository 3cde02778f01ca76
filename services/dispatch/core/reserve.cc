#include "services/dispatch/core/reserve.h"

#include <algorithm>
#include <cmath>

#include "common/base/clock.h"

namespace tidegate::dispatch {
namespace {

constexpr double kHourNs = 3600.0 * kNanosPerSecond;
// Standard deviations that 99.9 % of a normal distribution stay below.
constexpr double kDeviations = 3.1;
// Longer than any window.
constexpr double kHoursMax = 10'000;
// So long at least nothing is asked again: the decay of what is kept is smooth.
constexpr int64_t kAskAgainNs = kNanosPerMilli;

double MeanIn(double per_hour, int64_t ns) { return per_hour * static_cast<double>(ns) / kHourNs; }

// When one more token may be taken of a window.
int64_t WhenOfWindow(TokenBuckets* buckets, TokenBuckets::Id id, size_t window, double per_hour,
                     int64_t bulk_waiting, int64_t now_ns) {
  const BucketLimits::Window& limit = buckets->limits_of(id).windows[window];
  if (limit.capacity >= kUnlimited) return now_ns;
  const int64_t capacity = buckets->capacity(id, window, now_ns);
  const int64_t free = capacity - buckets->Used(id, window, now_ns) - buckets->reserved(id);
  const int64_t most = std::min(MostIn(per_hour, limit.window_ns), capacity / 2);
  if (free > most) return now_ns;
  // When so many have returned, later calls need nothing that is there now.
  const int64_t returned_ns = buckets->FreeAtNs(id, window, free + most, now_ns);
  const int64_t ahead_ns = std::min(limit.window_ns, returned_ns - now_ns);
  int64_t kept = std::min(most, MostIn(per_hour, ahead_ns));
  const int64_t expected = std::max<int64_t>(1, std::llround(MeanIn(per_hour, ahead_ns)));
  if (bulk_waiting + expected <= free) kept = std::min(kept, expected);
  if (free > kept) return now_ns;
  int64_t when = buckets->FreeAtNs(id, window, kept + 1, now_ns);
  if (free > 1) {
    when = std::min(when, now_ns + ahead_ns - LongestWith(per_hour, free - 1));
  }
  return std::max(when, now_ns + kAskAgainNs);
}

}  // namespace

int64_t MostIn(double per_hour, int64_t ns) {
  const double mean = MeanIn(per_hour, ns);
  return std::llround(mean + kDeviations * std::sqrt(mean) + 1);
}

int64_t LongestWith(double per_hour, int64_t calls) {
  // MostIn() is not above `calls` while m + 3.1 sqrt(m) + 1 < calls + 1/2.
  const double rest = static_cast<double>(calls) - 0.5;
  const double root = (std::sqrt(kDeviations * kDeviations + 4 * rest) - kDeviations) / 2;
  return static_cast<int64_t>(std::min(root * root / per_hour, kHoursMax) * kHourNs);
}

int64_t WhenBulkMay(TokenBuckets* buckets, TokenBuckets::Id id, double urgent_per_hour,
                    int64_t bulk_waiting, int64_t now_ns) {
  int64_t when = now_ns;
  const int64_t at_once = buckets->ceiling(id);
  // One is kept of those that are known to be served. The one more that is tried is bulk's.
  const int64_t kept = at_once > buckets->served_at_once(id) ? 0 : 1;
  if (at_once > 1 && at_once < kUnlimited) when = buckets->PermitsAtNs(id, 1 + kept, now_ns);
  for (size_t w = 0; w < BucketLimits::kWindows; ++w) {
    when = std::max(when, WhenOfWindow(buckets, id, w, urgent_per_hour, bulk_waiting, now_ns));
  }
  return std::max(when, now_ns);
}

}  // namespace tidegate::dispatch
