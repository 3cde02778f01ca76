#include "services/tidegate/client/connection.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/cord.h"
#include "services/tidegate/client/error_report.h"

namespace tidegate::client {
namespace {

constexpr int64_t kBackoffMaxMs = 1'000;

}  // namespace

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  // The library's own pause between connects starts at 1 s and grows to 2 min: too slow for a
  // server that restarts in a second.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 500);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
  // Every attempt is ours, so that the client log tells all of them.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  // Never through a proxy of the environment: the server is named by address.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

absl::Status ToAbslStatus(const grpc::Status& status) {
  absl::Status converted(static_cast<absl::StatusCode>(status.error_code()),
                         status.error_message());
  if (!status.ok() && !status.error_details().empty()) {
    converted.SetPayload(kErrorDetailsPayload, absl::Cord(status.error_details()));
  }
  return converted;
}

void SetTimeout(grpc::ClientContext* context, double timeout_s) {
  context->set_deadline(std::chrono::system_clock::now() +
                        std::chrono::milliseconds(static_cast<int64_t>(timeout_s * 1e3)));
}

Backoff::Backoff(ClientClock* clock, double patience_s)
    : clock_(clock),
      give_up_raw_ns_(clock->Read().raw_ns + static_cast<int64_t>(patience_s * kNanosPerSecond)) {}

bool Backoff::Wait() {
  const int64_t left_ns = give_up_raw_ns_ - clock_->Read().raw_ns;
  if (left_ns <= 0) return false;
  // At least one millisecond, so that the last wait of a long patience ends.
  clock_->SleepMs(std::clamp<int64_t>(left_ns / kNanosPerMilli, 1, delay_ms_));
  delay_ms_ = std::min(2 * delay_ms_, kBackoffMaxMs);
  return true;
}

Connection::Connection(std::shared_ptr<grpc::Channel> channel, const ConnectionOptions& options,
                       ClientClock* clock)
    : channel_(std::move(channel)), options_(options), clock_(clock) {}

absl::Status Connection::Call(const Rpc& rpc, const AfterAttempt& after_attempt) const {
  Backoff backoff(clock_, options_.wait_s);
  while (true) {
    grpc::ClientContext context;
    SetTimeout(&context, options_.timeout_s);
    const grpc::Status status = rpc(&context);
    if (after_attempt) after_attempt(status);
    if (status.error_code() != grpc::StatusCode::UNAVAILABLE || !backoff.Wait()) {
      return ToAbslStatus(status);
    }
  }
}

}  // namespace tidegate::client
