#include "common/log/data_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "boost/json.hpp"
#include "common/base/status_macros.h"

namespace tidegate::log {
namespace {

constexpr char kLockName[] = "LOCK";
constexpr char kMetaName[] = "meta.json";
constexpr char kMetaTemporaryName[] = "meta.json.new";
constexpr size_t kMetaBytesMax = 4096;

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

absl::Status Failed(absl::string_view what, absl::string_view path) {
  return absl::ErrnoToStatus(errno, absl::StrCat(what, " ", path));
}

// Makes a new or renamed entry of `path` survive a power loss.
absl::Status SyncDirectory(const std::string& path) {
  Descriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0) return Failed("open", path);
  if (::fsync(directory.get()) != 0) return Failed("fsync", path);
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadSmallFile(const std::string& path) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return Failed("open", path);
  std::string text(kMetaBytesMax, '\0');
  size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = ::read(file.get(), text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Failed("read", path);
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  text.resize(size);
  return text;
}

absl::Status WriteAll(int fd, absl::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Failed("write", path);
    text.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status MakeDirectory(const std::string& path) {
  std::error_code error;
  const std::filesystem::path parent = std::filesystem::absolute(path, error).parent_path();
  if (error) return absl::InvalidArgumentError(absl::StrCat("data directory ", path));
  if (::mkdir(path.c_str(), 0700) == 0) return SyncDirectory(parent.string());
  if (errno == ENOENT) {
    std::filesystem::create_directories(parent, error);
    if (error) {
      return absl::ErrnoToStatus(error.value(), absl::StrCat("mkdir ", parent.string()));
    }
    if (::mkdir(path.c_str(), 0700) == 0) return SyncDirectory(parent.string());
  }
  if (errno != EEXIST) return Failed("mkdir", path);
  struct stat info = {};
  if (::stat(path.c_str(), &info) != 0) return Failed("stat", path);
  if (!S_ISDIR(info.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat(path, " is not a directory"));
  }
  return absl::OkStatus();
}

// FAILED_PRECONDITION when there is anything that a half-made directory of ours would not hold.
absl::Status RefuseForeign(const std::string& path) {
  DIR* directory = ::opendir(path.c_str());
  if (directory == nullptr) return Failed("open", path);
  std::string foreign;
  while (const dirent* entry = ::readdir(directory)) {
    const absl::string_view name = entry->d_name;
    // A fresh ext4 volume, as a Kubernetes claim is, has a lost+found.
    if (name == "." || name == ".." || name == kLockName || name == kMetaTemporaryName ||
        name == "lost+found") {
      continue;
    }
    if (name == kMetaName) {
      foreign.clear();
      break;
    }
    foreign = std::string(name);
  }
  ::closedir(directory);
  if (foreign.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(path, " is not a Tidegate data directory: it has no meta.json but has '",
                   foreign, "'; choose an empty --data-dir"));
}

absl::StatusOr<int> TakeLock(const std::string& path) {
  const std::string lock_path = absl::StrCat(path, "/", kLockName);
  Descriptor lock(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (lock.get() < 0) return Failed("open", lock_path);
  while (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return Failed("lock", lock_path);
    // Empty in the moment between the owner's lock and its write of the pid.
    std::string pid = ReadSmallFile(lock_path).value_or("");
    absl::StripAsciiWhitespace(&pid);
    return absl::FailedPreconditionError(
        absl::StrCat("another process (pid ", pid.empty() ? "unknown" : pid, ") uses ", path,
                     "; stop it or choose another --data-dir"));
  }
  if (::ftruncate(lock.get(), 0) != 0) return Failed("truncate", lock_path);
  RETURN_IF_ERROR(WriteAll(lock.get(), absl::StrCat(::getpid(), "\n"), lock_path));
  return lock.Release();
}

absl::Status WriteMeta(const std::string& path, const DataDirectory::Settings& settings) {
  const boost::json::object meta = {{"format", DataDirectory::kFormat},
                                    {"partitions", settings.partitions},
                                    {"lanes", settings.lanes}};
  const std::string text = boost::json::serialize(meta);
  const std::string temporary_path = absl::StrCat(path, "/", kMetaTemporaryName);
  const std::string meta_path = absl::StrCat(path, "/", kMetaName);
  {
    Descriptor file(::open(temporary_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (file.get() < 0) return Failed("open", temporary_path);
    RETURN_IF_ERROR(WriteAll(file.get(), absl::StrCat(text, "\n"), temporary_path));
    if (::fsync(file.get()) != 0) return Failed("fsync", temporary_path);
  }
  if (::rename(temporary_path.c_str(), meta_path.c_str()) != 0) return Failed("rename", meta_path);
  return SyncDirectory(path);
}

// Nothing when it is missing or not an integer that fits an int.
std::optional<int> IntegerField(const boost::json::object& object, const char* name) {
  const boost::json::value* field = object.if_contains(name);
  if (field == nullptr || !field->is_int64()) return std::nullopt;
  const int64_t value = field->get_int64();
  if (value < INT32_MIN || value > INT32_MAX) return std::nullopt;
  return static_cast<int>(value);
}

absl::StatusOr<DataDirectory::Settings> ReadMeta(const std::string& path) {
  const std::string meta_path = absl::StrCat(path, "/", kMetaName);
  absl::StatusOr<std::string> text = ReadSmallFile(meta_path);
  if (!text.ok()) return std::move(text).status();
  boost::json::error_code error;
  const boost::json::value value =
      boost::json::parse(boost::json::string_view(text->data(), text->size()), error);
  if (error || !value.is_object()) {
    return absl::DataLossError(absl::StrCat(meta_path, " is damaged: not a JSON object"));
  }
  const boost::json::object& object = value.get_object();
  // The format decides what the other fields mean, so it comes first.
  const std::optional<int> format = IntegerField(object, "format");
  if (!format.has_value() || *format < 1) {
    return absl::DataLossError(absl::StrCat(meta_path, " is damaged: no valid 'format'"));
  }
  if (*format > DataDirectory::kFormat) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " was written by a newer version: format ", *format,
                     ", this one reads up to ", DataDirectory::kFormat));
  }
  const std::optional<int> partitions = IntegerField(object, "partitions");
  const std::optional<int> lanes = IntegerField(object, "lanes");
  if (!partitions.has_value() || *partitions < 1 || *partitions > DataDirectory::kPartitionsMax ||
      !lanes.has_value() || *lanes < 1 || *lanes > DataDirectory::kLanesMax) {
    return absl::DataLossError(
        absl::StrCat(meta_path, " is damaged: no valid 'partitions' or 'lanes'"));
  }
  return DataDirectory::Settings{*partitions, *lanes};
}

absl::Status CheckUnchanged(const std::string& path, const char* name, int wanted, int found) {
  if (wanted == found) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      path, ": ", name, " is ", wanted, " but the data directory was made with ", name, " ", found,
      "; it cannot change: set it to ", found, " or choose another --data-dir"));
}

absl::Status CheckRange(const char* name, int value, int value_max) {
  if (value >= 1 && value <= value_max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, " is ", value, "; it must be from 1 to ", value_max));
}

}  // namespace

absl::StatusOr<std::unique_ptr<DataDirectory>> DataDirectory::Open(absl::string_view path,
                                                                   int partitions, int lanes) {
  RETURN_IF_ERROR(CheckRange("partitions", partitions, kPartitionsMax));
  RETURN_IF_ERROR(CheckRange("lanes", lanes, kLanesMax));
  if (path.empty()) return absl::InvalidArgumentError("the data directory has no name");
  const std::string directory(path);
  RETURN_IF_ERROR(MakeDirectory(directory));
  RETURN_IF_ERROR(RefuseForeign(directory));
  ASSIGN_OR_RETURN(const int lock_fd, TakeLock(directory));
  Descriptor lock(lock_fd);
  // Again, now that nobody else can change it.
  RETURN_IF_ERROR(RefuseForeign(directory));

  absl::StatusOr<Settings> settings = ReadMeta(directory);
  if (absl::IsNotFound(settings.status())) {
    settings = Settings{partitions, lanes};
    RETURN_IF_ERROR(WriteMeta(directory, *settings));
  }
  if (!settings.ok()) return std::move(settings).status();
  RETURN_IF_ERROR(CheckUnchanged(directory, "partitions", partitions, settings->partitions));
  RETURN_IF_ERROR(CheckUnchanged(directory, "lanes", lanes, settings->lanes));
  return std::unique_ptr<DataDirectory>(new DataDirectory(directory, *settings, lock.Release()));
}

absl::StatusOr<DataDirectory::Settings> DataDirectory::ReadSettings(absl::string_view path) {
  return ReadMeta(std::string(path));
}

DataDirectory::DataDirectory(std::string path, Settings settings, int lock_fd)
    : path_(std::move(path)), settings_(settings), lock_fd_(lock_fd) {}

// The LOCK file stays: removing it would let two owners lock two files of that name.
DataDirectory::~DataDirectory() { ::close(lock_fd_); }

}  // namespace tidegate::log
