// One call that changes something: repeated safely under one request id, each attempt written to
// the client log. Not for reads, and not for events (publisher.h).
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "services/tidegate/client/client.h"

namespace tidegate::client {

// `given` or, if empty, a random UUID.
std::string RequestIdOr(const std::string& given);

// Runs `rpc` as Connection::Call does; `op` and `id` name it in the client log.
absl::Status Mutate(const Client& client, absl::string_view op, const std::string& request_id,
                    const std::string& id, const Connection::Rpc& rpc);

}  // namespace tidegate::client
