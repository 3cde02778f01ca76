#include "common/grpc/credentials.h"

#include <fcntl.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/tls/certificate_files.h"

namespace tidegate::rpc {
namespace {

constexpr unsigned kRefreshSeconds = 1;  // the shortest that gRPC offers

absl::Status SystemError(absl::string_view what) {
  return absl::InternalError(absl::StrCat("copy of a TLS file: ", what, ": ", strerror(errno)));
}

// A descriptor of a new memory file with this content.
absl::StatusOr<int> MemoryFile(const std::string& content) {
  const int fd = memfd_create("tidegate_tls", MFD_CLOEXEC);
  if (fd < 0) return SystemError("memfd_create");
  for (size_t done = 0; done < content.size();) {
    const ssize_t count = write(fd, content.data() + done, content.size() - done);
    if (count < 0) {
      const absl::Status status = SystemError("write");
      close(fd);
      return status;
    }
    done += static_cast<size_t>(count);
  }
  // gRPC reads key and certificate one after the other and tells from the time of change, in whole
  // seconds, whether they belong together: so no two contents share a time.
  static std::atomic<time_t> number{1};
  const time_t mark = number.fetch_add(1);
  const timespec times[2] = {{.tv_sec = mark, .tv_nsec = 0}, {.tv_sec = mark, .tv_nsec = 0}};
  if (futimens(fd, times) != 0) {
    const absl::Status status = SystemError("futimens");
    close(fd);
    return status;
  }
  return fd;
}

// A path whose content is exchanged as a whole. Never closed: gRPC opens the path at any time, and
// the number must not come to mean another file.
class MemoryPath {
 public:
  static absl::StatusOr<MemoryPath> Create(const std::string& content) {
    ASSIGN_OR_RETURN(const int fd, MemoryFile(content));
    MemoryPath path(fd);
    if (access(path.text().c_str(), R_OK) != 0) {
      const absl::Status status = absl::FailedPreconditionError(
          absl::StrCat(path.text(), " cannot be read (", strerror(errno),
                       "); TLS needs /proc, and a process that may read its own descriptors"));
      close(fd);
      return status;
    }
    return path;
  }

  absl::Status Exchange(const std::string& content) {
    ASSIGN_OR_RETURN(const int fresh, MemoryFile(content));
    const int result = dup3(fresh, fd_, O_CLOEXEC);
    const absl::Status status = result < 0 ? SystemError("dup3") : absl::OkStatus();
    close(fresh);
    return status;
  }

  std::string text() const { return absl::StrCat("/proc/self/fd/", fd_); }

 private:
  explicit MemoryPath(int fd) : fd_(fd) {}
  int fd_;
};

// The copies that gRPC watches, and the thread that keeps them current.
class Copies {
 public:
  static Copies& Get() {
    static Copies copies;
    return copies;
  }

  // The path of a copy of what `read` returns. The same `name` has the same copy.
  absl::StatusOr<std::string> Follow(const std::string& name, const tls::Follower::Read& read) {
    ASSIGN_OR_RETURN(const std::string content, read());
    std::lock_guard<std::mutex> lock(mutex_);
    const auto known = entries_.find(name);
    if (known == entries_.end()) {
      ASSIGN_OR_RETURN(const MemoryPath path, MemoryPath::Create(content));
      entries_.emplace(name, Entry{tls::Follower(read, content, name), path});
      return path.text();
    }
    RETURN_IF_ERROR(known->second.path.Exchange(content));
    known->second.follower = std::make_unique<tls::Follower>(read, content, name);
    return known->second.path.text();
  }

 private:
  struct Entry {
    Entry(tls::Follower first, MemoryPath path)
        : follower(std::make_unique<tls::Follower>(std::move(first))), path(path) {}
    std::unique_ptr<tls::Follower> follower;
    MemoryPath path;
  };

  Copies() {
    // Also makes the logger older than this object, so that the thread ends before it at exit.
    LogEvent(LogLevel::kInfo, "tls_files_followed",
             {{"poll_ms", absl::StrCat(absl::ToInt64Milliseconds(tls::kPollInterval))}});
    thread_ = std::jthread([this](std::stop_token stop) { Run(stop); });
  }

  void Run(std::stop_token stop) {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!stop.stop_requested()) {
      wake_.wait_for(lock, stop, absl::ToChronoMilliseconds(tls::kPollInterval),
                     [] { return false; });
      for (auto& [name, entry] : entries_) {
        const auto content = entry.follower->Poll();
        if (!content.has_value()) continue;
        const absl::Status exchanged = entry.path.Exchange(*content);
        if (!exchanged.ok()) {
          LogEvent(LogLevel::kError, "tls_files_rejected",
                   {{"file", name}, {"error", std::string(exchanged.message())}});
        }
      }
    }
  }

  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::map<std::string, Entry> entries_;  // guarded by mutex_
  std::jthread thread_;
};

absl::StatusOr<std::string> FollowKeyPair(const TlsFiles& files) {
  return Copies::Get().Follow(
      absl::StrCat(files.cert_file, ", ", files.key_file),
      [cert = files.cert_file, key = files.key_file] { return tls::ReadKeyPair(cert, key); });
}

absl::StatusOr<std::string> FollowAuthorities(const TlsFiles& files) {
  return Copies::Get().Follow(files.ca_file,
                              [ca = files.ca_file] { return tls::ReadAuthorities(ca); });
}

bool NoneNamed(const TlsFiles& files) {
  return files.cert_file.empty() && files.key_file.empty() && files.ca_file.empty();
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> ServerCredentials(const TlsFiles& files) {
  if (NoneNamed(files)) return grpc::InsecureServerCredentials();
  if (files.cert_file.empty() || files.key_file.empty()) {
    return absl::InvalidArgumentError(
        "TLS of a listener needs both cert_file and key_file; name both, or none of the three");
  }
  ASSIGN_OR_RETURN(const std::string key_pair, FollowKeyPair(files));
  std::string authorities;
  if (!files.ca_file.empty()) {
    ASSIGN_OR_RETURN(authorities, FollowAuthorities(files));
  }
  // The one copy holds key and certificate, so that both change in one step.
  grpc::experimental::TlsServerCredentialsOptions options(
      std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
          key_pair, key_pair, authorities, kRefreshSeconds));
  options.watch_identity_key_cert_pairs();
  if (authorities.empty()) {
    options.set_cert_request_type(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  } else {
    options.watch_root_certs();
    options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return grpc::experimental::TlsServerCredentials(options);
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> ChannelCredentials(
    const TlsFiles& files) {
  if (NoneNamed(files)) return grpc::InsecureChannelCredentials();
  if (files.ca_file.empty()) {
    return absl::InvalidArgumentError(
        "TLS of a channel needs ca_file, to know the server; name it, or none of the three");
  }
  if (files.cert_file.empty() != files.key_file.empty()) {
    return absl::InvalidArgumentError(
        "a channel's own certificate needs both cert_file and key_file; name both or neither");
  }
  ASSIGN_OR_RETURN(const std::string authorities, FollowAuthorities(files));
  std::string key_pair;
  if (!files.cert_file.empty()) {
    ASSIGN_OR_RETURN(key_pair, FollowKeyPair(files));
  }
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(
      std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
          key_pair, key_pair, authorities, kRefreshSeconds));
  options.watch_root_certs();
  if (!key_pair.empty()) options.watch_identity_key_cert_pairs();
  options.set_verify_server_certs(true);
  options.set_certificate_verifier(
      std::make_shared<grpc::experimental::HostNameCertificateVerifier>());
  return grpc::experimental::TlsCredentials(options);
}

}  // namespace tidegate::rpc
