// The verbs about tokens and limits that do more than to list.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "services/tidegate/client/client.h"

namespace tidegate::client {

// Goes on until it is interrupted.
absl::Status QuotaWatch(const Client& client, const std::string& corp);

struct GrantOptions {
  std::string corp;
  std::string grant;
  std::string api;  // of acquire, as calls, actor and lease_s
  uint32_t calls = 0;
  std::string actor;
  double lease_s = 60;
  uint32_t used = 0;          // of release, as rate_limited
  bool rate_limited = false;  // one of the calls was answered 45009
};
absl::Status QuotaAcquire(const Client& client, const GrantOptions& options);
absl::Status QuotaRelease(const Client& client, const GrantOptions& options);

struct LimitsOptions {
  std::string corp;
  std::string file;  // JSON of CorpLimits
  std::string reason;
  std::string actor;
};
absl::Status LimitsSet(const Client& client, const LimitsOptions& options);
absl::Status LimitsShow(const Client& client, const std::string& corp);

}  // namespace tidegate::client
