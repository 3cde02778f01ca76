// Whether corps trust the address that this lane calls from. WeCom answers 60020 to calls from an
// address that the corp's admin has not entered. Then nothing leaves for the corp but a probe,
// after a second and ever more rarely, at last once a minute, until one goes well.
//
// A fold of the ledger's attempts and outcomes. Part of DispatchCore; one thread. Times are
// CLOCK_MONOTONIC_RAW unless named wall.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "absl/strings/string_view.h"
#include "common/base/clock.h"
#include "common/core/state_hash.h"
#include "services/dispatch/core/call_types.h"
#include "services/dispatch/core/flows.h"
#include "tidegate/log/v1/ledger.pb.h"

namespace tidegate::dispatch {

class AddressTrust {
 public:
  // Of the corps in `ask_first` a probe goes before all other calls, once per fence.
  AddressTrust(std::set<std::string> ask_first, FlowChanged changed)
      : ask_first_(std::move(ask_first)), changed_(std::move(changed)) {}

  // Decide. Whether anything but a probe may leave for the corp.
  bool MayCall(const std::string& corp) const;
  // The flow kProbe of a corp. What Take() returns is under way until its outcome; Rebuild() undoes
  // that for a void batch.
  std::optional<FlowHead> HeadOf(const std::string& corp) const;
  std::optional<WantedCall> Take(const std::string& corp, const Now& now);

  // Apply, of all calls. What an outcome has changed:
  enum class Change { kNone, kTrusted, kNotTrusted };
  void OnAttempt(const std::string& corp, const ::tidegate::log::v1::Attempt& attempt);
  Change OnOutcome(const std::string& corp, const AttemptEnd& end);
  // The call's owner is gone; it may have been made until then.
  void OnLostOwner(const std::string& corp, const ::tidegate::log::v1::Attempt& attempt,
                   int64_t wall_ns);
  // A fence, read at this time: what is under way is over, and who is to be asked first is asked.
  void Rebuild(int64_t raw_now_ns);

  // How many corps do not trust the address.
  size_t not_trusted() const;
  // Wall time until which WeCom may have counted the last call for the corp, but for probes: a
  // start that was wrong must not keep the corp from going back. 0 = none.
  int64_t LastCallWallNs(absl::string_view corp) const;
  // What a fence changes is left out: two owners have folded the same.
  void AddStateTo(core::StateHash* hash) const;

 private:
  enum class State { kUnknown, kTrusted, kNotTrusted };
  struct Corp {
    State state = State::kUnknown;
    bool under_way = false;  // a probe was decided or is open
    uint32_t probes = 0;     // attempts so far
    uint32_t failures = 0;   // probes in a row that have not shown trust
    int64_t next_probe_raw_ns = 0;
    int64_t last_call_wall_ns = 0;
    void NoteCall(int64_t wall_ns) { last_call_wall_ns = std::max(last_call_wall_ns, wall_ns); }
  };
  void Changed(const std::string& corp) {
    changed_({.kind = FlowKind::kProbe, .corp = corp, .campaign = ""});
  }

  const std::set<std::string> ask_first_;
  const FlowChanged changed_;
  std::map<std::string, Corp, std::less<>> corps_;
};

}  // namespace tidegate::dispatch
