// Reading what a caller sent: query values and JSON fields, each with WeCom's error code when it is
// missing or of the wrong kind.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace tidegate::wecom_simulator {

// WeCom's verdict on a call; code 0 = no objection.
struct ApiError {
  int code = 0;
  std::string text;  // goes into errmsg
  bool failed() const { return code != 0; }
};

// The percent-decoded value of `name` in "a=1&b=2" (a leading "?" is ignored); empty if absent.
std::string QueryField(absl::string_view query, absl::string_view name);

// Each leaves `out` alone if the field is absent or null, and answers 40058 for another kind.
ApiError ReadString(const boost::json::object& body, const char* name, std::string* out);
ApiError ReadInt(const boost::json::object& body, const char* name, int64_t* out);
ApiError ReadStrings(const boost::json::object& body, const char* name, size_t count_max,
                     std::vector<std::string>* out);

// A string that must be there and not be empty: `missing` is the code when it is not.
ApiError ReadRequired(const boost::json::object& body, const char* name, int missing,
                      std::string* out);

// `limit` as the list calls read it: absent, not positive or above `most` means `usual`.
ApiError ReadLimit(const boost::json::object& body, int64_t usual, int64_t most, int64_t* out);

// Text and attachments of a message: sizes, counts, kinds, required fields.
ApiError CheckMessage(const boost::json::object& body);

// The marker of a body: the query value `tg` of its first link attachment's url; empty without one.
std::string MarkerOf(const boost::json::object& body);

boost::json::string_view JsonView(absl::string_view text);
std::string Text(boost::json::string_view text);
boost::json::array JsonStrings(const std::vector<std::string>& values);

}  // namespace tidegate::wecom_simulator
