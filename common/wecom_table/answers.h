// Answers of WeCom, read from their JSON. Unknown fields are ignored, missing ones are empty; wrong
// types and a missing errcode are an error: such an answer proves nothing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tidegate::wecom_table {

struct Answer {
  int errcode = 0;
  std::string msgid;
  // Of an app message: members whom WeCom cannot write to, in lower case.
  std::vector<std::string> fail_list;
  std::string next_cursor;
  struct Task {
    std::string userid;
    int status = 0;  // 0 not sent, 2 sent
  };
  std::vector<Task> tasks;
  struct Send {
    std::string external_userid;
    int status = 0;  // 0 not sent, 1 sent, 2 not a friend, 3 over quota
  };
  std::vector<Send> sends;
  struct Message {
    std::string msgid;
    int64_t create_time_s = 0;
    std::vector<std::string> link_urls;
  };
  std::vector<Message> messages;
};

// INVALID_ARGUMENT: not JSON, no errcode, or a field of another type than documented.
absl::StatusOr<Answer> ParseAnswer(absl::string_view api, absl::string_view body);

}  // namespace tidegate::wecom_table
