#include "common/process/replica_watch.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/log.h"

namespace tidegate::process {
namespace {

constexpr absl::Duration kLongestPause = absl::Seconds(5);
constexpr absl::Duration kPauseAtStart = absl::Milliseconds(500);
// So that a name which is gone for one look only does not count as a change.
constexpr int kLooksWhileSettling = 5;

}  // namespace

absl::StatusOr<Replica> FindReplica(const ReplicaRange& range,
                                    const std::vector<std::string>& peers, const AskName& ask,
                                    absl::Duration patience) {
  if (range.fixed()) return Replica{range.ordinal, range.most};
  const absl::Time deadline = absl::Now() + patience;
  while (true) {
    if (const auto count = CountReplicas(range, peers, ask)) return Replica{range.ordinal, *count};
    if (absl::Now() > deadline) {
      return absl::UnavailableError(
          absl::StrCat("no name server told whether ", peers.back(),
                       " and the peers before it exist, so the "
                       "number of replicas is unknown; see /etc/resolv.conf, or set replica: r/R"));
    }
    absl::SleepFor(kPauseAtStart);
  }
}

ReplicaWatch::ReplicaWatch(ReplicaRange range, std::vector<std::string> peers, AskName ask,
                           Replica own, absl::Duration settle, std::function<void()> on_change)
    : range_(range),
      peers_(std::move(peers)),
      ask_(std::move(ask)),
      own_(own),
      settle_(settle),
      on_change_(std::move(on_change)),
      thread_([this] { Run(); }) {}

ReplicaWatch::~ReplicaWatch() {
  end_.Notify();
  thread_.join();
}

void ReplicaWatch::Run() {
  ReplicaCountWatch watch(own_.count, settle_);
  const absl::Duration pause = std::min(kLongestPause, settle_ / kLooksWhileSettling);
  while (!end_.WaitForNotificationWithTimeout(pause)) {
    const std::optional<uint32_t> found = CountReplicas(range_, peers_, ask_);
    if (!watch.Look(found, absl::Now())) continue;
    LogEvent(LogLevel::kInfo, "replicas_changed",
             {{"from", absl::StrCat(own_.count)}, {"to", absl::StrCat(*found)}});
    on_change_();
    return;
  }
}

}  // namespace tidegate::process
