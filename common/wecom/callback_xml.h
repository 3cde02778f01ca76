// The XML of WeCom's callbacks, read into flat values. Wraps pugixml. Unknown elements are ignored;
// a document type, too many nodes or too deep a tree are refused.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tidegate::wecom {

struct CallbackEnvelope {
  std::string to_user;   // corp id
  std::string agent_id;  // empty for events that are not an app's
  std::string encrypt;   // Base64 cipher text
};

struct CallbackEvent {
  std::string to_user;
  std::string from_user;
  int64_t create_time_s = 0;
  std::string msg_type;
  std::string event;
  std::string change_type;
  std::string user_id;
  std::string external_user_id;
  std::string state;
  std::string welcome_code;
};

// INVALID_ARGUMENT: not such a document; the text says why.
absl::StatusOr<CallbackEnvelope> ParseEnvelope(absl::string_view xml);
absl::StatusOr<CallbackEvent> ParseEvent(absl::string_view xml);

}  // namespace tidegate::wecom
