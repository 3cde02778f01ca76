#include "services/wecom_simulator/callback_sender.h"

#include <algorithm>
#include <utility>

#include "absl/time/time.h"

namespace tidegate::wecom_simulator {
namespace {

constexpr size_t kServersMax = 8;

}  // namespace

http::Client* CallbackSender::ClientFor(const std::string& base_url) {
  const auto found = std::find_if(servers_.begin(), servers_.end(), [&](const Server& server) {
    return server.base_url == base_url;
  });
  if (found != servers_.end()) {
    servers_.splice(servers_.begin(), servers_, found);
    return servers_.front().client.get();
  }
  auto client = http::Client::Create({.base_url = base_url, .connections_max = 32});
  if (!client.ok()) return nullptr;
  servers_.push_front({base_url, *std::move(client)});
  if (servers_.size() > kServersMax) servers_.pop_back();
  return servers_.front().client.get();
}

void CallbackSender::Send(CallbackDelivery delivery) {
  const size_t host = delivery.url.find("://");
  const size_t slash =
      host == std::string::npos ? host : delivery.url.find_first_of("/?", host + 3);
  const std::string base_url = delivery.url.substr(0, slash);
  std::string target = slash == std::string::npos ? "/" : delivery.url.substr(slash);
  if (target.front() == '?') target.insert(0, "/");
  http::Client* client = ClientFor(base_url);
  if (client == nullptr) {
    done_(delivery.id, 0);
    return;
  }
  http::HttpCall call;
  call.method = "POST";
  call.target = std::move(target);
  call.content_type = "text/xml; charset=utf-8";
  call.body = std::move(delivery.body);
  call.deadline = absl::Milliseconds(delivery.deadline_ms);
  client->Send(std::move(call), [done = done_, id = delivery.id](http::HttpResult result) {
    done(id, result.status.ok() ? result.http_status : 0);
  });
}

}  // namespace tidegate::wecom_simulator
