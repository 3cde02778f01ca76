#include "services/tidegate/client/client_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tidegate::client {

const char* ResultWord(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return "ok";
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kInternal:
      return "info";
    default:
      return "fail";
  }
}

absl::StatusOr<std::unique_ptr<ClientLog>> ClientLog::Open(const std::string& path,
                                                           ClientClock* clock) {
  int fd = -1;
  if (!path.empty()) {
    fd = open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("client log ", path, ": ", std::strerror(errno)));
    }
  }
  return std::unique_ptr<ClientLog>(new ClientLog(path, fd, clock));
}

ClientLog::ClientLog(std::string path, int fd, ClientClock* clock)
    : path_(std::move(path)), fd_(fd), clock_(clock) {}

ClientLog::~ClientLog() {
  if (fd_ >= 0) close(fd_);
}

void ClientLog::Add(absl::string_view op, absl::string_view request_id,
                    const std::vector<std::string>& ids, absl::string_view result) {
  if (fd_ < 0) return;
  boost::json::array id_array;
  id_array.reserve(ids.size());
  for (const std::string& id : ids) id_array.emplace_back(id);
  boost::json::object line;
  line["t"] = static_cast<double>(clock_->Read().wall_ns / 1'000) / 1e6;
  line["op"] = boost::json::string_view(op.data(), op.size());
  line["request_id"] = boost::json::string_view(request_id.data(), request_id.size());
  line["ids"] = std::move(id_array);
  line["result"] = boost::json::string_view(result.data(), result.size());
  const std::string text = boost::json::serialize(line) + "\n";

  std::lock_guard lock(mu_);
  const ssize_t written = write(fd_, text.data(), text.size());
  if (written != static_cast<ssize_t>(text.size()) && status_.ok()) {
    status_ = absl::UnknownError(
        absl::StrCat("client log ", path_, ": ", written < 0 ? std::strerror(errno) : "disk full"));
  }
}

absl::Status ClientLog::status() const {
  std::lock_guard lock(mu_);
  return status_;
}

}  // namespace tidegate::client
