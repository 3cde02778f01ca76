// The replicas of one service, and calls from one to another: a call that lands on a replica which
// does not own its partition is forwarded once, one over all partitions is scattered and gathered.
//
// A call between replicas carries the metadata "tidegate-hop: r/R", the replica that is meant, and
// "tidegate-caller", who called first. A replica that would have to forward again, or is
// asked for its part and is not the one meant, refuses with FAILED_PRECONDITION: the two disagree
// about who owns what.
//
//   if (!replicas->own().Owns(lane)) return replicas->Forward(context, lane, request, response);
#pragma once

#include <google/protobuf/descriptor.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/replica.h"
#include "common/grpc/caller.h"
#include "common/grpc/checks.h"

namespace tidegate::rpc {

// Thread-safe; constant after construction.
class Replicas {
 public:
  using Channels = std::vector<std::shared_ptr<grpc::Channel>>;

  // The only one there is.
  Replicas() = default;
  // `channels[i]` leads to replica i; that to the own one is not used. `service` is for people.
  // `callers` outlives the object.
  Replicas(std::string service, Replica own, Channels channels, const CallerCorps* callers)
      : service_(std::move(service)),
        own_(own),
        channels_(std::move(channels)),
        callers_(callers) {}

  const Replica& own() const { return own_; }

  // Whether another replica sent the call here. Not OK: it meant another one, or is no replica.
  grpc::Status CheckHop(const grpc::CallbackServerContext& context, bool* hopped) const;
  // Who called first; see Identity().
  std::string CallerOf(const grpc::CallbackServerContext& context) const;

  // Passes a call on to the owner of `partition`, with what is left of its deadline.
  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* Forward(grpc::CallbackServerContext* context, uint32_t partition,
                                    const Request* request, Response* response) const {
    auto* reactor = context->DefaultReactor();
    if (grpc::Status status = MayPassOn(*context); !status.ok()) {
      reactor->Finish(std::move(status));
      return reactor;
    }
    const uint32_t owner = own_.OwnerOf(partition);
    Call<Request, Response>(*context, owner, *request,
                            [reactor, response](grpc::Status ended, Response& answer) {
                              if (ended.ok()) *response = std::move(answer);
                              reactor->Finish(std::move(ended));
                            });
    return reactor;
  }

  // Asks every other replica the same, each for the partitions that it owns; `done` once per
  // replica, on a thread of gRPC. `request` is alive until the last `done`.
  template <typename Request, typename Response>
  void Scatter(const grpc::CallbackServerContext& context, const Request& request,
               const std::function<void(grpc::Status, Response&)>& done) const {
    for (uint32_t ordinal = 0; ordinal < own_.count; ++ordinal) {
      if (ordinal != own_.ordinal) Call<Request, Response>(context, ordinal, request, done);
    }
  }

  // For streams: a client context and the channel of a replica. The call ends with the caller's; it
  // has no other deadline than that.
  std::unique_ptr<grpc::ClientContext> HopContext(const grpc::CallbackServerContext& context,
                                                  uint32_t ordinal) const;
  const std::shared_ptr<grpc::Channel>& channel(uint32_t ordinal) const {
    return channels_[ordinal];
  }
  // An unreachable replica as its callers are to see it: UNAVAILABLE with RetryInfo.
  grpc::Status Explain(const grpc::Status& status, uint32_t ordinal) const;
  // Of a call whose partition another replica owns: not OK if one has passed it on already.
  grpc::Status MayPassOn(const grpc::CallbackServerContext& context) const;

 private:
  grpc::Status OwnershipDiffers() const;
  template <typename Request, typename Response>
  void Call(const grpc::CallbackServerContext& context, uint32_t ordinal, const Request& request,
            std::function<void(grpc::Status, Response&)> done) const {
    struct Hop {
      std::unique_ptr<grpc::ClientContext> context;
      std::unique_ptr<grpc::TemplatedGenericStub<Request, Response>> stub;
      Response response;
    };
    auto hop = std::make_shared<Hop>();
    hop->context = HopContext(context, ordinal);
    hop->context->set_deadline(absl::ToChronoTime(DeadlineOf(context)));
    hop->stub = std::make_unique<grpc::TemplatedGenericStub<Request, Response>>(channels_[ordinal]);
    hop->stub->UnaryCall(hop->context.get(), MethodOf(*Request::descriptor()), {}, &request,
                         &hop->response, [this, hop, ordinal, done](grpc::Status status) {
                           done(Explain(status, ordinal), hop->response);
                         });
  }
  // "/package.Service/Method" of the one method that takes this message.
  static std::string MethodOf(const google::protobuf::Descriptor& request);

  std::string service_ = "service";
  Replica own_;
  Channels channels_;
  const CallerCorps* callers_ = nullptr;
};

}  // namespace tidegate::rpc
