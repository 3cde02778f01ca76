// Certificates for tests, made here: authorities, what they issue, and the files of both.
//
//   const Issued authority = MakeAuthority("one");
//   const Issued server = Issue(authority, {.names = "DNS:localhost,IP:127.0.0.1"});
//   TemporaryFolder folder;
//   folder.Write("tls.crt", server.CertificatePem());
#pragma once

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>
#include <string>

namespace tidegate::testing {

template <typename Type, void (*Free)(Type*)>
struct Freer {
  void operator()(Type* pointer) const { Free(pointer); }
};
using KeyPtr = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY, EVP_PKEY_free>>;
using CertificatePtr = std::unique_ptr<X509, Freer<X509, X509_free>>;
using ContextPtr = std::unique_ptr<SSL_CTX, Freer<SSL_CTX, SSL_CTX_free>>;
using SslPtr = std::unique_ptr<SSL, Freer<SSL, SSL_free>>;

struct Issued {
  KeyPtr key;
  CertificatePtr certificate;

  std::string CertificatePem() const;
  std::string KeyPem() const;
};

struct CertificateOptions {
  // Subject alternative names as OpenSSL writes them: "DNS:localhost,URI:spiffe://acme/shop".
  // Empty: the extension is left out.
  std::string names;
  std::string common_name = "tidegate test";
  int valid_from_s = -3600;  // from now
  int valid_until_s = 3600;  // from now
};

// Signed by itself.
Issued MakeSelfSigned(const CertificateOptions& options);
Issued MakeAuthority(const std::string& common_name);
Issued Issue(const Issued& authority, const CertificateOptions& options);

// A folder of its own below the test's; gone at the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string Path(const std::string& name) const { return path_ + "/" + name; }
  // Exchanges the whole file in one step, and returns its path.
  std::string Write(const std::string& name, const std::string& text) const;

 private:
  std::string path_;
};

}  // namespace tidegate::testing
