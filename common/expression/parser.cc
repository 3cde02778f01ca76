#include "common/expression/parser.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/expression/lexer.h"
#include "common/expression/nearest_name.h"

namespace tidegate::expression {
namespace {

constexpr absl::string_view kSyntax = "SYNTAX";
constexpr absl::string_view kUnknownName = "UNKNOWN_NAME";
constexpr absl::string_view kTypeMismatch = "TYPE_MISMATCH";
constexpr absl::string_view kOutOfRange = "OUT_OF_RANGE";
constexpr absl::string_view kTooLarge = "TOO_LARGE";
constexpr absl::string_view kTooDeep = "TOO_DEEP";

constexpr int64_t kNumberMax = 1'000'000'000'000'000;
constexpr int64_t kDurationDaysMax = 3660;

constexpr absl::string_view kLeafNames[] = {"all",    "none",        "not",        "at",  "tag",
                                            "orders", "first_order", "last_order", "this"};
constexpr absl::string_view kConnectives[] = {"and", "or"};
constexpr absl::string_view kOrdersFields[] = {"count", "sum", "days"};
constexpr absl::string_view kOrdersFieldsToCome[] = {"min", "max", "avg"};
constexpr absl::string_view kNumberTests[] = {"between", "in", "is"};
constexpr absl::string_view kTextTests[] = {"in", "is"};
constexpr absl::string_view kTimeTests[] = {"within", "older", "is"};
// Names of the whole language that this version does not evaluate.
constexpr absl::string_view kNamesToCome[] = {
    "attr",    "follow", "every",       "event",       "metric", "segment",
    "split",   "stage",  "stage_since", "member",      "state",  "remark",
    "add_way", "added",  "created",     "anniversary", "first",  "last"};

bool IsOneOf(absl::string_view word, absl::Span<const absl::string_view> names) {
  return std::find(names.begin(), names.end(), word) != names.end();
}

std::string DidYouMean(absl::string_view word, absl::Span<const absl::string_view> candidates) {
  const absl::string_view nearest = NearestName(word, candidates);
  return nearest.empty() ? "" : absl::StrCat("; did you mean ", nearest, "?");
}

enum class NumberKind { kWhole, kMoney };

// What a number text is for a field of that kind.
enum class NumberFault { kNone, kNotANumber, kNotWhole, kTooPrecise, kNegative, kTooLarge };

struct ReadNumberResult {
  NumberFault fault = NumberFault::kNone;
  int64_t value = 0;  // whole number, or fen
};

ReadNumberResult ReadNumber(absl::string_view text, NumberKind kind) {
  const bool minus = absl::ConsumePrefix(&text, "-");
  const size_t point = text.find('.');
  absl::string_view whole = text.substr(0, point);
  const absl::string_view decimals =
      point == absl::string_view::npos ? absl::string_view() : text.substr(point + 1);
  const auto digits_only = [](absl::string_view digits) {
    return !digits.empty() && std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit);
  };
  if (!digits_only(whole)) return {NumberFault::kNotANumber};
  if (point != absl::string_view::npos && !digits_only(decimals)) {
    return {NumberFault::kNotANumber};
  }
  if (kind == NumberKind::kWhole && !decimals.empty()) return {NumberFault::kNotWhole};
  if (decimals.size() > 2) return {NumberFault::kTooPrecise};
  while (whole.size() > 1 && whole.front() == '0') whole.remove_prefix(1);
  int64_t value = 0;
  if (whole.size() > 16 || !absl::SimpleAtoi(whole, &value) || value > kNumberMax) {
    return {NumberFault::kTooLarge};
  }
  if (kind == NumberKind::kMoney) {
    value *= 100;
    if (!decimals.empty()) value += 10 * (decimals[0] - '0');
    if (decimals.size() == 2) value += decimals[1] - '0';
    if (value > kNumberMax * 100) return {NumberFault::kTooLarge};
  }
  if (minus && value != 0) {
    if (kind == NumberKind::kWhole) return {NumberFault::kNegative};
    value = -value;
  }
  return {NumberFault::kNone, value};
}

class Parser {
 public:
  Parser(absl::string_view text, const ParseLimits& limits, std::vector<Violation>* violations)
      : text_(text), limits_(limits), tokens_(Tokenize(text)), violations_(violations) {}

  Node Run() {
    Node root = ParseOr();
    if (Here().kind == TokenKind::kClose) {
      Report(kSyntax, "no parenthesis is open here");
    } else if (Here().kind != TokenKind::kEnd) {
      Report(kSyntax, "a comma stands only between the items of a list");
    }
    return root;
  }

 private:
  // ---- Tokens. The last one is kEnd, and is never passed.
  const Token& Here() const { return tokens_[at_]; }
  const Token& Ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  void Advance() {
    if (at_ + 1 < tokens_.size()) ++at_;
  }
  bool IsWord(absl::string_view word) const {
    return Here().kind == TokenKind::kWord && Here().value == word;
  }
  bool TakeWord(absl::string_view word) {
    if (!IsWord(word)) return false;
    Advance();
    return true;
  }
  bool Take(TokenKind kind) {
    if (Here().kind != kind) return false;
    Advance();
    return true;
  }
  bool Expect(TokenKind kind, absl::string_view message) {
    if (Take(kind)) return true;
    Report(kSyntax, std::string(message));
    return false;
  }

  // ---- Faults.
  void Report(absl::string_view reason, std::string message) {
    ReportAt(Here(), reason, std::move(message));
  }

  void ReportAt(const Token& token, absl::string_view reason, std::string message) {
    if (stopped_) return;
    // What is wrong with the characters explains more than what was expected in their place.
    if (token.kind == TokenKind::kBad) {
      reason = kSyntax;
      message = token.value;
    }
    for (const Violation& known : *violations_) {
      if (known.offset == token.offset) return;
    }
    violations_->push_back(
        MakeViolation(text_, reason, token.offset, token.text.size(), std::move(message)));
    if (violations_->size() >= std::max<size_t>(1, limits_.errors_max)) Stop();
  }

  // Everything that is under way sees the end of the text and returns.
  void Stop() {
    stopped_ = true;
    at_ = tokens_.size() - 1;
  }

  bool Refuse(const Token& token, absl::string_view reason, std::string message) {
    ReportAt(token, reason, std::move(message));
    Stop();
    return false;
  }

  // After a fault in the leaf that began at token `start`: goes on to the next thing on its level
  // that ends a leaf, so that the rest of the text is checked too.
  void Recover(size_t start) {
    size_t level = 0;
    bool in_between = false;
    for (size_t i = start; !stopped_; ++i) {
      const Token& token = tokens_[i];
      const bool is_word = token.kind == TokenKind::kWord;
      const bool joins = is_word && (token.value == "and" || token.value == "or");
      bool ends_leaf = joins || token.kind == TokenKind::kComma || token.kind == TokenKind::kClose;
      // The "and" of "between 1 and 2" joins nothing, nor an "or" written in its place.
      if (joins && level == 0 && in_between) {
        in_between = false;
        ends_leaf = false;
      }
      if (token.kind == TokenKind::kEnd || (level == 0 && ends_leaf && i >= at_)) {
        at_ = i;
        return;
      }
      if (token.kind == TokenKind::kBad && i >= at_) ReportAt(token, kSyntax, "");
      if (token.kind == TokenKind::kOpen) ++level;
      if (token.kind == TokenKind::kClose && level > 0) --level;
      if (is_word && token.value == "between" && level == 0) in_between = true;
    }
  }

  // ---- Limits.
  bool Enter(const Token& token) {
    if (nesting_ >= limits_.depth_max) return TooDeep(token);
    ++nesting_;
    return true;
  }
  void Leave() { --nesting_; }

  bool TooDeep(const Token& token) {
    return Refuse(
        token, kTooDeep,
        absl::StrCat("an expression is nested at most ", limits_.depth_max, " levels deep"));
  }

  // ---- Operators.
  Node ParseOr() {
    const size_t start = at_;
    std::vector<Node> terms;
    terms.push_back(ParseAnd());
    while (TakeWord("or")) terms.push_back(ParseAnd());
    return terms.size() == 1 ? std::move(terms[0])
                             : MakeOperator(NodeKind::kOr, std::move(terms), start);
  }

  Node ParseAnd() {
    const size_t start = at_;
    std::vector<Node> terms;
    while (true) {
      terms.push_back(ParseTerm());
      const TokenKind kind = Here().kind;
      if (kind != TokenKind::kEnd && kind != TokenKind::kClose && kind != TokenKind::kComma &&
          !IsWord("and") && !IsWord("or")) {
        Report(kSyntax, absl::StrCat("and, or or the end was expected here",
                                     DidYouMean(Here().value, kConnectives)));
        Recover(at_);
      }
      if (!TakeWord("and")) break;
    }
    return terms.size() == 1 ? std::move(terms[0])
                             : MakeOperator(NodeKind::kAnd, std::move(terms), start);
  }

  Node MakeOperator(NodeKind kind, std::vector<Node> terms, size_t start) {
    Node node;
    node.kind = kind;
    const bool joins = kind == NodeKind::kAnd || kind == NodeKind::kOr;
    for (Node& term : terms) {
      if (joins && term.kind == kind) {
        node.height = std::max(node.height, term.height);
        for (Node& child : term.children) node.children.push_back(std::move(child));
      } else {
        node.height = std::max(node.height, term.height + 1);
        node.children.push_back(std::move(term));
      }
    }
    // The canonical text has parentheses around every operator, and must stay within the limit.
    if (node.height > limits_.depth_max) TooDeep(tokens_[start]);
    return node;
  }

  Node ParseTerm() {
    const size_t start = at_;
    if (IsWord("not")) {
      if (!Enter(Here())) return {};
      Advance();
      // "not (" is one level: that is how the canonical text writes every "not".
      Node child = Here().kind == TokenKind::kOpen ? ParseGroup() : ParseTerm();
      Leave();
      std::vector<Node> children;
      children.push_back(std::move(child));
      return MakeOperator(NodeKind::kNot, std::move(children), start);
    }
    if (Here().kind == TokenKind::kOpen) {
      if (!Enter(Here())) return {};
      Node node = ParseGroup();
      Leave();
      return node;
    }
    return ParseLeaf();
  }

  Node ParseGroup() {
    const Token& open = Here();
    Advance();
    Node node = ParseOr();
    if (Take(TokenKind::kClose)) return node;
    if (Here().kind == TokenKind::kComma) {
      Report(kSyntax, "a comma stands only between the items of a list");
      while (Here().kind == TokenKind::kComma && !stopped_) {
        Advance();
        Recover(at_);
        if (IsWord("and") || IsWord("or")) Advance();
      }
      Take(TokenKind::kClose);
    } else {
      const Violation opened = MakeViolation(text_, kSyntax, open.offset, 1, "");
      Report(kSyntax, absl::StrCat(") is missing; its ( is at ", opened.line, ":", opened.column));
    }
    return node;
  }

  // ---- Leaves.
  Node ParseLeaf() {
    const size_t start = at_;
    if (++leaves_ > limits_.leaves_max) {
      Refuse(Here(), kTooLarge,
             absl::StrCat("an expression has at most ", limits_.leaves_max, " conditions"));
      return {};
    }
    Node node;
    if (!ParseLeafInto(node)) Recover(start);
    return node;
  }

  // False: the rest of the leaf makes no sense. A leaf whose values alone are wrong returns true.
  bool ParseLeafInto(Node& node) {
    if (Here().kind != TokenKind::kWord || IsWord("and") || IsWord("or")) {
      Report(kSyntax, tokens_.size() == 1 ? "the expression is empty; all means every customer"
                                          : "a condition was expected here");
      return false;
    }
    const Token& name = Here();
    if (TakeWord("all")) return node.kind = NodeKind::kAll, true;
    if (TakeWord("none")) return node.kind = NodeKind::kNone, true;
    if (TakeWord("at")) return ParseAtLeast(node);
    if (TakeWord("tag")) return ParseTag(node);
    node.kind = NodeKind::kField;
    if (TakeWord("orders")) return ParseOrders(node);
    if (TakeWord("first_order")) return ParseOrderTime(node, Field::kFirstOrder, name);
    if (TakeWord("last_order")) return ParseOrderTime(node, Field::kLastOrder, name);
    if (TakeWord("this")) return ParseEvent(node, name);
    if (IsOneOf(name.value, kNamesToCome)) {
      Report(kUnknownName, absl::StrCat(name.value, " is not available in this version"));
      return false;
    }
    const std::string nearest = DidYouMean(name.value, kLeafNames);
    Report(kUnknownName,
           absl::StrCat(Shown(name), " is no known name",
                        nearest.empty() ? "; expected tag(..), orders.count, orders.sum, "
                                          "orders.days, first_order or last_order"
                                        : nearest));
    return false;
  }

  // A name as it may stand in a message.
  static std::string Shown(const Token& token) {
    constexpr size_t kShownMax = 40;
    if (token.text.size() <= kShownMax) return std::string(token.text);
    return absl::StrCat(token.text.substr(0, kShownMax), "...");
  }

  template <typename ParseItem>
  bool ParseList(absl::string_view what, ParseItem parse_item) {
    if (!Expect(TokenKind::kOpen, absl::StrCat("( was expected here, then ", what))) return false;
    for (size_t count = 1;; ++count) {
      if (count > limits_.list_max) {
        return Refuse(Here(), kTooLarge,
                      absl::StrCat("a list has at most ", limits_.list_max, " items"));
      }
      if (!parse_item()) return false;
      if (Take(TokenKind::kClose)) return true;
      if (!Expect(TokenKind::kComma, ", or ) was expected here")) return false;
    }
  }

  bool ParseAtLeast(Node& node) {
    node.kind = NodeKind::kAtLeast;
    const size_t start = at_ - 1;
    if (!TakeWord("least")) {
      Report(kSyntax, "least was expected here, as in at least 2 of (.., ..)");
      return false;
    }
    const Token& needed = Here();
    const size_t faults_before = violations_->size();
    if (!ParseWhole("at least N", &node.at_least)) return false;
    const bool needed_is_known = violations_->size() == faults_before;
    if (!TakeWord("of")) {
      Report(kSyntax, "of was expected here, as in at least 2 of (.., ..)");
      return false;
    }
    if (!Enter(tokens_[start])) return false;
    // Its items are counted, not the list.
    --leaves_;
    std::vector<Node> items;
    const bool listed = ParseList("the conditions", [&] {
      items.push_back(ParseOr());
      return !stopped_;
    });
    Leave();
    if (!listed) return false;
    const int64_t count = static_cast<int64_t>(items.size());
    if (needed_is_known && (node.at_least < 1 || node.at_least > count)) {
      ReportAt(needed, kOutOfRange,
               absl::StrCat("of ", count, count == 1 ? " condition" : " conditions",
                            " at least 1 to ", count, " can be asked for"));
    }
    const int64_t at_least = node.at_least;
    node = MakeOperator(NodeKind::kAtLeast, std::move(items), start);
    node.at_least = at_least;
    return true;
  }

  bool ParseTag(Node& node) {
    node.kind = NodeKind::kTag;
    return ParseList("a tag name in double quotes",
                     [&] { return ParseText("a tag name", node.texts); });
  }

  bool ParseOrders(Node& node) {
    if (!Expect(TokenKind::kDot, "a point was expected here, as in orders.count")) return false;
    const Token& name = Here();
    if (TakeWord("count")) {
      node.field = Field::kOrdersCount;
    } else if (TakeWord("sum")) {
      node.field = Field::kOrdersSum;
    } else if (TakeWord("days")) {
      node.field = Field::kOrdersDays;
    } else if (IsOneOf(name.value, kOrdersFieldsToCome)) {
      Report(kUnknownName, absl::StrCat("orders.", name.value,
                                        " is not available in this version; orders has count, sum "
                                        "and days"));
      return false;
    } else {
      const bool is_name = name.kind == TokenKind::kWord;
      Report(is_name ? kUnknownName : kSyntax,
             absl::StrCat("orders has count, sum and days", DidYouMean(name.value, kOrdersFields)));
      return false;
    }
    const std::string field = absl::StrCat("orders.", name.value);
    if (Take(TokenKind::kOpen)) {
      if (!ParseDuration("a window", "dh", &node.duration)) return false;
      if (!Expect(TokenKind::kClose, ") was expected here, as in orders.count(90d)")) return false;
    }
    return ParseNumberTest(node, field);
  }

  bool ParseNumberTest(Node& node, const std::string& field) {
    const auto parse_number = [&] {
      node.numbers.push_back(0);
      return node.field == Field::kOrdersSum ? ParseMoney(field, &node.numbers.back())
                                             : ParseWhole(field, &node.numbers.back());
    };
    if (ParseComparison(node)) return parse_number();
    if (TakeWord("in")) {
      node.test = Test::kIn;
      return ParseList("a number", parse_number);
    }
    if (TakeWord("between")) {
      node.test = Test::kBetween;
      const size_t faults_before = violations_->size();
      if (!parse_number()) return false;
      if (!TakeWord("and")) {
        Report(kSyntax, "and was expected here, as in between 1 and 5");
        return false;
      }
      const Token& upper = Here();
      if (!parse_number()) return false;
      if (violations_->size() == faults_before && node.numbers[0] > node.numbers[1]) {
        ReportAt(upper, kOutOfRange, "the smaller number comes first");
      }
      return true;
    }
    if (TakeWord("is")) return ParseIsSet(node);
    Report(kSyntax, absl::StrCat(field, " is compared with =, !=, <, <=, >, >=, between or in",
                                 DidYouMean(Here().value, kNumberTests)));
    return false;
  }

  bool ParseOrderTime(Node& node, Field field, const Token& name) {
    node.field = field;
    if (TakeWord("within")) {
      node.test = Test::kWithin;
      if (IsWord("next")) {
        Report(kUnknownName, "within next is not available in this version");
        return false;
      }
      return ParseDuration("a span", "dhm", &node.duration);
    }
    if (TakeWord("older")) {
      node.test = Test::kOlderThan;
      if (!TakeWord("than")) {
        Report(kSyntax,
               absl::StrCat("than was expected here, as in ", name.value, " older than 90d"));
        return false;
      }
      return ParseDuration("a span", "dhm", &node.duration);
    }
    if (TakeWord("is")) return ParseIsSet(node);
    const bool compares = Here().kind == TokenKind::kComparison || IsWord("between");
    Report(compares ? kTypeMismatch : kSyntax,
           absl::StrCat(name.value, " is a time; write ", name.value, " within 90d, ", name.value,
                        " older than 90d or ", name.value, " is set",
                        DidYouMean(Here().value, kTimeTests)));
    return false;
  }

  bool ParseEvent(Node& node, const Token& name) {
    node.field = Field::kEventKind;
    if (!limits_.allow_event) {
      ReportAt(name, kUnknownName, "this is the event at hand, which only rules have");
      return false;
    }
    if (!Expect(TokenKind::kDot, "a point was expected here, as in this.kind")) return false;
    if (!TakeWord("kind")) {
      const bool is_name = Here().kind == TokenKind::kWord;
      Report(is_name ? kUnknownName : kSyntax, "of the event at hand this version knows this.kind");
      return false;
    }
    const auto parse_kind = [&] { return ParseText("this.kind", node.texts); };
    const Token& comparison = Here();
    if (ParseComparison(node)) {
      if (node.test == Test::kEqual || node.test == Test::kNotEqual) return parse_kind();
      ReportAt(comparison, kTypeMismatch, "this.kind is a text; it is compared with =, != or in");
      return false;
    }
    if (TakeWord("in")) {
      node.test = Test::kIn;
      return ParseList("a text", parse_kind);
    }
    if (TakeWord("is")) return ParseIsSet(node);
    const bool to_come = IsWord("starts") || IsWord("contains");
    Report(to_come ? kUnknownName : kSyntax,
           to_come ? absl::StrCat(Here().value, " is not available in this version")
                   : absl::StrCat("this.kind is compared with =, != or in",
                                  DidYouMean(Here().value, kTextTests)));
    return false;
  }

  // ---- Parts of leaves.
  bool ParseComparison(Node& node) {
    if (Here().kind != TokenKind::kComparison) return false;
    const absl::string_view text = Here().text;
    node.test = text == "="    ? Test::kEqual
                : text == "!=" ? Test::kNotEqual
                : text == "<"  ? Test::kLess
                : text == "<=" ? Test::kLessEqual
                : text == ">"  ? Test::kGreater
                               : Test::kGreaterEqual;
    Advance();
    return true;
  }

  bool ParseIsSet(Node& node) {
    node.test = TakeWord("not") ? Test::kIsNotSet : Test::kIsSet;
    if (TakeWord("set")) return true;
    Report(kSyntax, "set was expected here, as in is set or is not set");
    return false;
  }

  bool ParseText(absl::string_view what, std::vector<std::string>& texts) {
    const Token& token = Here();
    if (token.kind == TokenKind::kNumber) {
      Report(kTypeMismatch, absl::StrCat(what, " is a text; write \"", Shown(token), "\""));
      Advance();
      return true;
    }
    if (token.kind != TokenKind::kText) {
      Report(kSyntax,
             token.kind == TokenKind::kWord
                 ? absl::StrCat(what, " goes in double quotes; write \"", Shown(token), "\"")
                 : absl::StrCat(what, " in double quotes was expected here"));
      return false;
    }
    if (token.value.empty()) Report(kOutOfRange, absl::StrCat(what, " is never empty"));
    texts.push_back(token.value);
    Advance();
    return true;
  }

  bool ParseWhole(const std::string& what, int64_t* value) {
    return ParseNumber(what, NumberKind::kWhole, value);
  }
  bool ParseMoney(const std::string& what, int64_t* value) {
    return ParseNumber(what, NumberKind::kMoney, value);
  }

  bool ParseNumber(const std::string& what, NumberKind kind, int64_t* value) {
    const Token& token = Here();
    const std::string is_a =
        absl::StrCat(what, kind == NumberKind::kMoney ? " is an amount" : " is a whole number");
    const bool is_text = token.kind == TokenKind::kText;
    if (token.kind != TokenKind::kNumber && !is_text) {
      const bool is_bool = IsWord("true") || IsWord("false");
      Report(is_bool ? kTypeMismatch : kSyntax,
             is_bool ? is_a : absl::StrCat("a number was expected here; ", is_a));
      if (is_bool) Advance();
      return is_bool;
    }
    const ReadNumberResult read =
        ReadNumber(is_text ? absl::string_view(token.value) : token.text, kind);
    if (is_text) {
      Report(kTypeMismatch,
             read.fault == NumberFault::kNone ? absl::StrCat(is_a, "; write ", token.value) : is_a);
    } else {
      ReportNumberFault(what, is_a, read.fault);
    }
    *value = read.value;
    Advance();
    return true;
  }

  void ReportNumberFault(const std::string& what, const std::string& is_a, NumberFault fault) {
    switch (fault) {
      case NumberFault::kNone:
        return;
      case NumberFault::kNotANumber:
        return Report(kSyntax, "a number was expected here");
      case NumberFault::kNotWhole: {
        const absl::string_view text = Here().text;
        const size_t point = text.find('.');
        const bool only_zeros = text.find_first_not_of('0', point + 1) == absl::string_view::npos;
        return Report(kTypeMismatch, only_zeros && point <= 16
                                         ? absl::StrCat(is_a, "; write ", text.substr(0, point))
                                         : is_a);
      }
      case NumberFault::kTooPrecise:
        return Report(kOutOfRange, absl::StrCat(what, " has at most 2 decimals"));
      case NumberFault::kNegative:
        return Report(kOutOfRange, absl::StrCat(what, " is never negative"));
      case NumberFault::kTooLarge:
        return Report(kOutOfRange, absl::StrCat("numbers go up to ", kNumberMax));
    }
  }

  // INT and one of `units`.
  bool ParseDuration(absl::string_view what, absl::string_view units, Duration* duration) {
    const std::string example = units == "dh" ? "90d or 6h" : "90d, 6h or 30m";
    const Token& number = Here();
    if (number.kind != TokenKind::kNumber) {
      const bool is_text = number.kind == TokenKind::kText;
      Report(is_text ? kTypeMismatch : kSyntax,
             absl::StrCat(what, " was expected here, as in ", example));
      return false;
    }
    Advance();
    const Token& unit = Here();
    if (unit.kind != TokenKind::kWord || unit.value.size() != 1 ||
        !absl::StrContains(units, unit.value)) {
      Report(kSyntax, absl::StrCat(what, " ends in its unit, as in ", example));
      return false;
    }
    Advance();
    const int64_t count_max = kDurationDaysMax * (unit.value == "d"   ? 1
                                                  : unit.value == "h" ? 24
                                                                      : 24 * 60);
    const ReadNumberResult read = ReadNumber(number.text, NumberKind::kWhole);
    if (read.fault == NumberFault::kNotWhole) {
      ReportAt(number, kTypeMismatch, absl::StrCat(what, " is a whole number, as in ", example));
    } else if (read.fault != NumberFault::kNone || read.value < 1 || read.value > count_max) {
      ReportAt(number, kOutOfRange,
               absl::StrCat(what, " is 1", unit.value, " to ", count_max, unit.value));
    }
    *duration = {read.value, unit.value[0]};
    return true;
  }

  const absl::string_view text_;
  const ParseLimits& limits_;
  const std::vector<Token> tokens_;
  std::vector<Violation>* const violations_;
  size_t at_ = 0;
  size_t nesting_ = 0;
  size_t leaves_ = 0;
  bool stopped_ = false;
};

}  // namespace

Node ParseTree(absl::string_view text, const ParseLimits& limits,
               std::vector<Violation>* violations) {
  if (text.size() > limits.bytes_max) {
    violations->push_back(
        MakeViolation(text, kTooLarge, limits.bytes_max, text.size() - limits.bytes_max,
                      absl::StrCat("an expression has at most ", limits.bytes_max, " bytes")));
    return {};
  }
  Node root = Parser(text, limits, violations).Run();
  std::stable_sort(violations->begin(), violations->end(),
                   [](const Violation& a, const Violation& b) { return a.offset < b.offset; });
  return root;
}

}  // namespace tidegate::expression
