#include <string>

#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "common/http/server.h"

namespace tidegate::http {
namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// A "%" without two hex digits stays as it is: the caller's checks see what the peer sent.
std::string PercentDecode(absl::string_view text) {
  std::string decoded;
  decoded.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      const int high = HexDigit(text[i + 1]);
      const int low = HexDigit(text[i + 2]);
      if (high >= 0 && low >= 0) {
        decoded.push_back(static_cast<char>(high * 16 + low));
        i += 2;
        continue;
      }
    }
    decoded.push_back(text[i]);
  }
  return decoded;
}

}  // namespace

std::string Path(const std::string& target) { return target.substr(0, target.find('?')); }

std::string QueryValue(const std::string& target, const std::string& name) {
  const size_t question_mark = target.find('?');
  if (question_mark == std::string::npos) return "";
  absl::string_view query = absl::string_view(target).substr(question_mark + 1);
  query = query.substr(0, query.find('#'));
  for (absl::string_view pair : absl::StrSplit(query, '&')) {
    const size_t equals = pair.find('=');
    if (PercentDecode(pair.substr(0, equals)) != name) continue;
    return equals == absl::string_view::npos ? "" : PercentDecode(pair.substr(equals + 1));
  }
  return "";
}

}  // namespace tidegate::http
