// Access tokens of WeCom: cached per (corp, app), fetched by one at a time while the others wait.
//
// A token is valid for its app only; an early refusal (40014, 42001, 40001) drops it, unless
// somebody has fetched a newer one meanwhile. Wrong secrets are not tried again for a minute: WeCom
// blocks the address of a caller that repeats them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/clock.h"

namespace tidegate::wecom {

struct AppKey {
  std::string corp;
  std::string agent_id;
  friend auto operator<=>(const AppKey&, const AppKey&) = default;
};

// What gettoken answered.
struct TokenAnswer {
  absl::Status status;  // of the transport and the body
  int errcode = 0;
  std::string token;
  int64_t expires_in_s = 0;
};
// Reads the body of a gettoken answer; `transport` not OK goes through.
TokenAnswer ParseTokenAnswer(const absl::Status& transport, absl::string_view body);

// For query parameters (RFC 3986 unreserved characters stay).
std::string PercentEncode(absl::string_view text);

// Thread-safe.
class TokenCache {
 public:
  using Fetch = std::function<void(const AppKey&, std::function<void(TokenAnswer)> done)>;
  // The token, or why there is none and gettoken's errcode (0 where it did not answer).
  using Got = std::function<void(absl::StatusOr<std::string> token, int errcode)>;

  // `fetch` may call `done` on any thread, once. `clock` outlives the cache.
  TokenCache(Fetch fetch, const Clock* clock) : fetch_(std::move(fetch)), clock_(clock) {}

  // Calls `got` once: at once from the cache, or when the fetch under way ends. At most 10,000 wait
  // per app (policy when full: RESOURCE_EXHAUSTED).
  void Get(const AppKey& app, Got got);
  // The token was refused. Forgets it if it is still the cached one.
  void Invalidate(const AppKey& app, const std::string& token);

 private:
  struct Entry {
    std::string token;
    int64_t expires_boot_ns = 0;
    int64_t no_fetch_before_boot_ns = 0;
    absl::Status last_failure;
    int last_errcode = 0;
    bool fetching = false;
    std::vector<Got> waiting;
  };
  void Fetched(const AppKey& app, TokenAnswer answer);

  const Fetch fetch_;
  const Clock* const clock_;
  std::mutex mu_;
  std::map<AppKey, Entry> entries_;  // guarded by mu_
};

}  // namespace tidegate::wecom
