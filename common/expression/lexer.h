// Cuts the text of an expression into tokens. Knows no grammar: a character that starts no token
// becomes a kBad token that carries its message, for the parser to report when it gets there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace tidegate::expression {

enum class TokenKind : uint8_t {
  kWord,        // keyword or name; value in lower case
  kNumber,      // [-]digits[.digits]
  kText,        // "..."; value without quotes and escapes
  kComparison,  // = != < <= > >=
  kOpen,        // (
  kClose,       // )
  kComma,
  kDot,
  kBad,  // value is the message
  kEnd,  // empty, at the end of the text
};

struct Token {
  TokenKind kind;
  size_t offset;           // bytes
  absl::string_view text;  // as written; views the text given to Tokenize
  std::string value;
};

// Never fails; the last token is kEnd.
std::vector<Token> Tokenize(absl::string_view text);

// Bytes of the UTF-8 code point that starts at `offset`; 0 if none well formed does.
size_t CodePointLength(absl::string_view text, size_t offset);

}  // namespace tidegate::expression
