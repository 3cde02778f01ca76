#include "common/grpc/server_metrics.h"

#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/grpc/errors.h"
#include "common/grpc/server_runner.h"
#include "tests/support/eventually.h"
#include "tidegate/ingestion/v1/ingestion_service.grpc.pb.h"

namespace tidegate::rpc {
namespace {

using ::tidegate::ingestion::v1::BatchPublishEventsRequest;
using ::tidegate::ingestion::v1::BatchPublishEventsResponse;
using ::tidegate::ingestion::v1::IngestionService;

class FakeService : public IngestionService::CallbackService {
  grpc::ServerUnaryReactor* BatchPublishEvents(grpc::CallbackServerContext* context,
                                               const BatchPublishEventsRequest* request,
                                               BatchPublishEventsResponse*) override {
    return Finish(context, request->corp().empty() ? UnknownCorp() : grpc::Status::OK);
  }
};

class ServerMetricsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto runner = ServerRunner::Start(
        "127.0.0.1:0", {&service_}, grpc::InsecureServerCredentials(), &metrics_,
        {"tidegate.ingestion.v1.IngestionService", "tidegate.nowhere.v1.NowhereService"});
    ASSERT_TRUE(runner.ok()) << runner.status();
    runner_ = *std::move(runner);
    channel_ = grpc::CreateChannel(runner_->address(), grpc::InsecureChannelCredentials());
  }

  grpc::StatusCode Call(const std::string& corp) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    BatchPublishEventsRequest request;
    request.set_corp(corp);
    BatchPublishEventsResponse response;
    return IngestionService::NewStub(channel_)
        ->BatchPublishEvents(&context, request, &response)
        .error_code();
  }

  grpc::StatusCode CallUnknown(const std::string& path) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    grpc::GenericStub stub(channel_);
    const grpc::Slice bytes("x");
    const grpc::ByteBuffer request(&bytes, 1);
    grpc::ByteBuffer response;
    std::promise<grpc::StatusCode> code;
    stub.UnaryCall(&context, path, {}, &request, &response,
                   [&](const grpc::Status& status) { code.set_value(status.error_code()); });
    return code.get_future().get();
  }

  // Whether the page has the line, which comes a moment after the caller's answer.
  bool Shows(const std::string& line) {
    return testing::Eventually(
        [&] { return metrics_.Render().find(line + "\n") != std::string::npos; });
  }

  static std::string Labels(const std::string& code) {
    return absl::StrCat("{", code.empty() ? "" : "grpc_code=\"" + code + "\",",
                        "grpc_method=\"BatchPublishEvents\",",
                        "grpc_service=\"tidegate.ingestion.v1.IngestionService\"}");
  }

  FakeService service_;
  metrics::Metrics metrics_;
  std::unique_ptr<ServerRunner> runner_;
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(ServerMetricsTest, CallsAreCountedByCodeAndTimed) {
  EXPECT_EQ(Call("a"), grpc::StatusCode::OK);
  EXPECT_EQ(Call("a"), grpc::StatusCode::OK);
  EXPECT_EQ(Call(""), grpc::StatusCode::NOT_FOUND);
  EXPECT_TRUE(Shows("grpc_server_handled_total" + Labels("OK") + " 2"));
  EXPECT_TRUE(Shows("grpc_server_handled_total" + Labels("NotFound") + " 1"));
  EXPECT_TRUE(Shows("grpc_server_started_total" + Labels("") + " 3"));
  EXPECT_TRUE(Shows("grpc_server_handling_seconds_count" + Labels("") + " 3"));
}

TEST_F(ServerMetricsTest, MethodsAreShownBeforeTheirFirstCall) {
  EXPECT_TRUE(Shows("grpc_server_handled_total" + Labels("OK") + " 0"));
  EXPECT_TRUE(Shows("grpc_server_started_total" + Labels("") + " 0"));
  EXPECT_TRUE(Shows("grpc_server_handling_seconds_count" + Labels("") + " 0"));
}

TEST_F(ServerMetricsTest, NamesThatCallersMakeUpAreBounded) {
  for (int i = 0; i < 300; ++i) {
    EXPECT_EQ(CallUnknown(absl::StrCat("/made.Up/", i)), grpc::StatusCode::UNIMPLEMENTED);
  }
  const std::string page = metrics_.Render();
  size_t lines = 0;
  for (size_t at = 0; (at = page.find("grpc_server_started_total{", at)) != std::string::npos;
       ++at) {
    ++lines;
  }
  EXPECT_LE(lines, 201u);
}

}  // namespace
}  // namespace tidegate::rpc
