#include "services/dispatch/message_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace tidegate::dispatch {
namespace {

using ::testing::ElementsAre;
namespace v1 = ::tidegate::dispatch::v1;

class Service : public v1::DispatchService::CallbackService {
 public:
  explicit Service(MessageStream::Take take) : take_(std::move(take)) {}
  grpc::ServerBidiReactor<v1::SendMessagesRequest, v1::SendMessagesResponse>* SendMessages(
      grpc::CallbackServerContext*) override {
    return MessageStream::Make(take_);
  }

 private:
  const MessageStream::Take take_;
};

// The batch numbers of the answers, in the order in which they came.
std::vector<uint64_t> Send(MessageStream::Take take, uint64_t batches) {
  Service service(std::move(take));
  grpc::ServerBuilder builder;
  builder.RegisterService(&service);
  const auto server = builder.BuildAndStart();
  const auto stub = v1::DispatchService::NewStub(server->InProcessChannel({}));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  const auto stream = stub->SendMessages(&context);
  for (uint64_t batch = 1; batch <= batches; ++batch) {
    v1::SendMessagesRequest request;
    request.set_batch(batch);
    EXPECT_TRUE(stream->Write(request));
  }
  stream->WritesDone();
  std::vector<uint64_t> answered;
  for (v1::SendMessagesResponse response; stream->Read(&response);) {
    answered.push_back(response.batch());
  }
  EXPECT_TRUE(stream->Finish().ok());
  return answered;
}

v1::SendMessagesResponse Answer(uint64_t batch) {
  v1::SendMessagesResponse response;
  response.set_batch(batch);
  return response;
}

TEST(MessageStreamTest, AnswersInTheOrderOfReading) {
  std::function<void(v1::SendMessagesResponse)> first;
  const auto take = [&](const v1::SendMessagesRequest& request, auto done) {
    if (request.batch() == 1) {
      first = std::move(done);
      return grpc::Status::OK;
    }
    done(Answer(2));
    first(Answer(1));
    return grpc::Status::OK;
  };
  EXPECT_THAT(Send(take, 2), ElementsAre(1, 2));
}

TEST(MessageStreamTest, AnAnswerDoesNotReadIntoTheBatchThatIsBeingTaken) {
  std::function<void(v1::SendMessagesResponse)> first;
  const auto take = [&](const v1::SendMessagesRequest& request, auto done) {
    if (request.batch() == 1) {
      first = std::move(done);
      return grpc::Status::OK;
    }
    first(Answer(1));
    EXPECT_EQ(request.batch(), 2);
    done(Answer(2));
    return grpc::Status::OK;
  };
  EXPECT_THAT(Send(take, 2), ElementsAre(1, 2));
}

}  // namespace
}  // namespace tidegate::dispatch
