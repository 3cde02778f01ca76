#include "services/tidegate/client/journal_export.h"

#include <google/protobuf/util/json_util.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/log/embedded_log.h"
#include "services/tidegate/client/csv.h"
#include "services/tidegate/client/output.h"
#include "tidegate/log/v1/audiences.pb.h"
#include "tidegate/log/v1/commands.pb.h"
#include "tidegate/log/v1/definitions.pb.h"
#include "tidegate/log/v1/events.pb.h"
#include "tidegate/log/v1/header.pb.h"
#include "tidegate/log/v1/ledger.pb.h"
#include "tidegate/log/v1/memberships.pb.h"
#include "tidegate/log/v1/profiles.pb.h"

namespace tidegate::client {
namespace {

namespace log_v1 = tidegate::log::v1;

constexpr size_t kReadRecords = 1'000;
constexpr size_t kReadBytes = size_t{4} << 20;

std::unique_ptr<google::protobuf::Message> NewValue(log::Topic topic) {
  switch (topic) {
    case log::Topic::kEvents:
      return std::make_unique<log_v1::CustomerEvent>();
    case log::Topic::kProfiles:
      return std::make_unique<log_v1::ProfileRecord>();
    case log::Topic::kMemberships:
      return std::make_unique<log_v1::MembershipRecord>();
    case log::Topic::kLedger:
      return std::make_unique<log_v1::LedgerRecord>();
    case log::Topic::kAudiences:
      return std::make_unique<log_v1::AudienceChunk>();
    case log::Topic::kCommands:
      return std::make_unique<log_v1::Command>();
    case log::Topic::kDefinitions:
      return std::make_unique<log_v1::Proposal>();
    case log::Topic::kDeadLetters:
      return std::make_unique<log_v1::DeadLetter>();
  }
  return nullptr;
}

// Empty if the bytes are not this topic's message.
std::string ValueJson(log::Topic topic, const std::string& bytes) {
  if (bytes.empty()) return "{}";
  const std::unique_ptr<google::protobuf::Message> value = NewValue(topic);
  if (value == nullptr || !value->ParseFromString(bytes)) return "";
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(*value, &json, options).ok()) return "";
  return json;
}

std::string Base64Json(const std::string& bytes) {
  return absl::StrCat("\"", absl::Base64Escape(bytes), "\"");
}

struct ExportedFile {
  std::string name;
  uint64_t records = 0;
  uint64_t unreadable = 0;
};

absl::Status CannotWrite(const std::filesystem::path& path) {
  return absl::InvalidArgumentError(
      absl::StrCat("cannot write ", path.string(), ": ", std::strerror(errno)));
}

absl::StatusOr<ExportedFile> ExportPartition(log::EmbeddedLog* log, log::TopicPartition at,
                                             const std::filesystem::path& out_dir) {
  ExportedFile exported;
  exported.name = absl::StrCat(log::TopicName(at.topic), "-", at.partition, ".jsonl");
  const std::filesystem::path path = out_dir / exported.name;
  const std::filesystem::path unfinished = path.string() + ".tmp";
  std::ofstream file(unfinished, std::ios::binary | std::ios::trunc);
  if (!file.is_open()) return CannotWrite(unfinished);

  const uint64_t end = log->End(at);
  std::vector<log::StoredRecord> batch;
  for (uint64_t offset = 0; offset < end;) {
    RETURN_IF_ERROR(log->Read(at, offset, kReadRecords, kReadBytes, &batch));
    if (batch.empty()) break;
    for (const log::StoredRecord& stored : batch) {
      bool readable = false;
      file << ExportLine(at.topic, stored, &readable) << "\n";
      ++exported.records;
      if (!readable) ++exported.unreadable;
    }
    offset = batch.back().offset + 1;
  }
  file.close();
  if (file.fail() || std::rename(unfinished.c_str(), path.c_str()) != 0) return CannotWrite(path);
  return exported;
}

}  // namespace

std::string ExportLine(log::Topic topic, const log::StoredRecord& stored, bool* readable) {
  const log::Record& record = stored.record;
  *readable = true;
  std::string line = absl::StrCat("{\"offset\":", stored.offset, ",\"key\":");
  if (IsUtf8(record.key)) {
    absl::StrAppend(&line, boost::json::serialize(boost::json::value(JsonText(record.key))));
  } else {
    absl::StrAppend(&line, "null,\"key_base64\":", Base64Json(record.key));
  }
  log_v1::RecordHeader header;
  if (header.ParseFromString(record.header)) {
    absl::StrAppend(&line, ",\"header\":", boost::json::serialize(ToJson(header)));
  } else {
    *readable = false;
    absl::StrAppend(&line, ",\"header\":null,\"header_base64\":", Base64Json(record.header));
  }
  const std::string value = ValueJson(topic, record.value);
  if (!value.empty()) {
    absl::StrAppend(&line, ",\"value\":", value, "}");
  } else {
    *readable = false;
    absl::StrAppend(&line, ",\"value\":null,\"value_base64\":", Base64Json(record.value), "}");
  }
  return line;
}

absl::Status JournalExport(const Client& client, const JournalExportOptions& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<log::EmbeddedLog> log,
                   log::EmbeddedLog::OpenReadOnly(options.data_dir));
  const std::filesystem::path out_dir(options.out_dir);
  std::error_code error;
  std::filesystem::create_directories(out_dir, error);
  if (error) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot make ", options.out_dir, ": ", error.message()));
  }
  boost::json::array json;
  std::vector<std::vector<std::string>> rows;
  uint64_t unreadable = 0;
  for (const log::TopicPartition at : log->Partitions()) {
    ASSIGN_OR_RETURN(const ExportedFile exported, ExportPartition(log.get(), at, out_dir));
    unreadable += exported.unreadable;
    json.push_back(boost::json::object{{"file", (out_dir / exported.name).string()},
                                       {"topic", log::TopicName(at.topic)},
                                       {"partition", at.partition},
                                       {"records", exported.records}});
    rows.push_back({exported.name, absl::StrCat(exported.records)});
  }
  Print(client, boost::json::object{{"files", std::move(json)}},
        RenderTable({"FILE", "RECORDS"}, rows));
  if (unreadable > 0) {
    return absl::UnknownError(absl::StrCat(unreadable, " records are not messages of their topic"));
  }
  return absl::OkStatus();
}

}  // namespace tidegate::client
