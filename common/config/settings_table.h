// The one table of all settings: it drives the file, the environment, flags, printing and the page.
//
//   const Setting* setting = FindSetting("log.kafka.replication");
//   std::get<Setting::Integer>(setting->field)(settings) = 3;
//
// Everything here is constant; any thread may use it.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/config/settings.h"

namespace tidegate::config {

// What a text, or an entry of a list, has to look like.
enum class Format {
  kNone,         // the setting is no text
  kChoice,       // one of Setting::choices
  kPath,         // made absolute when read; may be empty
  kListener,     // host:port, port 0 allowed
  kPeer,         // host:port
  kSource,       // see egress.h
  kBrokers,      // host:port,host:port; may be empty
  kUrl,          // http or https
  kTopicPrefix,  // what Kafka allows in topic names
  kReplica,      // r/R or r/LEAST-MOST
};

struct Setting {
  using Integer = int& (*)(Settings&);
  using Boolean = bool& (*)(Settings&);
  using Text = std::string& (*)(Settings&);
  using List = std::vector<std::string>& (*)(Settings&);
  using Callers = std::vector<CallerIdentity>& (*)(Settings&);

  std::string key;  // sections joined by dots: "log.kafka.replication"
  std::variant<Integer, Boolean, Text, List, Callers> field;
  std::string doc;  // one sentence
  Format format = Format::kNone;
  int lowest = 0, highest = 0;  // of an integer
  std::string unit;             // of an integer; empty = a count
  std::vector<std::string> choices;
};

// In the order of the struct; the settings of a section stand together.
const std::vector<Setting>& SettingTable();

// nullptr if unknown.
const Setting* FindSetting(absl::string_view key);

// "log.kafka" is a section; the empty key is the top level and one too.
bool IsSection(absl::string_view key);

// The names directly inside a section, settings and sections, in the order of the table.
std::vector<std::string> NamesIn(absl::string_view section);

// "log.kind" and "log": "log.kind"; the empty section: the name itself.
std::string JoinKey(absl::string_view section, absl::string_view name);

// "log.kafka" of "log.kafka.tls"; empty at the top level.
absl::string_view SectionOf(absl::string_view key);

// "TIDEGATE_LOG__KIND" of "log.kind".
std::string VariableOf(absl::string_view key);

}  // namespace tidegate::config
