#include "services/wecom_simulator/core/app_message.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "common/base/hash.h"

namespace tidegate::wecom_simulator {
namespace {

namespace json = boost::json;

constexpr size_t kMembersMax = 1000;
constexpr int64_t kCheckSecondsUsual = 1800;
constexpr int64_t kCheckSecondsMax = 4 * 3600;

// Null if it is none.
const json::object* Part(const json::object& body, const char* name) {
  const json::value* value = body.if_contains(name);
  return value == nullptr ? nullptr : value->if_object();
}

ApiError CheckSaid(const json::object& body) {
  std::string kind, value;
  if (ApiError error = ReadRequired(body, "msgtype", 40008, &kind); error.failed()) return error;
  if (kind != "text" && kind != "textcard") return {40008, "msgtype is not simulated"};
  const json::object* said = Part(body, kind.c_str());
  if (said == nullptr) return {40035, absl::StrCat("missing ", kind)};
  if (kind == "text") return ReadRequired(*said, "content", 44004, &value);
  for (const char* name : {"title", "description", "url"}) {
    value.clear();
    if (ApiError error = ReadRequired(*said, name, 40035, &value); error.failed()) return error;
  }
  return {};
}

}  // namespace

std::vector<std::string> MembersOf(const json::object& body) {
  std::string all;
  if (ReadString(body, "touser", &all).failed()) return {};
  return absl::StrSplit(all, '|', absl::SkipEmpty());
}

std::string AppMarkerOf(const json::object& body) {
  std::string url, marker;
  if (const json::object* card = Part(body, "textcard"); card != nullptr) {
    ReadString(*card, "url", &url);
    const absl::string_view whole = url;
    const size_t question = whole.find('?');
    if (question == absl::string_view::npos) return "";
    const absl::string_view query = whole.substr(question + 1);
    return QueryField(query.substr(0, query.find('#')), "tg");
  }
  ReadString(body, "tg", &marker);
  return marker;
}

bool AppMessages::Reaches(const std::string& agent_id, const std::string& member, int64_t raw_ns) {
  std::vector<Window>& windows = counts_[{agent_id, member}];
  if (windows.empty()) {
    for (const MemberLimit& limit : options_.limits.per_member) {
      windows.emplace_back(WindowKind::kSliding, limit.amount, limit.window_ms * kNanosPerMilli, 0);
    }
  }
  for (Window& window : windows) {
    if (!window.HasRoom(raw_ns)) return false;
  }
  for (Window& window : windows) window.Count(raw_ns);
  return true;
}

AppMessages::Sent AppMessages::Send(const json::object& body, const std::string& sha256,
                                    const std::string& agent_id, const Now& now) {
  Sent sent;
  const auto refuse = [&](ApiError error) {
    sent.error = std::move(error);
    return sent;
  };
  int64_t agent = 0, check = 0, check_seconds = kCheckSecondsUsual;
  if (ApiError error = ReadInt(body, "agentid", &agent); error.failed()) return refuse(error);
  if (absl::StrCat(agent) != agent_id) return refuse({301002, "not allow to use agent"});
  if (ApiError error = CheckSaid(body); error.failed()) return refuse(error);
  if (ApiError error = ReadInt(body, "enable_duplicate_check", &check); error.failed()) {
    return refuse(error);
  }
  if (ApiError error = ReadInt(body, "duplicate_check_interval", &check_seconds); error.failed()) {
    return refuse(error);
  }
  if (check_seconds < 1 || check_seconds > kCheckSecondsMax) {
    return refuse({40058, "invalid duplicate_check_interval"});
  }
  const std::vector<std::string> members = MembersOf(body);
  if (members.empty()) return refuse({82001, "touser is empty"});
  if (members.size() > kMembersMax) return refuse({40032, "touser is too long"});
  std::vector<std::string> valid;
  for (const std::string& member : members) {
    if (corp_.members.count(member) != 0) {
      valid.push_back(member);
    } else {
      sent.invalid.push_back(absl::AsciiStrToLower(member));
    }
  }
  if (valid.empty()) return refuse({81013, "no valid recipient"});

  if (check == 1) {
    auto [known, is_new] = earlier_.try_emplace({agent_id, sha256});
    Earlier& earlier = known->second;
    if (!is_new && now.raw_ns - earlier.at_raw_ns < earlier.check_ns) {
      sent.duplicate = true;
      sent.msgid = earlier.msgid;
      return sent;
    }
    earlier.at_raw_ns = now.raw_ns;
    earlier.check_ns = check_seconds * kNanosPerSecond;
  }
  sent.msgid = absl::StrFormat(
      "app%016x%06d", StableHash64(absl::StrCat(options_.seed, "|app|", corp_.id)), ++made_);
  if (check == 1) earlier_[{agent_id, sha256}].msgid = sent.msgid;
  for (const std::string& member : valid) {
    (Reaches(agent_id, member, now.raw_ns) ? sent.delivered : sent.dropped).push_back(member);
  }
  return sent;
}

}  // namespace tidegate::wecom_simulator
