#include "tests/support/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace tidegate::testing {
namespace {

constexpr int kCannotRun = 127;

absl::Status SystemError(const char* what) {
  return absl::InternalError(absl::StrCat(what, ": ", std::strerror(errno)));
}

int MillisLeft(absl::Time deadline) {
  const int64_t left = absl::ToInt64Milliseconds(deadline - absl::Now());
  return left <= 0 ? 0 : static_cast<int>(left) + 1;
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::NotFoundError(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Process>> Process::Spawn(const std::vector<std::string>& arguments,
                                                        const std::string& output_file) {
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
  const int out = open(output_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const absl::Cleanup close_files = [in, out] {
    if (in >= 0) close(in);
    if (out >= 0) close(out);
  };
  if (in < 0 || out < 0) return SystemError(output_file.c_str());
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) return SystemError("fork");
  if (pid == 0) {
    // Other threads' locks may be held here: system calls only.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(kCannotRun);
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    execv(argv[0], argv.data());
    _exit(kCannotRun);
  }
  const int pid_fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (pid_fd < 0) {
    const absl::Status status = SystemError("pidfd_open");
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    return status;
  }
  return std::unique_ptr<Process>(new Process(pid, pid_fd, output_file));
}

Process::~Process() {
  Kill();
  close(pid_fd_);
}

absl::StatusOr<std::string> Process::WaitForFile(const std::string& path, absl::Duration patience) {
  const absl::Time deadline = absl::Now() + patience;
  const int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  if (watch < 0) return SystemError("inotify");
  const absl::Cleanup close_watch = [watch] { close(watch); };
  const std::string folder = path.substr(0, path.rfind('/'));
  if (inotify_add_watch(watch, folder.c_str(), IN_MOVED_TO) < 0) return SystemError(folder.c_str());
  while (true) {
    if (auto text = ReadFile(path); text.ok()) return text;
    pollfd events[] = {{.fd = watch, .events = POLLIN}, {.fd = pid_fd_, .events = POLLIN}};
    const int ready = poll(events, 2, MillisLeft(deadline));
    if (ready < 0 && errno != EINTR) return SystemError("poll");
    if (ready == 0) {
      return absl::DeadlineExceededError(
          absl::StrCat(path, " was not there within ", absl::FormatDuration(patience)));
    }
    char drained[4096];
    while (read(watch, drained, sizeof drained) > 0) {
    }
    if (ready > 0 && (events[1].revents & POLLIN) != 0) {
      const auto code = Wait(absl::ZeroDuration());
      return absl::FailedPreconditionError(
          absl::StrCat("the process ended with ", code.value_or(-1), " before ", path,
                       " was there:\n", ReadFile(output_file_).value_or("")));
    }
  }
}

absl::StatusOr<int> Process::Wait(absl::Duration patience) {
  if (reaped_) return exit_code_;
  const absl::Time deadline = absl::Now() + patience;
  pollfd event{.fd = pid_fd_, .events = POLLIN};
  int ready = 0;
  do {
    ready = poll(&event, 1, MillisLeft(deadline));
  } while (ready < 0 && errno == EINTR);
  if (ready == 0) {
    return absl::DeadlineExceededError(
        absl::StrCat("process ", pid_, " still runs after ", absl::FormatDuration(patience)));
  }
  int status = 0;
  if (waitpid(pid_, &status, 0) != pid_) return SystemError("waitpid");
  reaped_ = true;
  exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return exit_code_;
}

absl::StatusOr<int> Process::Terminate(absl::Duration patience) {
  if (!reaped_) kill(pid_, SIGTERM);
  return Wait(patience);
}

void Process::Kill() {
  if (reaped_) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  reaped_ = true;
  exit_code_ = 128 + SIGKILL;
}

}  // namespace tidegate::testing
