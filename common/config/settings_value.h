// One value: from text into its field, and back.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/config/settings_table.h"

namespace tidegate::config {

// Longest text and longest entry of a list, in bytes; most entries of a list.
inline constexpr size_t kLongestText = 4096;
inline constexpr size_t kMostEntries = 1024;

// What may be written, to follow "write": "a whole number from 1 to 7".
std::string Values(const Setting& setting);

// Sets the field. A list is split at commas; a relative path is taken from `folder`, which is
// absolute. Errors: INVALID_ARGUMENT, the text says what is wrong and what to write instead; the
// field is then as before. A list of callers cannot be set this way.
absl::Status SetFromText(const Setting& setting, absl::string_view text, const std::string& folder,
                         Settings* settings);

// Sets a field that is a list.
absl::Status SetFromList(const Setting& setting, const std::vector<std::string>& entries,
                         Settings* settings);

// Of such a setting no text that is wrong is shown.
bool MayHoldPassword(const Setting& setting);

// "KEY is SHOWN; write ...", for a value that is no text or no list as a whole.
absl::Status WrongValue(const Setting& setting, absl::string_view shown);

// The same of an entry of a list, by its index from 0.
absl::Status WrongEntry(const Setting& setting, size_t index, absl::string_view shown);
absl::Status CheckEntry(const Setting& setting, size_t index, absl::string_view text);

// Text of any kind: UTF-8 without control characters, at most kLongestText.
absl::Status CheckText(absl::string_view key, absl::string_view text);

// The value as YAML on one line; callers only while there are none.
std::string ValueText(const Setting& setting, const Settings& settings);

// Double-quoted YAML of text that passed CheckText.
std::string Quoted(absl::string_view text);

}  // namespace tidegate::config
