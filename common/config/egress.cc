#include "common/config/egress.h"

#include <algorithm>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/config/settings_address.h"

namespace tidegate::config {
namespace {

constexpr char kAny[] = "any";
constexpr char kScheme[] = "http://";
constexpr size_t kShareDigits = 6;  // behind the point

// 1, or 0.N with up to six digits, as millionths.
std::optional<int64_t> ParseShare(absl::string_view text) {
  if (text == "1") return kWholeShare;
  if (!absl::ConsumePrefix(&text, "0.") || text.empty() || text.size() > kShareDigits ||
      !std::all_of(text.begin(), text.end(), absl::ascii_isdigit)) {
    return std::nullopt;
  }
  int64_t share = 0;
  for (size_t i = 0; i < kShareDigits; ++i) {
    share = share * 10 + (i < text.size() ? text[i] - '0' : 0);
  }
  if (share == 0) return std::nullopt;
  return share;
}

// Letters of a URL's user as they are, others as %XX; no control characters, which a header cannot
// hold.
std::optional<std::string> PercentDecode(absl::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    char byte = text[i];
    if (byte == '%') {
      const absl::string_view digits = text.substr(i + 1, 2);
      int value = 0;
      if (digits.size() < 2 || !absl::ascii_isxdigit(digits[0]) ||
          !absl::ascii_isxdigit(digits[1]) || !absl::SimpleHexAtoi(digits, &value)) {
        return std::nullopt;
      }
      byte = static_cast<char>(value);
      i += 2;
    } else if (absl::StrContains("@/?#", byte)) {
      return std::nullopt;
    }
    if (absl::ascii_iscntrl(static_cast<unsigned char>(byte))) return std::nullopt;
    decoded += byte;
  }
  return decoded;
}

bool ParseProxy(absl::string_view text, Egress* egress) {
  if (const size_t at = text.rfind('@'); at != absl::string_view::npos) {
    const absl::string_view user_info = text.substr(0, at);
    const size_t colon = user_info.find(':');
    if (colon == 0 || colon == absl::string_view::npos) return false;
    const auto user = PercentDecode(user_info.substr(0, colon));
    const auto password = PercentDecode(user_info.substr(colon + 1));
    // In Basic the first colon ends the user.
    if (!user || !password || absl::StrContains(*user, ':')) return false;
    egress->credentials = absl::StrCat(*user, ":", *password);
    text.remove_prefix(at + 1);
  }
  absl::ConsumeSuffix(&text, "/");
  const auto address = ParseAddress(text);
  if (!address || address->port == 0) return false;
  const std::string host = IsIpAddress(address->host) ? CanonicalIp(address->host)
                                                      : absl::AsciiStrToLower(address->host);
  egress->proxy = absl::StrContains(host, ':') ? absl::StrCat("[", host, "]:", address->port)
                                               : absl::StrCat(host, ":", address->port);
  return true;
}

std::string ShareText(int64_t share) {
  return absl::StrCat(static_cast<double>(share) / static_cast<double>(kWholeShare));
}

}  // namespace

std::string Egress::Name() const {
  if (!proxy.empty()) return kScheme + proxy;
  return source.empty() ? kAny : source;
}

std::optional<Egress> ParseEgress(absl::string_view entry) {
  Egress egress;
  // A password may have a star, too.
  if (const size_t star = entry.rfind('*');
      star != absl::string_view::npos && !absl::StrContains(entry.substr(star), '@')) {
    const auto share = ParseShare(entry.substr(star + 1));
    if (!share) return std::nullopt;
    egress.share = *share;
    entry = entry.substr(0, star);
  }
  if (absl::ConsumePrefix(&entry, kScheme)) {
    if (!ParseProxy(entry, &egress)) return std::nullopt;
  } else if (IsIpAddress(entry)) {
    egress.source = CanonicalIp(entry);
  } else if (entry != kAny) {
    return std::nullopt;
  }
  return egress;
}

std::string ShownEgress(absl::string_view entry) {
  const size_t at = entry.rfind('@');
  if (at == absl::string_view::npos) return std::string(entry);
  const absl::string_view scheme = absl::StartsWith(entry, kScheme) ? kScheme : "";
  return absl::StrCat(scheme, "***", entry.substr(at));
}

absl::StatusOr<std::vector<int64_t>> SharesOf(const std::vector<std::string>& egress,
                                              uint32_t lanes) {
  std::vector<int64_t> shares;
  std::map<std::string, std::vector<uint32_t>> lanes_of;  // by address
  for (uint32_t lane = 0; lane < lanes; ++lane) {
    const Egress of_lane = egress.empty() ? Egress() : ParseEgress(egress[lane]).value_or(Egress());
    lanes_of[of_lane.Name()].push_back(lane);
    shares.push_back(of_lane.share);
  }
  for (const auto& [name, of_address] : lanes_of) {
    int64_t sum = 0;
    int64_t unwritten = 0;
    for (const uint32_t lane : of_address) {
      sum += shares[lane];
      unwritten += shares[lane] == 0;
    }
    // A share of 0 would be none: there is nothing left to divide.
    const int64_t each = name != kAny     ? kWholeShare
                         : unwritten == 0 ? 0
                                          : std::max<int64_t>(1, (kWholeShare - sum) / unwritten);
    sum += unwritten * each;
    if (sum > kWholeShare) {
      return absl::InvalidArgumentError(
          absl::StrCat("egress gives ", name, " to the lanes ", absl::StrJoin(of_address, ", "),
                       ", whose shares add up to ", ShareText(sum),
                       "; write shares of at most 1 together, as in \"", name,
                       "*0.5\", or put all corps of an address into one lane"));
    }
    for (const uint32_t lane : of_address) {
      if (shares[lane] == 0) shares[lane] = each;
    }
  }
  return shares;
}

}  // namespace tidegate::config
