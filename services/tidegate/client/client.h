// What every verb is handed: where to write, whom to call, what time it is. Not for parsing flags.
#pragma once

#include <ostream>

#include "services/tidegate/client/client_clock.h"
#include "services/tidegate/client/client_log.h"
#include "services/tidegate/client/connection.h"

namespace tidegate::client {

// The pointers outlive the verb.
struct Client {
  // Results, and nothing else.
  std::ostream* out = nullptr;
  // Errors and progress.
  std::ostream* err = nullptr;
  bool err_is_terminal = false;
  // No progress and no notes.
  bool quiet = false;
  // JSON instead of tables.
  bool json = false;
  ClientClock* clock = nullptr;
  const Connection* connection = nullptr;
  ClientLog* log = nullptr;
};

}  // namespace tidegate::client
