#include "services/tidegate/client/csv.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace tidegate::client {
namespace {

constexpr char kByteOrderMark[] = "\xEF\xBB\xBF";
constexpr size_t kQuotedBytesMax = 40;

absl::Status TooLong(absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("the ", what, " is longer than ", kLineBytesMax, " bytes"));
}

// Parses as many lines of one record as it is fed.
class RecordParser {
 public:
  explicit RecordParser(std::vector<std::string>* fields) : fields_(fields) {
    fields_->assign(1, "");
  }

  absl::Status Feed(absl::string_view line) {
    for (size_t i = 0; i < line.size(); ++i) {
      RETURN_IF_ERROR(Take(line[i]));
    }
    if (state_ == State::kQuoted) fields_->back().push_back('\n');
    return absl::OkStatus();
  }

  bool open() const { return state_ == State::kQuoted; }

 private:
  enum class State { kStart, kPlain, kQuoted, kQuoteSeen };

  absl::Status Take(char c) {
    if (state_ == State::kQuoted) {
      if (c == '"') {
        state_ = State::kQuoteSeen;
      } else {
        fields_->back().push_back(c);
      }
    } else if (c == ',') {
      fields_->emplace_back();
      state_ = State::kStart;
    } else if (c == '"') {
      if (state_ == State::kPlain)
        return Fault("a quote inside a field that does not begin with one");
      if (state_ == State::kQuoteSeen) fields_->back().push_back('"');
      state_ = State::kQuoted;
    } else {
      if (state_ == State::kQuoteSeen) return Fault("text after a closing quote");
      fields_->back().push_back(c);
      state_ = State::kPlain;
    }
    return absl::OkStatus();
  }

  absl::Status Fault(absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat("column ", fields_->size(), ": ", what));
  }

  std::vector<std::string>* const fields_;
  State state_ = State::kStart;
};

}  // namespace

absl::StatusOr<std::unique_ptr<std::istream>> OpenTextFile(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", std::strerror(errno)));
  }
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, S_ISDIR(info.st_mode) ? " is a directory; name a file" : " is not a regular file"));
  }
  auto file = std::make_unique<std::ifstream>(path, std::ios::binary);
  if (!file->is_open()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", std::strerror(errno)));
  }
  return std::unique_ptr<std::istream>(std::move(file));
}

bool IsUtf8(absl::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    size_t length = 0;
    uint32_t code_point = 0;
    if (lead < 0x80) {
      ++i;
      continue;
    } else if (lead >= 0xC2 && lead < 0xE0) {
      length = 2;
      code_point = lead & 0x1F;
    } else if (lead >= 0xE0 && lead < 0xF0) {
      length = 3;
      code_point = lead & 0x0F;
    } else if (lead >= 0xF0 && lead < 0xF5) {
      length = 4;
      code_point = lead & 0x07;
    } else {
      return false;
    }
    if (i + length > text.size()) return false;
    for (size_t k = 1; k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xC0) != 0x80) return false;
      code_point = code_point << 6 | (next & 0x3F);
    }
    const uint32_t smallest = length == 2 ? 0x80 : length == 3 ? 0x800 : 0x10000;
    const bool surrogate = code_point >= 0xD800 && code_point <= 0xDFFF;
    if (code_point < smallest || code_point > 0x10FFFF || surrogate) return false;
    i += length;
  }
  return true;
}

std::string Quoted(absl::string_view input) {
  const bool cut = input.size() > kQuotedBytesMax;
  const absl::string_view shown = input.substr(0, kQuotedBytesMax);
  return absl::StrCat("\"", IsUtf8(shown) ? absl::Utf8SafeCEscape(shown) : absl::CHexEscape(shown),
                      cut ? "..." : "", "\"");
}

absl::StatusOr<bool> LineReader::Next(std::string* line) {
  line->clear();
  std::streambuf* const buffer = in_->rdbuf();
  constexpr int kEnd = std::streambuf::traits_type::eof();
  bool any = false;
  bool too_long = false;
  for (int c = buffer->sbumpc();; c = buffer->sbumpc()) {
    if (c == kEnd) break;
    any = true;
    if (c == '\n') break;
    // Two more than a line may have: for the CR and to see that it is too long.
    if (line->size() < kLineBytesMax + 2) {
      line->push_back(static_cast<char>(c));
    } else {
      too_long = true;
    }
  }
  if (!any) return false;
  if (!line->empty() && line->back() == '\r') line->pop_back();
  if (at_start_ && line->compare(0, 3, kByteOrderMark) == 0) line->erase(0, 3);
  at_start_ = false;
  if (too_long || line->size() > kLineBytesMax) return TooLong("line");
  return true;
}

absl::StatusOr<bool> CsvReader::NextLine(std::string* line) {
  if (returned_.empty()) return lines_.Next(line);
  absl::StatusOr<std::string> returned = std::move(returned_.front());
  returned_.pop_front();
  ASSIGN_OR_RETURN(*line, std::move(returned));
  return true;
}

absl::StatusOr<bool> CsvReader::Next(std::vector<std::string>* fields) {
  std::string line;
  do {
    ASSIGN_OR_RETURN(const bool more, NextLine(&line));
    if (!more) return false;
  } while (line.empty());

  RecordParser parser(fields);
  bool utf8 = IsUtf8(line);
  size_t record_bytes = line.size();
  absl::Status status = parser.Feed(line);
  std::deque<absl::StatusOr<std::string>> swallowed;
  while (status.ok() && parser.open()) {
    const absl::StatusOr<bool> more = NextLine(&line);
    if (!more.ok()) {
      swallowed.push_back(more.status());
      status =
          absl::InvalidArgumentError("a quote is not closed before a line that cannot be read");
    } else if (!*more) {
      status = absl::InvalidArgumentError("a quote is not closed before the end of the file");
    } else {
      swallowed.push_back(line);
      record_bytes += 1 + line.size();
      utf8 = utf8 && IsUtf8(line);
      status = record_bytes > kLineBytesMax ? TooLong("row (a quote may not be closed)")
                                            : parser.Feed(line);
    }
  }
  if (status.ok() && utf8) return true;
  if (!status.ok()) {
    returned_.insert(returned_.begin(), std::make_move_iterator(swallowed.begin()),
                     std::make_move_iterator(swallowed.end()));
    return status;
  }
  return absl::InvalidArgumentError("not UTF-8 text");
}

}  // namespace tidegate::client
