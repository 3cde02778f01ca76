#include "services/wecom_simulator/core/fields.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace tidegate::wecom_simulator {
namespace {

namespace json = boost::json;

constexpr size_t kTextBytesMax = 4000;
constexpr size_t kAttachmentsMax = 9;

const json::value* Find(const json::object& body, const char* name) {
  const json::value* value = body.if_contains(name);
  return value == nullptr || value->is_null() ? nullptr : value;
}

std::string PercentDecode(absl::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && absl::ascii_isxdigit(text[i + 1]) &&
        absl::ascii_isxdigit(text[i + 2])) {
      absl::StrAppend(&decoded, absl::HexStringToBytes(text.substr(i + 1, 2)));
      i += 2;
    } else {
      decoded.push_back(text[i]);
    }
  }
  return decoded;
}

struct AttachmentField {
  const char* name;
  bool required;
  size_t bytes_max;
};

ApiError CheckAttachmentFields(const json::object& part, absl::string_view kind,
                               const std::vector<AttachmentField>& fields) {
  for (const AttachmentField& field : fields) {
    std::string value;
    if (ApiError error = ReadString(part, field.name, &value); error.failed()) return error;
    if (field.required && value.empty()) {
      return {40058, absl::StrCat("missing field ", kind, ".", field.name)};
    }
    if (value.size() > field.bytes_max) {
      return {40058, absl::StrCat("field ", kind, ".", field.name, " exceed max length ",
                                  field.bytes_max, ". invalid Request Parameter")};
    }
  }
  return {};
}

ApiError CheckAttachment(const json::value& value) {
  constexpr size_t kAny = 4096;
  const json::object* attachment = value.if_object();
  if (attachment == nullptr) return {40058, "an attachment is not an object"};
  std::string kind;
  if (ApiError error = ReadString(*attachment, "msgtype", &kind); error.failed()) return error;
  const bool known = kind == "image" || kind == "link" || kind == "miniprogram" ||
                     kind == "video" || kind == "file";
  const json::value* inner = known ? Find(*attachment, kind.c_str()) : nullptr;
  const json::object* part = inner == nullptr ? nullptr : inner->if_object();
  if (part == nullptr) return {41065, "invalid attachments msgtype"};
  if (kind == "link") {
    return CheckAttachmentFields(
        *part, kind,
        {{"title", true, 128}, {"picurl", false, 2048}, {"desc", false, 512}, {"url", true, 2048}});
  }
  if (kind == "miniprogram") {
    return CheckAttachmentFields(*part, kind,
                                 {{"title", true, 64},
                                  {"pic_media_id", true, kAny},
                                  {"appid", true, kAny},
                                  {"page", true, kAny}});
  }
  if (kind == "image") {
    const bool by_url = Find(*part, "media_id") == nullptr;
    return CheckAttachmentFields(*part, kind,
                                 {{"media_id", !by_url, kAny}, {"pic_url", by_url, kAny}});
  }
  return CheckAttachmentFields(*part, kind, {{"media_id", true, kAny}});
}

}  // namespace

json::string_view JsonView(absl::string_view text) { return {text.data(), text.size()}; }
std::string Text(json::string_view text) { return std::string(text.data(), text.size()); }

json::array JsonStrings(const std::vector<std::string>& values) {
  json::array array;
  array.reserve(values.size());
  for (const std::string& value : values) array.emplace_back(value);
  return array;
}

std::string QueryField(absl::string_view query, absl::string_view name) {
  if (!query.empty() && query.front() == '?') query.remove_prefix(1);
  for (absl::string_view pair : absl::StrSplit(query, '&')) {
    const size_t equals = pair.find('=');
    if (equals == absl::string_view::npos || pair.substr(0, equals) != name) continue;
    return PercentDecode(pair.substr(equals + 1));
  }
  return "";
}

ApiError ReadString(const json::object& body, const char* name, std::string* out) {
  const json::value* value = Find(body, name);
  if (value == nullptr) return {};
  const json::string* text = value->if_string();
  if (text == nullptr) return {40058, absl::StrCat("field ", name, " is not a string")};
  *out = std::string(text->data(), text->size());
  return {};
}

ApiError ReadInt(const json::object& body, const char* name, int64_t* out) {
  const json::value* value = Find(body, name);
  if (value == nullptr) return {};
  const int64_t* number = value->if_int64();
  if (number == nullptr) return {40058, absl::StrCat("field ", name, " is not an integer")};
  *out = *number;
  return {};
}

ApiError ReadStrings(const json::object& body, const char* name, size_t count_max,
                     std::vector<std::string>* out) {
  const json::value* value = Find(body, name);
  if (value == nullptr) return {};
  const json::array* array = value->if_array();
  if (array == nullptr) return {40058, absl::StrCat("field ", name, " is not an array")};
  if (array->size() > count_max) {
    return {40058, absl::StrCat("field ", name, " exceed max length ", count_max,
                                ". invalid Request Parameter")};
  }
  std::vector<std::string> read;
  read.reserve(array->size());
  for (const json::value& item : *array) {
    const json::string* text = item.if_string();
    if (text == nullptr || text->empty()) {
      return {40058, absl::StrCat("field ", name, " holds something else than a string")};
    }
    read.emplace_back(text->data(), text->size());
  }
  *out = std::move(read);
  return {};
}

ApiError ReadRequired(const json::object& body, const char* name, int missing, std::string* out) {
  if (ApiError error = ReadString(body, name, out); error.failed()) return error;
  if (out->empty()) return {missing, absl::StrCat("missing ", name)};
  return {};
}

ApiError ReadLimit(const json::object& body, int64_t usual, int64_t most, int64_t* out) {
  *out = usual;
  if (ApiError error = ReadInt(body, "limit", out); error.failed()) return error;
  if (*out <= 0 || *out > most) *out = usual;
  return {};
}

ApiError CheckMessage(const json::object& body) {
  std::string content;
  if (const json::value* text = Find(body, "text"); text != nullptr) {
    if (!text->is_object()) return {40058, "field text is not an object"};
    if (ApiError error = ReadString(text->get_object(), "content", &content); error.failed()) {
      return error;
    }
  }
  if (content.size() > kTextBytesMax) {
    return {40058, absl::StrCat("field text.content exceed max length ", kTextBytesMax,
                                ". invalid Request Parameter")};
  }
  const json::value* value = Find(body, "attachments");
  if (value == nullptr) {
    return content.empty() ? ApiError{41089, "text and attachments both empty"} : ApiError{};
  }
  const json::array* attachments = value->if_array();
  if (attachments == nullptr) return {40058, "field attachments is not an array"};
  if (attachments->empty() && content.empty()) return {41088, "empty attachments"};
  if (attachments->size() > kAttachmentsMax) return {41064, "invalid attachments size"};
  for (const json::value& attachment : *attachments) {
    if (ApiError error = CheckAttachment(attachment); error.failed()) return error;
  }
  return {};
}

std::string MarkerOf(const json::object& body) {
  const json::value* value = Find(body, "attachments");
  if (value == nullptr || !value->is_array()) return "";
  for (const json::value& attachment : value->get_array()) {
    const json::object* object = attachment.if_object();
    const json::value* link = object == nullptr ? nullptr : Find(*object, "link");
    if (link == nullptr || !link->is_object()) continue;
    std::string url;
    if (ReadString(link->get_object(), "url", &url).failed()) return "";
    const absl::string_view whole = url;
    const size_t question = whole.find('?');
    if (question == absl::string_view::npos) return "";
    const absl::string_view query = whole.substr(question + 1);
    return QueryField(query.substr(0, query.find('#')), "tg");
  }
  return "";
}

}  // namespace tidegate::wecom_simulator
