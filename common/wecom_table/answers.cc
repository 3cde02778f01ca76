#include "common/wecom_table/answers.h"

#include <boost/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace tidegate::wecom_table {
namespace {

namespace json = boost::json;

// Reads fields of objects and remembers the first one of a wrong type.
class Fields {
 public:
  std::string Text(const json::object& object, const char* key) {
    const json::value* value = object.if_contains(key);
    if (value == nullptr || value->is_null()) return "";
    if (value->is_string()) return std::string(value->as_string());
    Fault(key);
    return "";
  }
  int64_t Number(const json::object& object, const char* key) {
    const json::value* value = object.if_contains(key);
    if (value == nullptr) return 0;
    if (value->is_int64()) return value->as_int64();
    Fault(key);
    return 0;
  }
  int Int(const json::object& object, const char* key) {
    const int64_t number = Number(object, key);
    if (static_cast<int>(number) == number) return static_cast<int>(number);
    Fault(key);
    return 0;
  }
  const json::array& Array(const json::object& object, const char* key) {
    static const json::array kEmpty;
    const json::value* value = object.if_contains(key);
    if (value == nullptr || value->is_null()) return kEmpty;
    if (value->is_array()) return value->as_array();
    Fault(key);
    return kEmpty;
  }
  const json::object& Object(const json::value& value, const char* key) {
    static const json::object kEmpty;
    if (value.is_object()) return value.as_object();
    Fault(key);
    return kEmpty;
  }
  void Fault(const char* key) {
    if (status_.ok())
      status_ = absl::InvalidArgumentError(
          absl::StrCat("answer: ", key, " is missing or of another type"));
  }
  const absl::Status& status() const { return status_; }

 private:
  absl::Status status_;
};

}  // namespace

absl::StatusOr<Answer> ParseAnswer(absl::string_view, absl::string_view body) {
  boost::system::error_code error;
  const json::value root = json::parse(json::string_view(body.data(), body.size()), error);
  if (error || !root.is_object()) return absl::InvalidArgumentError("answer: not a JSON object");
  const json::object& object = root.as_object();
  Fields fields;
  Answer answer;
  // Every answer of WeCom has one. Without it an empty object from a proxy would read as success,
  // or as a clean list that proves a create absent.
  if (!object.contains("errcode")) fields.Fault("errcode");
  answer.errcode = fields.Int(object, "errcode");
  answer.msgid = fields.Text(object, "msgid");
  answer.next_cursor = fields.Text(object, "next_cursor");
  for (const json::value& value : fields.Array(object, "fail_list")) {
    if (value.is_string()) {
      answer.fail_list.emplace_back(value.as_string());
    } else {
      fields.Fault("fail_list");
    }
  }
  for (const char* key : {"invaliduser", "unlicenseduser"}) {
    for (absl::string_view member :
         absl::StrSplit(fields.Text(object, key), '|', absl::SkipEmpty())) {
      answer.fail_list.emplace_back(member);
    }
  }
  for (const json::value& value : fields.Array(object, "task_list")) {
    const json::object& task = fields.Object(value, "task_list");
    answer.tasks.push_back(
        {.userid = fields.Text(task, "userid"), .status = fields.Int(task, "status")});
  }
  for (const json::value& value : fields.Array(object, "send_list")) {
    const json::object& send = fields.Object(value, "send_list");
    answer.sends.push_back({.external_userid = fields.Text(send, "external_userid"),
                            .status = fields.Int(send, "status")});
  }
  for (const json::value& value : fields.Array(object, "group_msg_list")) {
    const json::object& item = fields.Object(value, "group_msg_list");
    Answer::Message message{.msgid = fields.Text(item, "msgid")};
    // Seen as a number and as a text of digits.
    const json::value* time = item.if_contains("create_time");
    if (time != nullptr && time->is_string()) {
      if (!absl::SimpleAtoi(fields.Text(item, "create_time"), &message.create_time_s))
        fields.Fault("create_time");
    } else {
      message.create_time_s = fields.Number(item, "create_time");
    }
    for (const json::value& attachment_value : fields.Array(item, "attachments")) {
      const json::object& attachment = fields.Object(attachment_value, "attachments");
      if (const json::value* link = attachment.if_contains("link")) {
        message.link_urls.push_back(fields.Text(fields.Object(*link, "link"), "url"));
      }
    }
    answer.messages.push_back(std::move(message));
  }
  if (!fields.status().ok()) return fields.status();
  return answer;
}

}  // namespace tidegate::wecom_table
