// The corps that a deployment serves, and their apps' credentials, from the corps file.
//
// Secrets stay in memory of the shells: never on the log, in a core, in a log line or a metric.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/lane_map.h"

namespace tidegate::config {

struct App {
  std::string agent_id;
  std::string secret_file;   // read again at every token fetch
  std::string token;         // of the callback
  std::string aes_key_file;  // EncodingAESKey of the callback, 43 characters
};

struct Corp {
  std::string corp_id;
  std::vector<App> apps;         // at least one; the first one calls for the corp
  std::optional<uint32_t> lane;  // that its calls leave by; none = by the hash of its id
};

struct Corps {
  std::vector<Corp> corps;
  // nullptr if unknown.
  const Corp* Find(absl::string_view corp_id) const;
  // Of a deployment with `lanes` lanes, as many as LoadCorps() was told.
  LaneMap Lanes(uint32_t lanes) const;
};

// `lanes`: of the deployment; a corp's own one is below it. Errors: NOT_FOUND, PERMISSION_DENIED
// (others may read the file), INVALID_ARGUMENT with the place in the JSON and what to write
// instead. Paths inside are relative to the file's folder.
absl::StatusOr<Corps> LoadCorps(const std::string& path, uint32_t lanes);

// First line of a secret file. NOT_FOUND; PERMISSION_DENIED if others may read it; INVALID_ARGUMENT
// empty.
absl::StatusOr<std::string> ReadSecretFile(const std::string& path);

}  // namespace tidegate::config
