#include "common/config/settings_address.h"

#include <arpa/inet.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace tidegate::config {
namespace {

bool IsIpv6(const std::string& text) {
  in6_addr address;
  return ::inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

bool IsIpv4(const std::string& text) {
  in_addr address;
  return ::inet_pton(AF_INET, text.c_str(), &address) == 1;
}

bool IsName(const std::string& text) {
  return !text.empty() && text.size() <= 253 &&
         std::all_of(text.begin(), text.end(), [](char letter) {
           return absl::ascii_isalnum(letter) || letter == '.' || letter == '-' || letter == '_';
         });
}

// 999.1.1.1 is a name by its letters and meant as an address by its author.
bool LooksLikeIpv4(const std::string& text) {
  return std::all_of(text.begin(), text.end(),
                     [](char letter) { return absl::ascii_isdigit(letter) || letter == '.'; });
}

}  // namespace

std::optional<Address> ParseAddress(absl::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos) return std::nullopt;
  const absl::string_view port = text.substr(colon + 1);
  Address address{.host = std::string(text.substr(0, colon))};
  if (port.empty() || port.size() > 5 ||
      !std::all_of(port.begin(), port.end(), absl::ascii_isdigit) ||
      !absl::SimpleAtoi(port, &address.port) || address.port > 65535) {
    return std::nullopt;
  }
  if (absl::StartsWith(address.host, "[") && absl::EndsWith(address.host, "]")) {
    address.host = address.host.substr(1, address.host.size() - 2);
    if (!IsIpv6(address.host)) return std::nullopt;
    return address;
  }
  if (!IsName(address.host)) return std::nullopt;
  if (LooksLikeIpv4(address.host) && !IsIpv4(address.host)) return std::nullopt;
  return address;
}

bool IsIpAddress(absl::string_view text) {
  const std::string address(text);
  return IsIpv4(address) || IsIpv6(address);
}

std::string CanonicalIp(absl::string_view ip) {
  const std::string text(ip);
  in6_addr parsed;
  if (::inet_pton(AF_INET6, text.c_str(), &parsed) != 1) return text;  // IPv4 has one spelling
  char spelt[INET6_ADDRSTRLEN] = {};
  if (IN6_IS_ADDR_V4MAPPED(&parsed)) {
    ::inet_ntop(AF_INET, &parsed.s6_addr[12], spelt, sizeof(spelt));
  } else {
    ::inet_ntop(AF_INET6, &parsed, spelt, sizeof(spelt));
  }
  return spelt;
}

bool IsLoopback(const Address& address) {
  if (absl::EqualsIgnoreCase(address.host, "localhost")) return true;
  in6_addr parsed;
  if (::inet_pton(AF_INET6, address.host.c_str(), &parsed) == 1) {
    return IN6_IS_ADDR_LOOPBACK(&parsed);
  }
  return absl::StartsWith(address.host, "127.") && IsIpv4(address.host);
}

bool IsBaseUrl(absl::string_view text) {
  if (!absl::ConsumePrefix(&text, "https://") && !absl::ConsumePrefix(&text, "http://")) {
    return false;
  }
  const absl::string_view authority = text.substr(0, text.find('/'));
  if (text.find_first_of("@?# ") != absl::string_view::npos) return false;
  return ParseAddress(authority).has_value() ||
         ParseAddress(absl::StrCat(authority, ":443")).has_value();
}

}  // namespace tidegate::config
