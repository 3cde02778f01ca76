// The HTTP/1.1 server of every edge: callbacks, admin pages, the WeCom simulator; with or without
// TLS. Wraps Boost.Beast; no other file of the project (but client.cc and their sources) includes
// it.
//
//   auto server = http::Server::Start({.address = "127.0.0.1:0"}, [](http::Request r,
//   http::Responder send) {
//     send({.status = 200, .body = "hello"});
//   });
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace tidegate::http {

struct Request {
  std::string method;        // "GET", "POST", ... upper case
  std::string target;        // path and query as received, not decoded
  std::string content_type;  // empty if absent
  std::string body;
  std::string remote_ip;  // of the peer, without port
};

// The target without its query.
std::string Path(const std::string& target);
// The percent-decoded value of `name` in the query of `target` ("+" stays "+"); empty if absent.
std::string QueryValue(const std::string& target, const std::string& name);

struct Response {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
  // kAnswer sends the response. kClose closes the connection without an answer, kReset resets it.
  // kHold never answers and keeps the connection until the peer closes it (faults of the
  // simulator).
  enum class Ending { kAnswer, kClose, kReset, kHold } ending = Ending::kAnswer;
};

// Call it exactly once, from any thread, at any time; later than the peer's patience is harmless.
using Responder = std::function<void(Response)>;
// Runs on the server's thread: must not block. Validate and hand over.
using Handler = std::function<void(Request, Responder)>;

class Server {
 public:
  struct Options {
    std::string address = "127.0.0.1:0";  // IPv4 or [IPv6] and port; port 0 = any free one
    size_t body_bytes_max = 256 * 1024;   // beyond: 413, connection closed, body not read
    size_t header_bytes_max = 16 * 1024;  // beyond: 431
    absl::Duration read_deadline = absl::Seconds(5);   // for one whole request, else 408 and closed
    absl::Duration idle_deadline = absl::Seconds(60);  // between requests
    size_t connections_max = 4096;                     // policy when full: accept and close at once
    // PEM files; all empty = no TLS. cert_file (own certificate, then its chain) and key_file: TLS
    // 1.2 or newer, its handshake inside read_deadline. ca_file too: a client must show a
    // certificate of these authorities. The files are read again every tls::kPollInterval; new
    // connections use what was last valid, open ones go on. Broken files are logged once.
    std::string cert_file;
    std::string key_file;
    std::string ca_file;
  };
  // Binds, listens, starts one thread. Errors: INVALID_ARGUMENT bad address, or a needed file not
  // named; UNAVAILABLE address in use or not ours (the text names the address); those of
  // tls::ReadKeyPair and tls::ReadAuthorities (the text names the file and what to do).
  static absl::StatusOr<std::unique_ptr<Server>> Start(Options options, Handler handler);
  // Stops: no new connections, waits until answers that were handed in are written (bounded by 1
  // s), closes the rest. Responders called later do nothing.
  virtual ~Server() = default;
  virtual uint16_t port() const = 0;
  // "127.0.0.1:34567", with the bound port.
  virtual std::string address() const = 0;
};

}  // namespace tidegate::http
