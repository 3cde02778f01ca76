// Counts and times every RPC that a server answers.
#pragma once

#include <grpcpp/support/server_interceptor.h>

#include <memory>

#include "common/metrics/metrics.h"

namespace tidegate::rpc {

// For ServerBuilder::experimental().SetInterceptorCreators. `metrics` outlives the server.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeServerMetrics(
    metrics::Metrics* metrics);

}  // namespace tidegate::rpc
