// Makes the calls that the lane decided on, and tells it what came back. Never makes one twice.
#pragma once

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
    std::string source_address = {};  // that calls leave from, those for tokens too; empty = any
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
  WecomCaller(const config::Corps* corps, const wecom_table::Limits* limits, const Clock* clock,
              OnAnswer on_answer);
  void FetchToken(const wecom::AppKey& app, std::function<void(wecom::TokenAnswer)> done);
  void Send(CallToMake call, const std::string& token);
  // Welcomes never wait for a connection behind the rest.
  http::Client* ClientOf(const CallToMake& call);

  const config::Corps* const corps_;
  const wecom_table::Limits* const limits_;
  const Clock* const clock_;
  const OnAnswer on_answer_;
  std::mutex blocks_mu_;
  BlockList blocks_;  // guarded by blocks_mu_
  // What is declared later ends earlier, and calls back into the others while it does.
  std::unique_ptr<wecom::TokenCache> tokens_;
  std::unique_ptr<http::Client> client_;
  std::unique_ptr<http::Client> urgent_client_;  // welcomes, tokens
};

}  // namespace tidegate::dispatch
