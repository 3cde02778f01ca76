#include "services/dispatch/touch_watch.h"

#include <utility>

namespace tidegate::dispatch {

std::shared_ptr<TouchWatch> TouchWatch::Make() {
  std::shared_ptr<TouchWatch> watch(new TouchWatch);
  watch->keep_ = watch;
  return watch;
}

void TouchWatch::Push(Response response) {
  std::lock_guard lock(mu_);
  if (finished_ || end_ != nullptr) return;
  if (responses_.size() >= kWaitingMax) {
    return FinishOnce(grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED,
                                   "changes were not read fast enough; watch again, after the "
                                   "last one that was read"));
  }
  responses_.push_back(std::move(response));
  waiting_.store(responses_.size());
  Pump();
}

void TouchWatch::End(grpc::Status status) {
  std::lock_guard lock(mu_);
  if (end_ == nullptr) end_ = std::make_unique<grpc::Status>(std::move(status));
  Pump();
}

void TouchWatch::OnWriteDone(bool ok) {
  std::lock_guard lock(mu_);
  writing_ = false;
  responses_.pop_front();
  waiting_.store(responses_.size());
  if (!ok) return FinishOnce(grpc::Status(grpc::StatusCode::CANCELLED, "the caller went away"));
  Pump();
}

void TouchWatch::OnCancel() {
  std::lock_guard lock(mu_);
  FinishOnce(grpc::Status(grpc::StatusCode::CANCELLED, "the caller went away"));
}

void TouchWatch::OnDone() {
  alive_.store(false);
  std::shared_ptr<TouchWatch> last;  // released after the lock
  std::lock_guard lock(mu_);
  last = std::move(keep_);
}

void TouchWatch::Pump() {
  if (writing_ || finished_) return;
  if (!responses_.empty()) {
    writing_ = true;
    StartWrite(&responses_.front());
  } else if (end_ != nullptr) {
    FinishOnce(*end_);
  }
}

void TouchWatch::FinishOnce(grpc::Status status) {
  if (finished_) return;
  finished_ = true;
  Finish(std::move(status));
}

}  // namespace tidegate::dispatch
