// Results for people (aligned tables) and for machines (one JSON value and a newline).
// Not for errors (error_report.h) or progress (progress.h).
#pragma once

#include <google/protobuf/message.h>

#include <boost/json.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/tidegate/client/client.h"

namespace tidegate::client {

// A protobuf message as JSON: snake_case names, every field that is not part of a oneof (null where
// a message is absent), 64-bit numbers as numbers, or as strings where a double would not hold
// them, bytes as base64, enums by name, Timestamps in RFC 3339.
boost::json::value ToJson(const google::protobuf::Message& message);

// "CAMPAIGN_STATE_RUNNING" -> "running".
std::string EnumWord(absl::string_view prefix, const std::string& name);

boost::json::string_view JsonText(absl::string_view text);

// Columns as wide as their widest cell (in code points); cells that are numbers stand at the right.
// Line breaks inside a cell are shown as blanks.
std::string RenderTable(const std::vector<std::string>& header,
                        const std::vector<std::vector<std::string>>& rows);

// Aligned "name  value" lines.
std::string RenderPairs(const std::vector<std::vector<std::string>>& pairs);

// "VIP, loyal", or "-" for none.
std::string JoinWords(const std::vector<std::string>& words);
// At most `code_points` of a text, with "..." where it was cut.
std::string Shortened(absl::string_view text, size_t code_points);

// Writes one or the other, as the user asked.
void Print(const Client& client, const boost::json::value& json, const std::string& table);

}  // namespace tidegate::client
