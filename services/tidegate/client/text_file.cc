#include "services/tidegate/client/text_file.h"

#include <istream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "services/tidegate/client/csv.h"

namespace tidegate::client {

absl::StatusOr<std::string> ReadTextFile(const std::string& path, size_t bytes_max) {
  ASSIGN_OR_RETURN(const std::unique_ptr<std::istream> in, OpenTextFile(path));
  std::string text(bytes_max + 1, '\0');
  in->read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(in->gcount()));
  if (text.size() <= bytes_max) return text;
  return absl::InvalidArgumentError(
      absl::StrCat(path, " is larger than ", bytes_max / 1024, " KiB"));
}

}  // namespace tidegate::client
