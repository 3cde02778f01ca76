// A blocking TLS client over OpenSSL, for tests that must see the handshake itself: who the server
// is, which version was agreed, with which alert it refused.
//
//   TlsPeer peer(port, {.authority = &authority});
//   EXPECT_TRUE(peer.is_open()) << peer.error();
//   EXPECT_TRUE(IsOf(peer, server));
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "tests/support/certificates.h"

namespace tidegate::testing {

struct TlsPeerOptions {
  const Issued* authority = nullptr;  // nullptr: any server
  const Issued* own = nullptr;        // nullptr: no certificate
  int version_max = TLS1_3_VERSION;
  std::string protocols;  // ALPN on the wire, as in "\x02h2"
};

// To a port on the loopback interface. Of one thread; no call waits longer than ten seconds.
class TlsPeer {
 public:
  TlsPeer(uint16_t port, const TlsPeerOptions& options);
  ~TlsPeer();
  TlsPeer(const TlsPeer&) = delete;
  TlsPeer& operator=(const TlsPeer&) = delete;

  // The handshake ended well on this side. Over TLS 1.3 a refused client certificate shows only at
  // the first read.
  bool is_open() const { return open_; }
  // OpenSSL's words for the last failure.
  const std::string& error() const { return error_; }
  std::string version() const { return SSL_get_version(ssl_.get()); }
  bool ServerIs(const Issued& server) const;

  bool Send(absl::string_view bytes);
  // Empty at the end of the stream and at an error.
  std::string ReadSome();
  // Up to and with `end`.
  std::string ReadUntil(absl::string_view end);
  std::string ReadToEnd();
  // The stream ended with TLS's own mark, so that nothing was cut off.
  bool ended_well() const { return ended_well_; }

 private:
  void Note(int result);

  const ContextPtr context_;
  const SslPtr ssl_;
  int fd_ = -1;
  bool open_ = false;
  bool ended_well_ = false;
  std::string error_;
};

}  // namespace tidegate::testing
