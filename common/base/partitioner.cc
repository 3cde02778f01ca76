#include "common/base/partitioner.h"

#include "absl/strings/str_cat.h"

namespace tidegate {

uint32_t Murmur2(absl::string_view key) {
  constexpr uint32_t kM = 0x5bd1e995;
  const auto byte = [&](size_t i) {
    return static_cast<uint32_t>(static_cast<unsigned char>(key[i]));
  };
  const size_t size = key.size();
  uint32_t h = 0x9747b28c ^ static_cast<uint32_t>(size);
  size_t i = 0;
  for (; i + 4 <= size; i += 4) {
    uint32_t k = byte(i) | byte(i + 1) << 8 | byte(i + 2) << 16 | byte(i + 3) << 24;
    k *= kM;
    k ^= k >> 24;
    k *= kM;
    h *= kM;
    h ^= k;
  }
  const size_t rest = size - i;
  if (rest == 3) h ^= byte(i + 2) << 16;
  if (rest >= 2) h ^= byte(i + 1) << 8;
  if (rest >= 1) {
    h ^= byte(i);
    h *= kM;
  }
  h ^= h >> 13;
  h *= kM;
  h ^= h >> 15;
  return h;
}

uint32_t PartitionOf(absl::string_view key, uint32_t partitions) {
  return (Murmur2(key) & 0x7fffffff) % partitions;
}

std::string CustomerKey(absl::string_view corp, absl::string_view customer) {
  return absl::StrCat(corp, "/", customer);
}

}  // namespace tidegate
