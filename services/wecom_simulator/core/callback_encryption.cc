#include "services/wecom_simulator/core/callback_encryption.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace tidegate::wecom_simulator {
namespace {

constexpr size_t kKeyBytes = 32;
constexpr size_t kBlockBytes = 32;

const unsigned char* Bytes(const std::string& text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

}  // namespace

absl::StatusOr<std::string> DecodeAesKey(absl::string_view encoding_aes_key) {
  if (encoding_aes_key.size() != 43 ||
      !std::all_of(encoding_aes_key.begin(), encoding_aes_key.end(), absl::ascii_isalnum)) {
    return absl::InvalidArgumentError("an EncodingAESKey has exactly 43 letters and digits");
  }
  const std::string padded = absl::StrCat(encoding_aes_key, "=");
  std::array<unsigned char, 33> decoded{};
  CHECK(EVP_DecodeBlock(decoded.data(), Bytes(padded), 44) == 33);
  return std::string(reinterpret_cast<const char*>(decoded.data()), kKeyBytes);
}

std::string Encrypt(const std::string& key, const std::string& random, absl::string_view message,
                    absl::string_view receive_id) {
  CHECK(key.size() == kKeyBytes);
  CHECK(random.size() == 16);
  std::string plain = random;
  for (int shift = 24; shift >= 0; shift -= 8) {
    plain.push_back(static_cast<char>((message.size() >> shift) & 0xff));
  }
  absl::StrAppend(&plain, message, receive_id);
  const size_t pad = kBlockBytes - plain.size() % kBlockBytes;
  plain.append(pad, static_cast<char>(pad));

  std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> context(EVP_CIPHER_CTX_new(),
                                                                          &EVP_CIPHER_CTX_free);
  CHECK(context != nullptr);
  CHECK(EVP_EncryptInit_ex(context.get(), EVP_aes_256_cbc(), nullptr, Bytes(key), Bytes(key)) == 1);
  // OpenSSL pads to 16 bytes, WeCom to 32.
  CHECK(EVP_CIPHER_CTX_set_padding(context.get(), 0) == 1);
  std::string cipher(plain.size() + 16, '\0');
  auto* out = reinterpret_cast<unsigned char*>(cipher.data());
  int written = 0, last = 0;
  CHECK(EVP_EncryptUpdate(context.get(), out, &written, Bytes(plain),
                          static_cast<int>(plain.size())) == 1);
  CHECK(EVP_EncryptFinal_ex(context.get(), out + written, &last) == 1);
  cipher.resize(static_cast<size_t>(written + last));

  std::string base64((cipher.size() + 2) / 3 * 4 + 1, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(base64.data()), Bytes(cipher),
                                     static_cast<int>(cipher.size()));
  base64.resize(static_cast<size_t>(length));
  return base64;
}

std::string Sign(const std::string& token, const std::string& timestamp, const std::string& nonce,
                 const std::string& cipher) {
  std::array<std::string, 4> values = {token, timestamp, nonce, cipher};
  std::sort(values.begin(), values.end());
  const std::string joined = absl::StrCat(values[0], values[1], values[2], values[3]);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int length = 0;
  CHECK(EVP_Digest(joined.data(), joined.size(), digest.data(), &length, EVP_sha1(), nullptr) == 1);
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(digest.data()), length));
}

}  // namespace tidegate::wecom_simulator
