// Reads text files of rows: physical lines of bounded length, and on top of them CSV records after
// RFC 4180 (quotes, doubled quotes, line breaks inside quotes, CRLF or LF, a UTF-8 byte order
// mark). A bad record costs only itself: reading goes on with the line after the one it began on.
//
// Not for: other delimiters, or knowing what the columns mean.
//
//   CsvReader reader(&in);
//   std::vector<std::string> fields;
//   while (true) {
//     absl::StatusOr<bool> more = reader.Next(&fields);
//     if (!more.ok()) { ... this record is bad ...; continue; }
//     if (!*more) break;
//   }
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <istream>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tidegate::client {

// Longest line, and longest CSV record, in bytes.
inline constexpr size_t kLineBytesMax = 64 * 1024;

// Opens a regular file for reading. INVALID_ARGUMENT, with the path and the reason, for one that is
// missing, a directory or another special file, or not ours to read.
absl::StatusOr<std::unique_ptr<std::istream>> OpenTextFile(const std::string& path);

bool IsUtf8(absl::string_view text);

// A piece of the input for an error message: quoted, escaped, cut to 40 bytes.
std::string Quoted(absl::string_view input);

// Not thread-safe.
class LineReader {
 public:
  // `in` outlives it.
  explicit LineReader(std::istream* in) : in_(in) {}

  // Replaces *line by the next line without its LF or CRLF, and without a byte order mark at the
  // start of the file. False at the end. A line over kLineBytesMax is INVALID_ARGUMENT and skipped
  // whole. UNAVAILABLE when the file cannot be read on: the end of all reading.
  absl::StatusOr<bool> Next(std::string* line);

 private:
  std::istream* const in_;
  bool at_start_ = true;
};

// Not thread-safe.
class CsvReader {
 public:
  // `in` outlives it.
  explicit CsvReader(std::istream* in) : lines_(in) {}

  // Replaces *fields by the next record; empty lines are passed over. False at the end.
  // INVALID_ARGUMENT: this record is bad (too long, not UTF-8, quotes out of place), call again for
  // the next one. UNAVAILABLE as LineReader. Line breaks inside quotes become LF.
  absl::StatusOr<bool> Next(std::vector<std::string>* fields);

 private:
  absl::StatusOr<bool> NextLine(std::string* line);

  LineReader lines_;
  // Lines that an unclosed quote had swallowed and that are read again; at most kLineBytesMax
  // bytes.
  std::deque<absl::StatusOr<std::string>> returned_;
};

}  // namespace tidegate::client
