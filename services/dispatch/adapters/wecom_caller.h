// Makes the calls that the lane decided on, and tells it what came back. Never makes one twice.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "common/config/corps.h"
#include "common/http/client.h"
#include "common/wecom/tokens.h"
#include "common/wecom_table/limits.h"
#include "services/dispatch/core/block_list.h"
#include "services/dispatch/core/call_types.h"

namespace tidegate::dispatch {

// Thread-safe.
class WecomCaller {
 public:
  using OnAnswer = std::function<void(std::unique_ptr<CallAnswer>)>;

  struct Route {
    std::string base_url;
    // What calls leave from and through, those for tokens too: see http::ClientOptions.
    std::string source_address = {};
    std::string proxy = {};
    std::string proxy_credentials = {};
  };
  // Nothing is owned but the connections; all outlive the caller. `on_answer` is called once per
  // call, from any thread. INVALID_ARGUMENT: the route is not usable.
  static absl::StatusOr<std::unique_ptr<WecomCaller>> Create(const Route& route,
                                                             const config::Corps* corps,
                                                             const wecom_table::Limits* limits,
                                                             const Clock* clock,
                                                             OnAnswer on_answer);
  // Ends open calls; their answers may still be told while it runs.
  ~WecomCaller();

  void Make(CallToMake call);
  // From now on no first byte of what is blocked is written, of calls that wait for a token or a
  // connection neither: they end as not written.
  void SetBlocks(const BlockList& blocks);

 private:
  WecomCaller(const Route& route, const config::Corps* corps, const wecom_table::Limits* limits,
              const Clock* clock, OnAnswer on_answer);
  void FetchToken(const wecom::AppKey& app, std::function<void(wecom::TokenAnswer)> done);
  void Send(CallToMake call, const std::string& token);
  // Tells that nothing gets through to WeCom, at most once a minute, and when something does again.
  void TellWay(const http::HttpResult& result);
  // Welcomes never wait for a connection behind the rest.
  http::Client* ClientOf(const CallToMake& call);

  const config::Corps* const corps_;
  const wecom_table::Limits* const limits_;
  const Clock* const clock_;
  const OnAnswer on_answer_;
  const std::string way_;                // for people
  std::atomic<int64_t> told_raw_ns_{0};  // of the last time that nothing got through; 0: never
  std::atomic<bool> blocked_{false};     // and nothing has since
  std::mutex blocks_mu_;
  BlockList blocks_;  // guarded by blocks_mu_
  // What is declared later ends earlier, and calls back into the others while it does.
  std::unique_ptr<wecom::TokenCache> tokens_;
  std::unique_ptr<http::Client> client_;
  std::unique_ptr<http::Client> urgent_client_;  // welcomes, tokens
};

}  // namespace tidegate::dispatch
