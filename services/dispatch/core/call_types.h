// Values that travel between the books of dispatch, the core and its shell.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "common/base/clock.h"
#include "common/core/core.h"
#include "tidegate/log/v1/ledger.pb.h"

namespace tidegate::dispatch {

inline void SetStamp(const Now& now, ::tidegate::log::v1::Stamp* stamp) {
  stamp->set_wall_ns(now.wall_ns);
  stamp->set_raw_ns(now.raw_ns);
  stamp->set_boot_ns(now.boot_ns);
}

// A call that a book wants to make now; DispatchCore turns it into an attempt.
struct WantedCall {
  std::string corp;
  std::string api;
  std::string call_id;
  uint32_t attempt = 0;
  ::tidegate::log::v1::CallTarget target;
  std::string body;
  std::string marker;
  uint32_t person_times = 0;  // people that it is for, where limits count these
};

// What the shell shall do with an attempt that counted.
struct CallToMake {
  std::string corp;
  std::string agent_id;
  std::string api;
  std::string call_id;
  uint32_t attempt = 0;
  std::string body;
  int64_t send_deadline_boot_ns = 0;  // no first byte after this
  std::string campaign;               // of a create or reminder
};

// What the shell saw of a call.
struct CallAnswer : core::LocalInput {
  std::string call_id;
  uint32_t attempt = 0;
  bool bytes_written = false;  // any request byte was handed to the socket
  bool answered = false;       // a whole HTTP answer was read
  int http_status = 0;
  std::string body;
  // Where no request went out: WeCom's errcode for the token, or 0.
  int token_errcode = 0;
  Now completed;  // answer read, or socket closed
};

// What an answer means, as the ledger records it.
struct AttemptEnd {
  const ::tidegate::log::v1::Attempt& attempt;
  const ::tidegate::log::v1::Outcome& outcome;
  // Raw time from which WeCom cannot execute it any more: completion, or the server's hold bound.
  int64_t over_raw_ns = 0;
};

// A former owner of the lane is known to have ended.
struct FormerOwnerEnded : core::LocalInput {
  std::string owner;  // as in its fence
};

// An operator says what became of a parked call, sets or ends a block, or sets limits. `time_ns` of
// the record is the decision's.
struct OperatorWish : core::LocalInput {
  ::tidegate::log::v1::LedgerRecord record;
};

// Another program wants tokens. The stamp is the decision's.
struct AcquireTokens : core::LocalInput {
  ::tidegate::log::v1::TokensAcquired wanted;
  // Set once its caller was told that there are none; nullptr: it waits in any case.
  std::shared_ptr<const bool> given_up;
};

// It gives them back. The stamp and the lockout are the decision's.
struct ReleaseTokens : core::LocalInput {
  ::tidegate::log::v1::TokensReleased wanted;
};

// Somebody wants a message not to be sent.
struct CancelMessage : core::LocalInput {
  uint64_t position = 0;  // of its batch
  uint32_t index = 0;     // in it
};

}  // namespace tidegate::dispatch
