#include "services/wecom_simulator/core/callback_encryption.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/escaping.h"

namespace tidegate::wecom_simulator {
namespace {

constexpr char kToken[] = "outreachTok2026";
constexpr char kAesKey[] = "K7mQ2xV9bT4nR8wY3cF6hJ1sD5gL0pZaXeUiOqWtBvC";
constexpr char kCorp[] = "wwdemo0123456789ab";

struct Vector {
  const char* name;
  std::string random;
  std::string message;
  std::string timestamp;
  std::string nonce;
  std::string cipher;
  std::string signature;
};

TEST(CallbackEncryptionTest, ReproducesTheFourVectors) {
  const Vector vectors[] = {
      {"verification", "abcdefghij012345", "1234567890123456789", "1767225600", "9081726354",
       "lyg6Xv1cCWZ6qPfjgKgOcP2v2Mq7Kqc2pqSyeFdjKptztP9MD3/XQZt+yNdOcvDuEnivCIgBZo8v/FCX"
       "awsFiA==",
       "dd923edacb7f47f1cf7923567166e282beeff81b"},
      {"event", "0123456789ABCDEF",
       "<xml><ToUserName><![CDATA[wwdemo0123456789ab]]></ToUserName><FromUserName><![CDA"
       "TA[sys]]></FromUserName><CreateTime>1767225600</CreateTime><MsgType><![CDATA[eve"
       "nt]]></MsgType><Event><![CDATA[change_external_contact]]></Event><ChangeType><!["
       "CDATA[add_external_contact]]></ChangeType><UserID><![CDATA[amy]]></UserID><Exter"
       "nalUserID><![CDATA[wmDEMO0001]]></ExternalUserID><State><![CDATA[ch_01]]></State"
       "><WelcomeCode><![CDATA[WC_DEMO_1]]></WelcomeCode></xml>",
       "1767225601", "nonceB42",
       "0/02uMd//QXyAO7wsEaw3UMDqr3+Q8c09hSZxt/Pz+qUjYxZjkAgIptZz4YBpC5fBJDcbAfk47MpzFbV"
       "CJTWndFlVBLnfuB49j4EpLqSytyOJz48k3LNhq1TBoIQ9q0H9hhzuEsPGRoB5eMm+yCOMcMv6D+bTa/v"
       "f0PXMhbi+9bs4D6AY+xxD5t1nyXEi8mRMyAckuWQ9M4yxOCM5tt38iQE/njJIytYpBDqaWqOxv+6X7sU"
       "a5VvKqbwOWD6NlRI7fNSq2vKuH9hI1oniWK2VpHYbRFB9u5aVGPzpnvQ8lGVHC6tSzMHZ5fMPRInu8uL"
       "Ad0rVJXQBwBzFYX/AWEVmrgNc4LgRa0d3pBBRHIIQK2zt0b2h0yH/U+FtSpRFhyiG/qF1JDZMCasC70r"
       "X5ixbkaD+RzTfuh39h0wUdhGI6eTi9Q1eMDh/X7Bn9smuW92ZCHuUdk5yukXIjGwH36m/LGDJCNCo7mk"
       "qSYhdOqw2qyozPFuMoPo4Rflg2WSGhuPNTSzfa27lSpxRRT1gv2HYCQEfpIscW5Wtjta/c8n8Jy4eY46"
       "h0tRcU5xO7hw1iMO/ODifod3Y3wabCOBv4CwHuD60dTmc/HafjzW0QEoj/g7e5JWSUr1xUV/O0jpe/y9"
       "h8BwtcjhR1BrZMWCbXL4iO/89R5c3EkDZdBHfoIJ16A=",
       "2cecd286a902ff5e4ad5f0120f02ffcc7be8fd06"},
      {"full padding block", "ZYXWVUTSRQPONMLK", std::string(26, 'x'), "1767225602", "7",
       "g3+wixdhCDZLx2C2S+cE1dJHXvv84+TrrtPGU6uvQ+OqhwpTrGDRRWPxa7wIz9RaAZOJ7g7HxhW98Q+C"
       "1hgM7HqtYvDtg9uMm9Fs65hq4Xfas4wwSsVeTxSd7Hx8FWNg",
       "c6e1ab5c1771e35ba1b87c9ed52c1dcf2db635f0"},
      {"multi-byte text", "qwertyuiop123456", "\xe6\xac\xa2\xe8\xbf\x8e ok", "1767225603", "55",
       "TvqiDs1NDF6c80xkaT6aJU5oWwmAoA/4YnhLYpBJn/j7qWVtb02dUgYaEeJpkIn+BnyLQOM9FB6IVt39"
       "ltlK+Q==",
       "120ff498c263a2862d14b8976e7cd47cb0410ee5"},
  };
  const auto key = DecodeAesKey(kAesKey);
  ASSERT_TRUE(key.ok());
  for (const Vector& vector : vectors) {
    const std::string cipher = Encrypt(*key, vector.random, vector.message, kCorp);
    EXPECT_EQ(cipher, vector.cipher) << vector.name;
    EXPECT_EQ(Sign(kToken, vector.timestamp, vector.nonce, cipher), vector.signature)
        << vector.name;
  }
}

TEST(CallbackEncryptionTest, SurplusBitsOfTheKeyAreIgnored) {
  const auto key = DecodeAesKey(kAesKey);
  ASSERT_TRUE(key.ok());
  EXPECT_EQ(absl::BytesToHexString(*key),
            "2bb990db157d6d3e2747cc18ddc17a849d6c0f980bd2965a5de5223aa5ad06f0");
  std::string other = kAesKey;
  other.back() = 'A';
  EXPECT_EQ(*DecodeAesKey(other), *key);
}

TEST(CallbackEncryptionTest, RefusesWhatIsNoKey) {
  EXPECT_FALSE(DecodeAesKey("").ok());
  EXPECT_FALSE(DecodeAesKey(std::string(42, 'a')).ok());
  EXPECT_FALSE(DecodeAesKey(std::string(44, 'a')).ok());
  EXPECT_FALSE(DecodeAesKey(std::string(42, 'a') + "+").ok());
}

}  // namespace
}  // namespace tidegate::wecom_simulator
