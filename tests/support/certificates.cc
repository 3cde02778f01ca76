#include "tests/support/certificates.h"

#include <gtest/gtest.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <fstream>

namespace tidegate::testing {
namespace {

using BioPtr = std::unique_ptr<BIO, Freer<BIO, BIO_free_all>>;

std::string TextOf(BIO* bio) {
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(bio, &bytes);
  return std::string(bytes, static_cast<size_t>(size));
}

void AddExtension(X509* certificate, int nid, const std::string& value) {
  X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, nullptr, nid, value.c_str());
  ASSERT_NE(extension, nullptr) << value;
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

// `issuer` nullptr: signed by itself.
Issued Make(const Issued* issuer, const CertificateOptions& options, bool is_authority) {
  static std::atomic<long> serial{1};
  Issued made{KeyPtr(EVP_EC_gen("P-256")), CertificatePtr(X509_new())};
  X509* const certificate = made.certificate.get();
  X509_set_version(certificate, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial.fetch_add(1));
  X509_gmtime_adj(X509_getm_notBefore(certificate), options.valid_from_s);
  X509_gmtime_adj(X509_getm_notAfter(certificate), options.valid_until_s);
  X509_set_pubkey(certificate, made.key.get());
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(options.common_name.c_str()),
                             -1, -1, 0);
  X509_set_issuer_name(
      certificate,
      X509_get_subject_name(issuer == nullptr ? certificate : issuer->certificate.get()));
  if (is_authority) AddExtension(certificate, NID_basic_constraints, "critical,CA:TRUE");
  if (!options.names.empty()) AddExtension(certificate, NID_subject_alt_name, options.names);
  EVP_PKEY* const signer = issuer == nullptr ? made.key.get() : issuer->key.get();
  EXPECT_GT(X509_sign(certificate, signer, EVP_sha256()), 0);
  return made;
}

}  // namespace

std::string Issued::CertificatePem() const {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  EXPECT_EQ(PEM_write_bio_X509(bio.get(), certificate.get()), 1);
  return TextOf(bio.get());
}

std::string Issued::KeyPem() const {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  EXPECT_EQ(PEM_write_bio_PrivateKey(bio.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr),
            1);
  return TextOf(bio.get());
}

Issued MakeSelfSigned(const CertificateOptions& options) {
  return Make(nullptr, options, /*is_authority=*/false);
}

Issued MakeAuthority(const std::string& common_name) {
  return Make(nullptr, {.common_name = common_name}, /*is_authority=*/true);
}

Issued Issue(const Issued& authority, const CertificateOptions& options) {
  return Make(&authority, options, /*is_authority=*/false);
}

TemporaryFolder::TemporaryFolder() : path_(::testing::TempDir() + "/certificatesXXXXXX") {
  EXPECT_NE(mkdtemp(path_.data()), nullptr) << path_;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TemporaryFolder::Write(const std::string& name, const std::string& text) const {
  std::ofstream(Path(name + ".new"), std::ios::binary) << text;
  std::filesystem::rename(Path(name + ".new"), Path(name));
  return Path(name);
}

}  // namespace tidegate::testing
