// The stream of one SendMessages call.
#pragma once

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>

#include "tidegate/dispatch/v1/dispatch_service.grpc.pb.h"

namespace tidegate::dispatch {

// Hands each batch on as it is read, and answers in the order of reading. Reads no further while
// kUnderWayMax batches have no answer yet. Thread-safe; lives until the call is over and every
// batch has its answer.
class MessageStream final
    : public grpc::ServerBidiReactor<::tidegate::dispatch::v1::SendMessagesRequest,
                                     ::tidegate::dispatch::v1::SendMessagesResponse> {
 public:
  using Request = ::tidegate::dispatch::v1::SendMessagesRequest;
  using Response = ::tidegate::dispatch::v1::SendMessagesResponse;
  // Takes what it needs of the request before it returns; calls `done` once, from any thread. Not
  // OK: nothing was taken, `done` is not called, and the stream ends with that.
  using Take = std::function<grpc::Status(const Request&, std::function<void(Response)> done)>;

  static constexpr uint64_t kUnderWayMax = 8;

  // The call of gRPC owns it: give the pointer to gRPC.
  static MessageStream* Make(Take take);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  explicit MessageStream(Take take) : take_(std::move(take)) {}
  void Answered(uint64_t number, Response response);
  // Require mu_.
  void Pump();
  void FinishOnce(grpc::Status status);

  const Take take_;
  Request request_;  // of the read under way
  std::mutex mu_;
  // Guarded by mu_.
  std::map<uint64_t, Response> answers_;  // by number of reading, those that wait to be written
  Response response_;                     // of the write under way
  uint64_t read_ = 0;                     // batches
  uint64_t written_ = 0;                  // answers
  bool reading_ = true;
  bool writing_ = false;
  bool all_read_ = false;
  bool finished_ = false;
  std::shared_ptr<MessageStream> keep_;
};

}  // namespace tidegate::dispatch
