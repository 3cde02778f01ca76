#include "services/dispatch/quota_watch.h"

#include <chrono>
#include <utility>

#include "common/grpc/errors.h"

namespace tidegate::dispatch {
namespace {

constexpr std::chrono::milliseconds kGap{200};

std::string Compared(QuotaWatch::Response response) {
  for (auto& bucket : *response.mutable_buckets()) {
    bucket.set_lockout_seconds(bucket.lockout_seconds() > 0 ? 1 : 0);
  }
  return response.SerializeAsString();
}

}  // namespace

std::shared_ptr<QuotaWatch> QuotaWatch::Make(std::function<void()> on_done) {
  std::shared_ptr<QuotaWatch> watch(new QuotaWatch(std::move(on_done)));
  watch->keep_ = watch;
  return watch;
}

void QuotaWatch::Follow(Ask ask) {
  std::lock_guard lock(mu_);
  ask_ = std::move(ask);
  AskNow();
}

void QuotaWatch::AskNow() {
  if (finished_) return;
  const absl::Status asked = ask_(keep_);
  if (absl::IsResourceExhausted(asked)) return AskLater();
  if (!asked.ok()) FinishOnce(rpc::ToGrpcStatus(asked, "LANE_NOT_READY"));
}

void QuotaWatch::AskLater() {
  // The one before may still run the function that it was given.
  alarm_ = std::make_unique<grpc::Alarm>();
  alarm_->Set(std::chrono::system_clock::now() + kGap, [watch = keep_](bool ok) {
    std::lock_guard lock(watch->mu_);
    if (ok) watch->AskNow();
  });
}

void QuotaWatch::Push(Response response) {
  std::string compared = Compared(response);
  std::lock_guard lock(mu_);
  if (finished_) return;
  if (ask_) AskLater();
  if (has_told_ && compared == told_) return;
  has_told_ = true;
  told_ = std::move(compared);
  next_ = std::move(response);
  has_next_ = true;
  Pump();
}

void QuotaWatch::End(grpc::Status status) {
  std::lock_guard lock(mu_);
  FinishOnce(std::move(status));
}

void QuotaWatch::OnWriteDone(bool ok) {
  std::lock_guard lock(mu_);
  writing_ = false;
  if (!ok) return FinishOnce(grpc::Status(grpc::StatusCode::CANCELLED, "the caller went away"));
  Pump();
}

void QuotaWatch::OnCancel() {
  std::lock_guard lock(mu_);
  FinishOnce(grpc::Status(grpc::StatusCode::CANCELLED, "the caller went away"));
}

void QuotaWatch::OnDone() {
  // Released after the lock.
  std::shared_ptr<QuotaWatch> last;
  std::unique_ptr<grpc::Alarm> alarm;
  on_done_();
  // Not before an alarm has done its work: afterwards whom it asks may be gone.
  std::lock_guard lock(mu_);
  finished_ = true;
  alarm = std::move(alarm_);
  last = std::move(keep_);
}

void QuotaWatch::Pump() {
  if (writing_ || finished_ || !has_next_) return;
  response_ = std::move(next_);
  has_next_ = false;
  writing_ = true;
  StartWrite(&response_);
}

void QuotaWatch::FinishOnce(grpc::Status status) {
  if (finished_) return;
  finished_ = true;
  Finish(std::move(status));
}

}  // namespace tidegate::dispatch
