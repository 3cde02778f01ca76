// Which partition a customer lives on: murmur2 over "corp/customer", as Kafka's Java producer does
// it (org.apache.kafka.common.utils.Utils.murmur2, then toPositive, then modulo).
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace tidegate {

uint32_t Murmur2(absl::string_view key);
// partitions > 0.
uint32_t PartitionOf(absl::string_view key, uint32_t partitions);
// The key of everything about one customer.
std::string CustomerKey(absl::string_view corp, absl::string_view customer);

}  // namespace tidegate
