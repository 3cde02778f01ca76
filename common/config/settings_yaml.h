// YAML text as a tree with places. Keeps yaml-cpp out of sight.
//
// Of YAML only what a configuration needs: one document, text keys, no anchors, aliases or tags, at
// most kDeepestYaml levels. So the work is bounded by the size of the text.
#pragma once

#include <string>
#include <vector>

namespace tidegate::config {

inline constexpr size_t kDeepestYaml = 8;

struct YamlNode {
  enum class Kind { kNull, kText, kList, kMap };
  Kind kind = Kind::kNull;
  int line = 1, column = 1;  // of the value; from 1, columns in bytes
  std::string text;
  bool quoted = false;             // the text stood in quotes
  std::vector<YamlNode> children;  // entries of a list or a map
  // In a map: the key of this entry, and its place.
  std::string key;
  int key_line = 1, key_column = 1;
};

struct YamlFault {
  int line = 1, column = 1;
  std::string text;  // one line
};

struct YamlFile {
  YamlNode root;                  // kNull for an empty file
  std::vector<YamlFault> faults;  // keys written twice: the first one is in the tree
  bool readable = true;           // false: no YAML we take; the tree is empty
};

YamlFile ReadYaml(const std::string& text);

}  // namespace tidegate::config
