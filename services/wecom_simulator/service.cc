#include "services/wecom_simulator/service.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "services/wecom_simulator/core/fields.h"

namespace tidegate::wecom_simulator {
namespace {

namespace json = boost::json;

// A seed with 100,000 customers is about 8 MB.
constexpr size_t kBodyBytesMax = 64u << 20;
constexpr size_t kWaitersMax = 64;
constexpr int64_t kWaitMsMax = 600'000;
constexpr int64_t kExtendMs = 150;
constexpr int64_t kIdleWakeNs = 10 * kNanosPerSecond;

http::Response JsonResponse(const json::object& object, int status = 200) {
  return {.status = status,
          .content_type = "application/json; charset=utf-8",
          .body = json::serialize(object)};
}

http::Response ErrorResponse(const absl::Status& status) {
  const int http_status = absl::IsNotFound(status)            ? 404
                          : absl::IsResourceExhausted(status) ? 503
                                                              : 400;
  return JsonResponse({{"error", std::string(status.message())}}, http_status);
}

std::string QueryOf(const std::string& target) {
  const size_t question = target.find('?');
  return question == std::string::npos ? "" : target.substr(question + 1);
}

absl::Status ReadQueryNumber(const std::string& query, absl::string_view name, int64_t most,
                             int64_t* out) {
  const std::string text = QueryField(query, name);
  if (text.empty()) return absl::OkStatus();
  if (!absl::SimpleAtoi(text, out) || *out < 0 || *out > most) {
    return absl::InvalidArgumentError(absl::StrCat(name, " must be from 0 to ", most));
  }
  return absl::OkStatus();
}

absl::StatusOr<json::object> ControlArguments(const http::Request& request) {
  if (request.method == "GET") {
    json::object arguments;
    const std::string query = QueryOf(request.target);
    std::string corp = QueryField(query, "corp");
    if (corp.empty()) corp = QueryField(query, "corp_id");
    if (!corp.empty()) arguments["corp_id"] = corp;
    return arguments;
  }
  json::error_code error;
  json::value body = json::parse(request.body, error);
  if (error || !body.is_object()) {
    return absl::InvalidArgumentError("the body must be a JSON object");
  }
  return std::move(body.get_object());
}

absl::Status WritePortsFile(const std::string& path, const std::string& address, uint16_t port) {
  const std::string text =
      json::serialize(json::object{{"address", address}, {"port", port}, {"pid", getpid()}}) + "\n";
  const std::string draft = absl::StrCat(path, ".new");
  const int descriptor = ::open(draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  bool written = false;
  if (descriptor >= 0) {
    written = ::write(descriptor, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    written = ::close(descriptor) == 0 && written;
  }
  if (!written || std::rename(draft.c_str(), path.c_str()) != 0) {
    return absl::UnavailableError(absl::StrCat("ports file ", path, ": ", std::strerror(errno)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Service>> Service::Start(const Config& config, const Clock& clock) {
  std::unique_ptr<Service> service(new Service(config, clock));
  Service* self = service.get();
  if (!config.witness_file.empty()) {
    ASSIGN_OR_RETURN(
        self->witness_,
        WitnessFile::Open(config.witness_file, [self](uint64_t seq, const absl::Status& status) {
          self->OnSynced(seq, status);
        }));
  }
  self->thread_ = std::thread([self] { self->Run(); });
  http::Server::Options options;
  options.address = config.address;
  options.body_bytes_max = kBodyBytesMax;
  ASSIGN_OR_RETURN(self->server_, http::Server::Start(
                                      options, [self](http::Request request, http::Responder send) {
                                        self->OnHttp(std::move(request), std::move(send));
                                      }));
  self->address_ = self->server_->address();
  if (!config.ports_file.empty()) {
    RETURN_IF_ERROR(WritePortsFile(config.ports_file, self->address_, self->server_->port()));
  }
  LogEvent(LogLevel::kInfo, "simulator_ready",
           {{"address", self->address_}, {"seed", absl::StrCat(config.core.seed)}});
  return service;
}

Service::Service(const Config& config, const Clock& clock)
    : config_(config), clock_(clock), core_(config.core) {}

Service::~Service() { Stop(); }

void Service::Stop() {
  server_.reset();
  {
    std::lock_guard lock(mu_);
    stopping_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
  witness_.reset();
}

absl::Status Service::health() const {
  std::lock_guard lock(mu_);
  return health_;
}

void Service::OnHttp(http::Request request, http::Responder send) {
  const std::string path = http::Path(request.target);
  if (path == "/control/wait_create") {
    OnWaitCreate(request, send);
  } else if (absl::StartsWith(path, "/control/")) {
    OnControl(request, send);
  } else {
    OnApi(std::move(request), std::move(send));
  }
}

void Service::OnApi(http::Request request, http::Responder send) {
  ApiRequest call{std::move(request.method), http::Path(request.target), QueryOf(request.target),
                  std::move(request.body), std::move(request.remote_ip)};
  Outbox outbox;
  {
    std::lock_guard lock(mu_);
    const Now now = clock_.Read();
    Decision decision = core_.OnRequest(call, now);
    Answer answer;
    answer.seq = ++last_seq_;
    answer.due_raw_ns = decision.answer_at_raw_ns;
    answer.arrived_raw_ns = now.raw_ns;
    answer.is_create = decision.entry.api == "add_msg_template" &&
                       decision.entry.verdict == "executed" && decision.ending == Ending::kAnswer;
    answer.marker = decision.entry.marker;
    answer.response.status = decision.http_status;
    answer.response.content_type = "application/json; charset=utf-8";
    answer.response.body = std::move(decision.body);
    // A hold ends at the hold bound, so that no connection stays for ever.
    if (decision.ending != Ending::kAnswer) {
      answer.response.ending = decision.ending == Ending::kReset ? http::Response::Ending::kReset
                                                                 : http::Response::Ending::kClose;
    }
    answer.send = std::move(send);
    if (witness_ != nullptr) {
      witness_->Append(ToLine(decision.entry, answer.seq), answer.seq);
    } else {
      synced_seq_ = answer.seq;
    }
    const bool tell = answer.is_create && !waiters_.empty();
    by_due_.emplace(answer.due_raw_ns, decision.request_id);
    answers_.emplace(decision.request_id, std::move(answer));
    if (tell) TellWaiter(decision.request_id, now, &outbox);
    woken_ = true;
  }
  changed_.notify_one();
  for (auto& [responder, response] : outbox) responder(std::move(response));
}

void Service::OnControl(const http::Request& request, const http::Responder& send) {
  absl::StatusOr<json::object> arguments = ControlArguments(request);
  if (!arguments.ok()) {
    send(ErrorResponse(arguments.status()));
    return;
  }
  absl::StatusOr<json::object> answer;
  {
    std::lock_guard lock(mu_);
    answer = core_.OnControl(http::Path(request.target), *arguments, clock_.Read());
    woken_ = true;
  }
  changed_.notify_one();
  send(answer.ok() ? JsonResponse(*answer) : ErrorResponse(answer.status()));
}

void Service::OnWaitCreate(const http::Request& request, const http::Responder& send) {
  const std::string query = QueryOf(request.target);
  int64_t timeout_ms = 10'000, extend_ms = kExtendMs;
  absl::Status valid = ReadQueryNumber(query, "timeout_ms", kWaitMsMax, &timeout_ms);
  if (valid.ok()) {
    valid = ReadQueryNumber(query, "extend_ms", config_.core.limits.hold_ms, &extend_ms);
  }
  if (!valid.ok()) {
    send(ErrorResponse(valid));
    return;
  }
  Outbox outbox;
  {
    std::lock_guard lock(mu_);
    if (waiters_.size() >= kWaitersMax) {
      outbox.emplace_back(send, ErrorResponse(absl::ResourceExhaustedError("too many wait")));
    } else {
      const Now now = clock_.Read();
      waiters_.push_back(
          {now.raw_ns + timeout_ms * kNanosPerMilli, extend_ms * kNanosPerMilli, send});
      const auto open = std::find_if(answers_.begin(), answers_.end(),
                                     [](const auto& each) { return each.second.is_create; });
      if (open != answers_.end()) TellWaiter(open->first, now, &outbox);
      woken_ = true;
    }
  }
  changed_.notify_one();
  for (auto& [responder, response] : outbox) responder(std::move(response));
}

void Service::TellWaiter(uint64_t request_id, const Now& now, Outbox* outbox) {
  Answer& answer = answers_.at(request_id);
  Waiter& waiter = waiters_.front();
  by_due_.erase({answer.due_raw_ns, request_id});
  const int64_t bound = answer.arrived_raw_ns + config_.core.limits.hold_ms * kNanosPerMilli;
  answer.due_raw_ns = std::min(bound, std::max(answer.due_raw_ns, now.raw_ns + waiter.extend_ns));
  by_due_.emplace(answer.due_raw_ns, request_id);
  outbox->emplace_back(
      std::move(waiter.send),
      JsonResponse({{"received", true},
                    {"request_id", request_id},
                    {"marker", answer.marker},
                    {"arrived_raw_ns", answer.arrived_raw_ns},
                    {"answer_in_ms", (answer.due_raw_ns - now.raw_ns) / kNanosPerMilli}}));
  waiters_.pop_front();
}

void Service::OnSynced(uint64_t seq, const absl::Status& status) {
  {
    std::lock_guard lock(mu_);
    if (status.ok()) {
      synced_seq_ = seq;
    } else {
      health_ = status;
    }
    woken_ = true;
  }
  changed_.notify_one();
}

void Service::CollectAnswers(const Now& now, Outbox* outbox) {
  for (auto due = by_due_.begin(); due != by_due_.end() && due->first <= now.raw_ns;) {
    const auto found = answers_.find(due->second);
    if (found->second.seq > synced_seq_) {
      ++due;
      continue;
    }
    // Before the answer leaves: a caller that has it may call again at once.
    core_.OnAnswered(found->first, now);
    outbox->emplace_back(std::move(found->second.send), std::move(found->second.response));
    answers_.erase(found);
    due = by_due_.erase(due);
  }
}

void Service::CollectWaiters(const Now& now, Outbox* outbox) {
  for (auto waiter = waiters_.begin(); waiter != waiters_.end();) {
    if (waiter->deadline_raw_ns > now.raw_ns) {
      ++waiter;
      continue;
    }
    outbox->emplace_back(std::move(waiter->send), JsonResponse({{"received", false}}));
    waiter = waiters_.erase(waiter);
  }
}

int64_t Service::NextWakeNs(int64_t raw_ns) const {
  int64_t next = core_.NextWakeNs().value_or(INT64_MAX);
  // Those already due wait for the witness log, which wakes by itself.
  const auto due = by_due_.upper_bound({raw_ns, UINT64_MAX});
  if (due != by_due_.end()) next = std::min(next, due->first);
  for (const Waiter& waiter : waiters_) next = std::min(next, waiter.deadline_raw_ns);
  return next;
}

void Service::Run() {
  CallbackSender sender([this](uint64_t id, int http_status) {
    {
      std::lock_guard lock(mu_);
      core_.OnCallbackDone(id, http_status, clock_.Read());
      woken_ = true;
    }
    changed_.notify_one();
  });
  std::unique_lock lock(mu_);
  while (!stopping_) {
    woken_ = false;
    const Now now = clock_.Read();
    Outbox outbox;
    CollectAnswers(now, &outbox);
    CollectWaiters(now, &outbox);
    std::vector<CallbackDelivery> callbacks = core_.TakeDueCallbacks(now);
    if (!outbox.empty() || !callbacks.empty()) {
      lock.unlock();
      for (auto& [responder, response] : outbox) responder(std::move(response));
      for (CallbackDelivery& delivery : callbacks) sender.Send(std::move(delivery));
      lock.lock();
      continue;
    }
    const int64_t wait_ns =
        std::clamp<int64_t>(NextWakeNs(now.raw_ns) - now.raw_ns, 0, kIdleWakeNs);
    changed_.wait_for(lock, std::chrono::nanoseconds(wait_ns),
                      [this] { return woken_ || stopping_; });
  }
  lock.unlock();
}

}  // namespace tidegate::wecom_simulator
