#include "services/dispatch/campaign_watch.h"

#include <utility>

namespace tidegate::dispatch {

std::shared_ptr<CampaignWatch> CampaignWatch::Make() {
  std::shared_ptr<CampaignWatch> watch(new CampaignWatch);
  watch->keep_ = watch;
  return watch;
}

void CampaignWatch::Push(::tidegate::dispatch::v1::Campaign campaign) {
  std::lock_guard lock(mu_);
  if (finished_ || ending_) return;
  next_ = std::move(campaign);
  has_next_ = true;
  Pump();
}

void CampaignWatch::End(grpc::Status status) {
  std::lock_guard lock(mu_);
  if (!status.ok()) return FinishOnce(std::move(status));
  ending_ = true;
  Pump();
}

void CampaignWatch::OnWriteDone(bool ok) {
  std::lock_guard lock(mu_);
  writing_ = false;
  if (!ok) return FinishOnce(grpc::Status(grpc::StatusCode::CANCELLED, "the caller went away"));
  Pump();
}

void CampaignWatch::OnCancel() {
  std::lock_guard lock(mu_);
  FinishOnce(grpc::Status(grpc::StatusCode::CANCELLED, "the caller went away"));
}

void CampaignWatch::OnDone() {
  alive_.store(false);
  std::shared_ptr<CampaignWatch> last;  // released after the lock
  std::lock_guard lock(mu_);
  last = std::move(keep_);
}

void CampaignWatch::Pump() {
  if (writing_ || finished_) return;
  if (!has_next_) {
    if (ending_) FinishOnce(grpc::Status::OK);
    return;
  }
  response_.Clear();
  *response_.mutable_campaign() = std::move(next_);
  has_next_ = false;
  writing_ = true;
  StartWrite(&response_);
}

void CampaignWatch::FinishOnce(grpc::Status status) {
  if (finished_) return;
  finished_ = true;
  Finish(std::move(status));
}

}  // namespace tidegate::dispatch
