#include "common/expression/lexer.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace tidegate::expression {
namespace {

bool StartsWord(char c) { return absl::ascii_isalpha(c) || c == '_'; }
bool ContinuesWord(char c) { return absl::ascii_isalnum(c) || c == '_'; }
bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// What people write for something this language spells in another way.
struct Lookalike {
  absl::string_view written;
  absl::string_view message;
};
constexpr Lookalike kLookalikes[] = {
    {"==", "write = for equal"},
    {"<>", "write != for not equal"},
    {"&&", "write and"},
    {"||", "write or"},
    {"&", "write and"},
    {"|", "write or"},
    {"!", "write not, or != for not equal"},
    {"'", "texts go in double quotes"},
    {"“", "texts go in plain double quotes"},
    {"”", "texts go in plain double quotes"},
    {"（", "write the plain parenthesis ("},
    {"）", "write the plain parenthesis )"},
    {"，", "write the plain comma"},
    {"≥", "write >="},
    {"≤", "write <="},
    {"≠", "write !="},
};

class Lexer {
 public:
  explicit Lexer(absl::string_view text) : text_(text) {}

  std::vector<Token> Run() {
    while (true) {
      while (at_ < text_.size() && IsBlank(text_[at_])) ++at_;
      if (at_ == text_.size()) break;
      Next();
    }
    Add(TokenKind::kEnd, 0);
    return std::move(tokens_);
  }

 private:
  char Peek(size_t ahead) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }

  void Add(TokenKind kind, size_t length, std::string value = {}) {
    tokens_.push_back({kind, at_, text_.substr(at_, length), std::move(value)});
    at_ += length;
  }

  void Next() {
    const char c = text_[at_];
    if (StartsWord(c)) return Word();
    if (absl::ascii_isdigit(c) || (c == '-' && absl::ascii_isdigit(Peek(1)))) return Number();
    if (c == '"') return Text();
    if (c == '(') return Add(TokenKind::kOpen, 1);
    if (c == ')') return Add(TokenKind::kClose, 1);
    if (c == ',') return Add(TokenKind::kComma, 1);
    if (c == '.') return Add(TokenKind::kDot, 1);
    const absl::string_view rest = text_.substr(at_);
    if (absl::StartsWith(rest, "!=") || absl::StartsWith(rest, "<=") ||
        absl::StartsWith(rest, ">=")) {
      return Add(TokenKind::kComparison, 2);
    }
    for (const Lookalike& lookalike : kLookalikes) {
      if (absl::StartsWith(rest, lookalike.written)) {
        return Add(TokenKind::kBad, lookalike.written.size(), std::string(lookalike.message));
      }
    }
    if (c == '=' || c == '<' || c == '>') return Add(TokenKind::kComparison, 1);
    Stray();
  }

  void Word() {
    size_t length = 1;
    while (ContinuesWord(Peek(length))) ++length;
    Add(TokenKind::kWord, length, absl::AsciiStrToLower(text_.substr(at_, length)));
  }

  void Number() {
    size_t length = 1;
    while (absl::ascii_isdigit(Peek(length))) ++length;
    if (Peek(length) == '.') {
      if (!absl::ascii_isdigit(Peek(length + 1))) {
        return Add(TokenKind::kBad, length + 1, "a digit is missing after the point");
      }
      ++length;
      while (absl::ascii_isdigit(Peek(length))) ++length;
    }
    Add(TokenKind::kNumber, length);
  }

  void Text() {
    std::string value;
    std::string fault;
    size_t length = 1;
    while (true) {
      const char c = Peek(length);
      // Text ends with the line: a forgotten quote must not swallow the rest.
      if (at_ + length >= text_.size() || c == '\n' || c == '\r') {
        return Add(TokenKind::kBad, length, "the closing double quote is missing");
      }
      if (c == '"') break;
      if (c == '\\') {
        const char escaped = Peek(length + 1);
        if (escaped == '"' || escaped == '\\') {
          value.push_back(escaped);
          length += 2;
          continue;
        }
        fault = R"(after \ only " and \ may follow)";
        ++length;
        continue;
      }
      const size_t code_point = CodePointLength(text_, at_ + length);
      if (code_point == 0) fault = "the text is not UTF-8";
      if (absl::ascii_iscntrl(c)) fault = "a text holds no control characters";
      const size_t taken = code_point == 0 ? 1 : code_point;
      value.append(text_.data() + at_ + length, taken);
      length += taken;
    }
    ++length;
    if (!fault.empty()) return Add(TokenKind::kBad, length, std::move(fault));
    Add(TokenKind::kText, length, std::move(value));
  }

  // A run of foreign letters is one fault, not one for each letter.
  void Stray() {
    size_t length = 0;
    while (at_ + length < text_.size() && !absl::ascii_isascii(text_[at_ + length])) {
      const size_t code_point = CodePointLength(text_, at_ + length);
      length += code_point == 0 ? 1 : code_point;
    }
    if (length == 0) return Add(TokenKind::kBad, 1, "this character has no meaning here");
    Add(TokenKind::kBad, length, "outside double quotes only plain ASCII is allowed");
  }

  const absl::string_view text_;
  size_t at_ = 0;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> Tokenize(absl::string_view text) { return Lexer(text).Run(); }

size_t CodePointLength(absl::string_view text, size_t offset) {
  const auto byte = [&](size_t ahead) -> unsigned {
    return offset + ahead < text.size() ? static_cast<unsigned char>(text[offset + ahead]) : 0u;
  };
  const auto follows = [&](size_t ahead) { return (byte(ahead) & 0xC0u) == 0x80u; };
  const unsigned first = byte(0);
  if (offset >= text.size()) return 0;
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return follows(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    if (!follows(1) || !follows(2)) return 0;
    if (first == 0xE0 && byte(1) < 0xA0) return 0;  // longer than needed
    if (first == 0xED && byte(1) > 0x9F) return 0;  // surrogates
    return 3;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    if (!follows(1) || !follows(2) || !follows(3)) return 0;
    if (first == 0xF0 && byte(1) < 0x90) return 0;
    if (first == 0xF4 && byte(1) > 0x8F) return 0;  // beyond U+10FFFF
    return 4;
  }
  return 0;
}

}  // namespace tidegate::expression
