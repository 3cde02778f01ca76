// POSTs callbacks to the corps' URLs. A URL may change at any restart of the receiver, so clients
// are made per server and the longest unused ones are let go.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>

#include "common/http/client.h"
#include "services/wecom_simulator/core/callback_queue.h"

namespace tidegate::wecom_simulator {

// For one thread. The destructor ends open deliveries with status 0.
class CallbackSender {
 public:
  // `done(id, http_status)` runs on a client's thread; 0 = network failure or no answer in time.
  using Done = std::function<void(uint64_t id, int http_status)>;
  explicit CallbackSender(Done done) : done_(std::move(done)) {}

  void Send(CallbackDelivery delivery);

 private:
  struct Server {
    std::string base_url;
    std::unique_ptr<http::Client> client;
  };
  // Null if the URL is none.
  http::Client* ClientFor(const std::string& base_url);

  const Done done_;
  std::list<Server> servers_;  // last used first
};

}  // namespace tidegate::wecom_simulator
