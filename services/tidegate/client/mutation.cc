#include "services/tidegate/client/mutation.h"

#include "common/base/hash.h"

namespace tidegate::client {

std::string RequestIdOr(const std::string& given) { return given.empty() ? RandomUuid() : given; }

absl::Status Mutate(const Client& client, absl::string_view op, const std::string& request_id,
                    const std::string& id, const Connection::Rpc& rpc) {
  return client.connection->Call(rpc, [&](const grpc::Status& answer) {
    client.log->Add(op, request_id, {id},
                    ResultWord(static_cast<absl::StatusCode>(answer.error_code())));
  });
}

}  // namespace tidegate::client
