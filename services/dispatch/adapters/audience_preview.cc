#include "services/dispatch/adapters/audience_preview.h"

#include <utility>

#include "common/grpc/errors.h"
#include "common/grpc/stream_reader.h"

namespace tidegate::dispatch {

namespace v1 = ::tidegate::segmentation::v1;

AudiencePreview::AudiencePreview(const std::vector<std::shared_ptr<grpc::Channel>>& channels) {
  for (const auto& channel : channels) {
    stubs_.push_back(v1::SegmentationService::NewStub(channel));
  }
}

void AudiencePreview::Ask(const std::string& corp, const std::string& expression,
                          absl::Time deadline,
                          std::function<void(grpc::Status, std::vector<AudienceCustomer>)> done) {
  if (stubs_.empty()) {
    return done(rpc::ToGrpcStatus(absl::FailedPreconditionError(
                                      "segmentation is not known here: set peers.segmentation"),
                                  "NO_SEGMENTATION"),
                {});
  }
  auto context = std::make_unique<grpc::ClientContext>();
  context->set_deadline(absl::ToChronoTime(deadline));
  v1::PreviewAudienceRequest request;
  request.set_corp(corp);
  request.set_expression(expression);
  auto customers = std::make_shared<std::vector<AudienceCustomer>>();
  auto* reader = new rpc::StreamReader<v1::PreviewAudienceResponse>(
      std::move(context),
      [customers](v1::PreviewAudienceResponse&& message) {
        for (auto& customer : *message.mutable_customers()) {
          customers->push_back({.customer = std::move(*customer.mutable_customer()),
                                .owner = std::move(*customer.mutable_owner())});
        }
      },
      [customers, done = std::move(done)](const grpc::Status& status) {
        done(status, std::move(*customers));
      });
  Stub* stub = stubs_[next_.fetch_add(1) % stubs_.size()].get();
  reader->Start([&](grpc::ClientContext* client, auto* read) {
    stub->async()->PreviewAudience(client, &request, read);
  });
}

}  // namespace tidegate::dispatch
