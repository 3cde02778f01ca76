// Hashes and encodings used for identity. SHA-256 is OpenSSL's; Mix64 is splitmix64's finaliser.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace tidegate {

// 32 raw bytes.
std::string Sha256(absl::string_view data);
// 64 lower-case hex digits.
std::string Sha256Hex(absl::string_view data);
// The first 8 bytes of Sha256 as a number: stable for ever, for splits and short ids.
uint64_t StableHash64(absl::string_view data);
uint64_t Mix64(uint64_t x);
// Random bytes from the system's generator, for ids and nonces.
std::string RandomBytes(size_t count);
// A random UUID (version 4), for request ids.
std::string RandomUuid();

}  // namespace tidegate
