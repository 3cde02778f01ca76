// Counts and times every RPC that a server answers.
#pragma once

#include <grpcpp/support/server_interceptor.h>

#include <memory>
#include <string>
#include <vector>

#include "common/metrics/metrics.h"

namespace tidegate::rpc {

// For ServerBuilder::experimental().SetInterceptorCreators. `metrics` outlives the server. The
// methods of `services`, full names of linked protos, are shown from the start, with zeros: so the
// first call of each is a change that Prometheus sees. Names that are not linked are ignored.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeServerMetrics(
    metrics::Metrics* metrics, const std::vector<std::string>& services);

}  // namespace tidegate::rpc
