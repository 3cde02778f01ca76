#include "services/wecom_simulator/witness_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace tidegate::wecom_simulator {
namespace {

absl::Status WriteDurably(int descriptor, const std::string& lines) {
  size_t done = 0;
  while (done < lines.size()) {
    const ssize_t written = ::write(descriptor, lines.data() + done, lines.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      return absl::UnavailableError(absl::StrCat("witness log: write: ", std::strerror(errno)));
    }
    done += static_cast<size_t>(written);
  }
  if (::fdatasync(descriptor) != 0) {
    return absl::UnavailableError(absl::StrCat("witness log: fdatasync: ", std::strerror(errno)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<WitnessFile>> WitnessFile::Open(const std::string& path,
                                                               OnSynced on_synced) {
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (descriptor < 0) {
    return absl::UnavailableError(absl::StrCat("witness log ", path, ": ", std::strerror(errno)));
  }
  if (::lseek(descriptor, 0, SEEK_END) > 0) {
    ::close(descriptor);
    return absl::AlreadyExistsError(
        absl::StrCat("witness log ", path, " holds lines of another run; name a new file"));
  }
  return std::unique_ptr<WitnessFile>(new WitnessFile(descriptor, std::move(on_synced)));
}

WitnessFile::WitnessFile(int descriptor, OnSynced on_synced)
    : descriptor_(descriptor), on_synced_(std::move(on_synced)), thread_([this] { Run(); }) {}

WitnessFile::~WitnessFile() {
  {
    std::lock_guard lock(mu_);
    stopping_ = true;
  }
  changed_.notify_one();
  thread_.join();
  ::close(descriptor_);
}

void WitnessFile::Append(std::string line, uint64_t seq) {
  {
    std::lock_guard lock(mu_);
    lines_ += line;
    last_seq_ = seq;
  }
  changed_.notify_one();
}

void WitnessFile::Run() {
  while (true) {
    std::string group;
    uint64_t seq = 0;
    {
      std::unique_lock lock(mu_);
      changed_.wait(lock, [this] { return stopping_ || !lines_.empty(); });
      if (lines_.empty()) return;
      group.swap(lines_);
      seq = last_seq_;
    }
    if (absl::Status status = WriteDurably(descriptor_, group); !status.ok()) {
      on_synced_(0, status);
      return;
    }
    on_synced_(seq, absl::OkStatus());
  }
}

}  // namespace tidegate::wecom_simulator
