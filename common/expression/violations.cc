// Where a fault is, and how it is drawn.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/expression/expression.h"
#include "common/expression/lexer.h"
#include "common/expression/parser.h"

namespace tidegate::expression {
namespace {

// Longer lines are cut around the fault: the drawing is also a status message, which must stay
// short.
constexpr size_t kLineMax = 240;
constexpr size_t kBeforeFault = 100;

size_t LineStart(absl::string_view text, size_t offset) {
  const size_t newline = offset == 0 ? absl::string_view::npos : text.rfind('\n', offset - 1);
  return newline == absl::string_view::npos ? 0 : newline + 1;
}

// A broken byte counts as one code point.
std::vector<absl::string_view> CodePoints(absl::string_view text) {
  std::vector<absl::string_view> code_points;
  for (size_t i = 0; i < text.size();) {
    const size_t length = std::max<size_t>(1, CodePointLength(text, i));
    code_points.push_back(text.substr(i, length));
    i += length;
  }
  return code_points;
}

std::string Printable(absl::string_view code_point) {
  if (CodePointLength(code_point, 0) == 0) return "?";
  if (code_point == "\t") return "\t";
  if (absl::ascii_iscntrl(code_point[0])) return " ";
  return std::string(code_point);
}

struct Drawing {
  std::string line;
  std::string carets;
};

Drawing Draw(absl::string_view text, const Violation& violation) {
  const size_t offset = std::min(violation.offset, text.size());
  const size_t start = LineStart(text, offset);
  const absl::string_view line =
      absl::StripSuffix(text.substr(start, text.find('\n', start) - start), "\r");
  const std::vector<absl::string_view> code_points = CodePoints(line);

  const size_t fault =
      std::min(CodePoints(text.substr(start, offset - start)).size(), code_points.size());
  const size_t fault_bytes = std::min(violation.length, text.size() - offset);
  const size_t fault_length =
      std::clamp<size_t>(CodePoints(text.substr(offset, fault_bytes)).size(), 1,
                         std::max<size_t>(1, code_points.size() - fault));

  size_t from = 0;
  size_t to = code_points.size();
  if (code_points.size() > kLineMax) {
    from = fault > kBeforeFault ? fault - kBeforeFault : 0;
    to = std::min(to, from + kLineMax);
  }
  Drawing drawing;
  if (from > 0) {
    drawing.line = "...";
    drawing.carets = "   ";
  }
  for (size_t i = from; i < to; ++i) {
    absl::StrAppend(&drawing.line, Printable(code_points[i]));
    if (i < fault) drawing.carets.push_back(code_points[i] == "\t" ? '\t' : ' ');
  }
  if (to < code_points.size()) absl::StrAppend(&drawing.line, "...");
  drawing.carets.append(std::min(fault_length, std::max<size_t>(1, to - fault)), '^');
  return drawing;
}

}  // namespace

Violation MakeViolation(absl::string_view text, absl::string_view reason, size_t offset,
                        size_t length, std::string message) {
  const size_t start = LineStart(text, offset);
  const auto line =
      1 + std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(start), '\n');
  return {std::string(reason),
          offset,
          length,
          static_cast<size_t>(line),
          1 + CodePoints(text.substr(start, offset - start)).size(),
          std::move(message)};
}

std::string DrawViolations(absl::string_view text, const std::vector<Violation>& violations) {
  std::string drawn;
  std::string line_above;
  size_t line_number_above = 0;
  for (const Violation& violation : violations) {
    const Drawing drawing = Draw(text, violation);
    if (!drawn.empty()) drawn.push_back('\n');
    if (violation.line != line_number_above || drawing.line != line_above) {
      absl::StrAppend(&drawn, drawing.line, "\n");
      line_above = drawing.line;
      line_number_above = violation.line;
    }
    absl::StrAppend(&drawn, drawing.carets, " ", violation.line, ":", violation.column, " ",
                    violation.reason, ": ", violation.message);
  }
  return drawn;
}

}  // namespace tidegate::expression
