#include "common/expression/canonical.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace tidegate::expression {
namespace {

std::string Quote(const std::string& text) {
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') quoted.push_back('\\');
    quoted.push_back(c);
  }
  quoted.push_back('"');
  return quoted;
}

std::string QuotedList(const std::vector<std::string>& texts) {
  return absl::StrJoin(texts, ", ", [](std::string* out, const std::string& text) {
    absl::StrAppend(out, Quote(text));
  });
}

std::string NumberText(Field field, int64_t number) {
  if (field != Field::kOrdersSum) return absl::StrCat(number);
  const int64_t fen = number < 0 ? -number : number;
  return absl::StrCat(number < 0 ? "-" : "", fen / 100, ".", absl::Dec(fen % 100, absl::kZeroPad2));
}

std::string DurationText(const Duration& duration) {
  return absl::StrCat(duration.count, std::string(1, duration.unit));
}

absl::string_view FieldText(Field field) {
  switch (field) {
    case Field::kOrdersCount:
      return "orders.count";
    case Field::kOrdersSum:
      return "orders.sum";
    case Field::kOrdersDays:
      return "orders.days";
    case Field::kFirstOrder:
      return "first_order";
    case Field::kLastOrder:
      return "last_order";
    case Field::kEventKind:
      return "this.kind";
  }
  return "";
}

absl::string_view ComparisonText(Test test) {
  switch (test) {
    case Test::kEqual:
      return "=";
    case Test::kNotEqual:
      return "!=";
    case Test::kLess:
      return "<";
    case Test::kLessEqual:
      return "<=";
    case Test::kGreater:
      return ">";
    case Test::kGreaterEqual:
      return ">=";
    default:
      return "";
  }
}

std::string FieldLeafText(const Node& node) {
  std::string text(FieldText(node.field));
  const bool has_window =
      node.duration.unit != 0 && node.test != Test::kWithin && node.test != Test::kOlderThan;
  if (has_window) absl::StrAppend(&text, "(", DurationText(node.duration), ")");
  const bool is_text = node.field == Field::kEventKind;
  const auto number = [&](std::string* out, int64_t value) {
    absl::StrAppend(out, NumberText(node.field, value));
  };
  switch (node.test) {
    case Test::kBetween:
      return absl::StrCat(text, " between ", absl::StrJoin(node.numbers, " and ", number));
    case Test::kIn:
      return absl::StrCat(
          text, " in (",
          is_text ? QuotedList(node.texts) : absl::StrJoin(node.numbers, ", ", number), ")");
    case Test::kWithin:
      return absl::StrCat(text, " within ", DurationText(node.duration));
    case Test::kOlderThan:
      return absl::StrCat(text, " older than ", DurationText(node.duration));
    case Test::kIsSet:
      return absl::StrCat(text, " is set");
    case Test::kIsNotSet:
      return absl::StrCat(text, " is not set");
    default:
      return absl::StrCat(text, " ", ComparisonText(node.test), " ",
                          is_text ? Quote(node.texts[0]) : NumberText(node.field, node.numbers[0]));
  }
}

template <typename T>
void SortUnique(std::vector<T>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

// "(a and b)". Repeats go: saying a thing twice adds nothing to and / or.
std::string JoinedText(Node& node, absl::string_view word) {
  std::vector<std::pair<std::string, Node>> parts;
  for (Node& child : node.children) {
    std::string text = Canonicalise(child);
    // A child may have become the parent's kind when its own repeats went.
    if (child.kind == node.kind) {
      for (Node& grandchild : child.children) {
        std::string grandchild_text = Canonicalise(grandchild);
        parts.emplace_back(std::move(grandchild_text), std::move(grandchild));
      }
    } else {
      parts.emplace_back(std::move(text), std::move(child));
    }
  }
  std::sort(parts.begin(), parts.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  parts.erase(std::unique(parts.begin(), parts.end(),
                          [](const auto& a, const auto& b) { return a.first == b.first; }),
              parts.end());
  if (parts.size() == 1) {
    std::string text = std::move(parts[0].first);
    // Through a copy: the part lives in the node it replaces.
    Node only = std::move(parts[0].second);
    node = std::move(only);
    return text;
  }
  node.children.clear();
  std::string text = "(";
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) absl::StrAppend(&text, " ", word, " ");
    absl::StrAppend(&text, parts[i].first);
    node.children.push_back(std::move(parts[i].second));
  }
  text.push_back(')');
  return text;
}

// Repeats stay: each item of the list counts for itself.
std::string AtLeastText(Node& node) {
  std::vector<std::pair<std::string, Node>> parts;
  for (Node& child : node.children) {
    std::string text = Canonicalise(child);
    parts.emplace_back(std::move(text), std::move(child));
  }
  std::sort(parts.begin(), parts.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  node.children.clear();
  std::string text = absl::StrCat("at least ", node.at_least, " of (");
  for (size_t i = 0; i < parts.size(); ++i) {
    absl::StrAppend(&text, i > 0 ? ", " : "", parts[i].first);
    node.children.push_back(std::move(parts[i].second));
  }
  text.push_back(')');
  return text;
}

std::string NotText(Node& node) {
  Node& child = node.children[0];
  const std::string text = Canonicalise(child);
  // and / or bring their parentheses along.
  if (child.kind == NodeKind::kAnd || child.kind == NodeKind::kOr) {
    return absl::StrCat("not ", text);
  }
  return absl::StrCat("not (", text, ")");
}

}  // namespace

std::string Canonicalise(Node& node) {
  switch (node.kind) {
    case NodeKind::kAll:
      return "all";
    case NodeKind::kNone:
      return "none";
    case NodeKind::kNot:
      return NotText(node);
    case NodeKind::kAnd:
      return JoinedText(node, "and");
    case NodeKind::kOr:
      return JoinedText(node, "or");
    case NodeKind::kAtLeast:
      return AtLeastText(node);
    case NodeKind::kTag:
      SortUnique(node.texts);
      return absl::StrCat("tag(", QuotedList(node.texts), ")");
    case NodeKind::kField:
      SortUnique(node.texts);
      if (node.test == Test::kIn) SortUnique(node.numbers);
      return FieldLeafText(node);
  }
  return "";
}

}  // namespace tidegate::expression
