// Faults on demand: for the next n calls of an API, or for a share of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/base/seeded_random.h"

namespace tidegate::wecom_simulator {

struct Fault {
  enum class Kind {
    kNone,
    kExecThenClose,     // executes, closes the connection without an answer
    kExecThenReset,     // executes, resets the connection without an answer
    kExecThenTimeout,   // executes, never answers; closed at the hold bound
    kExecThen5xx,       // executes, a gateway answers 502 with a page
    kExecThenMinusOne,  // executes, answers errcode -1
    kExecThenGarbage,   // executes, answers half of its JSON
    kDelayExec,         // add_msg_template: closes at once, executes later, within the hold bound
    kDropThenClose,     // closes without executing
    kReject,            // answers `code`, executes nothing
  };
  Kind kind = Kind::kNone;
  int code = 0;      // kReject
  std::string name;  // as asked for: "REJECT:45009"
  bool executes() const {
    return kind != Kind::kNone && kind != Kind::kDropThenClose && kind != Kind::kReject;
  }
};

// EXEC_THEN_CLOSE, EXEC_THEN_RST, EXEC_THEN_TIMEOUT, EXEC_THEN_5XX, EXEC_THEN_-1,
// EXEC_THEN_GARBAGE, DELAY_EXEC, DROP_THEN_CLOSE, LIST_ERR (= REJECT:-1 of get_groupmsg_list_v2),
// REJECT:<code>. Errors: INVALID_ARGUMENT.
absl::Status ParseFault(absl::string_view api, absl::string_view text, Fault* fault);

// Not thread-safe.
class Faults {
 public:
  explicit Faults(uint64_t seed) : random_(seed ^ 0xFA017u) {}
  // For the next `count` calls; `api` "*" = any.
  void AddNext(const std::string& api, const Fault& fault, int64_t count);
  // Each call with this chance from now on; 0 ends it.
  void SetProbability(const std::string& api, const Fault& fault, double probability);
  // The fault of a call that is about to be refused or dropped (`executes` false) or has just been
  // found fit to execute (true). Counted faults come before chance.
  Fault Take(const std::string& api, bool executes);

 private:
  struct Rule {
    std::string api;
    Fault fault;
    int64_t next = 0;
    double probability = 0;
  };
  SeededRandom random_;
  std::vector<Rule> rules_;
};

}  // namespace tidegate::wecom_simulator
