#include "tests/support/tls_peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "absl/strings/match.h"

namespace tidegate::testing {
namespace {

constexpr timeval kPatience{10, 0};

ContextPtr MakeContext(const TlsPeerOptions& options) {
  ContextPtr context(SSL_CTX_new(TLS_client_method()));
  SSL_CTX_set_min_proto_version(context.get(), 0);
  SSL_CTX_set_max_proto_version(context.get(), options.version_max);
  // Else the library itself would refuse the versions that the server must refuse.
  SSL_CTX_set_cipher_list(context.get(), "DEFAULT@SECLEVEL=0");
  if (options.authority != nullptr) {
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context.get()),
                        options.authority->certificate.get());
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  }
  if (options.own != nullptr) {
    SSL_CTX_use_certificate(context.get(), options.own->certificate.get());
    SSL_CTX_use_PrivateKey(context.get(), options.own->key.get());
  }
  if (!options.protocols.empty()) {
    SSL_CTX_set_alpn_protos(context.get(),
                            reinterpret_cast<const unsigned char*>(options.protocols.data()),
                            static_cast<unsigned>(options.protocols.size()));
  }
  return context;
}

}  // namespace

TlsPeer::TlsPeer(uint16_t port, const TlsPeerOptions& options)
    : context_(MakeContext(options)),
      ssl_(SSL_new(context_.get())),
      fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  signal(SIGPIPE, SIG_IGN);  // OpenSSL writes without MSG_NOSIGNAL
  setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof(kPatience));
  setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof(kPatience));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    error_ = "connect";
    return;
  }
  SSL_set_fd(ssl_.get(), fd_);
  const int result = SSL_connect(ssl_.get());
  open_ = result == 1;
  if (!open_) Note(result);
}

TlsPeer::~TlsPeer() {
  if (fd_ >= 0) close(fd_);
  ERR_clear_error();
}

bool TlsPeer::ServerIs(const Issued& server) const {
  const CertificatePtr shown(SSL_get1_peer_certificate(ssl_.get()));
  return shown != nullptr && X509_cmp(shown.get(), server.certificate.get()) == 0;
}

bool TlsPeer::Send(absl::string_view bytes) {
  const int result = SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size()));
  if (result <= 0) Note(result);
  return result > 0;
}

std::string TlsPeer::ReadSome() {
  char bytes[16384];
  const int result = SSL_read(ssl_.get(), bytes, sizeof(bytes));
  if (result > 0) return std::string(bytes, static_cast<size_t>(result));
  Note(result);
  return "";
}

std::string TlsPeer::ReadUntil(absl::string_view end) {
  std::string all;
  while (!absl::EndsWith(all, end)) {
    const std::string piece = ReadSome();
    if (piece.empty()) break;
    all += piece;
  }
  return all;
}

std::string TlsPeer::ReadToEnd() {
  std::string all;
  for (std::string piece = ReadSome(); !piece.empty(); piece = ReadSome()) all += piece;
  return all;
}

void TlsPeer::Note(int result) {
  const int kind = SSL_get_error(ssl_.get(), result);
  ended_well_ = kind == SSL_ERROR_ZERO_RETURN;
  const char* const reason = ERR_reason_error_string(ERR_peek_last_error());
  error_ = reason != nullptr ? reason : ended_well_ ? "end of the stream" : "the connection ended";
  ERR_clear_error();
}

}  // namespace tidegate::testing
