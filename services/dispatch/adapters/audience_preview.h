// Asks segmentation who would be in an audience, for campaigns that are only validated.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
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
  // To each replica of segmentation, at least one; they are asked in turn.
  explicit AudiencePreview(const std::vector<std::shared_ptr<grpc::Channel>>& channels);

  // Calls `done` once, perhaps at once, with the audience in the order in which it would be frozen,
  // or the error of segmentation.
  void Ask(const std::string& corp, const std::string& expression, absl::Time deadline,
           std::function<void(grpc::Status, std::vector<AudienceCustomer>)> done);

 private:
  using Stub = ::tidegate::segmentation::v1::SegmentationService::Stub;
  std::vector<std::unique_ptr<Stub>> stubs_;
  std::atomic<size_t> next_{0};
};

}  // namespace tidegate::dispatch
