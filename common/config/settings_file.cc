#include "common/config/settings_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <set>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/config/settings_table.h"
#include "common/config/settings_text.h"
#include "common/config/settings_unknown.h"
#include "common/config/settings_value.h"
#include "common/config/settings_yaml.h"

namespace tidegate::config {
namespace {

constexpr size_t kLargestFile = 1 << 20;

// The texts of errors do not name the file.
absl::StatusOr<std::string> ReadWhole(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  std::string text;
  std::array<char, 16384> piece;
  ssize_t count = file < 0 ? -1 : 1;
  while (count > 0 && text.size() <= kLargestFile) {
    count = ::read(file, piece.data(), piece.size());
    if (count > 0) text.append(piece.data(), static_cast<size_t>(count));
  }
  const int error = count < 0 ? errno : 0;
  if (file >= 0) ::close(file);
  if (error == ENOENT || error == ENOTDIR) {
    return absl::NotFoundError("no such file; write the path of a YAML file");
  }
  if (error == EACCES) {
    return absl::PermissionDeniedError("this user may not read the file; change its mode or owner");
  }
  if (error != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(std::strerror(error), "; write the path of a YAML file"));
  }
  if (text.size() > kLargestFile) {
    return absl::InvalidArgumentError("larger than 1 MiB; write the path of a configuration file");
  }
  return text;
}

// Of a value that is of the wrong kind.
std::string KindText(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "empty";
    case YamlNode::Kind::kText:
      return absl::StrCat("\"", Shown(node.text), "\"", node.quoted ? " in quotes" : "");
    case YamlNode::Kind::kList:
      return "a list";
    case YamlNode::Kind::kMap:
      return "a section";
  }
  return "";
}

class FileLoader {
 public:
  FileLoader(const std::string& path, Sheet* sheet, Faults* faults)
      : path_(path),
        folder_((std::filesystem::path(WorkingFolder()) / path).parent_path().string()),
        sheet_(sheet),
        faults_(faults) {}

  absl::Status Load() {
    const auto text = ReadWhole(path_);
    if (!text.ok()) {
      faults_->Add({.layer = Place::Layer::kFile, .source = path_}, text.status().message());
      return text.status();
    }
    const YamlFile yaml = ReadYaml(*text);
    for (const YamlFault& fault : yaml.faults) Add(At(fault.line, fault.column), fault.text);
    if (!yaml.readable) return absl::InvalidArgumentError("not readable");
    sheet_->places[""] = At(1, 1);
    if (yaml.root.kind == YamlNode::Kind::kNull) return absl::OkStatus();  // all comments
    if (yaml.root.kind != YamlNode::Kind::kMap) {
      Add(At(yaml.root.line, yaml.root.column),
          "no settings; write lines such as \"partitions: 4\"");
      return absl::InvalidArgumentError("no settings");
    }
    LoadSection("", yaml.root);
    return absl::OkStatus();
  }

 private:
  Place At(int line, int column) const {
    return {.layer = Place::Layer::kFile, .source = path_, .line = line, .column = column};
  }
  Place KeyOf(const YamlNode& node) const { return At(node.key_line, node.key_column); }
  // yaml-cpp puts what is not there at whatever comes next.
  Place ValueOf(const YamlNode& node) const {
    return node.kind == YamlNode::Kind::kNull && !node.key.empty() ? KeyOf(node)
                                                                   : At(node.line, node.column);
  }

  void Add(const Place& place, absl::string_view text) { faults_->Add(place, text); }

  // False and a fault if `status` is an error.
  bool Check(const absl::Status& status, const Place& place) {
    if (!status.ok()) Add(place, status.message());
    return status.ok();
  }

  void LoadSection(const std::string& section, const YamlNode& map) {
    const std::vector<std::string> names = NamesIn(section);
    for (const YamlNode& entry : map.children) {
      const std::string key = JoinKey(section, entry.key);
      if (std::find(names.begin(), names.end(), entry.key) == names.end()) {
        const Unknown unknown = UnknownEntry(section, entry.key);
        Add(KeyOf(entry), unknown.text);
        if (!unknown.meant.empty()) sheet_->unsound.insert(unknown.meant);
        continue;
      }
      const Setting* setting = FindSetting(key);
      sheet_->places[key] = setting == nullptr ? KeyOf(entry) : ValueOf(entry);
      const bool sound = setting == nullptr ? LoadEntries(key, entry) : LoadValue(*setting, entry);
      if (!sound) sheet_->unsound.insert(key);
    }
  }

  bool LoadEntries(const std::string& section, const YamlNode& node) {
    if (node.kind == YamlNode::Kind::kMap) LoadSection(section, node);
    // All lines of a section may be comments.
    if (node.kind == YamlNode::Kind::kMap || node.kind == YamlNode::Kind::kNull) return true;
    Add(ValueOf(node),
        absl::StrCat(section, " is ", KindText(node), "; it is a section: write under it ",
                     absl::StrJoin(NamesIn(section), ", ")));
    return false;
  }

  bool LoadValue(const Setting& setting, const YamlNode& node) {
    const bool list = std::holds_alternative<Setting::List>(setting.field);
    const bool callers = std::holds_alternative<Setting::Callers>(setting.field);
    if (node.kind == YamlNode::Kind::kList && list) return LoadList(setting, node);
    if (node.kind == YamlNode::Kind::kList && callers) return LoadCallers(setting, node);
    if (node.kind != YamlNode::Kind::kText || list || callers) {
      const bool hidden = node.kind == YamlNode::Kind::kText && MayHoldPassword(setting);
      return Check(WrongValue(setting, hidden ? "a text" : KindText(node)), ValueOf(node));
    }
    if (node.quoted && !std::holds_alternative<Setting::Text>(setting.field)) {
      return Check(
          absl::InvalidArgumentError(absl::StrCat(setting.key, " is ", KindText(node), "; write ",
                                                  Values(setting), " without them")),
          ValueOf(node));
    }
    return Check(SetFromText(setting, node.text, folder_, &sheet_->settings), ValueOf(node));
  }

  bool LoadList(const Setting& setting, const YamlNode& node) {
    std::vector<std::string> entries;
    bool sound = true;
    for (const YamlNode& child : node.children) {
      const absl::Status status = child.kind == YamlNode::Kind::kText
                                      ? CheckEntry(setting, entries.size(), child.text)
                                      : WrongEntry(setting, entries.size(), KindText(child));
      sound = Check(status, ValueOf(child)) && sound;
      entries.push_back(child.text);
    }
    return sound && Check(SetFromList(setting, entries, &sheet_->settings), ValueOf(node));
  }

  bool LoadCallers(const Setting& setting, const YamlNode& node) {
    std::vector<CallerIdentity> callers;
    std::set<std::string> identities;
    bool sound = true;
    for (size_t i = 0; i < node.children.size(); ++i) {
      const YamlNode& child = node.children[i];
      const std::string key = absl::StrCat(setting.key, "[", i, "]");
      auto caller = ReadCaller(key, child);
      sound = sound && caller.has_value();
      if (!caller) continue;
      if (!identities.insert(caller->identity).second) {
        Add(ValueOf(child), absl::StrCat(key, ".identity \"", Shown(caller->identity),
                                         "\" stands twice; write one entry with all its corps"));
        sound = false;
      }
      callers.push_back(*std::move(caller));
    }
    if (sound) std::get<Setting::Callers>(setting.field)(sheet_->settings) = std::move(callers);
    return sound;
  }

  std::optional<CallerIdentity> ReadCaller(const std::string& key, const YamlNode& node) {
    static const auto* const names = new std::vector<std::string>{"identity", "corps"};
    if (node.kind != YamlNode::Kind::kMap) {
      Add(ValueOf(node), absl::StrCat(key, " is ", KindText(node), "; write identity and corps"));
      return std::nullopt;
    }
    CallerIdentity caller;
    bool sound = true;
    std::set<std::string> missing(names->begin(), names->end());
    for (const YamlNode& entry : node.children) {
      const std::string entry_key = absl::StrCat(key, ".", entry.key);
      if (entry.key == "identity") {
        sound = ReadText(entry_key, entry, &caller.identity) && sound;
      } else if (entry.key == "corps") {
        sound = ReadCorps(entry_key, entry, &caller.corps) && sound;
      } else {
        const std::string near = Nearest(entry.key, *names);
        Add(KeyOf(entry),
            absl::StrCat("unknown setting \"", key, ".", Shown(entry.key), "\"; ",
                         near.empty() ? "there are: identity, corps"
                                      : absl::StrCat("did you mean \"", near, "\"?")));
        sound = false;
        missing.erase(near);
      }
      missing.erase(entry.key);
    }
    for (const std::string& name : missing) {
      Add(ValueOf(node), absl::StrCat(key, " has no ", name, "; write it too"));
      sound = false;
    }
    if (!sound) return std::nullopt;
    return caller;
  }

  bool ReadText(const std::string& key, const YamlNode& node, std::string* text) {
    if (node.kind != YamlNode::Kind::kText || node.text.empty()) {
      Add(ValueOf(node), absl::StrCat(key, " is ", KindText(node), "; write a text"));
      return false;
    }
    *text = node.text;
    return Check(CheckText(key, node.text), ValueOf(node));
  }

  bool ReadCorps(const std::string& key, const YamlNode& node, std::vector<std::string>* corps) {
    if (node.kind != YamlNode::Kind::kList || node.children.empty()) {
      Add(ValueOf(node),
          absl::StrCat(key, " is ",
                       node.kind == YamlNode::Kind::kList ? "an empty list" : KindText(node),
                       "; write a list of corp ids, or [\"*\"] for all"));
      return false;
    }
    bool sound = true;
    for (const YamlNode& child : node.children) {
      const std::string child_key = absl::StrCat(key, "[", corps->size(), "]");
      std::string& corp = corps->emplace_back();
      if (!ReadText(child_key, child, &corp)) {
        sound = false;
      } else if (std::find(corps->begin(), corps->end() - 1, corp) != corps->end() - 1) {
        Add(ValueOf(child),
            absl::StrCat(child_key, " \"", Shown(corp), "\" stands twice; remove one"));
        sound = false;
      } else if (corp == "*" && node.children.size() > 1) {
        Add(ValueOf(child),
            absl::StrCat(child_key, " is \"*\", which is all corps; remove the others"));
        sound = false;
      }
    }
    return sound;
  }

  const std::string path_;
  const std::string folder_;  // absolute
  Sheet* const sheet_;
  Faults* const faults_;
};

}  // namespace

absl::Status LoadSettingsFile(const std::string& path, Sheet* sheet, Faults* faults) {
  return FileLoader(path, sheet, faults).Load();
}

std::string WorkingFolder() {
  std::error_code error;
  return std::filesystem::current_path(error).string();
}

}  // namespace tidegate::config
