#include "common/wecom/callback_crypto.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace tidegate::wecom {
namespace {

constexpr size_t kKeyCharacters = 43;
constexpr size_t kKeyBytes = 32;
constexpr size_t kIvBytes = 16;
constexpr size_t kPadBlock = 32;
constexpr size_t kRandomBytes = 16;
constexpr size_t kLengthBytes = 4;
constexpr size_t kCipherBytesMax = 256 * 1024;

absl::Status Refused() { return absl::PermissionDeniedError("callback refused"); }

const unsigned char* Bytes(absl::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

using CipherContext = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;

// One pass of AES-256-CBC without the library's padding; empty if it fails.
std::string Aes(bool encrypt, absl::string_view key, absl::string_view input) {
  CipherContext context(EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free);
  CHECK(context != nullptr);
  std::string output(input.size() + 2 * kIvBytes, '\0');
  auto* out = reinterpret_cast<unsigned char*>(output.data());
  int first = 0;
  int last = 0;
  const bool ok = EVP_CipherInit_ex(context.get(), EVP_aes_256_cbc(), nullptr, Bytes(key),
                                    Bytes(key), encrypt ? 1 : 0) == 1 &&
                  EVP_CIPHER_CTX_set_padding(context.get(), 0) == 1 &&
                  EVP_CipherUpdate(context.get(), out, &first, Bytes(input),
                                   static_cast<int>(input.size())) == 1 &&
                  EVP_CipherFinal_ex(context.get(), out + first, &last) == 1;
  output.resize(ok ? static_cast<size_t>(first + last) : 0);
  return output;
}

}  // namespace

absl::StatusOr<CallbackCrypto> CallbackCrypto::Create(std::string token,
                                                      absl::string_view encoding_aes_key,
                                                      std::string receive_id) {
  const auto invalid = [] {
    return absl::InvalidArgumentError(
        "EncodingAESKey must have 43 letters and digits, as WeCom's console shows it");
  };
  if (encoding_aes_key.size() != kKeyCharacters) return invalid();
  for (const char c : encoding_aes_key) {
    if (!absl::ascii_isalnum(c) && c != '+' && c != '/') return invalid();
  }
  // 43 characters hold 258 bits. With an "A" behind them a strict decoder reads 33 bytes: the first
  // 32 are the key, whatever the two surplus bits are.
  std::string key;
  if (!absl::Base64Unescape(absl::StrCat(encoding_aes_key, "A"), &key) ||
      key.size() != kKeyBytes + 1) {
    return invalid();
  }
  key.resize(kKeyBytes);
  return CallbackCrypto(std::move(token), std::move(key), std::move(receive_id));
}

std::string CallbackCrypto::Sign(absl::string_view timestamp, absl::string_view nonce,
                                 absl::string_view cipher) const {
  std::array<absl::string_view, 4> values = {token_, timestamp, nonce, cipher};
  std::sort(values.begin(), values.end());
  const std::string text = absl::StrCat(values[0], values[1], values[2], values[3]);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  CHECK(EVP_Digest(text.data(), text.size(), digest, &length, EVP_sha1(), nullptr) == 1);
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<char*>(digest), length));
}

absl::StatusOr<std::string> CallbackCrypto::Open(absl::string_view signature,
                                                 absl::string_view timestamp,
                                                 absl::string_view nonce,
                                                 absl::string_view cipher) const {
  if (cipher.empty() || cipher.size() > kCipherBytesMax) return Refused();
  const std::string expected = Sign(timestamp, nonce, cipher);
  if (signature.size() != expected.size() ||
      CRYPTO_memcmp(signature.data(), expected.data(), expected.size()) != 0) {
    return Refused();
  }
  std::string encrypted;
  if (!absl::Base64Unescape(cipher, &encrypted)) return Refused();
  if (encrypted.empty() || encrypted.size() % kPadBlock != 0) return Refused();
  std::string plain = Aes(/*encrypt=*/false, aes_key_, encrypted);
  if (plain.size() != encrypted.size()) return Refused();

  const auto pad = static_cast<unsigned char>(plain.back());
  if (pad < 1 || pad > kPadBlock) return Refused();
  for (size_t i = plain.size() - pad; i < plain.size(); ++i) {
    if (static_cast<unsigned char>(plain[i]) != pad) return Refused();
  }
  plain.resize(plain.size() - pad);

  if (plain.size() < kRandomBytes + kLengthBytes) return Refused();
  size_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) {
    length = length << 8 | static_cast<unsigned char>(plain[kRandomBytes + i]);
  }
  const absl::string_view rest = absl::string_view(plain).substr(kRandomBytes + kLengthBytes);
  if (length > rest.size() || rest.substr(length) != absl::string_view(receive_id_))
    return Refused();
  return std::string(rest.substr(0, length));
}

std::string CallbackCrypto::Encrypt(absl::string_view message, absl::string_view random) const {
  CHECK(random.size() == kRandomBytes);
  std::string plain(random);
  for (int shift = 24; shift >= 0; shift -= 8)
    plain.push_back(static_cast<char>(message.size() >> shift & 0xFF));
  absl::StrAppend(&plain, message, receive_id_);
  const size_t pad = kPadBlock - plain.size() % kPadBlock;
  plain.append(pad, static_cast<char>(pad));
  return absl::Base64Escape(Aes(/*encrypt=*/true, aes_key_, plain));
}

}  // namespace tidegate::wecom
