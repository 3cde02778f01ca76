#include "common/http/server.h"

#include <algorithm>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/rfc7230.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/beast/version.hpp>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/tls/certificate_files.h"

namespace tidegate::http {
namespace {

namespace net = boost::asio;
namespace ssl = boost::asio::ssl;
namespace beast_http = boost::beast::http;
using boost::system::error_code;
using net::ip::tcp;

constexpr absl::Duration kStopDeadline = absl::Seconds(1);
constexpr absl::Duration kDrainDeadline = absl::Seconds(1);
constexpr absl::Duration kAcceptPause = absl::Milliseconds(50);
constexpr size_t kReadChunkBytes = 4096;
constexpr size_t kDrainBytesMax = 1 << 20;

absl::StatusOr<tcp::endpoint> ParseAddress(absl::string_view address) {
  const size_t colon = address.rfind(':');
  absl::string_view host = address.substr(0, colon);
  uint32_t port = 0;
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  error_code error;
  const net::ip::address ip = net::ip::make_address(std::string(host), error);
  if (colon == absl::string_view::npos || error || ip.is_v6() != bracketed ||
      !absl::SimpleAtoi(address.substr(colon + 1), &port) || port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("not an address of the form 127.0.0.1:8080 or [::1]:8080: ", address));
  }
  return tcp::endpoint(ip, static_cast<uint16_t>(port));
}

std::string AddressText(const tcp::endpoint& endpoint) {
  const std::string ip = endpoint.address().to_string();
  return endpoint.address().is_v6() ? absl::StrCat("[", ip, "]:", endpoint.port())
                                    : absl::StrCat(ip, ":", endpoint.port());
}

std::string RemoteIp(const tcp::socket& socket) {
  error_code error;
  const tcp::endpoint peer = socket.remote_endpoint(error);
  if (error) return "";
  const net::ip::address ip = peer.address();
  if (ip.is_v6() && ip.to_v6().is_v4_mapped()) {
    return net::ip::make_address_v4(net::ip::v4_mapped, ip.to_v6()).to_string();
  }
  return ip.to_string();
}

// 0: the peer is gone or talks no HTTP at all, there is nobody to answer.
int StatusOfReadError(const error_code& error) {
  if (error == beast_http::error::header_limit || error == beast_http::error::buffer_overflow) {
    return 431;
  }
  if (error == beast_http::error::body_limit) return 413;
  if (error == beast_http::error::end_of_stream || error == beast_http::error::partial_message) {
    return 0;
  }
  const error_code any_http_error = beast_http::error::bad_version;
  return error.category() == any_http_error.category() ? 400 : 0;
}

std::chrono::nanoseconds ToChrono(absl::Duration duration) {
  return std::chrono::nanoseconds(absl::ToInt64Nanoseconds(duration));
}

// `authorities` empty: no client certificate is asked for.
absl::StatusOr<std::shared_ptr<ssl::context>> MakeTls(const std::string& key_pair,
                                                      const std::string& authorities) {
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  SSL_CTX* const native = context->native_handle();
  error_code error;
  if (SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION) != 1) {
    return absl::InternalError("TLS 1.2 cannot be set as the minimum");
  }
  // No resumption: a session made under authorities that are gone must not open a connection.
  SSL_CTX_set_options(native, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_session_cache_mode(native, SSL_SESS_CACHE_OFF);
  context->use_certificate_chain(net::buffer(key_pair), error);
  if (!error) context->use_private_key(net::buffer(key_pair), ssl::context::pem, error);
  if (!error && !authorities.empty()) {
    context->add_certificate_authority(net::buffer(authorities), error);
    if (!error) {
      context->set_verify_mode(ssl::verify_peer | ssl::verify_fail_if_no_peer_cert, error);
    }
  }
  if (error) {
    return absl::InvalidArgumentError(
        absl::StrCat("OpenSSL does not take the TLS files: ", error.message()));
  }
  return context;
}

// The TLS of new connections, and the files it comes from. Touched by the io thread only.
class TlsSource {
 public:
  // nullptr: no TLS.
  static absl::StatusOr<std::unique_ptr<TlsSource>> Create(const Server::Options& options) {
    const std::string &cert = options.cert_file, &key = options.key_file, &ca = options.ca_file;
    if (cert.empty() && key.empty() && ca.empty()) return nullptr;
    if (cert.empty() || key.empty()) {
      return absl::InvalidArgumentError(
          "TLS of a listener needs both cert_file and key_file; name both, or none of the three");
    }
    auto source = std::unique_ptr<TlsSource>(new TlsSource);
    ASSIGN_OR_RETURN(source->key_pair_, tls::ReadKeyPair(cert, key));
    source->followed_key_pair_.emplace([cert, key] { return tls::ReadKeyPair(cert, key); },
                                       source->key_pair_, absl::StrCat(cert, ", ", key));
    if (!ca.empty()) {
      ASSIGN_OR_RETURN(source->authorities_, tls::ReadAuthorities(ca));
      source->followed_authorities_.emplace([ca] { return tls::ReadAuthorities(ca); },
                                            source->authorities_, ca);
    }
    ASSIGN_OR_RETURN(source->context_, MakeTls(source->key_pair_, source->authorities_));
    return source;
  }

  const std::shared_ptr<ssl::context>& context() const { return context_; }

  void Poll() {
    auto key_pair = followed_key_pair_->Poll();
    std::optional<std::string> authorities;
    if (followed_authorities_.has_value()) authorities = followed_authorities_->Poll();
    if (!key_pair.has_value() && !authorities.has_value()) return;
    auto context = MakeTls(key_pair.value_or(key_pair_), authorities.value_or(authorities_));
    if (!context.ok()) {
      LogEvent(LogLevel::kError, "tls_files_rejected",
               {{"error", std::string(context.status().message())}, {"in_use", "the ones before"}});
      return;
    }
    context_ = *std::move(context);
    if (key_pair.has_value()) key_pair_ = *std::move(key_pair);
    if (authorities.has_value()) authorities_ = *std::move(authorities);
  }

 private:
  TlsSource() = default;

  std::string key_pair_;
  std::string authorities_;
  std::optional<tls::Follower> followed_key_pair_;
  std::optional<tls::Follower> followed_authorities_;
  std::shared_ptr<ssl::context> context_;
};

// A connected socket, with TLS on top where the listener has it.
class Stream {
 public:
  Stream(tcp::socket socket, std::shared_ptr<ssl::context> tls)
      : tls_(std::move(tls)), stream_(Make(std::move(socket), tls_.get())) {}

  // Calls `function` with the stream that carries the bytes of HTTP.
  template <typename Function>
  void With(Function function) {
    std::visit(function, stream_);
  }

  // nullptr: no TLS.
  ssl::stream<tcp::socket>* tls() { return std::get_if<ssl::stream<tcp::socket>>(&stream_); }
  tcp::socket& socket() {
    return tls() != nullptr ? tls()->next_layer() : std::get<tcp::socket>(stream_);
  }

 private:
  using Either = std::variant<tcp::socket, ssl::stream<tcp::socket>>;

  static Either Make(tcp::socket socket, ssl::context* tls) {
    if (tls == nullptr) return Either(std::move(socket));
    return Either(std::in_place_type<ssl::stream<tcp::socket>>, std::move(socket), *tls);
  }

  const std::shared_ptr<ssl::context> tls_;  // outlives the stream
  Either stream_;
};

class Session;

// What the sessions of one server share. Touched by the io thread only.
struct Shared {
  Shared(net::io_context& context, Server::Options options, Handler handler)
      : context(context), options(std::move(options)), handler(std::move(handler)) {}

  net::io_context& context;
  const Server::Options options;
  const Handler handler;
  // The owner of every open session: while a handler works no pending operation holds it.
  std::unordered_map<Session*, std::shared_ptr<Session>> sessions;
  bool stopping = false;
  std::function<void()> on_session_closed;
};

// The way from any thread to the io thread, as long as there is one.
class Gate {
 public:
  explicit Gate(net::io_context& context) : context_(&context) {}

  template <typename Function>
  void Post(Function function) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (context_ != nullptr) net::post(*context_, std::move(function));
  }

  void Close() {
    std::lock_guard<std::mutex> lock(mutex_);
    context_ = nullptr;
  }

 private:
  std::mutex mutex_;
  net::io_context* context_;
};

// One connection: reads a request, hands it over, writes the answer, reads the next one.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, std::shared_ptr<ssl::context> tls, Shared& shared,
          std::shared_ptr<Gate> gate)
      : stream_(std::move(socket), std::move(tls)),
        timer_(shared.context),
        shared_(shared),
        gate_(std::move(gate)),
        buffer_(shared.options.header_bytes_max + 64 * 1024),
        remote_ip_(RemoteIp(stream_.socket())) {}

  void Start() {
    if (stream_.tls() == nullptr) return AwaitFirstByte(shared_.options.read_deadline);
    SetDeadline(shared_.options.read_deadline, [this] { Close(); });
    stream_.tls()->async_handshake(ssl::stream_base::server,
                                   [self = shared_from_this()](error_code error) {
                                     if (self->state_ == State::kClosed) return;
                                     if (error) return self->Close();
                                     self->AwaitFirstByte(self->DeadlineLeft());
                                   });
  }

  // Answers the request that waits for its handler; a late or repeated answer changes nothing.
  void Answer(uint64_t request_number, Response response) {
    if (state_ != State::kHandling || request_number != request_number_) return;
    switch (response.ending) {
      case Response::Ending::kAnswer:
        return Write(std::move(response));
      case Response::Ending::kClose:
        return Close();
      case Response::Ending::kReset:
        return Reset();
      case Response::Ending::kHold:
        state_ = State::kHolding;
        return Discard(/*bytes_left=*/std::nullopt);
    }
  }

  // Ends everything but the writing of an answer.
  void StopUnlessWriting() {
    if (state_ != State::kWriting) Close();
  }

 private:
  enum class State { kReading, kHandling, kWriting, kHolding, kDraining, kClosed };

  void AwaitFirstByte(absl::Duration deadline) {
    state_ = State::kReading;
    parser_.emplace();
    parser_->header_limit(
        static_cast<uint32_t>(std::min<size_t>(shared_.options.header_bytes_max, UINT32_MAX)));
    parser_->body_limit(static_cast<uint64_t>(shared_.options.body_bytes_max));
    if (buffer_.size() > 0) return ReadHeader();
    // An idle connection is closed without a 408: the peer could take it for the answer to a
    // request which it is just sending.
    SetDeadline(deadline, [this] { Close(); });
    stream_.With([this](auto& stream) {
      stream.async_read_some(buffer_.prepare(kReadChunkBytes),
                             [self = shared_from_this()](error_code error, size_t bytes) {
                               if (self->state_ == State::kClosed) return;
                               if (error) return self->Close();
                               self->buffer_.commit(bytes);
                               self->ReadHeader();
                             });
    });
  }

  void ReadHeader() {
    SetDeadline(shared_.options.read_deadline, [this] {
      timed_out_ = true;
      error_code ignored;
      stream_.socket().cancel(ignored);
    });
    stream_.With([this](auto& stream) {
      beast_http::async_read_header(
          stream, buffer_, *parser_, [self = shared_from_this()](error_code error, size_t) {
            if (self->state_ == State::kClosed) return;
            if (error || self->timed_out_) return self->OnReadError(error);
            if (beast_http::token_list(self->parser_->get()[beast_http::field::expect])
                    .exists("100-continue") &&
                !self->parser_->is_done()) {
              return self->InviteBody();
            }
            self->ReadBody();
          });
    });
  }

  void InviteBody() {
    static constexpr absl::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    stream_.With([this](auto& stream) {
      net::async_write(stream, net::buffer(kContinue.data(), kContinue.size()),
                       [self = shared_from_this()](error_code error, size_t) {
                         if (self->state_ == State::kClosed) return;
                         if (error || self->timed_out_) return self->OnReadError(error);
                         self->ReadBody();
                       });
    });
  }

  void ReadBody() {
    stream_.With([this](auto& stream) {
      beast_http::async_read(stream, buffer_, *parser_,
                             [self = shared_from_this()](error_code error, size_t) {
                               if (self->state_ == State::kClosed) return;
                               if (error || self->timed_out_) return self->OnReadError(error);
                               self->HandOver();
                             });
    });
  }

  void OnReadError(const error_code& error) {
    const int status = timed_out_ ? 408 : StatusOfReadError(error);
    if (status == 0) return Close();
    keep_alive_ = false;
    head_only_ = false;
    drain_ = true;
    Write({.status = status});
  }

  void HandOver() {
    ClearDeadline();
    state_ = State::kHandling;
    auto message = parser_->release();
    keep_alive_ = message.keep_alive();
    head_only_ = message.method() == beast_http::verb::head;
    version_ = message.version();
    Request request;
    request.method = std::string(message.method_string());
    request.target = std::string(message.target());
    request.content_type = std::string(message[beast_http::field::content_type]);
    request.body = std::move(message.body());
    request.remote_ip = remote_ip_;
    shared_.handler(std::move(request), MakeResponder(++request_number_));
  }

  Responder MakeResponder(uint64_t request_number);

  void Write(Response response) {
    state_ = State::kWriting;
    if (shared_.stopping) keep_alive_ = false;
    if (response.status < 200 || response.status > 599) response = {.status = 500};
    response_.emplace();
    response_->version(version_);
    response_->result(static_cast<unsigned>(response.status));
    response_->keep_alive(keep_alive_);
    if (response.status != 204 && response.status != 304) {
      response_->set(beast_http::field::content_type, response.content_type);
      response_->content_length(response.body.size());
      if (!head_only_) response_->body() = std::move(response.body);
    }
    SetDeadline(shared_.options.idle_deadline, [this] { Close(); });
    stream_.With([this](auto& stream) {
      beast_http::async_write(stream, *response_,
                              [self = shared_from_this()](error_code error, size_t) {
                                if (self->state_ == State::kClosed) return;
                                if (error) return self->Close();
                                self->OnWritten();
                              });
    });
  }

  void OnWritten() {
    response_.reset();
    if (shared_.stopping) return Close();
    if (keep_alive_) return AwaitFirstByte(shared_.options.idle_deadline);
    if (!drain_ && stream_.tls() == nullptr) return Close();
    state_ = State::kDraining;
    SetDeadline(kDrainDeadline, [this] { Close(); });
    if (stream_.tls() == nullptr) return Drain();
    // Tells the peer that nothing was cut off. Ends, too, when the peer sends instead of agreeing.
    stream_.tls()->async_shutdown([self = shared_from_this()](error_code) {
      if (self->state_ == State::kClosed) return;
      self->drain_ ? self->Drain() : self->Close();
    });
  }

  // A close with unread bytes resets the connection, and the reset can overtake the answer.
  void Drain() {
    error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    Discard(kDrainBytesMax);
  }

  // Past TLS: what it would decrypt is thrown away.
  void Discard(std::optional<size_t> bytes_left) {
    buffer_.clear();
    stream_.socket().async_read_some(
        buffer_.prepare(kReadChunkBytes),
        [self = shared_from_this(), bytes_left](error_code error, size_t bytes) {
          if (self->state_ == State::kClosed) return;
          if (error || (bytes_left.has_value() && bytes >= *bytes_left)) return self->Close();
          self->Discard(bytes_left.has_value() ? std::optional<size_t>(*bytes_left - bytes)
                                               : std::nullopt);
        });
  }

  template <typename Action>
  void SetDeadline(absl::Duration deadline, Action action) {
    timed_out_ = false;
    const uint64_t number = ++deadline_number_;
    timer_.expires_after(ToChrono(deadline));
    // The number tells an expiry that was already queued from the deadline that replaced it.
    timer_.async_wait([self = shared_from_this(), number, action](error_code error) {
      if (!error && number == self->deadline_number_ && self->state_ != State::kClosed) action();
    });
  }

  absl::Duration DeadlineLeft() const {
    return absl::FromChrono(timer_.expiry() - std::chrono::steady_clock::now());
  }

  void ClearDeadline() {
    ++deadline_number_;
    timer_.cancel();
  }

  // A close that lingers for no time resets; a shutdown before it would end in order.
  void Reset() {
    error_code ignored;
    stream_.socket().set_option(tcp::socket::linger(true, 0), ignored);
    stream_.socket().close(ignored);
    Close();
  }

  void Close() {
    if (state_ == State::kClosed) return;
    state_ = State::kClosed;
    ClearDeadline();
    error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_both, ignored);
    stream_.socket().close(ignored);
    const std::shared_ptr<Session> self = shared_from_this();
    shared_.sessions.erase(this);
    shared_.on_session_closed();
  }

  Stream stream_;
  net::steady_timer timer_;
  Shared& shared_;
  const std::shared_ptr<Gate> gate_;
  boost::beast::flat_buffer buffer_;
  const std::string remote_ip_;
  State state_ = State::kReading;
  std::optional<beast_http::request_parser<beast_http::string_body>> parser_;
  std::optional<beast_http::response<beast_http::string_body>> response_;
  uint64_t request_number_ = 0;
  uint64_t deadline_number_ = 0;
  unsigned version_ = 11;
  bool timed_out_ = false;
  bool keep_alive_ = true;
  bool head_only_ = false;
  bool drain_ = false;
};

// The right to answer one request. Dropped unused, it answers 500, so that no peer waits for a
// handler that gave up.
class Ticket {
 public:
  Ticket(std::shared_ptr<Gate> gate, std::weak_ptr<Session> session, uint64_t request_number)
      : gate_(std::move(gate)), session_(std::move(session)), request_number_(request_number) {}
  ~Ticket() { Use({.status = 500}); }
  Ticket(const Ticket&) = delete;
  Ticket& operator=(const Ticket&) = delete;

  void Use(Response response) {
    if (used_.exchange(true)) return;
    // Only the weak pointer travels: the last owner of a session must be on the io thread.
    gate_->Post(
        [session = session_, number = request_number_, response = std::move(response)]() mutable {
          if (auto open = session.lock()) open->Answer(number, std::move(response));
        });
  }

 private:
  const std::shared_ptr<Gate> gate_;
  const std::weak_ptr<Session> session_;
  const uint64_t request_number_;
  std::atomic<bool> used_{false};
};

Responder Session::MakeResponder(uint64_t request_number) {
  auto ticket = std::make_shared<Ticket>(gate_, weak_from_this(), request_number);
  return [ticket = std::move(ticket)](Response response) { ticket->Use(std::move(response)); };
}

class BeastServer : public Server {
 public:
  BeastServer(Options options, Handler handler)
      : shared_(context_, std::move(options), std::move(handler)),
        acceptor_(context_),
        stop_timer_(context_),
        accept_timer_(context_),
        tls_timer_(context_),
        gate_(std::make_shared<Gate>(context_)) {
    shared_.on_session_closed = [this] {
      if (shared_.stopping && shared_.sessions.empty()) context_.stop();
    };
  }

  ~BeastServer() override {
    if (thread_.joinable()) {
      gate_->Post([this] { Stop(); });
      thread_.join();
    }
    gate_->Close();
    shared_.sessions.clear();
  }

  absl::Status Listen() {
    ASSIGN_OR_RETURN(const tcp::endpoint endpoint, ParseAddress(shared_.options.address));
    ASSIGN_OR_RETURN(tls_, TlsSource::Create(shared_.options));
    error_code error;
    acceptor_.open(endpoint.protocol(), error);
    // For a restart beside connections of the last run; unlike SO_REUSEPORT it does not let two
    // listeners share one port.
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(net::socket_base::max_listen_connections, error);
    if (!error) bound_ = acceptor_.local_endpoint(error);
    if (error) {
      return absl::UnavailableError(
          absl::StrCat("cannot listen on ", shared_.options.address, ": ", error.message()));
    }
    Accept();
    if (tls_ != nullptr) FollowTlsFiles();
    thread_ = std::thread([this] { context_.run(); });
    return absl::OkStatus();
  }

  uint16_t port() const override { return bound_.port(); }
  std::string address() const override { return AddressText(bound_); }

 private:
  void Accept() {
    acceptor_.async_accept([this](error_code error, tcp::socket socket) {
      if (!acceptor_.is_open()) return;
      if (error) return PauseAccept();
      // Beyond the bound the socket dies here, unanswered.
      if (shared_.sessions.size() < shared_.options.connections_max) Open(std::move(socket));
      Accept();
    });
  }

  // Out of descriptors: an immediate retry would fail again and burn the only thread.
  void PauseAccept() {
    accept_timer_.expires_after(ToChrono(kAcceptPause));
    accept_timer_.async_wait([this](error_code error) {
      if (!error && acceptor_.is_open()) Accept();
    });
  }

  // On the io thread: a few kilobytes from files that are there.
  void FollowTlsFiles() {
    tls_timer_.expires_after(ToChrono(tls::kPollInterval));
    tls_timer_.async_wait([this](error_code error) {
      if (error || !acceptor_.is_open()) return;
      tls_->Poll();
      FollowTlsFiles();
    });
  }

  void Open(tcp::socket socket) {
    error_code ignored;
    socket.set_option(tcp::no_delay(true), ignored);
    auto session = std::make_shared<Session>(
        std::move(socket), tls_ == nullptr ? nullptr : tls_->context(), shared_, gate_);
    shared_.sessions.emplace(session.get(), session);
    session->Start();
  }

  void Stop() {
    shared_.stopping = true;
    error_code ignored;
    acceptor_.close(ignored);
    accept_timer_.cancel();
    tls_timer_.cancel();
    const auto sessions = shared_.sessions;  // closing changes the original
    for (const auto& [key, session] : sessions) session->StopUnlessWriting();
    if (shared_.sessions.empty()) return context_.stop();
    stop_timer_.expires_after(ToChrono(kStopDeadline));
    stop_timer_.async_wait([this](error_code error) {
      if (!error) context_.stop();
    });
  }

  // First, so destroyed last: the handlers left in it hold sessions and their sockets.
  net::io_context context_{1};
  Shared shared_;
  tcp::acceptor acceptor_;
  net::steady_timer stop_timer_;
  net::steady_timer accept_timer_;
  net::steady_timer tls_timer_;
  std::unique_ptr<TlsSource> tls_;  // nullptr: no TLS
  const std::shared_ptr<Gate> gate_;
  tcp::endpoint bound_;
  std::thread thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(Options options, Handler handler) {
  auto server = std::make_unique<BeastServer>(std::move(options), std::move(handler));
  RETURN_IF_ERROR(server->Listen());
  return server;
}

}  // namespace tidegate::http
