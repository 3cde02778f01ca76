// RPC edge of tagging: proto to definitions and back.
#pragma once

#include "common/config/corps.h"
#include "common/definitions/definition_store.h"
#include "tidegate/tagging/v1/tagging_service.grpc.pb.h"

namespace tidegate::tagging {

// Thread-safe. Neither argument is owned; both outlive the handler.
class Handler final : public ::tidegate::tagging::v1::TaggingService::CallbackService {
 public:
  Handler(const config::Corps* corps, definitions::DefinitionStore* store)
      : corps_(corps), store_(store) {}

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
  const config::Corps* const corps_;
  definitions::DefinitionStore* const store_;
};

}  // namespace tidegate::tagging
