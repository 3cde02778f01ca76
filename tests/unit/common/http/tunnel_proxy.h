// A forward proxy of the tests' own: makes tunnels on the loopback interface, and keeps what it was
// asked for.
#pragma once

#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <cstdint>
#include <list>
#include <mutex>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "tests/unit/common/http/raw_socket.h"

namespace tidegate::http {

// Thread-safe. Whatever name it is asked for, it connects to that port of 127.0.0.1.
class TunnelProxy {
 public:
  TunnelProxy() : thread_([this] { Serve(); }) {}
  TunnelProxy(const TunnelProxy&) = delete;
  TunnelProxy& operator=(const TunnelProxy&) = delete;
  ~TunnelProxy() {
    stopping_ = true;
    RawSocket::Connect(listener_.port());  // wakes it
    thread_.join();
    {
      const std::lock_guard lock(mutex_);
      for (const int fd : fds_) shutdown(fd, SHUT_RDWR);
    }
    for (std::thread& tunnel : tunnels_) tunnel.join();
  }

  std::string address() const { return absl::StrCat("127.0.0.1:", listener_.port()); }
  // The requests so far, with their headers.
  std::vector<std::string> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  void Serve() {
    while (true) {
      RawSocket client = listener_.Accept();
      if (stopping_) return;
      if (!client.is_open()) continue;
      Keep(client.fd());
      tunnels_.emplace_back(
          [this, client = std::move(client)]() mutable { Tunnel(std::move(client)); });
    }
  }

  void Tunnel(RawSocket client) {
    const std::string request = client.ReadMessage();
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
    }
    const absl::string_view line = absl::string_view(request).substr(0, request.find(" HTTP/1.1"));
    uint32_t port = 0;
    if (!absl::SimpleAtoi(line.substr(line.rfind(':') + 1), &port)) port = 0;
    RawSocket server = RawSocket::Connect(static_cast<uint16_t>(port));
    if (server.is_open()) {
      Keep(server.fd());
      client.Send("HTTP/1.1 200 Connection established\r\n\r\n");
      while (Pass(&client, &server)) continue;
    } else {
      client.Send("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
    }
    const std::lock_guard lock(mutex_);
    std::erase_if(fds_, [&](int fd) { return fd == client.fd() || fd == server.fd(); });
    client.Close();
    server.Close();
  }

  // What the one has sent goes to the other; false: one of them has ended.
  static bool Pass(RawSocket* client, RawSocket* server) {
    pollfd ends[] = {{client->fd(), POLLIN, 0}, {server->fd(), POLLIN, 0}};
    if (poll(ends, 2, kPatienceMs) <= 0) return false;
    for (const auto& [from, to, end] :
         {std::tuple{client, server, ends[0]}, {server, client, ends[1]}}) {
      if (end.revents == 0) continue;
      const std::string bytes = from->ReadSome();
      if (bytes.empty() || !to->Send(bytes)) return false;
    }
    return true;
  }

  void Keep(int fd) {
    const std::lock_guard lock(mutex_);
    fds_.push_back(fd);
    if (stopping_) shutdown(fd, SHUT_RDWR);
  }

  RawListener listener_;
  std::atomic<bool> stopping_{false};
  mutable std::mutex mutex_;
  std::vector<std::string> requests_;
  std::vector<int> fds_;  // of the tunnels there are
  std::list<std::thread> tunnels_;
  std::thread thread_;
};

}  // namespace tidegate::http
