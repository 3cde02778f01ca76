// What every RPC handler needs to judge a call before it looks at it.
#pragma once

#include <grpcpp/grpcpp.h>

#include <string>

#include "absl/strings/string_view.h"
#include "common/config/corps.h"
#include "common/definitions/definition_store.h"
#include "common/grpc/caller.h"
#include "common/grpc/errors.h"
#include "common/grpc/replicas.h"

namespace tidegate::rpc {

// Nothing is owned; all outlives the handler. Thread-safe.
struct Edge {
  const config::Corps* corps;
  const CallerCorps* callers;
  const Replicas* replicas;  // of the handler's service
  definitions::DefinitionStore* definitions;

  // nullptr: answer UnknownCorp(), whether there is no such corp or not for this caller.
  const config::Corp* Find(const grpc::ServerContextBase& context, absl::string_view corp) const {
    return FindCorp(context, *corps, *callers, corp);
  }
  // Answers a call from the definitions of its corp, as any process was told them before. `fill`
  // writes the response.
  template <typename Fill>
  grpc::ServerUnaryReactor* Read(grpc::CallbackServerContext* context, const std::string& corp,
                                 Fill fill) const {
    if (Find(*context, corp) == nullptr) return Finish(context, UnknownCorp());
    auto* reactor = context->DefaultReactor();
    definitions->WhenCurrent(
        [store = definitions, reactor, corp, fill](const absl::Status& status) {
          if (status.ok()) fill(*store->Corp(corp));
          reactor->Finish(ToGrpcStatus(status, "DEFINITIONS_NOT_READ"));
        });
    return reactor;
  }
  // The proposal of a request, under the name of whoever called first.
  template <typename Request>
  definitions::DefinitionStore::Request ProposalOf(const grpc::CallbackServerContext& context,
                                                   const Request& request,
                                                   const std::string& reason) const {
    return definitions::ProposalOf(request, replicas->CallerOf(context), reason);
  }
};

}  // namespace tidegate::rpc
