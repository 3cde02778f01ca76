// The stream of one WatchUsage call: the newest state of the buckets, asked for again and again,
// since tokens return by time alone.
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "tidegate/dispatch/v1/quota_service.grpc.pb.h"

namespace tidegate::dispatch {

// A slow reader skips states, never the last one. Thread-safe. Lives until the call is over; who
// pushes holds it.
class QuotaWatch final
    : public grpc::ServerWriteReactor<::tidegate::dispatch::v1::WatchUsageResponse> {
 public:
  using Response = ::tidegate::dispatch::v1::WatchUsageResponse;
  // Has somebody Push() the state, or End(). RESOURCE_EXHAUSTED: not now, and is asked again later;
  // any other error ends the call. Called under a lock: it does not call back itself.
  using Ask = std::function<absl::Status(std::shared_ptr<QuotaWatch>)>;

  // `on_done` is called once, when the call is over.
  static std::shared_ptr<QuotaWatch> Make(std::function<void()> on_done);

  // Asks at once, and a fifth of a second after each answer.
  void Follow(Ask ask);
  // Writes it if it differs from the last one; a lockout that has become shorter does not differ.
  void Push(Response response);
  void End(grpc::Status status);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  explicit QuotaWatch(std::function<void()> on_done) : on_done_(std::move(on_done)) {}
  // Require mu_.
  void AskNow();
  void AskLater();
  void Pump();
  void FinishOnce(grpc::Status status);

  const std::function<void()> on_done_;
  std::mutex mu_;
  // Guarded by mu_.
  Ask ask_;
  std::unique_ptr<grpc::Alarm> alarm_;
  std::string told_;  // as it is compared
  Response response_;
  Response next_;
  bool has_told_ = false;
  bool has_next_ = false;
  bool writing_ = false;
  bool finished_ = false;
  std::shared_ptr<QuotaWatch> keep_;
};

}  // namespace tidegate::dispatch
