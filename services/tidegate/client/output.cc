#include "services/tidegate/client/output.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/timestamp.pb.h>

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"

namespace tidegate::client {
namespace {

using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;
using ::google::protobuf::Reflection;

// Above this a double, and so many a JSON reader, loses digits.
constexpr int64_t kSafeInteger = int64_t{1} << 53;

boost::json::value Integer(int64_t number) {
  if (number > kSafeInteger || number < -kSafeInteger) {
    return boost::json::value(absl::StrCat(number).c_str());
  }
  return number;
}

boost::json::value Integer(uint64_t number) {
  if (number > static_cast<uint64_t>(kSafeInteger)) {
    return boost::json::value(absl::StrCat(number).c_str());
  }
  return number;
}

boost::json::value Text(const FieldDescriptor& field, const std::string& text) {
  if (field.type() == FieldDescriptor::TYPE_BYTES) return JsonText(absl::Base64Escape(text));
  return JsonText(text);
}

// One element of a repeated field, or a whole single field where `index` is -1.
boost::json::value FieldValue(const Message& message, const FieldDescriptor& field, int index) {
  const Reflection& reflection = *message.GetReflection();
  const bool repeated = index >= 0;
#define TIDEGATE_FIELD(Kind)                                       \
  (repeated ? reflection.GetRepeated##Kind(message, &field, index) \
            : reflection.Get##Kind(message, &field))
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return TIDEGATE_FIELD(Int32);
    case FieldDescriptor::CPPTYPE_INT64:
      return Integer(TIDEGATE_FIELD(Int64));
    case FieldDescriptor::CPPTYPE_UINT32:
      return TIDEGATE_FIELD(UInt32);
    case FieldDescriptor::CPPTYPE_UINT64:
      return Integer(TIDEGATE_FIELD(UInt64));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return TIDEGATE_FIELD(Double);
    case FieldDescriptor::CPPTYPE_FLOAT:
      return TIDEGATE_FIELD(Float);
    case FieldDescriptor::CPPTYPE_BOOL:
      return TIDEGATE_FIELD(Bool);
    case FieldDescriptor::CPPTYPE_ENUM:
      return JsonText(TIDEGATE_FIELD(Enum)->name());
    case FieldDescriptor::CPPTYPE_STRING:
      return Text(field, TIDEGATE_FIELD(String));
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return ToJson(TIDEGATE_FIELD(Message));
  }
#undef TIDEGATE_FIELD
  return nullptr;
}

boost::json::value MapValue(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  const FieldDescriptor& key = *field.message_type()->map_key();
  const FieldDescriptor& value = *field.message_type()->map_value();
  std::vector<std::pair<std::string, boost::json::value>> entries;
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    const Message& entry = reflection.GetRepeatedMessage(message, &field, i);
    const boost::json::value name = FieldValue(entry, key, -1);
    entries.emplace_back(
        name.is_string() ? std::string(name.get_string()) : boost::json::serialize(name),
        FieldValue(entry, value, -1));
  }
  // A map has no order of its own; equal messages should give equal text.
  std::sort(entries.begin(), entries.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  boost::json::object object;
  for (auto& [name, entry_value] : entries) object[name] = std::move(entry_value);
  return object;
}

boost::json::value RepeatedValue(const Message& message, const FieldDescriptor& field) {
  boost::json::array array;
  const int size = message.GetReflection()->FieldSize(message, &field);
  array.reserve(static_cast<size_t>(size));
  for (int i = 0; i < size; ++i) array.push_back(FieldValue(message, field, i));
  return array;
}

// Bytes other than the continuation bytes of UTF-8.
size_t CodePoints(absl::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

bool IsNumber(absl::string_view cell) {
  double number;
  return absl::SimpleAtod(cell, &number);
}

std::string OneLine(std::string cell) {
  for (char& c : cell) {
    if (absl::ascii_iscntrl(c)) c = ' ';
  }
  return cell;
}

std::string RenderRows(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], CodePoints(row[i]));
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - CodePoints(row[i]), ' ');
      const std::string cell = OneLine(row[i]);
      if (i > 0) line += "  ";
      line += IsNumber(cell) ? padding + cell : cell + padding;
    }
    absl::StrAppend(&text, absl::StripTrailingAsciiWhitespace(line), "\n");
  }
  return text;
}

}  // namespace

boost::json::value ToJson(const Message& message) {
  if (message.GetDescriptor() == google::protobuf::Timestamp::descriptor()) {
    google::protobuf::Timestamp time;
    time.CopyFrom(message);
    return JsonText(absl::FormatTime(
        absl::RFC3339_full, absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos()),
        absl::UTCTimeZone()));
  }
  const Reflection& reflection = *message.GetReflection();
  boost::json::object object;
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor& field = *message.GetDescriptor()->field(i);
    if (field.is_map()) {
      object[field.name()] = MapValue(message, field);
    } else if (field.is_repeated()) {
      object[field.name()] = RepeatedValue(message, field);
    } else if (field.has_presence() && !reflection.HasField(message, &field)) {
      if (field.containing_oneof() == nullptr) object[field.name()] = nullptr;
    } else {
      object[field.name()] = FieldValue(message, field, -1);
    }
  }
  return object;
}

std::string EnumWord(absl::string_view prefix, const std::string& name) {
  return absl::AsciiStrToLower(absl::StripPrefix(name, prefix));
}

boost::json::string_view JsonText(absl::string_view text) { return {text.data(), text.size()}; }

std::string RenderTable(const std::vector<std::string>& header,
                        const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::vector<std::string>> all = {header};
  all.insert(all.end(), rows.begin(), rows.end());
  return RenderRows(all);
}

std::string RenderPairs(const std::vector<std::vector<std::string>>& pairs) {
  return RenderRows(pairs);
}

std::string JoinWords(const std::vector<std::string>& words) {
  return words.empty() ? "-" : absl::StrJoin(words, ", ");
}

std::string Shortened(absl::string_view text, size_t code_points) {
  if (CodePoints(text) <= code_points) return std::string(text);
  size_t end = 0;
  for (size_t seen = 0; end < text.size(); ++end) {
    if ((static_cast<unsigned char>(text[end]) & 0xC0) != 0x80 && seen++ == code_points) break;
  }
  return absl::StrCat(text.substr(0, end), "...");
}

void Print(const Client& client, const boost::json::value& json, const std::string& table) {
  if (client.json) {
    *client.out << boost::json::serialize(json) << "\n";
  } else {
    *client.out << table;
  }
  client.out->flush();
}

}  // namespace tidegate::client
