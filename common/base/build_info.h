// What was built, to paste into a ticket.
#pragma once

namespace tidegate {

extern const char* const kVersion;
extern const char* const kCommit;  // the first 12 digits, or "unknown"
extern const char* const kBuildType;
extern const char* const kSanitizers;  // empty without

}  // namespace tidegate
