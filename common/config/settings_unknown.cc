#include "common/config/settings_unknown.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "common/config/settings_table.h"
#include "common/config/settings_text.h"

namespace tidegate::config {
namespace {

// Empty unless the name speaks of a secret.
std::string SecretHint(absl::string_view name) {
  const std::string lower = absl::AsciiStrToLower(name);
  for (const char* word :
       {"password", "passwd", "passphrase", "secret", "token", "credential", "private_key"}) {
    if (absl::StrContains(lower, word)) return "; secrets are given as files: NAME_file";
  }
  return "";
}

std::string Contents(absl::string_view section) {
  return absl::StrCat(section.empty() ? "there are" : absl::StrCat("\"", section, "\" has"), ": ",
                      absl::StrJoin(NamesIn(section), ", "));
}

// The one setting of this name in any section; empty if there is none or more than one.
std::string OnlySettingNamed(absl::string_view name) {
  std::string found;
  for (const Setting& setting : SettingTable()) {
    if (!absl::EndsWith(absl::StrCat(".", setting.key), absl::StrCat(".", name))) continue;
    if (!found.empty()) return "";
    found = setting.key;
  }
  return found;
}

// The longest section that `key` is inside of by its spelling.
std::string KnownSection(absl::string_view key) {
  absl::string_view section = SectionOf(key);
  while (!IsSection(section)) section = SectionOf(section);
  return std::string(section);
}

// Of a key written in full; `spell` turns keys into what the user writes.
template <typename Spell>
Unknown UnknownWhole(absl::string_view written, absl::string_view key, const Spell& spell) {
  std::string text = absl::StrCat("unknown setting \"", Shown(written), "\"");
  if (!key.empty() && IsSection(key)) {
    return {absl::StrCat("\"", Shown(key), "\" is a section, not a setting; ", Contents(key)), ""};
  }
  const std::string secret = SecretHint(key);
  std::vector<std::string> spelled;
  for (const Setting& setting : SettingTable()) spelled.push_back(spell(setting.key));
  const std::string nearest = secret.empty() ? Nearest(written, spelled) : "";
  for (const Setting& setting : SettingTable()) {
    if (spell(setting.key) != nearest) continue;
    return {absl::StrCat(text, "; did you mean \"", nearest, "\"?"), setting.key};
  }
  return {absl::StrCat(text, secret, "; ", Contents(KnownSection(key))), ""};
}

}  // namespace

Unknown UnknownEntry(absl::string_view section, absl::string_view name) {
  const std::string text = absl::StrCat("unknown setting \"", Shown(JoinKey(section, name)), "\"");
  if (FindSetting(JoinKey(section, name)) != nullptr) {
    return {
        absl::StrCat(
            text, "; a dot does not lead into a section: write \"",
            absl::StrReplaceAll(name, {{".", ": {"}}), ": ...",
            std::string(static_cast<size_t>(std::count(name.begin(), name.end(), '.')), '}'), "\""),
        JoinKey(section, name)};
  }
  const std::string secret = SecretHint(name);
  if (const std::string near = Nearest(name, NamesIn(section)); secret.empty() && !near.empty()) {
    return {absl::StrCat(text, "; did you mean \"", near, "\"?"), JoinKey(section, near)};
  }
  if (const std::string elsewhere = OnlySettingNamed(name); !elsewhere.empty()) {
    return {absl::StrCat(text, "; did you mean \"", elsewhere, "\"?"), elsewhere};
  }
  return {absl::StrCat(text, secret, "; ", Contents(section)), ""};
}

Unknown UnknownFlag(absl::string_view key) {
  return UnknownWhole(key, key, [](const std::string& known) { return known; });
}

Unknown UnknownVariable(absl::string_view variable) {
  const std::string key = absl::StrReplaceAll(
      absl::AsciiStrToLower(absl::StripPrefix(variable, "TIDEGATE_")), {{"__", "."}});
  return UnknownWhole(variable, key, [](const std::string& known) { return VariableOf(known); });
}

}  // namespace tidegate::config
