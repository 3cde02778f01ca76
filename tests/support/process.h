// Child processes for tests that look at the product from outside. Each is known by its id alone
// and dies with its owner, even where the test itself is killed.
//
//   auto server = Process::Spawn({binary, "serve", ...}, "server.log");
//   auto ports = (*server)->WaitForFile(folder + "/ports.json", absl::Seconds(20));
//   EXPECT_EQ((*server)->Terminate(absl::Seconds(15)).value_or(-1), 0);
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace tidegate::testing {

// Of one thread. Nothing here sleeps: waits are poll() on the process and on the folder.
class Process {
 public:
  // Starts arguments[0] with no input; both outputs are appended to `output_file`. A program that
  // cannot be run ends with exit code 127.
  static absl::StatusOr<std::unique_ptr<Process>> Spawn(const std::vector<std::string>& arguments,
                                                        const std::string& output_file);
  // SIGKILL, if it still runs.
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // The content of `path`, as soon as it is there; it must be renamed into place.
  // FAILED_PRECONDITION: the process ended before; DEADLINE_EXCEEDED.
  absl::StatusOr<std::string> WaitForFile(const std::string& path, absl::Duration patience);
  // Exit code, or 128 + the signal that ended it. DEADLINE_EXCEEDED: still runs.
  absl::StatusOr<int> Wait(absl::Duration patience);
  // SIGTERM, then as Wait().
  absl::StatusOr<int> Terminate(absl::Duration patience);
  // SIGKILL; returns when the process is gone.
  void Kill();

  pid_t pid() const { return pid_; }

 private:
  Process(pid_t pid, int pid_fd, std::string output_file)
      : pid_(pid), pid_fd_(pid_fd), output_file_(std::move(output_file)) {}

  const pid_t pid_;
  const int pid_fd_;  // readable once the process has ended
  const std::string output_file_;
  bool reaped_ = false;
  int exit_code_ = 0;
};

}  // namespace tidegate::testing
