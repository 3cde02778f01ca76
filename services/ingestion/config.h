// Settings of ingestion. Defaults are the documented ones (README.md).
#pragma once

#include <cstdint>
#include <string>

namespace tidegate::ingestion {

struct Config {
  uint32_t partitions = 4;
  std::string callback_address = "127.0.0.1:7601";
  // PEM files of the callback listener; empty = plaintext. ca_file: clients show certificates.
  std::string cert_file, key_file, ca_file;
  // Callbacks older or newer than this are refused as replays.
  int64_t timestamp_tolerance_s = 600;
};

}  // namespace tidegate::ingestion
