// The cryptography of WeCom's callbacks (official page 90968): SHA-1 signature over the sorted
// values, AES-256-CBC with padding to 32 bytes, receiveid at the end.
//
// Every refusal looks the same to the caller. Immutable after Create; any number of threads.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tidegate::wecom {

class CallbackCrypto {
 public:
  // `encoding_aes_key` has 43 characters of Base64; its two surplus bits may be anything.
  // `receive_id` is the corp id for apps of the corp. INVALID_ARGUMENT: the key is not usable.
  static absl::StatusOr<CallbackCrypto> Create(std::string token,
                                               absl::string_view encoding_aes_key,
                                               std::string receive_id);

  // Verifies, then decrypts `cipher` (the Encrypt element or echostr, Base64). Constant-time
  // compare. PERMISSION_DENIED, always with one text: signature, Base64, length, padding or
  // receiveid is wrong.
  absl::StatusOr<std::string> Open(absl::string_view signature, absl::string_view timestamp,
                                   absl::string_view nonce, absl::string_view cipher) const;

  // The other direction: Base64 cipher text of `message`; `random` has 16 bytes.
  std::string Encrypt(absl::string_view message, absl::string_view random) const;
  // 40 hex digits.
  std::string Sign(absl::string_view timestamp, absl::string_view nonce,
                   absl::string_view cipher) const;

  // For tests against published vectors.
  const std::string& aes_key() const { return aes_key_; }

 private:
  CallbackCrypto(std::string token, std::string aes_key, std::string receive_id)
      : token_(std::move(token)),
        aes_key_(std::move(aes_key)),
        receive_id_(std::move(receive_id)) {}

  std::string token_;
  std::string aes_key_;
  std::string receive_id_;
};

}  // namespace tidegate::wecom
