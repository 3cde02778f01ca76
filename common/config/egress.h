// What an entry of the setting `egress` says: the address that a lane's calls leave from, and which
// share of it the lane has.
//
//   any | IP address | http://[user:password@]host:port, each with or without *SHARE at its end
//
// Pure; the functions may be called from any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tidegate::config {

// Shares are whole millionths.
inline constexpr int64_t kWholeShare = 1'000'000;

// Of `source` and `proxy` one is set, or none: as the machine chooses.
struct Egress {
  std::string source;       // IP address of this machine
  std::string proxy;        // host:port or [IPv6]:port of a forward proxy
  std::string credentials;  // user:password for the proxy; empty = none
  int64_t share = 0;        // millionths, 1 to kWholeShare; 0 = none is written

  // "any", "10.0.0.5" or "http://proxy:3128": lanes of one name share one address, in whatever
  // spelling the entries have it. Never with credentials.
  std::string Name() const;
};

// Nothing if it is no entry. User and password are percent-decoded.
std::optional<Egress> ParseEgress(absl::string_view entry);

// A sound entry as it may be shown: without user and password. Of any other text nobody knows where
// a password ends; it is not to be shown at all.
std::string ShownEgress(absl::string_view entry);

// The share of each lane, in millionths. `egress` is the setting: sound entries, one for each lane,
// or none. What the machine chooses is taken for one address: lanes of it for which no share is
// written divide equally what the others leave. Of any other address a lane without a share has
// all. INVALID_ARGUMENT: the shares of an address add up to more than 1; says which and what to
// write.
absl::StatusOr<std::vector<int64_t>> SharesOf(const std::vector<std::string>& egress,
                                              uint32_t lanes);

}  // namespace tidegate::config
