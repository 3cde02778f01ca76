// RPC edge of segmentation: asks every shard, and answers only when all of them did.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <vector>

#include "common/grpc/edge.h"
#include "common/log/log.h"
#include "services/segmentation/shard.h"
#include "tidegate/segmentation/v1/segmentation_service.grpc.pb.h"

namespace tidegate::segmentation {

// Thread-safe. Nothing is owned; all outlive the handler.
class Handler final : public ::tidegate::segmentation::v1::SegmentationService::CallbackService {
 public:
  // `shards`: those of this replica, in rising order. What is pointed to outlives the handler.
  Handler(const rpc::Edge& edge, log::Log* log, const Clock* clock, uint32_t partitions,
          std::vector<Shard>* shards)
      : edge_(edge), log_(log), clock_(clock), partitions_(partitions), shards_(shards) {}

  grpc::ServerUnaryReactor* CountCustomers(
      grpc::CallbackServerContext* context,
      const ::tidegate::segmentation::v1::CountCustomersRequest* request,
      ::tidegate::segmentation::v1::CountCustomersResponse* response) override;
  grpc::ServerUnaryReactor* ContainsCustomer(
      grpc::CallbackServerContext* context,
      const ::tidegate::segmentation::v1::ContainsCustomerRequest* request,
      ::tidegate::segmentation::v1::ContainsCustomerResponse* response) override;
  grpc::ServerWriteReactor<::tidegate::segmentation::v1::PreviewAudienceResponse>* PreviewAudience(
      grpc::CallbackServerContext* context,
      const ::tidegate::segmentation::v1::PreviewAudienceRequest* request) override;
  grpc::ServerUnaryReactor* FreezeAudience(
      grpc::CallbackServerContext* context,
      const ::tidegate::segmentation::v1::FreezeAudienceRequest* request,
      ::tidegate::segmentation::v1::FreezeAudienceResponse* response) override;

 private:
  using Ask = std::function<void(absl::Status, const SegmentationCore&, const Now&)>;
  // Runs `ask` on the shard's thread once everything acknowledged before now is applied there.
  void AskShard(const Shard& shard, absl::Time deadline, Ask ask);
  void WaitForEvents(const Shard& shard, uint64_t events_end, absl::Time deadline, Ask ask);
  // How many parts a question over all partitions has here: the own shards and, unless another
  // replica asks, one per other replica.
  grpc::Status CountParts(const grpc::CallbackServerContext& context, bool* hopped,
                          size_t* parts) const;
  void PreviewElsewhere(
      const grpc::CallbackServerContext& context,
      const ::tidegate::segmentation::v1::PreviewAudienceRequest& request,
      const std::function<void(
          grpc::Status, std::deque<::tidegate::segmentation::v1::PreviewAudienceResponse>)>& done);

  const rpc::Edge edge_;
  log::Log* const log_;
  const Clock* const clock_;
  const uint32_t partitions_;
  std::vector<Shard>* const shards_;
  // Questions that wait for the end of the log; those after it wait in their shard. Policy when
  // full: refuse.
  static constexpr size_t kAskingMax = 10'000;
  std::atomic<size_t> asking_{0};
};

}  // namespace tidegate::segmentation
