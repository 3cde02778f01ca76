// Stands in for WeCom where only speed is asked for: HTTP/1.1 with kept connections, one thread.
// Answers gettoken and mark_tag with errcode 0, and counts the calls of mark_tag; GET /figures
// tells how many, how many different bodies, and when the first and the last was answered. Keeps no
// limits and no state of customers: the simulator does. Used by send_bench.py.
//
//   call_sink --address 127.0.0.1:0 --ports-file ports.json

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "boost/json.hpp"
#include "common/base/check.h"
#include "common/base/clock.h"

namespace tidegate::bench {
namespace {

constexpr absl::string_view kLengthHeader = "\r\nContent-Length: ";  // as our client writes it
constexpr absl::string_view kMarked = R"({"errcode":0,"errmsg":"ok"})";

class Sink {
 public:
  // The port; 0 = the address cannot be used.
  uint16_t Listen(const std::string& host, uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    if (inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1) return 0;
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    socklen_t size = sizeof(address);
    if (bind(listener_, generic, size) != 0 || listen(listener_, SOMAXCONN) != 0 ||
        getsockname(listener_, generic, &size) != 0) {
      return 0;
    }
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    Add(listener_);
    return ntohs(address.sin_port);
  }

  void Run() {
    epoll_event events[64];
    while (true) {
      const int count = epoll_wait(epoll_, events, std::size(events), -1);
      for (int i = 0; i < count; ++i) {
        const int socket = events[i].data.fd;
        if (socket == listener_) {
          Accept();
        } else if (!Serve(socket)) {
          unread_.erase(socket);
          close(socket);
        }
      }
    }
  }

 private:
  void Add(int socket) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = socket;
    CHECK(epoll_ctl(epoll_, EPOLL_CTL_ADD, socket, &event) == 0);
  }

  void Accept() {
    const int socket = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) return;
    const int on = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    unread_[socket];
    Add(socket);
  }

  // False: the peer has gone, or does not speak HTTP.
  bool Serve(int socket) {
    std::string& unread = unread_[socket];
    char bytes[16'384];
    const ssize_t count = recv(socket, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (count <= 0) return count < 0 && errno == EAGAIN;
    unread.append(bytes, static_cast<size_t>(count));
    while (true) {
      const size_t end = unread.find("\r\n\r\n");
      if (end == std::string::npos) return true;
      const absl::string_view head(unread.data(), end);
      size_t body_bytes = 0;
      if (const size_t at = head.find(kLengthHeader); at != absl::string_view::npos) {
        const absl::string_view rest = head.substr(at + kLengthHeader.size());
        if (!absl::SimpleAtoi(rest.substr(0, rest.find('\r')), &body_bytes)) return false;
      }
      const size_t request_bytes = end + 4 + body_bytes;
      if (unread.size() < request_bytes) return true;
      const absl::string_view body = absl::string_view(unread).substr(end + 4, body_bytes);
      if (!Answer(socket, head.substr(0, head.find('\r')), body)) return false;
      unread.erase(0, request_bytes);
    }
  }

  bool Answer(int socket, absl::string_view request_line, absl::string_view body) {
    if (absl::StartsWith(request_line, "POST /cgi-bin/externalcontact/mark_tag?")) {
      const bool sent = Send(socket, kMarked);
      last_raw_ns_ = SystemClock().Read().raw_ns;
      if (calls_++ == 0) first_raw_ns_ = last_raw_ns_;
      bodies_.insert(absl::HashOf(body));
      return sent;
    }
    if (absl::StartsWith(request_line, "GET /cgi-bin/gettoken?")) {
      // As long as a token of WeCom.
      return Send(socket, boost::json::serialize(
                              boost::json::object{{"errcode", 0},
                                                  {"errmsg", "ok"},
                                                  {"access_token", std::string(214, 't')},
                                                  {"expires_in", 7200}}));
    }
    return Send(socket, boost::json::serialize(boost::json::object{{"calls", calls_},
                                                                   {"distinct", bodies_.size()},
                                                                   {"first_raw_ns", first_raw_ns_},
                                                                   {"last_raw_ns", last_raw_ns_}}));
  }

  static bool Send(int socket, absl::string_view body) {
    const std::string answer = absl::StrCat(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=UTF-8\r\nContent-Length: ",
        body.size(), "\r\n\r\n", body);
    // Answers are small and the peer reads them: the socket's buffer takes each whole.
    return send(socket, answer.data(), answer.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(answer.size());
  }

  int listener_ = -1;
  int epoll_ = -1;
  std::map<int, std::string> unread_;  // by socket
  uint64_t calls_ = 0;
  int64_t first_raw_ns_ = 0;
  int64_t last_raw_ns_ = 0;
  absl::flat_hash_set<size_t> bodies_;  // their hashes
};

bool WritePortsFile(const std::string& path, const std::string& address) {
  const std::string draft = path + ".new";
  std::ofstream file(draft);
  file << boost::json::object{{"address", address}, {"pid", getpid()}} << "\n";
  file.close();
  return file.good() && std::rename(draft.c_str(), path.c_str()) == 0;
}

int Run(const std::string& address, const std::string& ports_file) {
  const size_t colon = address.rfind(':');
  uint32_t port = 0;
  Sink sink;
  const std::string host = address.substr(0, colon);
  if (colon != std::string::npos && absl::SimpleAtoi(address.substr(colon + 1), &port) &&
      port <= 65535) {
    port = sink.Listen(host, static_cast<uint16_t>(port));
    if (port != 0 && WritePortsFile(ports_file, absl::StrCat(host, ":", port))) {
      sink.Run();
    }
  }
  std::fprintf(stderr, "call_sink: cannot listen on %s or write %s: %s\n", address.c_str(),
               ports_file.c_str(), std::strerror(errno));
  return 1;
}

}  // namespace
}  // namespace tidegate::bench

int main(int argc, char** argv) {
  std::string address = "127.0.0.1:0";
  std::string ports_file;
  CLI::App app("Answers calls of mark_tag; send_bench.py runs it");
  app.add_option("--address", address, "IPv4 and port; port 0 = any free one");
  app.add_option("--ports-file", ports_file, "{address, pid}, there once ready")->required();
  CLI11_PARSE(app, argc, argv);
  return tidegate::bench::Run(address, ports_file);
}
