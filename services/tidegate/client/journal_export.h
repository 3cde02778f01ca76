// `tidegate journal export`: the log as JSON lines, one file per topic partition, read from the
// data directory itself, also beside a running server. For judging and for support, not for
// restoring.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/log/log.h"
#include "services/tidegate/client/client.h"

namespace tidegate::client {

// One line without its end: {"offset", "key", "header", "value"}. The header has every field;
// 64-bit numbers are numbers where a double holds them, else strings. The value is the topic's
// message as protobuf's JSON with snake_case names ({} where the record has none). A record that is
// not its topic's message has "value": null and its bytes in "value_base64"; *readable is then
// false.
std::string ExportLine(log::Topic topic, const log::StoredRecord& stored, bool* readable);

struct JournalExportOptions {
  std::string data_dir;
  // Made when missing. Files TOPIC-PARTITION.jsonl are replaced whole, each when it is complete.
  std::string out_dir;
};

// Errors: NOT_FOUND there is no log; INVALID_ARGUMENT the directory cannot be written; DATA_LOSS
// the log is corrupt; UNKNOWN some records could not be read as their message.
absl::Status JournalExport(const Client& client, const JournalExportOptions& options);

}  // namespace tidegate::client
