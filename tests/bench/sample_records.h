// Records as Tidegate writes them, for measurements: 300 bytes of value, about 60 of header, no two
// alike.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/log/log.h"

namespace tidegate::bench {

// A circle of records made in advance. For one thread.
class SampleRecords {
 public:
  explicit SampleRecords(uint64_t seed);

  const log::Record& Next() { return records_[next_++ % records_.size()]; }
  std::vector<log::Record> Take(size_t count);

 private:
  std::vector<log::Record> records_;
  size_t next_ = 0;
};

}  // namespace tidegate::bench
