// The command line: nouns, verbs, flags, help. Parses, runs one verb, tells errors, gives the exit
// code. Not for what the verbs do (verbs.h, import_*.h, journal_export.h).
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/grpc/credentials.h"
#include "services/tidegate/client/client_clock.h"
#include "services/tidegate/serve_options.h"

namespace tidegate::client {

// What the process is given from outside; tests hand in their own. The pointers outlive the run.
struct CliEnvironment {
  std::ostream* out = nullptr;
  std::ostream* err = nullptr;
  bool err_is_terminal = false;
  ClientClock* clock = nullptr;
  // A channel to a target, with these PEM files (all empty = plaintext). Error: a file.
  std::function<absl::StatusOr<std::shared_ptr<grpc::Channel>>(const std::string& target,
                                                               const rpc::TlsFiles& tls)>
      connect;
  std::function<absl::Status(const ServeOptions&)> serve;
};

// `arguments` are those after the program's name. Returns the exit code: 0 ok, 1 failure, 2 usage
// or INVALID_ARGUMENT, 3 not found, 4 conflict, 5 denied, 6 quota, 7 unavailable, 8 deadline.
int RunCli(const std::vector<std::string>& arguments, const CliEnvironment& environment);

}  // namespace tidegate::client
