// A simulated WeCom and `tidegate serve` as processes on free ports in a folder of their own, and
// short ways to talk to them. For tests from outside; product.py is the same for the client's
// verbs.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/http/client.h"
#include "google/rpc/error_details.pb.h"
#include "tests/support/process.h"
#include "tidegate/dispatch/v1/dispatch_service.grpc.pb.h"
#include "tidegate/dispatch/v1/quota_service.grpc.pb.h"
#include "tidegate/ingestion/v1/ingestion_service.grpc.pb.h"
#include "tidegate/segmentation/v1/segmentation_service.grpc.pb.h"
#include "tidegate/tagging/v1/tagging_service.grpc.pb.h"

namespace tidegate {

inline constexpr char kCorp[] = "wwdemo0123456789ab";
inline constexpr char kAgent[] = "1000002";
inline constexpr char kToken[] = "outreachTok2026";
inline constexpr char kAesKey[] = "K7mQ2xV9bT4nR8wY3cF6hJ1sD5gL0pZaXeUiOqWtBvC";
inline constexpr int kMembers = 4;     // m0 to m3
inline constexpr int kCustomers = 12;  // wm0 to wm11, each followed by m(number mod 4)
inline constexpr absl::Duration kPatience = absl::Seconds(20);

// What a refused call says about itself.
struct ErrorDetails {
  std::string reason;               // of google.rpc.ErrorInfo
  std::vector<std::string> fields;  // of google.rpc.BadRequest
  std::vector<std::string> descriptions;
};
ErrorDetails DetailsOf(const grpc::Status& status);

class ProductTest : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  // Ends no process; starts the server on the addresses that it had, or on free ones.
  void StartServer();

  http::HttpResult Http(const std::string& address, const std::string& method,
                        const std::string& target, const std::string& body = "");
  // A control request to the simulator, which must take it.
  boost::json::object Control(const std::string& path, const boost::json::object& arguments);
  // Executed creates in the witness log: the recipients of all, sorted.
  std::vector<std::string> Reached() const;

  // One unary call that waits for the connection and has a deadline.
  template <typename Stub, typename Request, typename Response>
  grpc::Status Call(Stub& stub,
                    grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    context.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
    return (stub.*method)(&context, request, response);
  }
  // Customers for whom the expression holds; everything acknowledged before is counted.
  int64_t Count(const std::string& expression);
  // Until `condition` holds; a failure that names `what` if it does not in time.
  void Eventually(const std::string& what, const std::function<bool()>& condition);

  std::string folder_;
  std::unique_ptr<testing::Process> simulator_;
  std::unique_ptr<testing::Process> server_;
  std::string wecom_address_;
  std::string grpc_address_ = "127.0.0.1:0";
  std::string callback_address_ = "127.0.0.1:0";
  std::string admin_address_ = "127.0.0.1:0";
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<ingestion::v1::IngestionService::Stub> ingestion_;
  std::unique_ptr<tagging::v1::TaggingService::Stub> tagging_;
  std::unique_ptr<segmentation::v1::SegmentationService::Stub> segmentation_;
  std::unique_ptr<dispatch::v1::DispatchService::Stub> dispatch_;
  std::unique_ptr<dispatch::v1::QuotaService::Stub> quota_;
};

// A request id that no other call of this process has.
std::string NewRequestId();

}  // namespace tidegate
