// Bodies of the requests to WeCom. Pure, and the same bytes for the same arguments.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "absl/strings/string_view.h"

namespace tidegate::wecom_table {

// Customers of one sender; the link carries the marker.
std::string AddMsgTemplateBody(absl::string_view sender, std::span<const std::string> customers,
                               absl::string_view text, absl::string_view link_url,
                               absl::string_view link_title);
std::string MarkTagBody(absl::string_view member, absl::string_view customer,
                        std::span<const std::string> add, std::span<const std::string> remove);
std::string WelcomeBody(absl::string_view welcome_code, absl::string_view text);
// To at most 1,000 members by the corp's app; a text card where there is a link. Two calls of the
// same content differ by their marker, or WeCom would take the second one for a repeat of the
// first: it stands in the link, else in a field "tg" of ours. `duplicate_check_s`: for how long
// WeCom drops what has the same bytes, at most 14,400.
std::string AppMessageBody(absl::string_view agent_id, std::span<const std::string> members,
                           absl::string_view text, absl::string_view link_url,
                           absl::string_view link_title, absl::string_view marker,
                           int64_t duplicate_check_s);
// Corp-created sends to customers; times in Unix seconds, inclusive.
std::string GroupMsgListBody(int64_t start_time_s, int64_t end_time_s, absl::string_view cursor,
                             int limit);
std::string GroupMsgTaskBody(absl::string_view msgid, absl::string_view cursor, int limit);
std::string RemindGroupMsgBody(absl::string_view msgid);
std::string CancelGroupMsgSendBody(absl::string_view msgid);
std::string GroupMsgSendResultBody(absl::string_view msgid, absl::string_view member,
                                   absl::string_view cursor, int limit);

// The url with query parameter tg=marker, before a fragment. An older tg makes way: the first one
// is what a listing is searched for.
std::string WithMarker(absl::string_view url, absl::string_view marker);
// The marker in a url; empty if there is none.
std::string MarkerOf(absl::string_view url);

}  // namespace tidegate::wecom_table
