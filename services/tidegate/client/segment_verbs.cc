// segment count|contains.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/status_macros.h"
#include "services/tidegate/client/output.h"
#include "services/tidegate/client/verbs.h"
#include "tidegate/segmentation/v1/segmentation_service.grpc.pb.h"

namespace tidegate::client {

namespace segmentation = tidegate::segmentation::v1;

absl::Status SegmentCount(const Client& client, const SegmentOptions& options) {
  const auto stub =
      segmentation::SegmentationService::NewStub(client.connection->To("segmentation"));
  segmentation::CountCustomersRequest request;
  request.set_corp(options.corp);
  request.set_expression(options.expression);
  request.set_as_of_day(options.as_of);
  segmentation::CountCustomersResponse response;
  const int64_t start_raw_ns = client.clock->Read().raw_ns;
  RETURN_IF_ERROR(client.connection->Call([&](grpc::ClientContext* context) {
    return stub->CountCustomers(context, request, &response);
  }));
  const double took_ms =
      static_cast<double>(client.clock->Read().raw_ns - start_raw_ns) / kNanosPerMilli;
  Print(client,
        boost::json::object{{"expression", options.expression},
                            {"canonical", response.canonical_expression()},
                            {"count", response.count()},
                            {"universe", response.universe()},
                            {"took_ms", took_ms}},
        RenderPairs({{"customers", absl::StrCat(response.count())},
                     {"of", absl::StrCat(response.universe())},
                     {"expression", response.canonical_expression()},
                     {"took", absl::StrFormat("%.1f ms", took_ms)}}));
  return absl::OkStatus();
}

absl::Status SegmentContains(const Client& client, const SegmentOptions& options) {
  const auto stub =
      segmentation::SegmentationService::NewStub(client.connection->To("segmentation"));
  segmentation::ContainsCustomerRequest request;
  request.set_corp(options.corp);
  request.set_expression(options.expression);
  request.set_customer(options.customer);
  request.set_as_of_day(options.as_of);
  segmentation::ContainsCustomerResponse response;
  RETURN_IF_ERROR(client.connection->Call([&](grpc::ClientContext* context) {
    return stub->ContainsCustomer(context, request, &response);
  }));
  Print(client,
        boost::json::object{{"expression", options.expression},
                            {"customer", options.customer},
                            {"contained", response.contained()},
                            {"known", response.known()}},
        absl::StrCat(response.contained() ? "yes"
                     : response.known()   ? "no"
                                          : "no, the customer is not known",
                     "\n"));
  return absl::OkStatus();
}

}  // namespace tidegate::client
