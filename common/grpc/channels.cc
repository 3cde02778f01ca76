#include "common/grpc/channels.h"

namespace tidegate::rpc {

std::shared_ptr<grpc::Channel> MakeChannel(
    const std::string& address, const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
  grpc::ChannelArguments arguments;
  // The library's own pause between connects starts at 1 s and grows to 2 min: too slow for a
  // process that restarts in a second.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 500);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
  // Whether a call may be repeated is for its caller to say.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  // A peer whose machine is gone sends nothing, and the kernel would wait for minutes. Not more
  // often than servers of this project allow, see server_runner.cc.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 10'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5'000);
  // Never through a proxy of the environment: the server is named by address.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(address, credentials, arguments);
}

}  // namespace tidegate::rpc
