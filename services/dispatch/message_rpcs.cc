// The calls of the handler that are about messages and their touches.
#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/grpc/checks.h"
#include "common/grpc/errors.h"
#include "common/grpc/stream_reader.h"
#include "services/dispatch/handler.h"
#include "services/dispatch/message_stream.h"
#include "services/dispatch/message_view.h"

namespace tidegate::dispatch {

using rpc::FieldViolation;
namespace v1 = ::tidegate::dispatch::v1;

namespace {

constexpr int kBatchMax = 1000;
constexpr int kStreamBatchMax = 10'000;

template <typename Request>
std::vector<FieldViolation> SizeFaults(const Request& request, int most) {
  std::vector<FieldViolation> wrong;
  for (const auto& [field, count] :
       {std::pair{"contents", request.contents_size()}, {"messages", request.messages_size()}}) {
    if (count < 1 || count > most) {
      wrong.push_back({field, absl::StrCat("has ", count, " entries; send 1 to ", most)});
    }
  }
  return wrong;
}

template <typename Response>
void Fill(MessageDoor::Taken&& taken, Response* response) {
  response->set_acknowledged(taken.acknowledged);
  for (const uint32_t index : taken.repeats) response->add_repeats(index);
  for (v1::MessageFault& fault : taken.faults) *response->add_faults() = std::move(fault);
}

// Of a batch of `count` messages of which none is known to be taken.
void FillRefused(int count, const grpc::Status& status, v1::SendMessagesResponse* response) {
  for (int i = 0; i < count; ++i) {
    v1::MessageFault* fault = response->add_faults();
    fault->set_index(static_cast<uint32_t>(i));
    fault->set_code(status.error_code());
    fault->set_message(status.error_message());
  }
}

}  // namespace

// ---- Sending ----

grpc::ServerUnaryReactor* Handler::SendMessage(grpc::CallbackServerContext* context,
                                               const v1::SendMessageRequest* request,
                                               v1::SendMessageResponse* response) {
  const std::string& corp = request->corp();
  if (edge_.Find(*context, corp) == nullptr) return rpc::Finish(context, rpc::UnknownCorp());
  if (!lanes_.Owns(corp)) {
    return edge_.replicas->Forward(context, lanes_.NumberOf(corp), request, response);
  }
  auto* reactor = context->DefaultReactor();
  google::protobuf::RepeatedPtrField<v1::MessageContent> contents;
  *contents.Add() = request->content();
  google::protobuf::RepeatedPtrField<v1::Message> messages;
  *messages.Add() = request->message();
  door_.Take(
      corp, contents, messages, rpc::DeadlineOf(*context),
      [reactor, response](MessageDoor::Taken taken) {
        if (!taken.status.ok() || taken.faults.empty()) {
          response->set_repeat(!taken.repeats.empty());
          return reactor->Finish(std::move(taken.status));
        }
        const v1::MessageFault& fault = taken.faults.front();
        const std::string field =
            absl::StrCat("message.", fault.field().substr(sizeof("messages[0].") - 1));
        if (fault.code() == grpc::StatusCode::INVALID_ARGUMENT) {
          return reactor->Finish(rpc::InvalidArgument({{field, fault.message()}}));
        }
        reactor->Finish(rpc::ToGrpcStatus(
            absl::AlreadyExistsError(absl::StrCat(field, " ", fault.message())), "KEY_USED"));
      });
  return reactor;
}

grpc::ServerUnaryReactor* Handler::BatchSend(grpc::CallbackServerContext* context,
                                             const v1::BatchSendRequest* request,
                                             v1::BatchSendResponse* response) {
  const std::string& corp = request->corp();
  if (edge_.Find(*context, corp) == nullptr) return rpc::Finish(context, rpc::UnknownCorp());
  bool hopped = false;
  if (grpc::Status status = edge_.replicas->CheckHop(*context, &hopped); !status.ok()) {
    return rpc::Finish(context, std::move(status));
  }
  // A hop may bring the batch of a stream.
  if (auto wrong = SizeFaults(*request, hopped ? kStreamBatchMax : kBatchMax); !wrong.empty()) {
    return rpc::Finish(context, rpc::InvalidArgument(wrong));
  }
  if (!lanes_.Owns(corp)) {
    return edge_.replicas->Forward(context, lanes_.NumberOf(corp), request, response);
  }
  auto* reactor = context->DefaultReactor();
  door_.Take(corp, request->contents(), request->messages(), rpc::DeadlineOf(*context),
             [reactor, response](MessageDoor::Taken taken) {
               grpc::Status status = taken.status;
               if (status.ok()) Fill(std::move(taken), response);
               reactor->Finish(std::move(status));
             });
  return reactor;
}

grpc::ServerBidiReactor<v1::SendMessagesRequest, v1::SendMessagesResponse>* Handler::SendMessages(
    grpc::CallbackServerContext* context) {
  return MessageStream::Make([this, context](const v1::SendMessagesRequest& request,
                                             std::function<void(v1::SendMessagesResponse)> done) {
    return TakeBatch(context, request, std::move(done));
  });
}

grpc::Status Handler::TakeBatch(grpc::CallbackServerContext* context,
                                const v1::SendMessagesRequest& request,
                                std::function<void(v1::SendMessagesResponse)> done) {
  if (edge_.Find(*context, request.corp()) == nullptr) return rpc::UnknownCorp();
  if (const auto wrong = SizeFaults(request, kStreamBatchMax); !wrong.empty()) {
    return rpc::InvalidArgument(wrong);
  }
  if (!lanes_.Owns(request.corp())) {
    grpc::Status status = edge_.replicas->MayPassOn(*context);
    if (status.ok()) ForwardBatch(context, request, std::move(done));
    return status;
  }
  v1::SendMessagesResponse response;
  response.set_batch(request.batch());
  door_.Take(request.corp(), request.contents(), request.messages(), rpc::DeadlineOf(*context),
             [response, done, count = request.messages_size()](MessageDoor::Taken taken) mutable {
               if (taken.status.ok()) {
                 Fill(std::move(taken), &response);
               } else {
                 FillRefused(count, taken.status, &response);
               }
               done(std::move(response));
             });
  return grpc::Status::OK;
}

void Handler::ForwardBatch(grpc::CallbackServerContext* context,
                           const v1::SendMessagesRequest& request,
                           std::function<void(v1::SendMessagesResponse)> done) {
  struct Hop {
    std::unique_ptr<grpc::ClientContext> context;
    std::unique_ptr<v1::DispatchService::Stub> stub;
    v1::BatchSendRequest request;
    v1::BatchSendResponse response;
  };
  const rpc::Replicas* replicas = edge_.replicas;
  const uint32_t owner = replicas->own().OwnerOf(lanes_.NumberOf(request.corp()));
  auto hop = std::make_shared<Hop>();
  hop->context = replicas->HopContext(*context, owner);
  hop->context->set_deadline(absl::ToChronoTime(rpc::DeadlineOf(*context)));
  hop->stub = v1::DispatchService::NewStub(replicas->channel(owner));
  hop->request.set_corp(request.corp());
  *hop->request.mutable_contents() = request.contents();
  *hop->request.mutable_messages() = request.messages();
  hop->stub->async()->BatchSend(
      hop->context.get(), &hop->request, &hop->response,
      [hop, replicas, owner, done = std::move(done),
       batch = request.batch()](const grpc::Status& status) {
        v1::SendMessagesResponse response;
        response.set_batch(batch);
        if (status.ok()) {
          response.set_acknowledged(hop->response.acknowledged());
          response.mutable_repeats()->Swap(hop->response.mutable_repeats());
          response.mutable_faults()->Swap(hop->response.mutable_faults());
        } else {
          FillRefused(hop->request.messages_size(), replicas->Explain(status, owner), &response);
        }
        done(std::move(response));
      });
}

// ---- What became of them ----

grpc::ServerUnaryReactor* Handler::GetTouch(grpc::CallbackServerContext* context,
                                            const v1::GetTouchRequest* request,
                                            v1::GetTouchResponse* response) {
  return AskFolded(context, request, response, [=](DispatchCore& core, const Now&) {
    const auto ref = core.messages().Find(request->corp(), request->key());
    if (!ref.has_value()) return MessageDoor::NoTouch();
    *response->mutable_touch() = ToTouch(core, *ref);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* Handler::ListTouches(grpc::CallbackServerContext* context,
                                               const v1::ListTouchesRequest* request,
                                               v1::ListTouchesResponse* response) {
  return AskFolded(context, request, response, [=](DispatchCore& core, const Now&) {
    return ListTouchesOf(core, *request, response);
  });
}

grpc::ServerUnaryReactor* Handler::CancelTouch(grpc::CallbackServerContext* context,
                                               const v1::CancelTouchRequest* request,
                                               v1::CancelTouchResponse* response) {
  const std::string& corp = request->corp();
  if (edge_.Find(*context, corp) == nullptr) return rpc::Finish(context, rpc::UnknownCorp());
  if (!lanes_.Owns(corp)) {
    return edge_.replicas->Forward(context, lanes_.NumberOf(corp), request, response);
  }
  auto* reactor = context->DefaultReactor();
  const DispatchCore* core = lanes_.Of(corp).core.get();
  door_.Cancel(corp, request->key(), rpc::DeadlineOf(*context), [=](const absl::Status& status) {
    // On the lane's thread where it is OK.
    if (status.ok()) {
      *response->mutable_touch() =
          ToTouch(*core, *core->messages().Find(request->corp(), request->key()));
    }
    reactor->Finish(rpc::ToGrpcStatus(
        status, absl::IsNotFound(status) ? "TOUCH_NOT_FOUND" : "TOUCH_NOT_CANCELLED"));
  });
  return reactor;
}

grpc::ServerWriteReactor<v1::WatchTouchesResponse>* Handler::WatchTouches(
    grpc::CallbackServerContext* context, const v1::WatchTouchesRequest* request) {
  const auto reactor = TouchWatch::Make();
  const std::string& corp = request->corp();
  if (edge_.Find(*context, corp) == nullptr) {
    reactor->End(rpc::UnknownCorp());
    return reactor.get();
  }
  if (lanes_.Owns(corp)) {
    door_.Watch(*request, reactor);
    return reactor.get();
  }
  // Passes on what the owner of the lane tells.
  const rpc::Replicas* replicas = edge_.replicas;
  if (grpc::Status status = replicas->MayPassOn(*context); !status.ok()) {
    reactor->End(std::move(status));
    return reactor.get();
  }
  const uint32_t owner = replicas->own().OwnerOf(lanes_.NumberOf(corp));
  const auto stub = std::shared_ptr<v1::DispatchService::Stub>(
      v1::DispatchService::NewStub(replicas->channel(owner)));
  auto* reader = new rpc::StreamReader<v1::WatchTouchesResponse>(
      replicas->HopContext(*context, owner),
      [reactor](v1::WatchTouchesResponse&& changes) { reactor->Push(std::move(changes)); },
      [replicas, reactor, owner, stub](const grpc::Status& ended) {
        reactor->End(replicas->Explain(ended, owner));
      });
  reader->Start([&](grpc::ClientContext* client, auto* read) {
    stub->async()->WatchTouches(client, request, read);
  });
  return reactor.get();
}

}  // namespace tidegate::dispatch
