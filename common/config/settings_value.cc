#include "common/config/settings_value.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <variant>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/config/egress.h"
#include "common/config/settings_address.h"
#include "common/config/settings_text.h"

namespace tidegate::config {
namespace {

constexpr int kMostReplicas = 1024;

// Digits as they are written: no sign but "-", no leading zeros, which some read as octal.
std::optional<int> ParseInteger(absl::string_view text) {
  const absl::string_view digits = text.substr(!text.empty() && text[0] == '-' ? 1 : 0);
  int value = 0;
  if (digits.empty() || !std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit) ||
      (digits.size() > 1 && digits[0] == '0') || !absl::SimpleAtoi(text, &value)) {
    return std::nullopt;
  }
  return value;
}

bool IsReplica(absl::string_view text) {
  const std::vector<absl::string_view> parts = absl::StrSplit(text, '/');
  if (parts.size() != 2) return false;
  const std::vector<absl::string_view> counts = absl::StrSplit(parts[1], '-');
  if (counts.size() > 2) return false;
  const auto ordinal = ParseInteger(parts[0]), least = ParseInteger(counts.front()),
             most = ParseInteger(counts.back());
  return ordinal && least && most && *ordinal >= 0 && *ordinal < *most && 1 <= *least &&
         *least <= *most && *most <= kMostReplicas;
}

bool IsTopicPrefix(absl::string_view text) {
  return text.size() <= 100 && std::all_of(text.begin(), text.end(), [](char letter) {
           return absl::ascii_isalnum(letter) || letter == '.' || letter == '_' || letter == '-';
         });
}

bool IsPeer(absl::string_view text) {
  const auto address = ParseAddress(text);
  return address && address->port != 0;
}

bool IsBrokers(absl::string_view text) {
  const std::vector<absl::string_view> brokers = absl::StrSplit(text, ',');
  return text.empty() || std::all_of(brokers.begin(), brokers.end(), IsPeer);
}

bool Fits(const Setting& setting, absl::string_view text) {
  switch (setting.format) {
    case Format::kNone:
    case Format::kPath:
      return true;
    case Format::kChoice:
      return std::any_of(setting.choices.begin(), setting.choices.end(),
                         [&](const std::string& choice) { return text == choice; });
    case Format::kListener:
      return ParseAddress(text).has_value();
    case Format::kPeer:
      return IsPeer(text);
    case Format::kSource:
      return ParseEgress(text).has_value();
    case Format::kBrokers:
      return IsBrokers(text);
    case Format::kUrl:
      return IsBaseUrl(text);
    case Format::kTopicPrefix:
      return IsTopicPrefix(text);
    case Format::kReplica:
      return IsReplica(text);
  }
  return false;
}

std::string FormatText(const Setting& setting) {
  switch (setting.format) {
    case Format::kNone:
      return "text";
    case Format::kPath:
      return "a path";
    case Format::kChoice: {
      const auto last = setting.choices.end() - 1;
      return absl::StrCat(absl::StrJoin(setting.choices.begin(), last, ", "), " or ", *last);
    }
    case Format::kListener:
      return "host:port or [IPv6]:port, with port 0 for any free one";
    case Format::kPeer:
      return "host:port or [IPv6]:port";
    case Format::kSource:
      return "any, an IP address or http://[user:password@]host:port, with *SHARE at its end where "
             "lanes share it";
    case Format::kBrokers:
      return "host:port,host:port";
    case Format::kUrl:
      return "http://host or https://host, without user, query and fragment";
    case Format::kTopicPrefix:
      return "up to 100 letters, digits, dots, underscores and hyphens";
    case Format::kReplica:
      return absl::StrCat("r/R with 0 <= r < R <= ", kMostReplicas, ", or r/LEAST-MOST");
  }
  return "";
}

// Without "." in between, and otherwise as written: ".." may lead through a link.
std::string Absolute(absl::string_view text, const std::string& folder) {
  if (text.empty()) return "";
  std::filesystem::path path;
  for (const auto& part : std::filesystem::path(folder) / std::string(text)) {
    if (part != ".") path /= part;
  }
  return path.string();
}

}  // namespace

std::string Values(const Setting& setting) {
  if (std::holds_alternative<Setting::Integer>(setting.field)) {
    return absl::StrCat("a whole number ", setting.unit.empty() ? "" : "of ", setting.unit,
                        setting.unit.empty() ? "" : " ", "from ", setting.lowest, " to ",
                        setting.highest);
  }
  if (std::holds_alternative<Setting::Boolean>(setting.field)) return "true or false";
  if (std::holds_alternative<Setting::Text>(setting.field)) return FormatText(setting);
  if (std::holds_alternative<Setting::List>(setting.field)) {
    return absl::StrCat("a list of ", FormatText(setting));
  }
  return "a list of entries with identity and corps";
}

bool MayHoldPassword(const Setting& setting) { return setting.format == Format::kSource; }

absl::Status WrongValue(const Setting& setting, absl::string_view shown) {
  return absl::InvalidArgumentError(
      absl::StrCat(setting.key, " is ", shown, "; write ", Values(setting)));
}

absl::Status WrongEntry(const Setting& setting, size_t index, absl::string_view shown) {
  return absl::InvalidArgumentError(
      absl::StrCat(setting.key, "[", index, "] is ", shown, "; write ", FormatText(setting)));
}

absl::Status CheckEntry(const Setting& setting, size_t index, absl::string_view text) {
  RETURN_IF_ERROR(CheckText(absl::StrCat(setting.key, "[", index, "]"), text));
  if (Fits(setting, text)) return absl::OkStatus();
  return WrongEntry(
      setting, index,
      MayHoldPassword(setting) ? "not understood" : absl::StrCat("\"", Shown(text), "\""));
}

absl::Status CheckText(absl::string_view key, absl::string_view text) {
  if (text.size() > kLongestText) {
    return absl::InvalidArgumentError(
        absl::StrCat(key, " has ", text.size(), " bytes; write at most ", kLongestText));
  }
  if (FirstBadByte(text) != text.size() || HasControlCharacter(text)) {
    return absl::InvalidArgumentError(absl::StrCat(
        key, " holds a control character or is not UTF-8; write printable text in one line"));
  }
  return absl::OkStatus();
}

absl::Status SetFromText(const Setting& setting, absl::string_view text, const std::string& folder,
                         Settings* settings) {
  RETURN_IF_ERROR(CheckText(setting.key, text));
  const auto wrong = [&] {
    // A user in a URL may come with a password.
    const bool show = setting.format != Format::kUrl || text.find('@') == absl::string_view::npos;
    return WrongValue(setting, show ? absl::StrCat("\"", Shown(text), "\"") : "a URL with a user");
  };
  if (const auto* integer = std::get_if<Setting::Integer>(&setting.field)) {
    const auto value = ParseInteger(text);
    if (!value || *value < setting.lowest || *value > setting.highest) return wrong();
    (*integer)(*settings) = *value;
  } else if (const auto* boolean = std::get_if<Setting::Boolean>(&setting.field)) {
    if (text != "true" && text != "false") return wrong();
    (*boolean)(*settings) = text == "true";
  } else if (const auto* field = std::get_if<Setting::Text>(&setting.field)) {
    if (!Fits(setting, text)) return wrong();
    (*field)(*settings) =
        setting.format == Format::kPath ? Absolute(text, folder) : std::string(text);
  } else if (std::holds_alternative<Setting::List>(setting.field)) {
    std::vector<std::string> entries;
    if (!text.empty()) entries = absl::StrSplit(text, ',');
    return SetFromList(setting, entries, settings);
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat(setting.key, " is a list of entries; write it in the file"));
  }
  return absl::OkStatus();
}

absl::Status SetFromList(const Setting& setting, const std::vector<std::string>& entries,
                         Settings* settings) {
  if (entries.size() > kMostEntries) {
    return absl::InvalidArgumentError(absl::StrCat(setting.key, " has ", entries.size(),
                                                   " entries; write at most ", kMostEntries));
  }
  for (size_t i = 0; i < entries.size(); ++i) {
    RETURN_IF_ERROR(CheckEntry(setting, i, entries[i]));
  }
  std::get<Setting::List>(setting.field)(*settings) = entries;
  return absl::OkStatus();
}

std::string Quoted(absl::string_view text) {
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"\"", "\\\""}}), "\"");
}

std::string ValueText(const Setting& setting, const Settings& settings) {
  Settings copy = settings;  // the accessors are for writing too
  if (const auto* integer = std::get_if<Setting::Integer>(&setting.field)) {
    return absl::StrCat((*integer)(copy));
  }
  if (const auto* boolean = std::get_if<Setting::Boolean>(&setting.field)) {
    return (*boolean)(copy) ? "true" : "false";
  }
  if (const auto* text = std::get_if<Setting::Text>(&setting.field)) {
    return setting.format == Format::kChoice ? (*text)(copy) : Quoted((*text)(copy));
  }
  if (const auto* list = std::get_if<Setting::List>(&setting.field)) {
    const auto add = [&](std::string* out, const std::string& entry) {
      *out += Quoted(MayHoldPassword(setting) ? ShownEgress(entry) : entry);
    };
    return absl::StrCat("[", absl::StrJoin((*list)(copy), ", ", add), "]");
  }
  CHECK(std::get<Setting::Callers>(setting.field)(copy).empty());
  return "[]";
}

}  // namespace tidegate::config
