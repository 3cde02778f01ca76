// Reads a server stream to its end: one call of `on_message` per message, then one of `on_done`.
// It owns itself.
//
//   auto* reader = new StreamReader<PreviewAudienceResponse>(std::move(context), on_message,
//   on_done); reader->Start([&](grpc::ClientContext* context, auto* reactor) {
//     stub->async()->PreviewAudience(context, &request, reactor);
//   });
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/client_callback.h>

#include <functional>
#include <memory>
#include <utility>

namespace tidegate::rpc {

template <typename Response>
class StreamReader final : public grpc::ClientReadReactor<Response> {
 public:
  using OnMessage = std::function<void(Response&&)>;
  using OnEnd = std::function<void(const grpc::Status&)>;

  // The callbacks run on threads of gRPC, one at a time.
  StreamReader(std::unique_ptr<grpc::ClientContext> context, OnMessage on_message, OnEnd on_end)
      : context_(std::move(context)),
        on_message_(std::move(on_message)),
        on_end_(std::move(on_end)) {}

  // `begin(context, reactor)` starts the call.
  template <typename Begin>
  void Start(Begin begin) {
    begin(context_.get(), this);
    this->StartRead(&response_);
    this->StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    on_message_(std::move(response_));
    response_.Clear();
    this->StartRead(&response_);
  }
  void OnDone(const grpc::Status& status) override {
    on_end_(status);
    delete this;
  }

 private:
  const std::unique_ptr<grpc::ClientContext> context_;
  const OnMessage on_message_;
  const OnEnd on_end_;
  Response response_;
};

}  // namespace tidegate::rpc
