// Log lines of the processes: JSON, one event a line, on standard error. Never a customer id, a
// secret, a token or a body: pass codes, counts, positions and names of ours.
//
//   LogEvent(LogLevel::kWarning, "journal_fenced", {{"journal", name}, {"epoch",
//   absl::StrCat(epoch)}});
#pragma once

#include <initializer_list>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"

namespace tidegate {

enum class LogLevel { kInfo, kWarning, kError };

struct LogField {
  absl::string_view key;
  std::string value;
};

// Thread-safe. `event` is a stable snake_case name.
void LogEvent(LogLevel level, absl::string_view event, std::initializer_list<LogField> fields = {});

}  // namespace tidegate
