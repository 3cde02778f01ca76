#include "services/tidegate/client/connection.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "services/tidegate/client/error_report.h"

namespace tidegate::client {
namespace {

constexpr int64_t kBackoffMaxMs = 1'000;
constexpr std::array<const char*, 4> kServices = {"ingestion", "tagging", "segmentation",
                                                  "dispatch"};

// Whether gRPC takes the address as one of several.
bool IsIpv4(const std::string& address) {
  in_addr parsed;
  return inet_pton(AF_INET, address.substr(0, address.rfind(':')).c_str(), &parsed) == 1;
}

}  // namespace

absl::StatusOr<Channels> MakeChannels(const std::string& servers, const ConnectTo& connect) {
  std::map<std::string, std::vector<std::string>> addresses;
  for (const absl::string_view entry : absl::StrSplit(servers, ',')) {
    const std::vector<std::string> parts = absl::StrSplit(entry, '=');
    const std::string service = parts.size() == 1 ? "" : parts[0];
    if (parts.size() > 2 || parts.back().empty() ||
        (parts.size() == 2 && !absl::c_linear_search(kServices, service))) {
      return absl::InvalidArgumentError(
          absl::StrCat("--grpc: \"", entry, "\" is no server; write HOST:PORT, or ",
                       absl::StrJoin(kServices, "=HOST:PORT,"), "=HOST:PORT"));
    }
    addresses[service].push_back(parts.back());
  }
  Channels channels;
  for (const auto& [service, replicas] : addresses) {
    if (replicas.size() == 1) {
      channels[service] = connect(replicas[0]);
      continue;
    }
    for (const std::string& replica : replicas) {
      if (IsIpv4(replica)) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("--grpc: \"", replica,
                       "\" is one of several servers for the same calls; those "
                       "are written as IPv4:PORT. Write one of them, or one name for all"));
    }
    channels[service] = connect(absl::StrCat("ipv4:", absl::StrJoin(replicas, ",")));
  }
  return channels;
}

absl::Status ToAbslStatus(const grpc::Status& status) {
  // We cancel no call: a server that stopped did, and nobody knows what became of it.
  if (status.error_code() == grpc::StatusCode::CANCELLED) {
    return absl::UnavailableError("the server stopped before it answered");
  }
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

Connection::Connection(Channels channels, const ConnectionOptions& options, ClientClock* clock)
    : channels_(std::move(channels)), options_(options), clock_(clock) {}

std::shared_ptr<grpc::Channel> Connection::To(const std::string& service) const {
  for (const std::string& name : {service, std::string()}) {
    if (const auto found = channels_.find(name); found != channels_.end()) return found->second;
  }
  return grpc::CreateChannel(absl::StrCat("no-address-of-", service),
                             grpc::InsecureChannelCredentials());
}

absl::Status Connection::Call(const Rpc& rpc, const AfterAttempt& after_attempt) const {
  Backoff backoff(clock_, options_.wait_s);
  while (true) {
    grpc::ClientContext context;
    SetTimeout(&context, options_.timeout_s);
    const grpc::Status answer = rpc(&context);
    if (after_attempt) after_attempt(answer);
    absl::Status status = ToAbslStatus(answer);
    if (!absl::IsUnavailable(status) || !backoff.Wait()) return status;
  }
}

}  // namespace tidegate::client
