// Channels from one process of the deployment to another.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

namespace tidegate::rpc {

// Connects when first used, and again, soon, when the other side was gone. Repeats nothing by
// itself.
std::shared_ptr<grpc::Channel> MakeChannel(
    const std::string& address, const std::shared_ptr<grpc::ChannelCredentials>& credentials);

}  // namespace tidegate::rpc
