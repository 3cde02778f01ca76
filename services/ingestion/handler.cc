#include "services/ingestion/handler.h"

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/partitioner.h"
#include "common/grpc/checks.h"
#include "common/grpc/errors.h"
#include "services/ingestion/core/event_builder.h"

namespace tidegate::ingestion {

namespace v1 = ::tidegate::ingestion::v1;

namespace {

constexpr int kEventsMax = 1000;

bool IsSourceName(const std::string& source) {
  if (source.empty() || source.size() > 64 || source == "wecom" || source == "dispatch")
    return false;
  for (const char c : source) {
    if (!absl::ascii_islower(c) && !absl::ascii_isdigit(c) && c != '-' && c != '_') return false;
  }
  return true;
}

// Answers the call when every partition's append has ended.
struct Publication {
  std::mutex mu;
  size_t left = 0;
  bool log_unavailable = false;
  grpc::ServerUnaryReactor* reactor = nullptr;
  v1::BatchPublishEventsResponse* response = nullptr;

  void Ended(const std::vector<int>& items, const absl::Status& status) {
    std::unique_lock lock(mu);
    if (!status.ok()) {
      log_unavailable =
          log_unavailable || absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
      for (const int item : items) {
        auto* result = response->mutable_results(item);
        result->set_code(rpc::ToGrpcCode(status.code()));
        result->set_message(absl::StrCat("not acknowledged: ", status.message(),
                                         "; publish it again with the same event_id"));
      }
    }
    if (--left > 0) return;
    lock.unlock();
    reactor->Finish(
        log_unavailable
            ? rpc::ToGrpcStatus(
                  absl::UnavailableError(
                      "the log takes no events now; publish again with the same event ids"),
                  "LOG_UNAVAILABLE")
            : grpc::Status::OK);
  }
};

}  // namespace

grpc::ServerUnaryReactor* Handler::BatchPublishEvents(grpc::CallbackServerContext* context,
                                                      const v1::BatchPublishEventsRequest* request,
                                                      v1::BatchPublishEventsResponse* response) {
  auto* reactor = context->DefaultReactor();
  if (edge_.Find(*context, request->corp()) == nullptr) {
    reactor->Finish(rpc::UnknownCorp());
    return reactor;
  }
  std::vector<rpc::FieldViolation> wrong;
  if (!IsSourceName(request->source())) {
    wrong.push_back(
        {"source",
         "write 1 to 64 characters of a-z 0-9 - _; \"wecom\" and \"dispatch\" are taken"});
  }
  if (request->events().empty() || request->events_size() > kEventsMax) {
    wrong.push_back({"events", absl::StrCat("has ", request->events_size(), " entries; send 1 to ",
                                            kEventsMax)});
  }
  if (!wrong.empty()) {
    reactor->Finish(rpc::InvalidArgument(wrong));
    return reactor;
  }
  // The events carry the revision that their sender may have seen, at whichever process.
  edge_.definitions->WhenCurrent([this, reactor, request, response,
                                  deadline = rpc::DeadlineOf(*context)](absl::Status current) {
    if (!current.ok()) {
      return reactor->Finish(rpc::ToGrpcStatus(current, "DEFINITIONS_NOT_READ"));
    }
    Publish(*request, deadline, reactor, response);
  });
  return reactor;
}

void Handler::Publish(const v1::BatchPublishEventsRequest& request, absl::Time deadline,
                      grpc::ServerUnaryReactor* reactor, v1::BatchPublishEventsResponse* response) {
  const Now now = clock_->Read();
  const uint64_t revision = edge_.definitions->Corp(request.corp())->revision;
  struct Part {
    std::vector<log::Record> records;
    std::vector<int> items;
  };
  std::map<uint32_t, Part> parts;
  uint64_t refused = 0;
  for (int i = 0; i < request.events_size(); ++i) {
    auto* result = response->add_results();
    ItemFault fault;
    auto event = FromPublished(request.corp(), request.source(), request.events(i), now, &fault);
    if (!event.has_value()) {
      ++refused;
      result->set_code(grpc::StatusCode::INVALID_ARGUMENT);
      result->set_message(fault.message);
      result->set_field(absl::StrCat("events[", i, "].", fault.field));
      continue;
    }
    event->set_corp_revision(revision);
    std::string key = CustomerKey(request.corp(), event->customer());
    Part& part = parts[PartitionOf(key, partitions_)];
    part.records.push_back(
        {.key = std::move(key), .header = "", .value = event->SerializeAsString()});
    part.items.push_back(i);
  }
  events_in_.fetch_add(static_cast<uint64_t>(request.events_size()), std::memory_order_relaxed);
  events_refused_.fetch_add(refused, std::memory_order_relaxed);
  if (parts.empty()) return reactor->Finish(grpc::Status::OK);
  auto publication = std::make_shared<Publication>();
  publication->left = parts.size();
  publication->reactor = reactor;
  publication->response = response;
  // A little before the caller gives up, so that it hears why.
  const int64_t patience_ms =
      std::max<int64_t>(absl::ToInt64Milliseconds(deadline - absl::Now()) * 9 / 10, 1);
  for (auto& [partition, part] : parts) {
    log_->AppendWithin({log::Topic::kEvents, partition}, std::move(part.records), patience_ms,
                       [publication, items = std::move(part.items)](absl::Status status) {
                         publication->Ended(items, status);
                       });
  }
}

}  // namespace tidegate::ingestion
