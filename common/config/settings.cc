// The layers, one over the other, and the way back: printing.
#include "common/config/settings.h"

#include <algorithm>
#include <map>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/config/settings_faults.h"
#include "common/config/settings_file.h"
#include "common/config/settings_table.h"
#include "common/config/settings_text.h"
#include "common/config/settings_unknown.h"
#include "common/config/settings_value.h"

namespace tidegate::config {
namespace {

// Of one variable or flag, as it is written; `setting` is null if there is none of this name.
void Set(const Setting* setting, const std::string& written, const std::string& value,
         Unknown (*unknown)(absl::string_view), const Place& place, Sheet* sheet, Faults* faults) {
  if (setting == nullptr) {
    const Unknown error = unknown(written);
    faults->Add(place, error.text);
    if (!error.meant.empty()) sheet->unsound.insert(error.meant);
    return;
  }
  sheet->places[setting->key] = place;
  const absl::Status status = SetFromText(*setting, value, WorkingFolder(), &sheet->settings);
  if (status.ok()) return;
  sheet->unsound.insert(setting->key);
  faults->Add(place, status.message());
}

const Setting* FindVariable(const std::string& variable) {
  for (const Setting& setting : SettingTable()) {
    if (VariableOf(setting.key) == variable) return &setting;
  }
  return nullptr;
}

std::string CallersText(const std::vector<CallerIdentity>& callers) {
  std::string text = "callers:\n";
  for (const CallerIdentity& caller : callers) {
    const auto add = [](std::string* out, const std::string& corp) { *out += Quoted(corp); };
    absl::StrAppend(&text, "  - identity: ", Quoted(caller.identity), "\n    corps: [",
                    absl::StrJoin(caller.corps, ", ", add), "]\n");
  }
  return text;
}

}  // namespace

absl::StatusOr<Settings> LoadSettings(const SettingsSource& source) {
  Sheet sheet;
  Faults faults;
  absl::Status file;
  if (!source.file.empty()) file = LoadSettingsFile(source.file, &sheet, &faults);
  for (const auto& [variable, value] : source.environment) {
    const Place place{.layer = Place::Layer::kEnvironment, .source = Shown(variable)};
    Set(FindVariable(variable), variable, value, &UnknownVariable, place, &sheet, &faults);
  }
  for (const auto& [key, value] : source.flags) {
    const Place place{.layer = Place::Layer::kFlags, .source = absl::StrCat("--set ", Shown(key))};
    Set(FindSetting(key), key, value, &UnknownFlag, place, &sheet, &faults);
  }
  if (file.ok()) CheckTogether(sheet, &faults);
  if (faults.empty()) return sheet.settings;
  return absl::Status(file.ok() ? absl::StatusCode::kInvalidArgument : file.code(), faults.Text());
}

std::vector<std::pair<std::string, std::string>> EnvironmentSettings(char** environ) {
  std::map<std::string, std::string> found;  // of a variable that stands twice the first, as getenv
  for (; environ != nullptr && *environ != nullptr; ++environ) {
    const std::pair<std::string, std::string> variable =
        absl::StrSplit(*environ, absl::MaxSplits('=', 1));
    const absl::string_view name = variable.first;
    if (!absl::StartsWith(name, "TIDEGATE_")) continue;
    if (absl::StrContains(name, "__") || FindVariable(variable.first) != nullptr) {
      found.insert(variable);
    }
  }
  return {found.begin(), found.end()};
}

std::string PrintSettings(const Settings& settings) {
  std::string text;
  std::vector<std::string> open;  // the sections that the last line stands in
  for (const Setting& setting : SettingTable()) {
    std::vector<std::string> path = absl::StrSplit(setting.key, '.');
    const std::string name = path.back();
    path.pop_back();
    const auto common = std::mismatch(open.begin(), open.end(), path.begin(), path.end());
    size_t depth = static_cast<size_t>(common.first - open.begin());
    for (; depth < path.size(); ++depth) {
      absl::StrAppend(&text, std::string(2 * depth, ' '), path[depth], ":\n");
    }
    open = std::move(path);
    if (std::holds_alternative<Setting::Callers>(setting.field) && !settings.callers.empty()) {
      text += CallersText(settings.callers);
    } else {
      absl::StrAppend(&text, std::string(2 * depth, ' '), name, ": ", ValueText(setting, settings),
                      "\n");
    }
  }
  return text;
}

std::string DocumentSettings() {
  std::string text = "| setting | values | default | what it is |\n| --- | --- | --- | --- |\n";
  for (const Setting& setting : SettingTable()) {
    std::string value = ValueText(setting, Settings());
    value.erase(std::remove(value.begin(), value.end(), '"'), value.end());
    absl::StrAppend(&text, "| `", setting.key, "` | ", Values(setting), " | ",
                    value.empty() || value == "[]" ? "none" : absl::StrCat("`", value, "`"), " | ",
                    setting.doc, " |\n");
  }
  return text;
}

}  // namespace tidegate::config
