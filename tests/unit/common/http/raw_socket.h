// Plain blocking sockets on the loopback interface, for tests that must see or send the very bytes
// of a connection. No call waits longer than ten seconds.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace tidegate::http {

inline constexpr int kPatienceMs = 10'000;

// One end of a connection. Movable; closes at its end.
class RawSocket {
 public:
  explicit RawSocket(int fd) : fd_(fd) {}
  RawSocket(RawSocket&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), surplus_(std::move(other.surplus_)) {}
  RawSocket& operator=(RawSocket&&) = delete;
  ~RawSocket() { Close(); }

  static RawSocket Connect(uint16_t port) {
    RawSocket raw(socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(raw.fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) raw.Close();
    return raw;
  }

  bool is_open() const { return fd_ >= 0; }
  int fd() const { return fd_; }

  bool Send(absl::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }

  // Empty at the end of the stream, at a reset and when patience ends.
  std::string ReadSome() {
    if (!surplus_.empty()) return std::exchange(surplus_, "");
    pollfd wanted{fd_, POLLIN, 0};
    if (poll(&wanted, 1, kPatienceMs) <= 0) {
      last_error_ = ETIMEDOUT;
      return "";
    }
    char bytes[16384];
    const ssize_t received = recv(fd_, bytes, sizeof(bytes), 0);
    last_error_ = received < 0 ? errno : 0;
    return received > 0 ? std::string(bytes, static_cast<size_t>(received)) : "";
  }

  std::string ReadToEnd() {
    std::string all;
    for (std::string piece = ReadSome(); !piece.empty(); piece = ReadSome()) all += piece;
    return all;
  }

  // A whole message with its Content-Length, header and body; what follows stays for the next call.
  std::string ReadMessage() {
    std::string all;
    size_t wanted = std::string::npos;
    while (wanted == std::string::npos || all.size() < wanted) {
      const std::string piece = ReadSome();
      if (piece.empty()) return all;
      all += piece;
      const size_t end = all.find("\r\n\r\n");
      if (wanted == std::string::npos && end != std::string::npos) {
        wanted = end + 4 + ContentLength(absl::string_view(all).substr(0, end));
      }
    }
    surplus_ = all.substr(wanted);
    all.resize(wanted);
    return all;
  }

  // Of the last read: 0 after bytes or the end of the stream, else an errno.
  int last_error() const { return last_error_; }

  void ShutdownWrite() { shutdown(fd_, SHUT_WR); }

  // With a reset instead of the end of the stream.
  void Reset() {
    const linger now{1, 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    Close();
  }

  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

 private:
  static size_t ContentLength(absl::string_view header) {
    size_t length = 0;
    for (absl::string_view line : absl::StrSplit(header, "\r\n")) {
      if (!absl::StartsWithIgnoreCase(line, "content-length:")) continue;
      if (!absl::SimpleAtoi(absl::StripAsciiWhitespace(line.substr(15)), &length)) length = 0;
    }
    return length;
  }

  int fd_;
  int last_error_ = 0;
  std::string surplus_;
};

// Listens on a free port of 127.0.0.1.
class RawListener {
 public:
  RawListener() : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    if (bind(fd_, reinterpret_cast<sockaddr*>(&address), size) == 0 && listen(fd_, 16) == 0 &&
        getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) == 0) {
      port_ = ntohs(address.sin_port);
    }
  }
  RawListener(const RawListener&) = delete;
  RawListener& operator=(const RawListener&) = delete;
  ~RawListener() { Close(); }

  uint16_t port() const { return port_; }
  std::string url() const { return absl::StrCat("http://127.0.0.1:", port_); }

  RawSocket Accept() {
    pollfd wanted{fd_, POLLIN, 0};
    return RawSocket(poll(&wanted, 1, kPatienceMs) > 0 ? accept(fd_, nullptr, nullptr) : -1);
  }

  // Somebody has connected and was not accepted yet.
  bool HasPending() {
    pollfd wanted{fd_, POLLIN, 0};
    return poll(&wanted, 1, 0) > 0;
  }

  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

 private:
  int fd_;
  uint16_t port_ = 0;
};

}  // namespace tidegate::http
