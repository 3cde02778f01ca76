#include "common/wecom_table/requests.h"

#include <algorithm>
#include <boost/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace tidegate::wecom_table {
namespace {

namespace json = boost::json;

json::string_view View(absl::string_view text) { return {text.data(), text.size()}; }

json::array Array(std::span<const std::string> texts) {
  json::array array;
  array.reserve(texts.size());
  for (const std::string& text : texts) array.emplace_back(text);
  return array;
}

void SetPage(absl::string_view cursor, int limit, json::object* body) {
  (*body)["limit"] = limit;
  if (!cursor.empty()) (*body)["cursor"] = View(cursor);
}

}  // namespace

std::string AddMsgTemplateBody(absl::string_view sender, std::span<const std::string> customers,
                               absl::string_view text, absl::string_view link_url,
                               absl::string_view link_title) {
  json::object body;
  body["chat_type"] = "single";
  body["external_userid"] = Array(customers);
  body["sender"] = View(sender);
  body["text"] = json::object{{"content", View(text)}};
  body["attachments"] = json::array{
      json::object{{"msgtype", "link"},
                   {"link", json::object{{"title", View(link_title)}, {"url", View(link_url)}}}}};
  return json::serialize(body);
}

std::string MarkTagBody(absl::string_view member, absl::string_view customer,
                        std::span<const std::string> add, std::span<const std::string> remove) {
  json::object body;
  body["userid"] = View(member);
  body["external_userid"] = View(customer);
  if (!add.empty()) body["add_tag"] = Array(add);
  if (!remove.empty()) body["remove_tag"] = Array(remove);
  return json::serialize(body);
}

std::string WelcomeBody(absl::string_view welcome_code, absl::string_view text) {
  json::object body;
  body["welcome_code"] = View(welcome_code);
  body["text"] = json::object{{"content", View(text)}};
  return json::serialize(body);
}

std::string AppMessageBody(absl::string_view agent_id, std::span<const std::string> members,
                           absl::string_view text, absl::string_view link_url,
                           absl::string_view link_title, absl::string_view marker,
                           int64_t duplicate_check_s) {
  json::object body;
  body["touser"] = absl::StrJoin(members, "|");
  // WeCom documents a number; corps are configured with a text.
  int64_t number = 0;
  if (absl::SimpleAtoi(agent_id, &number)) {
    body["agentid"] = number;
  } else {
    body["agentid"] = View(agent_id);
  }
  if (link_url.empty()) {
    body["msgtype"] = "text";
    body["text"] = json::object{{"content", View(text)}};
    body["tg"] = View(marker);
  } else {
    body["msgtype"] = "textcard";
    body["textcard"] = json::object{{"title", View(link_title)},
                                    {"description", View(text)},
                                    {"url", WithMarker(link_url, marker)}};
  }
  body["enable_duplicate_check"] = 1;
  body["duplicate_check_interval"] = duplicate_check_s;
  return json::serialize(body);
}

std::string GroupMsgListBody(int64_t start_time_s, int64_t end_time_s, absl::string_view cursor,
                             int limit) {
  json::object body;
  body["chat_type"] = "single";
  body["start_time"] = start_time_s;
  body["end_time"] = end_time_s;
  body["filter_type"] = 0;
  SetPage(cursor, limit, &body);
  return json::serialize(body);
}

std::string GroupMsgTaskBody(absl::string_view msgid, absl::string_view cursor, int limit) {
  json::object body;
  body["msgid"] = View(msgid);
  SetPage(cursor, limit, &body);
  return json::serialize(body);
}

std::string RemindGroupMsgBody(absl::string_view msgid) {
  return json::serialize(json::object{{"msgid", View(msgid)}});
}

std::string CancelGroupMsgSendBody(absl::string_view msgid) {
  return json::serialize(json::object{{"msgid", View(msgid)}});
}

std::string GroupMsgSendResultBody(absl::string_view msgid, absl::string_view member,
                                   absl::string_view cursor, int limit) {
  json::object body;
  body["msgid"] = View(msgid);
  body["userid"] = View(member);
  SetPage(cursor, limit, &body);
  return json::serialize(body);
}

std::string WithMarker(absl::string_view url, absl::string_view marker) {
  const size_t fragment = std::min(url.find('#'), url.size());
  const absl::string_view before = url.substr(0, fragment);
  const size_t question = std::min(before.find('?'), before.size());
  std::string marked = absl::StrCat(before.substr(0, question), "?");
  if (question < before.size()) {
    for (absl::string_view part : absl::StrSplit(before.substr(question + 1), '&')) {
      if (part.empty() || part == "tg" || absl::StartsWith(part, "tg=")) continue;
      absl::StrAppend(&marked, part, "&");
    }
  }
  return absl::StrCat(marked, "tg=", marker, url.substr(fragment));
}

std::string MarkerOf(absl::string_view url) {
  url = url.substr(0, url.find('#'));
  const size_t query = url.find('?');
  if (query == absl::string_view::npos) return "";
  for (absl::string_view part : absl::StrSplit(url.substr(query + 1), '&')) {
    if (absl::StartsWith(part, "tg=")) return std::string(part.substr(3));
  }
  return "";
}

}  // namespace tidegate::wecom_table
