// How many calls that cannot wait are to be expected of a corp at an api, and of all corps
// together: for so many, bulk calls leave tokens (reserve.h). Counted are the attempts of urgent
// and interactive calls, by ten minutes of the last day.
//
// A fold of the ledger's attempts, so that a restart does not give away what was kept. Times are
// CLOCK_MONOTONIC_RAW in nanoseconds: a step of the wall clock forgets nothing. Not thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "common/core/state_hash.h"
#include "services/dispatch/core/bucket_set.h"
#include "tidegate/log/v1/ledger.pb.h"

namespace tidegate::dispatch {

class UrgentCalls {
 public:
  using Route = BucketSet::Route;

  // Whether a call about this is one of those that are counted.
  static bool Counts(const ::tidegate::log::v1::CallTarget& target);

  // One was attempted. `route` is that of corp and api, `api_number` that of the api.
  void Add(Route route, uint32_t api_number, absl::string_view corp, absl::string_view api,
           int64_t raw_ns);
  // Calls to expect in an hour, of a corp or of all: as in the busiest ten minutes of the last
  // hour, or as in the mean hour of the last 24, whichever is more. 0: there was none in these. To
  // expect too many costs bulk calls little, beside the thousands that a window has.
  double PerHour(Route route, int64_t raw_ns) const;
  double PerHourOfApi(uint32_t api_number, int64_t raw_ns) const;
  // Another boot: how long the newest ones are ago cannot be told, so it is taken for none.
  void Rebase(int64_t raw_ns);
  void AddStateTo(core::StateHash* hash) const;

 private:
  // Calls by ten minutes of the raw clock, ascending; those of the last day that had some.
  using Slots = std::deque<std::pair<int64_t, int64_t>>;
  struct OfRoute {
    std::string corp;
    std::string api;
    Slots slots;
  };
  static void AddTo(int64_t slot, Slots* slots);
  static double PerHourOf(const Slots& slots, int64_t slot);

  absl::flat_hash_map<Route, OfRoute> routes_;
  absl::flat_hash_map<uint32_t, Slots> apis_;  // sums of their routes
  int64_t newest_slot_ = 0;
};

}  // namespace tidegate::dispatch
