#include "services/dispatch/adapters/audience_preview.h"

#include <utility>

namespace tidegate::dispatch {

namespace v1 = ::tidegate::segmentation::v1;

namespace {

class Reader : public grpc::ClientReadReactor<v1::PreviewAudienceResponse> {
 public:
  explicit Reader(std::function<void(grpc::Status, std::vector<AudienceCustomer>)> done)
      : done_(std::move(done)) {}

  void Start(v1::SegmentationService::Stub* stub) {
    stub->async()->PreviewAudience(&context, &request, this);
    StartRead(&response_);
    StartCall();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    for (auto& customer : *response_.mutable_customers()) {
      customers_.push_back({.customer = std::move(*customer.mutable_customer()),
                            .owner = std::move(*customer.mutable_owner())});
    }
    response_.Clear();
    StartRead(&response_);
  }
  void OnDone(const grpc::Status& status) override {
    done_(status, std::move(customers_));
    delete this;
  }

  grpc::ClientContext context;
  v1::PreviewAudienceRequest request;

 private:
  const std::function<void(grpc::Status, std::vector<AudienceCustomer>)> done_;
  v1::PreviewAudienceResponse response_;
  std::vector<AudienceCustomer> customers_;
};

}  // namespace

void AudiencePreview::Ask(const std::string& corp, const std::string& expression,
                          absl::Time deadline,
                          std::function<void(grpc::Status, std::vector<AudienceCustomer>)> done) {
  auto* reader = new Reader(std::move(done));
  reader->request.set_corp(corp);
  reader->request.set_expression(expression);
  reader->context.set_deadline(absl::ToChronoTime(deadline));
  reader->Start(stub_.get());
}

}  // namespace tidegate::dispatch
