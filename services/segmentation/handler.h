// RPC edge of segmentation: asks every shard, and answers only when all of them did.
#pragma once

#include <functional>
#include <vector>

#include "common/config/corps.h"
#include "common/definitions/definition_store.h"
#include "common/log/log.h"
#include "services/segmentation/shard.h"
#include "tidegate/segmentation/v1/segmentation_service.grpc.pb.h"

namespace tidegate::segmentation {

// Thread-safe. Nothing is owned; all outlive the handler.
class Handler final : public ::tidegate::segmentation::v1::SegmentationService::CallbackService {
 public:
  Handler(const config::Corps* corps, definitions::DefinitionStore* store, log::Log* log,
          const Clock* clock, std::vector<Shard>* shards)
      : corps_(corps), store_(store), log_(log), clock_(clock), shards_(shards) {}

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
  // Runs `ask` on the shard's thread once everything acknowledged before now is applied there.
  void AskShard(uint32_t shard, absl::Time deadline,
                std::function<void(absl::Status, const SegmentationCore&, const Now&)> ask);

  const config::Corps* const corps_;
  definitions::DefinitionStore* const store_;
  log::Log* const log_;
  const Clock* const clock_;
  std::vector<Shard>* const shards_;
};

}  // namespace tidegate::segmentation
