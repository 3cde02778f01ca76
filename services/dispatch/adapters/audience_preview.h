// Asks segmentation who would be in an audience, for campaigns that are only validated.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/dispatch/core/planner.h"
#include "tidegate/segmentation/v1/segmentation_service.grpc.pb.h"

namespace tidegate::dispatch {

// Thread-safe.
class AudiencePreview {
 public:
  explicit AudiencePreview(std::shared_ptr<grpc::Channel> channel)
      : stub_(::tidegate::segmentation::v1::SegmentationService::NewStub(std::move(channel))) {}

  // Calls `done` once, with the audience in the order in which it would be frozen, or the error of
  // segmentation.
  void Ask(const std::string& corp, const std::string& expression, absl::Time deadline,
           std::function<void(grpc::Status, std::vector<AudienceCustomer>)> done);

 private:
  const std::unique_ptr<::tidegate::segmentation::v1::SegmentationService::Stub> stub_;
};

}  // namespace tidegate::dispatch
