// The header line of a CSV file whose columns are fixed by name and free in order, and the check of
// ids in its fields. Not for files without a header.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/tidegate/client/csv.h"

namespace tidegate::client {

// Immutable after Read.
class CsvHeader {
 public:
  CsvHeader() = default;

  // Takes the first record. INVALID_ARGUMENT, with the names, for an empty file, a missing, unknown
  // or repeated column.
  static absl::StatusOr<CsvHeader> Read(CsvReader* reader, const std::vector<std::string>& names);

  // Empty if the record has as many fields as the header, else what is wrong.
  std::string CheckWidth(const std::vector<std::string>& fields) const;
  // Field of the column with this index in `names`. CheckWidth must have passed.
  const std::string& Field(const std::vector<std::string>& fields, size_t name_index) const {
    return fields[positions_[name_index]];
  }

 private:
  // By index in `names`: where the file has this column.
  std::vector<size_t> positions_;
};

// INVALID_ARGUMENT unless `id` has 1 to `bytes_max` bytes without blanks or control characters.
absl::Status CheckId(absl::string_view id, size_t bytes_max);

}  // namespace tidegate::client
