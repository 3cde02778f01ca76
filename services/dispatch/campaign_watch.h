// The stream of one WatchCampaign call: the newest state, whoever tells it.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>
#include <mutex>

#include "tidegate/dispatch/v1/dispatch_service.grpc.pb.h"

namespace tidegate::dispatch {

// A slow reader skips states, never the last one. Thread-safe. Lives until the call is over; who
// pushes asks alive() or holds it.
class CampaignWatch final
    : public grpc::ServerWriteReactor<::tidegate::dispatch::v1::WatchCampaignResponse> {
 public:
  static std::shared_ptr<CampaignWatch> Make();

  void Push(::tidegate::dispatch::v1::Campaign campaign);
  // Ends the call; with OK after what was pushed has been written.
  void End(grpc::Status status);
  bool alive() const { return alive_.load(); }

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  CampaignWatch() = default;
  // Require mu_.
  void Pump();
  void FinishOnce(grpc::Status status);

  std::atomic<bool> alive_{true};
  std::mutex mu_;
  // Guarded by mu_.
  ::tidegate::dispatch::v1::WatchCampaignResponse response_;
  ::tidegate::dispatch::v1::Campaign next_;
  bool has_next_ = false;
  bool writing_ = false;
  bool ending_ = false;
  bool finished_ = false;
  std::shared_ptr<CampaignWatch> keep_;
};

}  // namespace tidegate::dispatch
