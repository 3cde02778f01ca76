#include "common/config/settings_yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <map>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/config/settings_text.h"

namespace tidegate::config {
namespace {

// yaml-cpp's nodes would accept a key twice and follow aliases; its events show both.
class TreeBuilder : public YAML::EventHandler {
 public:
  explicit TreeBuilder(YamlFile* file) : file_(file) {}

  bool refused() const { return refused_; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ > 0) Refuse(mark, "a second document begins here; write one document");
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    RefuseAnchor(mark, anchor);
    Attach(Node(YamlNode::Kind::kNull, mark));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { RefuseAnchor(mark, 1); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    RefuseAnchor(mark, anchor);
    RefuseTag(mark, tag);
    YamlNode node = Node(YamlNode::Kind::kText, mark);
    node.text = value;
    node.quoted = tag == "!";
    Attach(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(YamlNode::Kind::kList, mark, tag, anchor);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(YamlNode::Kind::kMap, mark, tag, anchor);
  }
  void OnMapEnd() override { Close(); }

 private:
  struct Frame {
    YamlNode node;
    bool has_key = false;  // of a map: the key came and its value is next
    YamlNode key;
    std::map<std::string, int> lines;  // of a map: the line of each key
  };

  static YamlNode Node(YamlNode::Kind kind, const YAML::Mark& mark) {
    return {.kind = kind, .line = mark.line + 1, .column = mark.column + 1};
  }

  // Ends the parse at once, through the parser's own exception.
  [[noreturn]] void Refuse(const YAML::Mark& mark, const std::string& text) {
    refused_ = true;
    throw YAML::ParserException(mark, text);
  }
  void RefuseAnchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor) {
      Refuse(mark, "anchors and aliases are not taken; write the value itself");
    }
  }
  // "?" is plain text and "!" quoted text.
  void RefuseTag(const YAML::Mark& mark, const std::string& tag) {
    if (!tag.empty() && tag != "?" && tag != "!") {
      Refuse(mark, absl::StrCat("the tag \"", Shown(tag), "\" is not taken; remove it"));
    }
  }

  void Open(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag,
            YAML::anchor_t anchor) {
    RefuseAnchor(mark, anchor);
    RefuseTag(mark, tag);
    if (open_.size() == kDeepestYaml) {
      Refuse(mark, absl::StrCat("deeper than ", kDeepestYaml, " levels; no setting is so deep"));
    }
    open_.push_back({.node = Node(kind, mark)});
  }
  void Close() {
    YamlNode node = std::move(open_.back().node);
    open_.pop_back();
    Attach(std::move(node));
  }
  void Attach(YamlNode node) {
    if (open_.empty()) {
      file_->root = std::move(node);
      return;
    }
    Frame& frame = open_.back();
    if (frame.node.kind == YamlNode::Kind::kList) {
      frame.node.children.push_back(std::move(node));
      return;
    }
    if (!frame.has_key) {
      frame.key = std::move(node);
      frame.has_key = true;
      return;
    }
    frame.has_key = false;
    AttachEntry(&frame, std::move(node));
  }
  void AttachEntry(Frame* frame, YamlNode node) {
    const YamlNode& key = frame->key;
    if (key.kind != YamlNode::Kind::kText) {
      file_->faults.push_back(
          {key.line, key.column, "a key must be text; write the name of a setting"});
      return;
    }
    const auto [first, is_new] = frame->lines.try_emplace(key.text, key.line);
    if (!is_new) {
      file_->faults.push_back(
          {key.line, key.column,
           absl::StrCat("\"", Shown(key.text), "\" is written twice, first at line ", first->second,
                        "; remove one")});
      return;
    }
    node.key = key.text;
    node.key_line = key.line;
    node.key_column = key.column;
    frame->node.children.push_back(std::move(node));
  }

  YamlFile* const file_;
  std::vector<Frame> open_;
  int documents_ = 0;
  bool refused_ = false;
};

void Unreadable(YamlFile* file, int line, int column, std::string text) {
  file->readable = false;
  file->root = {};
  file->faults.push_back({line, column, std::move(text)});
}

// Of the byte at `offset`.
void UnreadableAt(YamlFile* file, const std::string& text, size_t offset, std::string what) {
  const std::string before = text.substr(0, offset);
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const size_t column = offset - (before.rfind('\n') + 1) + 1;  // npos + 1 = 0
  Unreadable(file, static_cast<int>(line), static_cast<int>(column), std::move(what));
}

// Offset of the first tab among the blanks that begin a line with more in it; text.size() if there
// is none. yaml-cpp's own message is of something else, further on.
size_t FirstIndentingTab(const std::string& text) {
  size_t line = 0;
  while (line < text.size()) {
    const size_t tab = text.find_first_not_of(' ', line);
    const size_t rest = text.find_first_not_of(" \t", line);
    if (rest == std::string::npos) break;
    if (text[tab] == '\t' && text[rest] != '\n' && text[rest] != '\r' && text[rest] != '#') {
      return tab;
    }
    const size_t end = text.find('\n', rest);
    if (end == std::string::npos) break;
    line = end + 1;
  }
  return text.size();
}

}  // namespace

YamlFile ReadYaml(const std::string& text) {
  YamlFile file;
  if (const size_t bad = FirstBadByte(text); bad != text.size()) {
    UnreadableAt(&file, text, bad, "not UTF-8 text; save the file as UTF-8");
    return file;
  }
  if (const size_t tab = FirstIndentingTab(text); tab != text.size()) {
    UnreadableAt(&file, text, tab, "a tab indents this line; write spaces");
    return file;
  }
  TreeBuilder builder(&file);
  std::istringstream in(text);
  try {
    YAML::Parser parser(in);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& error) {
    std::string what = error.msg;
    if (!builder.refused()) what = absl::StrCat("not valid YAML: ", Shown(what));
    if (error.msg == YAML::ErrorMsg::ALIAS_NOT_FOUND) {
      absl::StrAppend(&what, "; write \"*\" in quotes");
    }
    Unreadable(&file, std::max(error.mark.line, 0) + 1, std::max(error.mark.column, 0) + 1, what);
  }
  return file;
}

}  // namespace tidegate::config
