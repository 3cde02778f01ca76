#include "services/dispatch/lane.h"

#include <utility>

#include "absl/time/clock.h"

namespace tidegate::dispatch {
namespace {

constexpr int64_t kPostAgainNs = 250 * kNanosPerMilli;

}  // namespace

void PostUntil(Lane* lane, const Clock* clock, absl::Time deadline,
               std::function<std::unique_ptr<core::LocalInput>()> make, std::function<bool()> ready,
               std::function<void(absl::Status)> done) {
  runtime::PartitionRunner* runner = &lane->thread->runner();
  runtime::WaitList* waiting = lane->waiting.get();
  const int64_t deadline_raw_ns =
      clock->Read().raw_ns + absl::ToInt64Nanoseconds(deadline - absl::Now());
  const absl::Status posted = runner->PostQuery([=](absl::Status status, const Now& now) {
    if (!status.ok()) return done(std::move(status));
    waiting->Add(
        now, deadline_raw_ns,
        [runner, clock, make, ready, post_raw_ns = int64_t{0}]() mutable {
          if (ready()) return true;
          const int64_t raw_ns = clock->Read().raw_ns;
          if (raw_ns < post_raw_ns) return false;
          post_raw_ns = raw_ns + kPostAgainNs;
          // A full queue is tried again.
          (void)runner->PostLocal(make());
          return false;
        },
        [done](absl::Status waited, const Now&) { done(std::move(waited)); });
  });
  if (!posted.ok()) done(posted);
}

}  // namespace tidegate::dispatch
