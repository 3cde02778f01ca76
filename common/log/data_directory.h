// The one directory that an embedded Tidegate keeps everything in: who owns it, and the settings
// that must never change once it holds data.
//
//   DIR/LOCK       flock of the owner for its lifetime; holds the owner's pid
//   DIR/meta.json  {"format":1,"partitions":4,"lanes":1}
//   DIR/log        the embedded log
//
// Not for: what is inside DIR/log.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<DataDirectory> directory, DataDirectory::Open(path, 4, 1));
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tidegate::log {

class DataDirectory {
 public:
  static constexpr int kFormat = 1;
  static constexpr int kPartitionsMax = 1024;
  static constexpr int kLanesMax = 64;

  struct Settings {
    int partitions = 0;  // of every customer topic, 1..kPartitionsMax
    int lanes = 0;       // egress lanes, 1..kLanesMax
  };

  // Makes the directory (mode 0700) if it is missing, and owns it until destroyed. Errors:
  // INVALID_ARGUMENT partitions or lanes out of range; FAILED_PRECONDITION another process uses it,
  // it was made with another number of partitions or lanes, by a newer version, or is not a
  // Tidegate data directory (nothing is written then); DATA_LOSS meta.json cannot be read; and what
  // the file system says.
  static absl::StatusOr<std::unique_ptr<DataDirectory>> Open(absl::string_view path, int partitions,
                                                             int lanes);

  // The settings it was made with, without owning it: for reading beside a running process.
  // NOT_FOUND when there is no meta.json; else as Open.
  static absl::StatusOr<Settings> ReadSettings(absl::string_view path);

  ~DataDirectory();
  DataDirectory(const DataDirectory&) = delete;
  DataDirectory& operator=(const DataDirectory&) = delete;

  const std::string& path() const { return path_; }
  const Settings& settings() const { return settings_; }

 private:
  DataDirectory(std::string path, Settings settings, int lock_fd);

  const std::string path_;
  const Settings settings_;
  const int lock_fd_;
};

}  // namespace tidegate::log
