// The syntax of addresses in settings. Nothing is looked up.
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace tidegate::config {

struct Address {
  std::string host;  // a name, 10.0.0.1, or ::1 without its brackets
  int port = 0;      // 0 to 65535
};

// Of host:port or [IPv6]:port; nothing if it is neither.
std::optional<Address> ParseAddress(absl::string_view text);

// 10.0.0.1 or ::1, without brackets.
bool IsIpAddress(absl::string_view text);

// The same address in its one spelling: IPv6 as RFC 5952 has it, IPv4 in IPv6 as IPv4. `ip` must be
// one by IsIpAddress.
std::string CanonicalIp(absl::string_view ip);

// True of localhost, 127.0.0.0/8 and ::1; other names count as beyond loopback.
bool IsLoopback(const Address& address);

// http://host... or https://host... with nothing that a base URL must not have: user, query,
// fragment or spaces.
bool IsBaseUrl(absl::string_view text);

}  // namespace tidegate::config
