#include "common/wecom/tokens.h"

#include <algorithm>
#include <boost/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/crash_point.h"

namespace tidegate::wecom {
namespace {

namespace json = boost::json;

constexpr size_t kWaitingMax = 10'000;
// SDK practice: treated as expired this early, but never by more than a tenth of its life.
constexpr int64_t kEarlyNs = 200 * kNanosPerSecond;
// Bounds what a peer may claim, so that no sum overflows.
constexpr int64_t kLifeMaxS = 24 * 3600;
constexpr int64_t kFetchGapNs = kNanosPerSecond;
constexpr int64_t kWrongSecretGapNs = 60 * kNanosPerSecond;

bool IsWrongSecret(int errcode) {
  return errcode == 40001 || errcode == 40013 || errcode == 40091 || errcode == 45009 ||
         errcode == 45031;
}

}  // namespace

TokenAnswer ParseTokenAnswer(const absl::Status& transport, absl::string_view body) {
  TokenAnswer answer;
  answer.status = transport;
  if (!transport.ok()) return answer;
  boost::system::error_code error;
  const json::value root = json::parse(json::string_view(body.data(), body.size()), error);
  const json::object* object = error || !root.is_object() ? nullptr : &root.as_object();
  if (object == nullptr) {
    answer.status = absl::UnavailableError("gettoken: the answer is not JSON");
    return answer;
  }
  if (const auto* value = object->if_contains("errcode"); value != nullptr && value->is_int64()) {
    answer.errcode = static_cast<int>(value->as_int64());
  }
  if (const auto* value = object->if_contains("access_token");
      value != nullptr && value->is_string()) {
    answer.token = std::string(value->as_string());
  }
  if (const auto* value = object->if_contains("expires_in");
      value != nullptr && value->is_int64()) {
    answer.expires_in_s = value->as_int64();
  }
  if (answer.errcode != 0 || answer.token.empty()) {
    answer.status = absl::UnavailableError(absl::StrCat("gettoken: errcode ", answer.errcode));
  }
  return answer;
}

std::string PercentEncode(absl::string_view text) {
  std::string out;
  for (const char c : text) {
    if (absl::ascii_isalnum(c) || c == '-' || c == '.' || c == '_' || c == '~') {
      out.push_back(c);
    } else {
      absl::StrAppend(&out, "%",
                      absl::AsciiStrToUpper(
                          absl::StrCat(absl::Hex(static_cast<unsigned char>(c), absl::kZeroPad2))));
    }
  }
  return out;
}

void TokenCache::Get(const AppKey& app, Got got) {
  std::unique_lock lock(mu_);
  Entry& entry = entries_[app];
  const int64_t now = clock_->Read().boot_ns;
  if (!entry.token.empty() && now < entry.expires_boot_ns) {
    const std::string token = entry.token;
    lock.unlock();
    return got(token, 0);
  }
  if (!entry.fetching && now < entry.no_fetch_before_boot_ns && !entry.last_failure.ok()) {
    const absl::Status failure = entry.last_failure;
    const int errcode = entry.last_errcode;
    lock.unlock();
    return got(failure, errcode);
  }
  if (entry.waiting.size() >= kWaitingMax) {
    lock.unlock();
    return got(absl::ResourceExhaustedError("too many calls wait for a token"), 0);
  }
  entry.waiting.push_back(std::move(got));
  if (entry.fetching && TIDEGATE_MUTANT != 16) return;
  entry.fetching = true;
  lock.unlock();
  fetch_(app, [this, app](TokenAnswer answer) { Fetched(app, std::move(answer)); });
}

void TokenCache::Invalidate(const AppKey& app, const std::string& token) {
  std::lock_guard lock(mu_);
  Entry& entry = entries_[app];
  if (entry.token == token) entry.token.clear();
}

void TokenCache::Fetched(const AppKey& app, TokenAnswer answer) {
  TIDEGATE_CRASH_POINT_IF(answer.status.ok(), "T1");
  std::vector<Got> waiting;
  absl::StatusOr<std::string> result =
      answer.status.ok() ? absl::StatusOr<std::string>(answer.token) : answer.status;
  {
    std::lock_guard lock(mu_);
    Entry& entry = entries_[app];
    const int64_t now = clock_->Read().boot_ns;
    entry.fetching = false;
    entry.last_failure = answer.status;
    entry.last_errcode = answer.errcode;
    if (answer.status.ok()) {
      const int64_t life = std::clamp<int64_t>(answer.expires_in_s, 0, kLifeMaxS) * kNanosPerSecond;
      entry.token = answer.token;
      entry.expires_boot_ns = now + life - std::min(kEarlyNs, life / 10);
      // What WeCom refuses at once is not fetched in a loop.
      entry.no_fetch_before_boot_ns = now + kFetchGapNs;
      entry.last_failure =
          absl::UnavailableError("the new token was refused too; trying again in a second");
    } else {
      entry.no_fetch_before_boot_ns =
          now + (IsWrongSecret(answer.errcode) ? kWrongSecretGapNs : kFetchGapNs);
    }
    waiting.swap(entry.waiting);
  }
  for (const Got& got : waiting) got(result, answer.errcode);
}

}  // namespace tidegate::wecom
