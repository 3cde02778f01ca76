#include "common/tls/certificate_files.h"

#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"

namespace tidegate::tls {
namespace {

constexpr size_t kFileBytesMax = 1 << 20;

template <typename Type, void (*Free)(Type*)>
struct Freer {
  void operator()(Type* pointer) const { Free(pointer); }
};
using KeyPtr = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY, EVP_PKEY_free>>;
using CertificatePtr = std::unique_ptr<X509, Freer<X509, X509_free>>;
using ContextPtr = std::unique_ptr<SSL_CTX, Freer<SSL_CTX, SSL_CTX_free>>;
using BioPtr = std::unique_ptr<BIO, Freer<BIO, BIO_free_all>>;

absl::StatusOr<std::string> ReadFile(absl::string_view what, const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  int error = fd < 0 ? errno : 0;
  std::string text;
  while (error == 0 && text.size() <= kFileBytesMax) {
    char bytes[8192];
    const ssize_t count = read(fd, bytes, sizeof(bytes));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) error = errno;
    if (count <= 0) break;
    text.append(bytes, static_cast<size_t>(count));
  }
  if (fd >= 0) close(fd);
  if (error == ENOENT || error == ENOTDIR) {
    return absl::NotFoundError(
        absl::StrCat(what, " ", path, " is missing; put it there or correct its setting"));
  }
  if (error != 0) {
    return absl::PermissionDeniedError(absl::StrCat(
        what, " ", path, " cannot be read (", std::strerror(error),
        "); it must be a file that the user of this process (uid ", geteuid(), ") may read"));
  }
  if (text.size() > kFileBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, " ", path, " has more than ", kFileBytesMax, " bytes; write PEM"));
  }
  return text;
}

BioPtr BioOf(const std::string& text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

std::string TextOf(BIO* bio) {
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(bio, &bytes);
  return std::string(bytes, static_cast<size_t>(size));
}

absl::StatusOr<std::vector<CertificatePtr>> ParseCertificates(absl::string_view what,
                                                              const std::string& path,
                                                              const std::string& text) {
  const BioPtr bio = BioOf(text);
  std::vector<CertificatePtr> certificates;
  while (X509* certificate = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    certificates.emplace_back(certificate);
  }
  // The end of the text is reported as a block without a beginning; anything else is a fault.
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (certificates.empty() || !at_end) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, " ", path, " is not a whole PEM file of certificates; write blocks of ",
                     "-----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----"));
  }
  return certificates;
}

bool HasExpired(const X509* certificate) {
  return X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0;
}

std::string TimeText(const ASN1_TIME* time) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  ASN1_TIME_print(bio.get(), time);
  return TextOf(bio.get());
}

// Never asks on the terminal for the passphrase of an encrypted key.
int NoPassphrase(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

absl::StatusOr<KeyPtr> ParseKey(const std::string& path, const std::string& text) {
  const BioPtr bio = BioOf(text);
  bool encrypted = false;
  KeyPtr key(PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassphrase, &encrypted));
  ERR_clear_error();
  if (key != nullptr) return key;
  if (encrypted) {
    return absl::InvalidArgumentError(absl::StrCat("key file ", path,
                                                   " is encrypted; write it without a passphrase ",
                                                   "and let only this user read it"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("key file ", path,
                   " is not a PEM private key; write a block of -----BEGIN PRIVATE KEY-----"));
}

// What OpenSSL's security level forbids: a short key, an old signature. "" = nothing.
std::string Forbidden(const std::vector<CertificatePtr>& chain, EVP_PKEY* key) {
  const ContextPtr context(SSL_CTX_new(TLS_method()));
  bool taken = SSL_CTX_use_certificate(context.get(), chain.front().get()) == 1 &&
               SSL_CTX_use_PrivateKey(context.get(), key) == 1;
  for (size_t i = 1; i < chain.size(); ++i) {
    taken = taken && SSL_CTX_add1_chain_cert(context.get(), chain[i].get()) == 1;
  }
  const char* const reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  if (taken) return "";
  return reason != nullptr ? reason : "unknown reason";
}

}  // namespace

absl::StatusOr<std::string> ReadKeyPair(const std::string& cert_file, const std::string& key_file) {
  ASSIGN_OR_RETURN(const std::string cert_text, ReadFile("certificate file", cert_file));
  ASSIGN_OR_RETURN(const std::string key_text, ReadFile("key file", key_file));
  ASSIGN_OR_RETURN(const auto chain, ParseCertificates("certificate file", cert_file, cert_text));
  ASSIGN_OR_RETURN(const KeyPtr key, ParseKey(key_file, key_text));
  X509* const own = chain.front().get();
  const bool matches = X509_check_private_key(own, key.get()) == 1;
  ERR_clear_error();
  if (!matches) {
    return absl::InvalidArgumentError(
        absl::StrCat("key file ", key_file, " is not the key of the first certificate in ",
                     cert_file, "; write the two that were issued together"));
  }
  if (const std::string reason = Forbidden(chain, key.get()); !reason.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "OpenSSL refuses the certificate in ", cert_file, " (", reason,
        "); issue one with an RSA key of 2048 bits or an EC key of 256 bits or more, and SHA-256"));
  }
  if (HasExpired(own)) {
    return absl::FailedPreconditionError(
        absl::StrCat("the certificate in ", cert_file, " expired on ",
                     TimeText(X509_get0_notAfter(own)), "; replace it and its key"));
  }
  if (X509_cmp_current_time(X509_get0_notBefore(own)) > 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the certificate in ", cert_file, " is valid only from ",
        TimeText(X509_get0_notBefore(own)), "; correct this machine's clock or the certificate"));
  }
  const BioPtr out(BIO_new(BIO_s_mem()));
  bool written =
      PEM_write_bio_PrivateKey(out.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1;
  for (const CertificatePtr& certificate : chain) {
    written = written && PEM_write_bio_X509(out.get(), certificate.get()) == 1;
  }
  ERR_clear_error();
  if (!written) return absl::InternalError(absl::StrCat("cannot write ", cert_file, " as PEM"));
  return TextOf(out.get());
}

absl::StatusOr<std::string> ReadAuthorities(const std::string& ca_file) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile("CA file", ca_file));
  ASSIGN_OR_RETURN(const auto authorities, ParseCertificates("CA file", ca_file, text));
  const BioPtr out(BIO_new(BIO_s_mem()));
  bool any_valid = false;
  for (const CertificatePtr& authority : authorities) {
    any_valid = any_valid || !HasExpired(authority.get());
    if (PEM_write_bio_X509(out.get(), authority.get()) != 1) {
      ERR_clear_error();
      return absl::InternalError(absl::StrCat("cannot write ", ca_file, " as PEM"));
    }
  }
  if (!any_valid) {
    return absl::FailedPreconditionError(absl::StrCat(
        "every certificate in CA file ", ca_file, " has expired; replace it with current ones"));
  }
  return TextOf(out.get());
}

Follower::Follower(Read read, std::string current, std::string name)
    : read_(std::move(read)), name_(std::move(name)), current_(std::move(current)) {}

std::optional<std::string> Follower::Poll() {
  absl::StatusOr<std::string> text = read_();
  if (!text.ok()) {
    candidate_.clear();
    const std::string error(text.status().message());
    if (error == error_ && error != logged_error_) {
      LogEvent(LogLevel::kError, "tls_files_rejected",
               {{"file", name_}, {"error", error}, {"in_use", "the ones before"}});
      logged_error_ = error;
    }
    error_ = error;
    return std::nullopt;
  }
  error_.clear();
  if (*text == current_) {
    candidate_.clear();
    logged_error_.clear();
    return std::nullopt;
  }
  if (*text != candidate_) {
    candidate_ = *std::move(text);
    return std::nullopt;
  }
  candidate_.clear();
  logged_error_.clear();
  current_ = *std::move(text);
  LogEvent(LogLevel::kInfo, "tls_files_taken", {{"file", name_}});
  return current_;
}

}  // namespace tidegate::tls
