#include "common/tls/certificate_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/pem.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/certificates.h"

namespace tidegate::tls {
namespace {

using ::testing::HasSubstr;
using ::tidegate::testing::Issue;
using ::tidegate::testing::Issued;
using ::tidegate::testing::MakeAuthority;
using ::tidegate::testing::MakeSelfSigned;
using ::tidegate::testing::TemporaryFolder;

class CertificateFilesTest : public ::testing::Test {
 protected:
  std::string EncryptedKey() const {
    BIO* const bio = BIO_new(BIO_s_mem());
    char passphrase[] = "secret";
    PEM_write_bio_PrivateKey(bio, issued_.key.get(), EVP_aes_256_cbc(), nullptr, 0, nullptr,
                             passphrase);
    char* bytes = nullptr;
    const long size = BIO_get_mem_data(bio, &bytes);
    const std::string text(bytes, static_cast<size_t>(size));
    BIO_free_all(bio);
    return text;
  }

  // Signed by itself, with a key that the security level forbids.
  Issued WeakPair() const {
    Issued weak = MakeSelfSigned({.names = "DNS:localhost"});
    weak.key.reset(EVP_RSA_gen(512));
    X509_set_pubkey(weak.certificate.get(), weak.key.get());
    X509_sign(weak.certificate.get(), weak.key.get(), EVP_sha256());
    return weak;
  }

  const TemporaryFolder folder_;
  const Issued authority_ = MakeAuthority("one");
  const Issued issued_ = Issue(authority_, {.names = "DNS:localhost"});
  const Issued other_ = Issue(authority_, {.names = "DNS:localhost"});
};

TEST_F(CertificateFilesTest, ReadsAKeyAndItsChain) {
  const std::string chain = absl::StrCat(issued_.CertificatePem(), authority_.CertificatePem());
  const auto pem = ReadKeyPair(folder_.Write("crt", chain), folder_.Write("key", issued_.KeyPem()));
  ASSERT_TRUE(pem.ok()) << pem.status();
  EXPECT_EQ(*pem, absl::StrCat(issued_.KeyPem(), chain));
}

TEST_F(CertificateFilesTest, AnErrorNamesTheFileTheFaultAndTheRemedy) {
  const Issued expired =
      Issue(authority_, {.names = "DNS:a", .valid_from_s = -7200, .valid_until_s = -3600});
  const Issued early =
      Issue(authority_, {.names = "DNS:a", .valid_from_s = 3600, .valid_until_s = 7200});
  const Issued weak = WeakPair();
  const std::string certificate = issued_.CertificatePem(), key = issued_.KeyPem();
  const std::string cut = certificate + certificate.substr(0, certificate.size() / 2);
  std::filesystem::create_directory(folder_.Path("folder"));
  const struct {
    std::string name, cert, key;  // contents; "-" = the file is missing, "/" = a folder
    absl::StatusCode code;
    std::string file, fault, remedy;
  } kCases[] = {
      {"no certificate", "-", key, absl::StatusCode::kNotFound, "crt", "missing", "put it there"},
      {"no key", certificate, "-", absl::StatusCode::kNotFound, "key", "missing", "put it there"},
      {"folder", certificate, "/", absl::StatusCode::kPermissionDenied, "folder", "cannot be read",
       "may read"},
      {"certificate empty", "", key, absl::StatusCode::kInvalidArgument, "crt", "not a whole PEM",
       "write blocks of"},
      {"certificate not PEM", "\x30\x82", key, absl::StatusCode::kInvalidArgument, "crt",
       "not a whole PEM", "write blocks of"},
      {"certificate cut", cut, key, absl::StatusCode::kInvalidArgument, "crt", "not a whole PEM",
       "write blocks of"},
      {"key not PEM", certificate, "key", absl::StatusCode::kInvalidArgument, "key",
       "not a PEM private key", "write a block of"},
      {"key encrypted", certificate, EncryptedKey(), absl::StatusCode::kInvalidArgument, "key",
       "encrypted", "without a passphrase"},
      {"key of another", certificate, other_.KeyPem(), absl::StatusCode::kInvalidArgument, "key",
       "not the key of the first certificate", "issued together"},
      {"weak", weak.CertificatePem(), weak.KeyPem(), absl::StatusCode::kInvalidArgument, "crt",
       "too small", "2048 bits"},
      {"expired", expired.CertificatePem(), expired.KeyPem(), absl::StatusCode::kFailedPrecondition,
       "crt", "expired on", "replace it"},
      {"early", early.CertificatePem(), early.KeyPem(), absl::StatusCode::kFailedPrecondition,
       "crt", "valid only from", "clock"},
  };
  const auto path = [this](const std::string& name, const std::string& content) {
    if (content == "/") return folder_.Path("folder");
    if (content != "-") return folder_.Write(name, content);
    std::filesystem::remove(folder_.Path(name));
    return folder_.Path(name);
  };
  for (const auto& c : kCases) {
    const absl::Status status = ReadKeyPair(path("crt", c.cert), path("key", c.key)).status();
    const std::string message(status.message());
    EXPECT_EQ(status.code(), c.code) << c.name << ": " << status;
    EXPECT_THAT(message, HasSubstr(folder_.Path(c.file))) << c.name;
    EXPECT_THAT(message, HasSubstr(c.fault)) << c.name;
    EXPECT_THAT(message, HasSubstr(c.remedy)) << c.name;
    EXPECT_THAT(message, ::testing::Not(HasSubstr("BEGIN PRIVATE KEY-----\nM"))) << c.name;
  }
}

TEST_F(CertificateFilesTest, AuthoritiesNeedOneThatIsStillValid) {
  const std::string expired =
      MakeSelfSigned({.valid_from_s = -7200, .valid_until_s = -3600}).CertificatePem();
  const std::string valid = authority_.CertificatePem();
  const struct {
    std::string name, text;
    absl::StatusCode code;
  } kCases[] = {
      {"one", valid, absl::StatusCode::kOk},
      {"two, one expired", expired + valid, absl::StatusCode::kOk},
      {"all expired", expired, absl::StatusCode::kFailedPrecondition},
      {"empty", "", absl::StatusCode::kInvalidArgument},
      {"a key", issued_.KeyPem(), absl::StatusCode::kInvalidArgument},
      {"cut", valid + valid.substr(0, 200), absl::StatusCode::kInvalidArgument},
  };
  for (const auto& c : kCases) {
    const auto read = ReadAuthorities(folder_.Write("ca", c.text));
    EXPECT_EQ(read.status().code(), c.code) << c.name << ": " << read.status();
    if (!read.ok()) continue;
    EXPECT_EQ(*read, c.text) << c.name;
  }
}

// What a Follower of a scripted text gives, reading by reading: "" = no change.
std::vector<std::string> Given(const std::vector<std::string>& readings) {
  size_t next = 0;
  Follower follower(
      [&]() -> absl::StatusOr<std::string> {
        const std::string reading = readings[next++];
        if (reading.front() == '!') return absl::InvalidArgumentError(reading);
        return reading;
      },
      "old", "tls.crt");
  std::vector<std::string> given;
  for (size_t i = 0; i < readings.size(); ++i) given.push_back(follower.Poll().value_or(""));
  return given;
}

TEST(FollowerTest, TakesATextAtItsSecondReadingInARow) {
  const struct {
    std::string name;
    std::vector<std::string> readings, given;
  } kCases[] = {
      {"unchanged", {"old", "old", "old"}, {"", "", ""}},
      {"changed", {"new", "new", "new"}, {"", "new", ""}},
      {"still being written", {"ne", "new", "new"}, {"", "", "new"}},
      {"broken between", {"new", "!half", "new", "new"}, {"", "", "", "new"}},
      {"taken back", {"new", "old", "new", "new"}, {"", "", "", "new"}},
      {"changed twice", {"a", "a", "b", "b", "a", "a"}, {"", "a", "", "b", "", "a"}},
      {"broken for long", {"!gone", "!gone", "!gone", "new", "new"}, {"", "", "", "", "new"}},
  };
  for (const auto& c : kCases) EXPECT_EQ(Given(c.readings), c.given) << c.name;
}

TEST(FollowerTest, LogsALastingErrorOnce) {
  const struct {
    std::string name;
    std::vector<std::string> readings;
    int lines;
  } kCases[] = {
      {"a moment of a rotation", {"!half", "new", "new"}, 0},
      {"lasting", {"!half", "!half", "!half", "!half"}, 1},
      {"two after each other", {"!half", "!half", "!gone", "!gone", "!gone"}, 2},
      {"again after it was mended", {"!half", "!half", "old", "!half", "!half"}, 2},
  };
  for (const auto& c : kCases) {
    ::testing::internal::CaptureStderr();
    Given(c.readings);
    const std::string log = ::testing::internal::GetCapturedStderr();
    int lines = 0;
    for (size_t at = log.find("tls_files_rejected"); at != std::string::npos;
         at = log.find("tls_files_rejected", at + 1)) {
      ++lines;
    }
    EXPECT_EQ(lines, c.lines) << c.name << ": " << log;
  }
}

}  // namespace
}  // namespace tidegate::tls
