#include "common/runtime/wait_list.h"

#include <utility>

namespace tidegate::runtime {

WaitList::~WaitList() {
  for (const Entry& entry : entries_) {
    entry.done(absl::UnavailableError("the partition stops; try again"), Now{});
  }
}

void WaitList::Add(const Now& now, int64_t deadline_raw_ns, Ready ready, Done done) {
  if (ready()) {
    done(absl::OkStatus(), now);
  } else if (entries_.size() >= waiting_max_) {
    done(absl::ResourceExhaustedError("too many questions wait for this partition"), now);
  } else {
    entries_.push_back({deadline_raw_ns, std::move(ready), std::move(done)});
  }
}

void WaitList::Check(const Now& now) {
  for (auto it = entries_.begin(); it != entries_.end();) {
    const bool ready = it->ready();
    if (!ready && now.raw_ns < it->deadline_raw_ns) {
      ++it;
      continue;
    }
    const Done done = std::move(it->done);
    it = entries_.erase(it);
    done(ready ? absl::OkStatus()
               : absl::DeadlineExceededError("the partition has not read far enough"),
         now);
  }
}

}  // namespace tidegate::runtime
