#include "common/wecom/callback_crypto.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace tidegate::wecom {
namespace {

constexpr char kToken[] = "outreachTok2026";
constexpr char kKey[] = "K7mQ2xV9bT4nR8wY3cF6hJ1sD5gL0pZaXeUiOqWtBvC";
constexpr char kReceiveId[] = "wwdemo0123456789ab";
constexpr char kTimestamp[] = "1767225600";
constexpr char kNonce[] = "9081726354";

CallbackCrypto Crypto() { return CallbackCrypto::Create(kToken, kKey, kReceiveId).value(); }

struct Vector {
  const char* name;
  std::string random;
  std::string timestamp;
  std::string nonce;
  std::string message;
  std::string cipher;
  std::string signature;
};

std::vector<Vector> Vectors() {
  return {
      {"A", "abcdefghij012345", "1767225600", "9081726354", "1234567890123456789",
       "lyg6Xv1cCWZ6qPfjgKgOcP2v2Mq7Kqc2pqSyeFdjKptztP9MD3/XQZt+yNdOcvDuEnivCIgBZo8v/FCXawsFiA==",
       "dd923edacb7f47f1cf7923567166e282beeff81b"},
      {"B", "0123456789ABCDEF", "1767225601", "nonceB42",
       "<xml><ToUserName><![CDATA[wwdemo0123456789ab]]></ToUserName>"
       "<FromUserName><![CDATA[sys]]></FromUserName><CreateTime>1767225600</CreateTime>"
       "<MsgType><![CDATA[event]]></MsgType><Event><![CDATA[change_external_contact]]></Event>"
       "<ChangeType><![CDATA[add_external_contact]]></ChangeType><UserID><![CDATA[amy]]></UserID>"
       "<ExternalUserID><![CDATA[wmDEMO0001]]></ExternalUserID><State><![CDATA[ch_01]]></State>"
       "<WelcomeCode><![CDATA[WC_DEMO_1]]></WelcomeCode></xml>",
       "0/02uMd//QXyAO7wsEaw3UMDqr3+Q8c09hSZxt/"
       "Pz+qUjYxZjkAgIptZz4YBpC5fBJDcbAfk47MpzFbVCJTWndFlVBLn"
       "fuB49j4EpLqSytyOJz48k3LNhq1TBoIQ9q0H9hhzuEsPGRoB5eMm+yCOMcMv6D+bTa/"
       "vf0PXMhbi+9bs4D6AY+xxD5t1"
       "nyXEi8mRMyAckuWQ9M4yxOCM5tt38iQE/"
       "njJIytYpBDqaWqOxv+6X7sUa5VvKqbwOWD6NlRI7fNSq2vKuH9hI1oniWK2"
       "VpHYbRFB9u5aVGPzpnvQ8lGVHC6tSzMHZ5fMPRInu8uLAd0rVJXQBwBzFYX/"
       "AWEVmrgNc4LgRa0d3pBBRHIIQK2zt0b2"
       "h0yH/U+FtSpRFhyiG/qF1JDZMCasC70rX5ixbkaD+RzTfuh39h0wUdhGI6eTi9Q1eMDh/"
       "X7Bn9smuW92ZCHuUdk5yukX"
       "IjGwH36m/LGDJCNCo7mkqSYhdOqw2qyozPFuMoPo4Rflg2WSGhuPNTSzfa27lSpxRRT1gv2HYCQEfpIscW5Wtjta/"
       "c8n"
       "8Jy4eY46h0tRcU5xO7hw1iMO/ODifod3Y3wabCOBv4CwHuD60dTmc/HafjzW0QEoj/g7e5JWSUr1xUV/O0jpe/"
       "y9h8Bw"
       "tcjhR1BrZMWCbXL4iO/89R5c3EkDZdBHfoIJ16A=",
       "2cecd286a902ff5e4ad5f0120f02ffcc7be8fd06"},
      {"C", "ZYXWVUTSRQPONMLK", "1767225602", "7", std::string(26, 'x'),
       "g3+wixdhCDZLx2C2S+cE1dJHXvv84+TrrtPGU6uvQ+OqhwpTrGDRRWPxa7wIz9RaAZOJ7g7HxhW98Q+"
       "C1hgM7HqtYvDt"
       "g9uMm9Fs65hq4Xfas4wwSsVeTxSd7Hx8FWNg",
       "c6e1ab5c1771e35ba1b87c9ed52c1dcf2db635f0"},
      {"D", "qwertyuiop123456", "1767225603", "55", "\xE6\xAC\xA2\xE8\xBF\x8E ok",
       "TvqiDs1NDF6c80xkaT6aJU5oWwmAoA/4YnhLYpBJn/j7qWVtb02dUgYaEeJpkIn+BnyLQOM9FB6IVt39ltlK+Q==",
       "120ff498c263a2862d14b8976e7cd47cb0410ee5"},
  };
}

// AES-256-CBC of exactly these bytes, so that a test can choose the padding itself.
std::string EncryptBytes(const std::string& plain) {
  const std::string key = Crypto().aes_key();
  const std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> context(
      EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free);
  std::string out(plain.size() + 32, '\0');
  auto* bytes = reinterpret_cast<unsigned char*>(out.data());
  const auto* key_bytes = reinterpret_cast<const unsigned char*>(key.data());
  int first = 0;
  int last = 0;
  EXPECT_EQ(EVP_EncryptInit_ex(context.get(), EVP_aes_256_cbc(), nullptr, key_bytes, key_bytes), 1);
  EVP_CIPHER_CTX_set_padding(context.get(), 0);
  EXPECT_EQ(EVP_EncryptUpdate(context.get(), bytes, &first,
                              reinterpret_cast<const unsigned char*>(plain.data()),
                              static_cast<int>(plain.size())),
            1);
  EXPECT_EQ(EVP_EncryptFinal_ex(context.get(), bytes + first, &last), 1);
  out.resize(static_cast<size_t>(first + last));
  return absl::Base64Escape(out);
}

// random + length + text, padded by hand: `pad` bytes of the value `pad_value`.
std::string Plain(uint32_t length, const std::string& text, size_t pad, int pad_value) {
  std::string plain = "abcdefghij012345";
  for (int shift = 24; shift >= 0; shift -= 8)
    plain.push_back(static_cast<char>(length >> shift & 0xFF));
  plain += text;
  plain.append(pad, static_cast<char>(pad_value));
  return plain;
}

TEST(CallbackCryptoTest, DecodesTheKeyWhateverItsSurplusBits) {
  for (const char* key : {kKey, "K7mQ2xV9bT4nR8wY3cF6hJ1sD5gL0pZaXeUiOqWtBvA"}) {
    const auto crypto = CallbackCrypto::Create(kToken, key, kReceiveId);
    ASSERT_TRUE(crypto.ok()) << key << ": " << crypto.status();
    EXPECT_EQ(absl::BytesToHexString(crypto->aes_key()),
              "2bb990db157d6d3e2747cc18ddc17a849d6c0f980bd2965a5de5223aa5ad06f0")
        << key;
  }
}

TEST(CallbackCryptoTest, RefusesKeysThatAreNot43CharactersOfBase64) {
  const std::string good = kKey;
  for (const std::string& key :
       {std::string(), good.substr(1), good + "A", good.substr(0, 42) + "=",
        good.substr(0, 42) + " ", good.substr(0, 42) + "-", std::string(43, '\0')}) {
    EXPECT_TRUE(absl::IsInvalidArgument(CallbackCrypto::Create(kToken, key, kReceiveId).status()))
        << "key \"" << absl::CHexEscape(key) << "\"";
  }
}

TEST(CallbackCryptoTest, SignsThePublishedVectors) {
  for (const Vector& vector : Vectors()) {
    EXPECT_EQ(Crypto().Sign(vector.timestamp, vector.nonce, vector.cipher), vector.signature)
        << "vector " << vector.name;
  }
}

TEST(CallbackCryptoTest, OpensThePublishedVectors) {
  for (const Vector& vector : Vectors()) {
    const auto plain =
        Crypto().Open(vector.signature, vector.timestamp, vector.nonce, vector.cipher);
    ASSERT_TRUE(plain.ok()) << "vector " << vector.name << ": " << plain.status();
    EXPECT_EQ(*plain, vector.message) << "vector " << vector.name;
  }
}

TEST(CallbackCryptoTest, EncryptsThePublishedVectorsToTheVeryCipherText) {
  for (const Vector& vector : Vectors()) {
    EXPECT_EQ(Crypto().Encrypt(vector.message, vector.random), vector.cipher)
        << "vector " << vector.name;
  }
}

TEST(CallbackCryptoTest, OpensWhatItEncryptedAtEveryPaddingLength) {
  const CallbackCrypto crypto = Crypto();
  for (size_t size = 0; size <= 70; ++size) {
    const std::string message(size, 'm');
    const std::string cipher = crypto.Encrypt(message, "0123456789ABCDEF");
    const auto plain =
        crypto.Open(crypto.Sign(kTimestamp, kNonce, cipher), kTimestamp, kNonce, cipher);
    ASSERT_TRUE(plain.ok()) << size << " bytes: " << plain.status();
    EXPECT_EQ(*plain, message);
  }
}

// A text that a hand-made plain text opens to, so that the refusals below are of what they name.
TEST(CallbackCryptoTest, OpensAPlainTextThatWasPaddedByHand) {
  const CallbackCrypto crypto = Crypto();
  // 16 + 4 + 19 + 18 = 57 bytes, 7 of padding.
  const std::string cipher =
      EncryptBytes(Plain(19, absl::StrCat("1234567890123456789", kReceiveId), 7, 7));
  EXPECT_EQ(cipher, Vectors()[0].cipher);
  EXPECT_TRUE(
      crypto.Open(crypto.Sign(kTimestamp, kNonce, cipher), kTimestamp, kNonce, cipher).ok());
}

TEST(CallbackCryptoTest, RefusesEverythingElseWithOneText) {
  const CallbackCrypto crypto = Crypto();
  const std::string good = Vectors()[0].cipher;
  const std::string content = absl::StrCat("1234567890123456789", kReceiveId);
  const auto flipped = [&](size_t at) {
    std::string bytes;
    EXPECT_TRUE(absl::Base64Unescape(good, &bytes));
    bytes[at] = static_cast<char>(bytes[at] ^ 0x40);
    return absl::Base64Escape(bytes);
  };
  std::string inconsistent = Plain(19, content, 7, 7);
  inconsistent[inconsistent.size() - 3] = 6;

  struct Case {
    const char* name;
    std::string cipher;
    std::string signature;  // empty = the right one
  };
  const std::vector<Case> cases = {
      {"signature of other values", good, Crypto().Sign(kTimestamp, "1", good)},
      {"signature in capitals", good, "DD923EDACB7F47F1CF7923567166E282BEEFF81B"},
      {"signature cut short", good, "dd923edacb7f47f1cf7923567166e282beeff81"},
      {"signature with more behind", good, "dd923edacb7f47f1cf7923567166e282beeff81b0"},
      {"signature of nothing but a space", good, " "},
      // The second block's first byte garbles that block: the length field is in it.
      {"cipher byte flipped in the length, signed again", flipped(16), ""},
      {"cipher byte flipped in the receiveid, signed again", flipped(40), ""},
      {"last cipher byte flipped, signed again", flipped(63), ""},
      {"pad 0", EncryptBytes(Plain(19, content, 7, 0)), ""},
      {"pad 33", EncryptBytes(Plain(19, content, 7, 33)), ""},
      {"pad 255", EncryptBytes(Plain(19, content, 7, 255)), ""},
      {"pad bytes that differ", EncryptBytes(inconsistent), ""},
      {"pad that eats the length", EncryptBytes(Plain(0, "", 12, 32)), ""},
      {"length beyond the buffer", EncryptBytes(Plain(1000, content, 7, 7)), ""},
      {"length of 4 GB", EncryptBytes(Plain(0xFFFFFFFF, content, 7, 7)), ""},
      {"length one short, so that the receiveid has one more",
       EncryptBytes(Plain(18, content, 7, 7)), ""},
      {"length one more", EncryptBytes(Plain(20, content, 7, 7)), ""},
      {"receiveid of another corp",
       EncryptBytes(Plain(19, "1234567890123456789wwdemo0123456789ac", 7, 7)), ""},
      {"no receiveid", EncryptBytes(Plain(37, content, 7, 7)), ""},
      {"16 bytes", EncryptBytes("0123456789ABCDEF"), ""},
      {"48 bytes", EncryptBytes(Plain(19, content, 7, 7).substr(0, 48)), ""},
      {"33 bytes", absl::Base64Escape(std::string(33, 'x')), ""},
      {"not Base64", "%%% this is not Base64 %%%", ""},
      {"Base64 with a stray character", good.substr(0, 20) + "!" + good.substr(21), ""},
      {"only padding", "====", ""},
      {"empty", "", ""},
      {"huge, otherwise right", crypto.Encrypt(std::string(300'000, 'x'), "0123456789ABCDEF"), ""},
  };
  std::string text;
  for (const Case& refused : cases) {
    const std::string signature = refused.signature.empty()
                                      ? crypto.Sign(kTimestamp, kNonce, refused.cipher)
                                      : refused.signature;
    const auto opened = crypto.Open(signature, kTimestamp, kNonce, refused.cipher);
    ASSERT_EQ(opened.status().code(), absl::StatusCode::kPermissionDenied) << refused.name;
    if (text.empty()) text = std::string(opened.status().message());
    EXPECT_EQ(opened.status().message(), text) << refused.name;
  }
}

TEST(CallbackCryptoTest, RefusesASignatureOfAnotherToken) {
  const std::string cipher = Vectors()[0].cipher;
  const auto other = CallbackCrypto::Create("anotherToken", kKey, kReceiveId);
  ASSERT_TRUE(other.ok());
  EXPECT_TRUE(absl::IsPermissionDenied(
      Crypto().Open(other->Sign(kTimestamp, kNonce, cipher), kTimestamp, kNonce, cipher).status()));
}

}  // namespace
}  // namespace tidegate::wecom
