#include "services/tidegate/client/csv_header.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"

namespace tidegate::client {

absl::StatusOr<CsvHeader> CsvHeader::Read(CsvReader* reader,
                                          const std::vector<std::string>& names) {
  std::vector<std::string> columns;
  ASSIGN_OR_RETURN(const bool more, reader->Next(&columns));
  if (!more) return absl::InvalidArgumentError("the file is empty");
  const std::string expected = absl::StrCat("; the header must be ", absl::StrJoin(names, ","));

  CsvHeader header;
  std::vector<std::string> missing;
  for (const std::string& name : names) {
    const auto found = std::find(columns.begin(), columns.end(), name);
    if (found == columns.end()) missing.push_back(name);
    header.positions_.push_back(static_cast<size_t>(found - columns.begin()));
  }
  if (!missing.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("missing column ", absl::StrJoin(missing, ", "), expected));
  }
  std::vector<std::string> extra;
  for (size_t i = 0; i < columns.size(); ++i) {
    // A repeated name stands at a place that no name was found at.
    if (std::find(header.positions_.begin(), header.positions_.end(), i) ==
        header.positions_.end()) {
      extra.push_back(Quoted(columns[i]));
    }
  }
  if (!extra.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown column ", absl::StrJoin(extra, ", "), expected));
  }
  return header;
}

std::string CsvHeader::CheckWidth(const std::vector<std::string>& fields) const {
  if (fields.size() == positions_.size()) return "";
  return absl::StrCat(fields.size(), fields.size() == 1 ? " column" : " columns", ", expected ",
                      positions_.size());
}

absl::Status CheckId(absl::string_view id, size_t bytes_max) {
  if (id.empty()) return absl::InvalidArgumentError("is empty");
  if (id.size() > bytes_max) {
    return absl::InvalidArgumentError(
        absl::StrCat(Quoted(id), " is longer than ", bytes_max, " bytes"));
  }
  for (const char c : id) {
    if (absl::ascii_iscntrl(c) || c == ' ') {
      return absl::InvalidArgumentError(
          absl::StrCat(Quoted(id), " holds a blank or control character"));
    }
  }
  return absl::OkStatus();
}

}  // namespace tidegate::client
