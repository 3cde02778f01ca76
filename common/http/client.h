// The asynchronous HTTP/1.1 client for calls to WeCom, http and https. Not for pages of the web: it
// follows no redirect, keeps no cookie and, above all, never repeats a request by itself, since a
// repeated create could reach customers twice. Whether to try again is the caller's decision, taken
// from HttpResult::bytes_written.
//
//   ASSIGN_OR_RETURN(auto client, http::Client::Create({.base_url =
//   "https://qyapi.weixin.qq.com"})); client->Send({.method = "GET", .target =
//   "/cgi-bin/gettoken?..."}, [](http::HttpResult result) {
//     if (result.status.ok()) Parse(result.body);
//   });
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace tidegate::http {

struct ClientOptions {
  // http://host[:port][/prefix] or https://..., one server per client. An https server must show a
  // certificate for this host, of an authority the machine trusts, over TLS 1.2 or newer.
  std::string base_url;
  size_t connections_max = 16;  // busy and idle together; at least 1
  // Calls waiting for a connection; policy when full: reject with RESOURCE_EXHAUSTED.
  size_t waiting_max = 1024;
  absl::Duration connect_deadline = absl::Seconds(3);  // name, TCP, proxy and TLS together
  // TCP_USER_TIMEOUT: how long written bytes may stay unacknowledged before the connection fails.
  // Behind a proxy it is the proxy that acknowledges.
  absl::Duration user_timeout = absl::Seconds(5);
  absl::Duration idle_limit = absl::Seconds(30);  // an unused connection is closed after this
  size_t answer_bytes_max = 1 << 20;              // body of an answer; beyond: OUT_OF_RANGE
  // IP address of this machine that connections leave from; empty = as the machine chooses.
  std::string source_address;
  // host:port or [IPv6]:port of a forward proxy; empty = none. Each connection is a tunnel through
  // it to the server (CONNECT, RFC 9110 9.3.6), for http too, so that it can neither repeat a
  // request nor send another one on the same connection.
  std::string proxy;
  // user:password for the proxy (Basic, RFC 7617); empty = none. No status has them.
  std::string proxy_credentials;
  std::string ca_file;  // PEM file of authorities trusted instead of the machine's; empty = those
};

struct HttpCall {
  std::string method = "GET";  // upper case
  std::string target;          // "/path?query", already percent-encoded
  std::string content_type;    // of the body; empty = header left out
  std::string body;
  absl::Duration deadline = absl::Seconds(10);  // from Send to the whole answer, waiting included
  // False: a connection of its own, opened for this call and closed after it. True: may travel on
  // an idle connection. One that the server has already closed is noticed before the first byte and
  // replaced; one that dies later fails the call with bytes_written.
  bool reusable_connection = true;
  // Asked on the client's thread after connect and TLS and directly before the first byte; false
  // ends the call with ABORTED and nothing written. Empty = allowed. Must not block.
  std::function<bool()> may_write;
};

struct HttpResult {
  // OK: a complete HTTP answer was read, whatever its http_status. Else:
  //   UNAVAILABLE         name, connect, proxy or TLS failed, or the connection ended before the
  //   answer did DEADLINE_EXCEEDED   of the call, or of connecting (then bytes_written is false)
  //   ABORTED
  //   may_write said no RESOURCE_EXHAUSTED  too many calls wait OUT_OF_RANGE        the answer's
  //   header or body is too large UNKNOWN             the answer is not HTTP INVALID_ARGUMENT
  //   method, target or content type cannot stand in a request CANCELLED           the client is
  //   being destroyed
  absl::Status status;
  int http_status = 0;  // 0 without a complete answer
  std::string body;
  std::string date_header;  // the server's clock as it sent it; empty if absent
  // A request byte was handed to the socket: from here on a failure does not say whether the server
  // acted. False: the server certainly saw nothing of the request.
  bool bytes_written = false;
  // The way to the server, not our own calls before this one, took too long: no connection within
  // connect_deadline, or within the deadline of a call that had not waited for its turn.
  bool connect_timed_out = false;
  int64_t first_byte_raw_ns = 0;  // CLOCK_MONOTONIC_RAW before the first byte; 0 if none
  int64_t completed_raw_ns = 0;   // CLOCK_MONOTONIC_RAW at the end of the answer or at the failure
};

// Thread-safe. One thread of its own; one request per connection at a time.
class Client {
 public:
  // INVALID_ARGUMENT: base_url, proxy or a bound is not usable, source_address is not of this
  // machine, or ca_file cannot be read.
  static absl::StatusOr<std::unique_ptr<Client>> Create(ClientOptions options);
  // Ends open calls with CANCELLED; every `done` has returned when it returns. Not to be called
  // from a `done`.
  virtual ~Client() = default;
  // Calls `done` exactly once, on the client's thread, never from inside Send. `done` must not
  // block.
  virtual void Send(HttpCall call, std::function<void(HttpResult)> done) = 0;
  // Connections that reached the server since the start.
  virtual uint64_t connections_opened() const = 0;
};

}  // namespace tidegate::http
