// What bulk calls leave of a bucket for urgent and interactive ones, that may come at any moment
// and must not wait until tokens return: of an hour's window up to an hour.
//
// Kept is what they are expected to take at most (in 999 of 1000 cases, arriving independently)
// until enough tokens have returned, and one call at once. So it shrinks as the return comes
// nearer. Where nothing is expected nothing is kept. While one call more than WeCom is known to
// serve at once is to be tried (calls_at_once.h), bulk makes the try, and none at once is kept: an
// urgent call must not pay for it.
//
// Pure. Times in nanoseconds.
#pragma once

#include <cstdint>

#include "services/dispatch/core/token_buckets.h"

namespace tidegate::dispatch {

// What at most comes in so long a time: m + 3.1 sqrt(m) + 1, rounded, for a mean of m. At least 1.
int64_t MostIn(double per_hour, int64_t ns);
// In how long a time no more than so many come; `calls` >= 1.
int64_t LongestWith(double per_hour, int64_t calls);

// When a bulk call may take a token of the bucket; now or before: now. kNever: after an answer.
// `urgent_per_hour` > 0; `bulk_waiting`: bulk calls that wait for this bucket, this one too. If all
// of them can leave at once, they need to leave only the mean of what is expected, at least 1, as
// that may save them a whole window. At most half of a window is kept.
int64_t WhenBulkMay(TokenBuckets* buckets, TokenBuckets::Id id, double urgent_per_hour,
                    int64_t bulk_waiting, int64_t now_ns);

}  // namespace tidegate::dispatch
