// Encrypts and signs callbacks the way WeCom does. Written apart from the product's decryption, so
// that one mistake cannot hide in both. Encrypts only.
//
//   ASSIGN_OR_RETURN(std::string key, DecodeAesKey(encoding_aes_key));
//   std::string cipher = Encrypt(key, sixteen_random_bytes, xml, corp_id);
//   std::string signature = Sign(token, timestamp, nonce, cipher);
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tidegate::wecom_simulator {

// 43 letters and digits -> 32 bytes; the two surplus bits of the last one are ignored.
// Errors: INVALID_ARGUMENT another length or another character.
absl::StatusOr<std::string> DecodeAesKey(absl::string_view encoding_aes_key);

// Base64 of AES-256-CBC over random (16 bytes), length of message, message, receive_id, padded to a
// multiple of 32. `key` is 32 bytes.
std::string Encrypt(const std::string& key, const std::string& random, absl::string_view message,
                    absl::string_view receive_id);

// 40 lower-case hex digits: SHA-1 over the four values in ascending byte order.
std::string Sign(const std::string& token, const std::string& timestamp, const std::string& nonce,
                 const std::string& cipher);

}  // namespace tidegate::wecom_simulator
