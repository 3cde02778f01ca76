// RPC edge of ingestion.
#pragma once

#include <atomic>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/grpc/edge.h"
#include "common/log/log.h"
#include "tidegate/ingestion/v1/ingestion_service.grpc.pb.h"

namespace tidegate::ingestion {

// Thread-safe. Nothing is owned; all outlive the handler.
class Handler final : public ::tidegate::ingestion::v1::IngestionService::CallbackService {
 public:
  // `log` and `clock` outlive the handler.
  Handler(const rpc::Edge& edge, log::Log* log, const Clock* clock, uint32_t partitions)
      : edge_(edge), log_(log), clock_(clock), partitions_(partitions) {}

  grpc::ServerUnaryReactor* BatchPublishEvents(
      grpc::CallbackServerContext* context,
      const ::tidegate::ingestion::v1::BatchPublishEventsRequest* request,
      ::tidegate::ingestion::v1::BatchPublishEventsResponse* response) override;

  uint64_t events_in() const { return events_in_.load(std::memory_order_relaxed); }
  uint64_t events_refused() const { return events_refused_.load(std::memory_order_relaxed); }

 private:
  // A good request, once the definitions are current.
  void Publish(const ::tidegate::ingestion::v1::BatchPublishEventsRequest& request,
               absl::Time deadline, grpc::ServerUnaryReactor* reactor,
               ::tidegate::ingestion::v1::BatchPublishEventsResponse* response);

  const rpc::Edge edge_;
  log::Log* const log_;
  const Clock* const clock_;
  const uint32_t partitions_;
  std::atomic<uint64_t> events_in_{0};
  std::atomic<uint64_t> events_refused_{0};
};

}  // namespace tidegate::ingestion
