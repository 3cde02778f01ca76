// The client's own record of what it asked for and what it was told, for judging afterwards: one
// JSON line per RPC that changes something,
//   {"t":1764000000.123,"op":"launch_campaign","request_id":"...","ids":["spring"],"result":"ok"}
// result: "ok" acknowledged, "fail" refused, "info" no answer, so it may or may not have happened.
// Not for people, and not for reads.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/tidegate/client/client_clock.h"

namespace tidegate::client {

// "ok", "fail" or "info" for the answer to a call or to one item of it.
const char* ResultWord(absl::StatusCode code);

// Thread-safe.
class ClientLog {
 public:
  // Appends to the file, making it when missing. An empty path is a log that keeps nothing.
  // Errors: INVALID_ARGUMENT it cannot be opened. `clock` outlives the log.
  static absl::StatusOr<std::unique_ptr<ClientLog>> Open(const std::string& path,
                                                         ClientClock* clock);
  ~ClientLog();
  ClientLog(const ClientLog&) = delete;
  ClientLog& operator=(const ClientLog&) = delete;

  // Each line is one write of its own, so several clients may share a file.
  void Add(absl::string_view op, absl::string_view request_id, const std::vector<std::string>& ids,
           absl::string_view result);

  // The first write that failed, else OK.
  absl::Status status() const;

 private:
  ClientLog(std::string path, int fd, ClientClock* clock);

  const std::string path_;
  const int fd_;
  ClientClock* const clock_;

  mutable std::mutex mu_;  // guards the rest
  absl::Status status_;
};

}  // namespace tidegate::client
