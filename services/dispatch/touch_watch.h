// The stream of one WatchTouches call.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>

#include "tidegate/dispatch/v1/dispatch_service.grpc.pb.h"

namespace tidegate::dispatch {

// Writes what is pushed, in order. Thread-safe. Lives until the call is over; who pushes asks
// wants() or holds it.
class TouchWatch final
    : public grpc::ServerWriteReactor<::tidegate::dispatch::v1::WatchTouchesResponse> {
 public:
  using Response = ::tidegate::dispatch::v1::WatchTouchesResponse;

  static std::shared_ptr<TouchWatch> Make();

  // More than kWaitingMax messages that were not read yet end the call with RESOURCE_EXHAUSTED.
  void Push(Response response);
  // Ends the call once what was pushed has been written.
  void End(grpc::Status status);
  bool alive() const { return alive_.load(); }
  // Everything pushed was taken: the next may come.
  bool wants() const { return waiting_.load() == 0; }

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  static constexpr size_t kWaitingMax = 64;

  TouchWatch() = default;
  // Require mu_.
  void Pump();
  void FinishOnce(grpc::Status status);

  std::atomic<bool> alive_{true};
  std::atomic<size_t> waiting_{0};  // with the one being written
  std::mutex mu_;
  // Guarded by mu_.
  std::deque<Response> responses_;  // the first is being written
  bool writing_ = false;
  bool finished_ = false;
  std::unique_ptr<grpc::Status> end_;
  std::shared_ptr<TouchWatch> keep_;
};

}  // namespace tidegate::dispatch
