// The topics of the product on a cluster: made when missing, else compared with what is wanted.
#pragma once

#include "absl/status/status.h"
#include "common/log/kafka_client.h"

namespace tidegate::log {

// Blocks up to options.start_timeout_ms. `client` is any client of the cluster.
// Errors: FAILED_PRECONDITION a topic differs (the text names topic, setting, wanted and found, one
// line each); UNAVAILABLE the cluster does not answer.
absl::Status MakeOrVerifyTopics(rd_kafka_t* client, const KafkaOptions& options);

}  // namespace tidegate::log
