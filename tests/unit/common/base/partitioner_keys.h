// 10,000 keys of 0 to 64 bytes, the same that tests/kafka/Murmur2.java makes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tidegate {

inline std::vector<std::string> PartitionerKeys() {
  // xorshift64 (Marsaglia 2003).
  uint64_t state = 88172645463325252u;
  const auto next = [&state] {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
  };
  std::vector<std::string> keys(10'000);
  for (std::string& key : keys) {
    key.resize(next() % 65);
    for (char& c : key) c = static_cast<char>(next() >> 56);
  }
  return keys;
}

}  // namespace tidegate
