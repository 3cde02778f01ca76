// RPC edge of tagging: proto to definitions and back.
#pragma once

#include "common/grpc/edge.h"
#include "tidegate/tagging/v1/tagging_service.grpc.pb.h"

namespace tidegate::tagging {

// Thread-safe.
class Handler final : public ::tidegate::tagging::v1::TaggingService::CallbackService {
 public:
  explicit Handler(const rpc::Edge& edge) : edge_(edge) {}

  grpc::ServerUnaryReactor* PutRule(grpc::CallbackServerContext* context,
                                    const ::tidegate::tagging::v1::PutRuleRequest* request,
                                    ::tidegate::tagging::v1::PutRuleResponse* response) override;
  grpc::ServerUnaryReactor* ListRules(
      grpc::CallbackServerContext* context,
      const ::tidegate::tagging::v1::ListRulesRequest* request,
      ::tidegate::tagging::v1::ListRulesResponse* response) override;
  grpc::ServerUnaryReactor* PutChannel(
      grpc::CallbackServerContext* context,
      const ::tidegate::tagging::v1::PutChannelRequest* request,
      ::tidegate::tagging::v1::PutChannelResponse* response) override;
  grpc::ServerUnaryReactor* ListChannels(
      grpc::CallbackServerContext* context,
      const ::tidegate::tagging::v1::ListChannelsRequest* request,
      ::tidegate::tagging::v1::ListChannelsResponse* response) override;

 private:
  const rpc::Edge edge_;
};

}  // namespace tidegate::tagging
