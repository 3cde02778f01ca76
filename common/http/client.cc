#include "common/http/client.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cerrno>
#include <deque>
#include <iterator>
#include <optional>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/base/clock.h"
#include "common/base/crash_point.h"
#include "common/base/status_macros.h"

namespace tidegate::http {
namespace {

namespace net = boost::asio;
namespace ssl = boost::asio::ssl;
namespace beast_http = boost::beast::http;
using boost::system::error_code;
using net::ip::tcp;
using SteadyTime = std::chrono::steady_clock::time_point;

constexpr uint32_t kHeaderBytesMax = 32 * 1024;
constexpr absl::Duration kDeadlineMax = absl::Hours(1);
constexpr int kInterimAnswersMax = 8;

std::chrono::nanoseconds ToChrono(absl::Duration duration) {
  return std::chrono::nanoseconds(absl::ToInt64Nanoseconds(duration));
}

struct ServerName {
  bool tls = false;
  std::string host;  // without brackets
  std::string port;
  std::string host_header;
  std::string prefix;  // of every target, without a slash at its end
};

bool IsVisibleAscii(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

// host, host:port or [IPv6]:port; the port is left as it is where none is given.
bool ParseAuthority(absl::string_view authority, std::string* host, std::string* port) {
  const size_t bracket = authority.rfind(']');
  const size_t colon = authority.rfind(':');
  if (colon != absl::string_view::npos && (bracket == absl::string_view::npos || colon > bracket)) {
    uint32_t number = 0;
    if (!absl::SimpleAtoi(authority.substr(colon + 1), &number) || number == 0 || number > 65535) {
      return false;
    }
    *port = absl::StrCat(number);
    authority = authority.substr(0, colon);
  }
  if (absl::ConsumePrefix(&authority, "[") && !absl::ConsumeSuffix(&authority, "]")) return false;
  *host = std::string(authority);
  return !authority.empty();
}

absl::StatusOr<ServerName> ParseBaseUrl(absl::string_view url) {
  const absl::Status bad = absl::InvalidArgumentError(
      absl::StrCat("base_url is not of the form https://host[:port][/prefix]: ", url));
  ServerName name;
  absl::string_view rest = url;
  if (absl::ConsumePrefix(&rest, "https://")) {
    name.tls = true;
  } else if (!absl::ConsumePrefix(&rest, "http://")) {
    return bad;
  }
  if (!IsVisibleAscii(rest) || rest.find_first_of("@?#") != absl::string_view::npos) return bad;
  const size_t slash = rest.find('/');
  absl::string_view authority = rest.substr(0, slash);
  if (slash != absl::string_view::npos) {
    name.prefix = std::string(absl::StripSuffix(rest.substr(slash), "/"));
  }
  name.host_header = std::string(authority);
  name.port = name.tls ? "443" : "80";
  if (!ParseAuthority(authority, &name.host, &name.port)) return bad;
  return name;
}

// Whom connections are made to, where it is not the server itself.
struct ProxyName {
  std::string host;
  std::string port;
};

absl::StatusOr<std::optional<ProxyName>> ParseProxy(absl::string_view proxy) {
  if (proxy.empty()) return std::nullopt;
  ProxyName name;
  if (!IsVisibleAscii(proxy) || proxy.find_first_of("@/?#") != absl::string_view::npos ||
      !ParseAuthority(proxy, &name.host, &name.port) || name.port.empty()) {
    return absl::InvalidArgumentError("proxy is not of the form host:port");
  }
  return name;
}

std::string ConnectText(const ServerName& server, absl::string_view credentials) {
  const std::string target = absl::StrCat(
      absl::StrContains(server.host, ':') ? absl::StrCat("[", server.host, "]") : server.host, ":",
      server.port);
  std::string text = absl::StrCat("CONNECT ", target, " HTTP/1.1\r\nHost: ", target,
                                  "\r\nUser-Agent: tidegate\r\n");
  if (!credentials.empty()) {
    absl::StrAppend(&text, "Proxy-Authorization: Basic ", absl::Base64Escape(credentials), "\r\n");
  }
  return text + "\r\n";
}

absl::Status CheckCall(const HttpCall& call) {
  const bool content_type_fits = std::all_of(call.content_type.begin(), call.content_type.end(),
                                             [](char c) { return c >= ' ' && c < '\x7f'; });
  if (call.method.empty() || !IsVisibleAscii(call.method) || call.target.empty() ||
      call.target.front() != '/' || !IsVisibleAscii(call.target) || !content_type_fits) {
    return absl::InvalidArgumentError("the call cannot be written as an HTTP request");
  }
  return absl::OkStatus();
}

std::string RequestText(const ServerName& server, const HttpCall& call) {
  std::string text =
      absl::StrCat(call.method, " ", server.prefix, call.target,
                   " HTTP/1.1\r\nHost: ", server.host_header, "\r\nUser-Agent: tidegate\r\n");
  if (!call.content_type.empty()) {
    absl::StrAppend(&text, "Content-Type: ", call.content_type, "\r\n");
  }
  if (!call.body.empty() || (call.method != "GET" && call.method != "HEAD")) {
    absl::StrAppend(&text, "Content-Length: ", call.body.size(), "\r\n");
  }
  if (!call.reusable_connection) absl::StrAppend(&text, "Connection: close\r\n");
  absl::StrAppend(&text, "\r\n", call.body);
  return text;
}

absl::Status ReadErrorStatus(const error_code& error) {
  if (error == beast_http::error::body_limit || error == beast_http::error::header_limit ||
      error == beast_http::error::buffer_overflow) {
    return absl::OutOfRangeError("the answer is too large");
  }
  const error_code any_http_error = beast_http::error::bad_version;
  if (error.category() == any_http_error.category() && error != beast_http::error::end_of_stream &&
      error != beast_http::error::partial_message) {
    return absl::UnknownError(absl::StrCat("the answer is not HTTP: ", error.message()));
  }
  return absl::UnavailableError(
      absl::StrCat("the connection ended before the answer did: ", error.message()));
}

// A socket to the server, with TLS on top where the server has it.
class Connection {
 public:
  Connection(net::io_context& context, ssl::context& ssl_context, bool tls)
      : stream_(context, ssl_context), idle_timer_(context), tls_(tls) {}

  template <typename Function>
  void WithStream(Function function) {
    if (tls_) {
      function(stream_);
    } else {
      function(stream_.next_layer());
    }
  }

  ssl::stream<tcp::socket>& tls_stream() { return stream_; }
  tcp::socket& socket() { return stream_.next_layer(); }
  boost::beast::flat_buffer& buffer() { return buffer_; }
  // Of the proxy that the connection goes through.
  beast_http::response_parser<beast_http::empty_body>& tunnel() { return tunnel_; }
  net::steady_timer& idle_timer() { return idle_timer_; }

  // Needed before the first byte: a close then resets at once, so that the kernel does not deliver
  // the rest of a request that was given up.
  error_code SetOptions(absl::Duration user_timeout) {
    error_code error;
    socket().set_option(tcp::no_delay(true), error);
    if (TIDEGATE_MUTANT == 5) return error;
    if (!error) socket().set_option(net::socket_base::linger(true, 0), error);
    const unsigned millis = static_cast<unsigned>(absl::ToInt64Milliseconds(user_timeout));
    if (!error && setsockopt(socket().native_handle(), IPPROTO_TCP, TCP_USER_TIMEOUT, &millis,
                             sizeof(millis)) != 0) {
      error = error_code(errno, boost::system::system_category());
    }
    return error;
  }

  // False if the server closed it, or sent something nobody asked for.
  bool IsStillQuiet() {
    char byte;
    const ssize_t received = recv(socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return received < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
  }

  void Close() {
    idle_timer_.cancel();
    error_code ignored;
    socket().close(ignored);
  }

 private:
  ssl::stream<tcp::socket> stream_;
  boost::beast::flat_buffer buffer_;
  beast_http::response_parser<beast_http::empty_body> tunnel_;
  net::steady_timer idle_timer_;
  const bool tls_;
};

// A fresh socket, bound to `source` where there is one.
error_code OpenSocket(tcp::socket* socket, const tcp& protocol,
                      const std::optional<net::ip::address>& source) {
  error_code error;
  socket->close(error);
  socket->open(protocol, error);
  if (error || !source.has_value()) return error;
  if (source->is_v4() != (protocol == tcp::v4())) {
    return net::error::address_family_not_supported;
  }
  // The port is chosen when the peer is known, so that one address has as many for each peer.
  const int on = 1;
  if (setsockopt(socket->native_handle(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)) !=
      0) {
    return error_code(errno, boost::system::system_category());
  }
  socket->bind(tcp::endpoint(*source, 0), error);
  return error;
}

// One call from Send to `done`. Its steps are run by the client.
struct Exchange {
  Exchange(net::io_context& context, HttpCall call, std::function<void(HttpResult)> done)
      : call(std::move(call)),
        done(std::move(done)),
        deadline_timer(context),
        connect_timer(context),
        resolver(context) {}

  HttpCall call;
  std::function<void(HttpResult)> done;
  HttpResult result;
  net::steady_timer deadline_timer;
  net::steady_timer connect_timer;
  tcp::resolver resolver;
  std::shared_ptr<Connection> connection;
  std::string request_text;
  std::optional<beast_http::response_parser<beast_http::string_body>> parser;
  int interim_answers = 0;
  bool has_slot = false;
  bool waited = false;  // for the slot
  bool finished = false;
};
using ExchangePtr = std::shared_ptr<Exchange>;

class AsioClient : public Client {
 public:
  AsioClient(ClientOptions options, ServerName server, std::optional<ProxyName> proxy)
      : options_(std::move(options)), server_(std::move(server)), proxy_(std::move(proxy)) {}

  ~AsioClient() override {
    if (!thread_.joinable()) return;
    net::post(context_, [this] { Stop(); });
    thread_.join();
  }

  absl::Status Start() {
    RETURN_IF_ERROR(PrepareSource());
    if (server_.tls) RETURN_IF_ERROR(PrepareTls());
    thread_ = std::thread([this] { context_.run(); });
    return absl::OkStatus();
  }

  void Send(HttpCall call, std::function<void(HttpResult)> done) override {
    const SteadyTime deadline =
        std::chrono::steady_clock::now() +
        ToChrono(std::clamp(call.deadline, absl::ZeroDuration(), kDeadlineMax));
    const size_t open = open_calls_.fetch_add(1);
    const bool full = open >= options_.connections_max + options_.waiting_max;
    auto exchange = std::make_shared<Exchange>(context_, std::move(call), std::move(done));
    net::post(context_, [this, exchange, deadline, full] { Admit(exchange, deadline, full); });
  }

  uint64_t connections_opened() const override { return connections_opened_.load(); }

 private:
  // Binds once, so that a wrong address is told at the start and not by every call.
  absl::Status PrepareSource() {
    if (options_.source_address.empty()) return absl::OkStatus();
    error_code error;
    const auto source = net::ip::make_address(options_.source_address, error);
    if (!error) {
      tcp::socket socket(context_);
      error = OpenSocket(&socket, source.is_v4() ? tcp::v4() : tcp::v6(), source);
    }
    if (error) {
      return absl::InvalidArgumentError(absl::StrCat("calls cannot leave from ",
                                                     options_.source_address, ": ", error.message(),
                                                     "; write an IP address of this machine"));
    }
    source_ = source;
    return absl::OkStatus();
  }

  absl::Status PrepareTls() {
    error_code error;
    if (SSL_CTX_set_min_proto_version(ssl_context_.native_handle(), TLS1_2_VERSION) != 1) {
      return absl::InternalError("TLS 1.2 cannot be set as the minimum");
    }
    if (options_.ca_file.empty()) {
      ssl_context_.set_default_verify_paths(error);
    } else {
      ssl_context_.load_verify_file(options_.ca_file, error);
    }
    if (!error) ssl_context_.set_verify_mode(ssl::verify_peer, error);
    if (!error) {
      ssl_context_.set_verify_callback(ssl::host_name_verification(server_.host), error);
    }
    if (error) {
      return absl::InvalidArgumentError(
          absl::StrCat("certificate authorities cannot be loaded: ", error.message()));
    }
    return absl::OkStatus();
  }

  void Admit(const ExchangePtr& exchange, SteadyTime deadline, bool full) {
    exchanges_.insert(exchange);
    if (stopping_) return Fail(exchange, absl::CancelledError("the client is stopping"));
    if (full) return Fail(exchange, absl::ResourceExhaustedError("too many calls wait"));
    const absl::Status fits = CheckCall(exchange->call);
    if (!fits.ok()) return Fail(exchange, fits);
    // The timer alone would be late: an idle connection is written to at once.
    if (std::chrono::steady_clock::now() >= deadline) {
      return Fail(exchange, absl::DeadlineExceededError("no answer within the deadline"));
    }
    exchange->deadline_timer.expires_at(deadline);
    exchange->deadline_timer.async_wait([this, exchange](error_code error) {
      if (error) return;
      exchange->result.connect_timed_out =
          exchange->has_slot && !exchange->waited && !exchange->result.bytes_written;
      Fail(exchange, absl::DeadlineExceededError("no answer within the deadline"));
    });
    waiting_.push_back(exchange);
    StartWaiting();
    exchange->waited = !exchange->has_slot;
  }

  void StartWaiting() {
    while (!waiting_.empty() && busy_ < options_.connections_max) {
      const ExchangePtr exchange = std::move(waiting_.front());
      waiting_.pop_front();
      exchange->has_slot = true;
      ++busy_;
      if (exchange->call.reusable_connection && (exchange->connection = TakeIdle()) != nullptr) {
        Write(exchange);
      } else {
        Connect(exchange);
      }
    }
  }

  // The connection used last: the one least likely to have been closed by the server.
  std::shared_ptr<Connection> TakeIdle() {
    while (!idle_.empty()) {
      const std::shared_ptr<Connection> connection = std::move(idle_.back());
      idle_.pop_back();
      connection->idle_timer().cancel();
      if (connection->IsStillQuiet()) return connection;
      connection->Close();
    }
    return nullptr;
  }

  void PutIdle(const std::shared_ptr<Connection>& connection) {
    idle_.push_back(connection);
    connection->idle_timer().expires_after(ToChrono(options_.idle_limit));
    connection->idle_timer().async_wait([this, connection](error_code error) {
      const auto position = std::find(idle_.begin(), idle_.end(), connection);
      if (error || position == idle_.end()) return;
      idle_.erase(position);
      connection->Close();
    });
  }

  void Connect(const ExchangePtr& exchange) {
    if (busy_ + idle_.size() > options_.connections_max) {
      idle_.front()->Close();
      idle_.erase(idle_.begin());
    }
    exchange->connection = std::make_shared<Connection>(context_, ssl_context_, server_.tls);
    exchange->connect_timer.expires_after(ToChrono(options_.connect_deadline));
    exchange->connect_timer.async_wait([this, exchange](error_code error) {
      if (!error && !exchange->result.bytes_written) {
        exchange->result.connect_timed_out = true;
        Fail(exchange, absl::DeadlineExceededError("no connection within the deadline"));
      }
    });
    exchange->resolver.async_resolve(
        proxy_ ? proxy_->host : server_.host, proxy_ ? proxy_->port : server_.port,
        tcp::resolver::numeric_service,
        [this, exchange](error_code error, tcp::resolver::results_type endpoints) {
          if (exchange->finished) return;
          if (error) return FailBeforeByteOne(exchange, "name not resolved", error);
          ConnectTo(exchange, endpoints, endpoints.begin(), net::error::host_not_found);
        });
  }

  // Tries them in order, from the source address where there is one; `last` says why the one before
  // failed.
  void ConnectTo(const ExchangePtr& exchange, const tcp::resolver::results_type& endpoints,
                 tcp::resolver::results_type::const_iterator next, error_code last) {
    if (next == endpoints.end()) return FailBeforeByteOne(exchange, "connect", last);
    const tcp::endpoint endpoint = next->endpoint();
    tcp::socket& socket = exchange->connection->socket();
    if (const error_code error = OpenSocket(&socket, endpoint.protocol(), source_); error) {
      return ConnectTo(exchange, endpoints, std::next(next), error);
    }
    socket.async_connect(endpoint, [this, exchange, endpoints, next](error_code error) {
      if (exchange->finished) return;
      if (error) return ConnectTo(exchange, endpoints, std::next(next), error);
      OnConnected(exchange);
    });
  }

  void OnConnected(const ExchangePtr& exchange) {
    const error_code error = exchange->connection->SetOptions(options_.user_timeout);
    if (error) return FailBeforeByteOne(exchange, "socket options", error);
    if (!proxy_) return OnReached(exchange);
    exchange->request_text = ConnectText(server_, options_.proxy_credentials);
    net::async_write(exchange->connection->socket(), net::buffer(exchange->request_text),
                     [this, exchange](error_code error, size_t) {
                       if (exchange->finished) return;
                       if (error) return FailBeforeByteOne(exchange, "CONNECT", error);
                       ReadTunnel(exchange);
                     });
  }

  void ReadTunnel(const ExchangePtr& exchange) {
    Connection& connection = *exchange->connection;
    connection.tunnel().header_limit(kHeaderBytesMax);
    beast_http::async_read_header(
        connection.socket(), connection.buffer(), connection.tunnel(),
        [this, exchange](error_code error, size_t) {
          if (exchange->finished) return;
          if (error) return FailBeforeByteOne(exchange, "CONNECT", error);
          const unsigned status = exchange->connection->tunnel().get().result_int();
          if (status / 100 != 2) {
            return Fail(exchange, absl::UnavailableError(absl::StrCat(
                                      Peer(), ": it refused the tunnel with status ", status)));
          }
          // The server never speaks first: whatever follows is not of it.
          if (exchange->connection->buffer().size() > 0) {
            return Fail(exchange,
                        absl::UnavailableError(absl::StrCat(Peer(), ": its answer has a body")));
          }
          OnReached(exchange);
        });
  }

  void OnReached(const ExchangePtr& exchange) {
    connections_opened_.fetch_add(1);
    if (!server_.tls) return Write(exchange);
    ssl::stream<tcp::socket>& stream = exchange->connection->tls_stream();
    error_code not_an_ip;
    net::ip::make_address(server_.host, not_an_ip);
    if (not_an_ip && SSL_set_tlsext_host_name(stream.native_handle(), server_.host.c_str()) != 1) {
      return Fail(exchange, absl::UnavailableError("TLS server name cannot be set"));
    }
    stream.async_handshake(ssl::stream_base::client, [this, exchange](error_code error) {
      if (exchange->finished) return;
      if (error) return FailBeforeByteOne(exchange, "TLS", error);
      Write(exchange);
    });
  }

  void FailBeforeByteOne(const ExchangePtr& exchange, absl::string_view step,
                         const error_code& error) {
    Fail(exchange, absl::UnavailableError(absl::StrCat(Peer(), ": ", step, ": ", error.message())));
  }
  // Whom the way leads to, for people.
  std::string Peer() const {
    return proxy_ ? absl::StrCat(server_.host_header, " by proxy ", options_.proxy)
                  : server_.host_header;
  }

  void Write(const ExchangePtr& exchange) {
    exchange->connect_timer.cancel();
    exchange->request_text = RequestText(server_, exchange->call);
    if (exchange->call.may_write && !exchange->call.may_write()) {
      return Fail(exchange, absl::AbortedError("not permitted at the first byte"));
    }
    exchange->result.first_byte_raw_ns = SystemClock().Read().raw_ns;
    exchange->result.bytes_written = true;
#ifdef TIDEGATE_CRASH_POINTS
    // Only a request that travels alone is one whose end matters.
    if (!exchange->call.reusable_connection && crash_point::Due("S8")) {
      exchange->connection->WithStream([&](auto& stream) {
        error_code ignored;
        net::write(stream,
                   net::buffer(exchange->request_text.data(), exchange->request_text.size() / 2),
                   ignored);
      });
      crash_point::Die();
    }
#endif
    exchange->connection->WithStream([&](auto& stream) {
      net::async_write(stream, net::buffer(exchange->request_text),
                       [this, exchange](error_code error, size_t) {
                         if (exchange->finished) return;
                         if (error) return Fail(exchange, ReadErrorStatus(error));
                         TIDEGATE_CRASH_POINT_IF(!exchange->call.reusable_connection, "S9");
                         AwaitAnswer(exchange);
                       });
    });
  }

  void AwaitAnswer(const ExchangePtr& exchange) {
#ifdef TIDEGATE_CRASH_POINTS
    exchange->connection->socket().async_wait(
        tcp::socket::wait_read, [this, exchange](error_code error) {
          if (exchange->finished) return;
          error_code ignored;
          TIDEGATE_CRASH_POINT_IF(!error && !exchange->call.reusable_connection &&
                                      exchange->connection->socket().available(ignored) > 0,
                                  "S10");
          Read(exchange);
        });
#else
    Read(exchange);
#endif
  }

  void Read(const ExchangePtr& exchange) {
    exchange->parser.emplace();
    exchange->parser->header_limit(kHeaderBytesMax);
    exchange->parser->body_limit(static_cast<uint64_t>(options_.answer_bytes_max));
    exchange->parser->skip(exchange->call.method == "HEAD");
    exchange->connection->WithStream([&](auto& stream) {
      beast_http::async_read(stream, exchange->connection->buffer(), *exchange->parser,
                             [this, exchange](error_code error, size_t) {
                               if (exchange->finished) return;
#if TIDEGATE_MUTANT == 25
                               if (error && exchange->call.reusable_connection) {
                                 exchange->connection->Close();
                                 return Connect(exchange);
                               }
#endif
                               if (error) return Fail(exchange, ReadErrorStatus(error));
                               OnAnswer(exchange);
                             });
    });
  }

  void OnAnswer(const ExchangePtr& exchange) {
    auto& answer = exchange->parser->get();
    if (answer.result_int() / 100 == 1) {
      if (++exchange->interim_answers <= kInterimAnswersMax) return Read(exchange);
      return Fail(exchange, absl::UnknownError("interim answers without an end"));
    }
    const bool keep = exchange->call.reusable_connection && exchange->parser->keep_alive() &&
                      exchange->connection->buffer().size() == 0;
    exchange->result.http_status = static_cast<int>(answer.result_int());
    exchange->result.date_header = std::string(answer[beast_http::field::date]);
    exchange->result.body = std::move(answer.body());
    Finish(exchange, absl::OkStatus(), keep);
  }

  void Fail(const ExchangePtr& exchange, const absl::Status& status) {
    Finish(exchange, status, /*keep_connection=*/false);
  }

  void Finish(const ExchangePtr& exchange, const absl::Status& status, bool keep_connection) {
    if (exchange->finished) return;
    exchange->finished = true;
    exchange->result.status = status;
    exchange->result.completed_raw_ns = SystemClock().Read().raw_ns;
    exchange->deadline_timer.cancel();
    exchange->connect_timer.cancel();
    exchange->resolver.cancel();
    if (exchange->connection != nullptr) {
      if (keep_connection && !stopping_) {
        PutIdle(exchange->connection);
      } else {
        exchange->connection->Close();
      }
    }
    if (exchange->has_slot) {
      --busy_;
    } else {
      std::erase(waiting_, exchange);
    }
    open_calls_.fetch_sub(1);
    exchanges_.erase(exchange);
    // Posted, so that a `done` that sends the next call finds the bookkeeping of this one finished.
    net::post(context_, [this, exchange] {
      StartWaiting();
      const std::function<void(HttpResult)> done = std::move(exchange->done);
      done(std::move(exchange->result));
    });
  }

  // Leaves the thread nothing to wait for, so that it ends once every `done` has run.
  void Stop() {
    stopping_ = true;
    waiting_.clear();
    const auto exchanges = exchanges_;  // finishing changes the original
    for (const ExchangePtr& exchange : exchanges) {
      Fail(exchange, absl::CancelledError("the client is stopping"));
    }
    for (const std::shared_ptr<Connection>& connection : idle_) connection->Close();
    idle_.clear();
    work_.reset();
  }

  const ClientOptions options_;
  const ServerName server_;
  const std::optional<ProxyName> proxy_;
  std::optional<net::ip::address> source_;  // constant after Start()
  std::atomic<uint64_t> connections_opened_{0};
  std::atomic<size_t> open_calls_{0};
  ssl::context ssl_context_{ssl::context::tls_client};
  net::io_context context_{1};
  net::executor_work_guard<net::io_context::executor_type> work_{context_.get_executor()};

  // Touched by the client's thread only.
  std::unordered_set<ExchangePtr> exchanges_;
  std::deque<ExchangePtr> waiting_;
  std::vector<std::shared_ptr<Connection>> idle_;  // used last at the back
  size_t busy_ = 0;
  bool stopping_ = false;

  std::thread thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> Client::Create(ClientOptions options) {
  if (options.connections_max == 0) {
    return absl::InvalidArgumentError("connections_max must be at least 1");
  }
  ASSIGN_OR_RETURN(ServerName server, ParseBaseUrl(options.base_url));
  ASSIGN_OR_RETURN(std::optional<ProxyName> proxy, ParseProxy(options.proxy));
  auto client =
      std::make_unique<AsioClient>(std::move(options), std::move(server), std::move(proxy));
  RETURN_IF_ERROR(client->Start());
  return client;
}

}  // namespace tidegate::http
