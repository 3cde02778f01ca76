#include "services/wecom_simulator/core/mass_send.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/hash.h"
#include "common/base/seeded_random.h"

namespace tidegate::wecom_simulator {
namespace {

namespace json = boost::json;

constexpr int64_t kMonthSeconds = 31 * 86'400;
constexpr size_t kIdsMax = 10'000;
constexpr size_t kTagsPerListMax = 100;
constexpr int64_t kDayNs = 86'400 * kNanosPerSecond;
constexpr int64_t kRemindersPerDayMax = 3;

// Cursors are opaque to callers: a position and a checksum that binds it to its list.
std::string MakeCursor(const std::string& list, size_t position) {
  return absl::StrFormat("%08x%08x", position,
                         StableHash64(absl::StrCat(list, "|", position)) & 0xffffffffu);
}

ApiError ReadCursor(const json::object& body, const std::string& list, size_t* position) {
  *position = 0;
  std::string cursor;
  if (ApiError error = ReadString(body, "cursor", &cursor); error.failed()) return error;
  if (cursor.empty()) return {};
  uint64_t number = 0;
  if (cursor.size() != 16 || !absl::SimpleHexAtoi(cursor.substr(0, 8), &number) ||
      MakeCursor(list, number) != cursor) {
    return {50100, "invalid cursor"};
  }
  *position = number;
  return {};
}

// In nanoseconds.
int64_t Exponential(SeededRandom* random, double mean_ms) {
  return static_cast<int64_t>(-mean_ms * std::log(1.0 - random->Unit()) *
                              static_cast<double>(kNanosPerMilli));
}

}  // namespace

int64_t OwnConfirmNs(const CoreOptions& options, const std::string& corp, const std::string& member,
                     const std::string& msgid) {
  const std::string prefix = absl::StrCat(options.seed, "|member|", corp, "|", member);
  if (SeededRandom(StableHash64(prefix)).Chance(options.confirm_never)) return INT64_MAX;
  SeededRandom random(StableHash64(absl::StrCat(prefix, "|", options.confirm_alike ? "" : msgid)));
  // Nobody can confirm what has not reached the member yet.
  return std::max(options.distributing_ms * kNanosPerMilli,
                  Exponential(&random, options.confirm_mean_ms));
}

int64_t RemindedConfirmNs(const CoreOptions& options, const std::string& corp,
                          const std::string& member, const std::string& msgid, size_t reminder) {
  SeededRandom random(
      StableHash64(absl::StrCat(options.seed, "|reminded|", corp, "|", member, "|",
                                options.confirm_alike ? "" : msgid, "|", reminder)));
  if (!random.Chance(options.confirm_reminded)) return INT64_MAX;
  return Exponential(&random, options.reminded_mean_ms);
}

CustomerKind KindOf(const CoreOptions& options, const std::string& corp,
                    const std::string& customer) {
  double chance =
      SeededRandom(StableHash64(absl::StrCat(options.seed, "|lot|", corp, "|", customer))).Unit();
  if (chance < options.broken) return CustomerKind::kBroken;
  chance -= options.broken;
  if (chance < options.over_quota) return CustomerKind::kOverQuota;
  chance -= options.over_quota;
  return chance < options.fail_list ? CustomerKind::kFailList : CustomerKind::kFine;
}

std::string MassSends::RouteTo(const std::string& sender, const std::string& customer) const {
  const auto found = corp_.customers.find(customer);
  if (found == corp_.customers.end()) return "";
  if (!sender.empty()) return corp_.IsServed(sender, customer) ? sender : "";
  std::string latest;
  int64_t latest_ns = INT64_MIN;
  for (const auto& [member, follow] : found->second) {
    if (!corp_.IsServed(member, customer) || follow.added_raw_ns <= latest_ns) continue;
    latest = member;
    latest_ns = follow.added_raw_ns;
  }
  return latest;
}

ApiError MassSends::Candidates(const json::object& body, const std::string& sender,
                               std::vector<std::string>* customers) const {
  if (ApiError error = ReadStrings(body, "external_userid", kIdsMax, customers); error.failed()) {
    return error;
  }
  if (!customers->empty()) {
    std::set<std::string> seen;
    std::erase_if(*customers, [&](const std::string& id) { return !seen.insert(id).second; });
    return {};
  }
  std::vector<std::vector<std::string>> all_of;
  if (const json::value* filter = body.if_contains("tag_filter");
      filter != nullptr && !filter->is_null()) {
    const json::object* object = filter->if_object();
    const json::value* lists = object == nullptr ? nullptr : object->if_contains("group_list");
    if (lists == nullptr || !lists->is_array()) return {40058, "tag_filter without group_list"};
    for (const json::value& list : lists->get_array()) {
      if (!list.is_object()) return {40058, "tag_filter.group_list holds no object"};
      std::vector<std::string> any_of;
      if (ApiError error = ReadStrings(list.get_object(), "tag_list", kTagsPerListMax, &any_of);
          error.failed()) {
        return error;
      }
      for (const std::string& tag : any_of) {
        if (corp_.tags.count(tag) == 0) return {40068, "invalid tagid"};
      }
      if (!any_of.empty()) all_of.push_back(std::move(any_of));
    }
  }
  if (sender.empty() && all_of.empty()) {
    return {40058, "sender, external_userid and tag_filter all empty"};
  }
  for (const auto& [customer, follows] : corp_.customers) {
    const std::string member = RouteTo(sender, customer);
    if (member.empty()) continue;
    const std::set<std::string>& tags = follows.at(member).tags;
    const bool fits = std::all_of(all_of.begin(), all_of.end(), [&](const auto& any_of) {
      return std::any_of(any_of.begin(), any_of.end(),
                         [&](const std::string& tag) { return tags.count(tag) != 0; });
    });
    if (fits) customers->push_back(customer);
  }
  return {};
}

MassSends::Created MassSends::Create(const json::object& body, const Now& now,
                                     const std::function<int64_t()>& fit) {
  Created created;
  auto refuse = [&](ApiError error) {
    created.error = std::move(error);
    return created;
  };
  std::string chat_type = "single";
  if (ApiError error = ReadString(body, "chat_type", &chat_type); error.failed()) {
    return refuse(error);
  }
  if (chat_type == "group") return refuse({86214, "chat_type group is not simulated"});
  if (chat_type != "single") return refuse({86214, "invalid chat_type"});
  std::string sender;
  if (ApiError error = ReadString(body, "sender", &sender); error.failed()) return refuse(error);
  if (ApiError error = CheckMessage(body); error.failed()) return refuse(error);
  std::vector<std::string> customers;
  if (!sender.empty() && corp_.members.count(sender) == 0) {
    return refuse({40003, "invalid userid"});
  }
  if (ApiError error = Candidates(body, sender, &customers); error.failed()) return refuse(error);

  std::map<std::string, std::vector<std::string>> by_member;
  bool anybody = false;
  for (const std::string& customer : customers) {
    const std::string member = RouteTo(sender, customer);
    const CustomerKind kind = KindOf(options_, corp_.id, customer);
    if (member.empty() || kind == CustomerKind::kFailList) {
      created.fail_list.push_back(customer);
      continue;
    }
    anybody = anybody || kind != CustomerKind::kOverQuota;
    by_member[member].push_back(customer);
  }
  if (!anybody) return refuse({41048, "no customer to send"});

  const int64_t delay_ns = fit();
  Send send;
  send.msgid = absl::StrFormat("msg%016x%06d",
                               StableHash64(absl::StrCat(options_.seed, "|msgid|", corp_.id)),
                               sends_.size() + 1);
  send.sender = sender;
  send.executed_raw_ns = now.raw_ns + delay_ns;
  send.executed_wall_ns = now.wall_ns + delay_ns;
  if (const json::value* text = body.if_contains("text"); text != nullptr) send.text = *text;
  if (const json::value* value = body.if_contains("attachments"); value != nullptr) {
    send.attachments = *value;
  }
  send.fail_list = created.fail_list;
  for (auto& [member, of_member] : by_member) {
    const int64_t after_ns = OwnConfirmNs(options_, corp_.id, member, send.msgid);
    send.tasks.push_back({member,
                          after_ns == INT64_MAX ? INT64_MAX : send.executed_raw_ns + after_ns,
                          std::move(of_member),
                          {}});
  }
  created.msgid = send.msgid;
  for (size_t task = 0; task < send.tasks.size(); ++task) {
    const int64_t confirmed = send.tasks[task].confirmed_raw_ns;
    if (confirmed != INT64_MAX) unconfirmed_.emplace(confirmed, std::pair(sends_.size(), task));
  }
  send_of_[send.msgid] = sends_.size();
  sends_.push_back(std::move(send));
  return created;
}

ApiError MassSends::Remind(const json::object& body, const Now& now) {
  const Send* found = nullptr;
  if (ApiError error = FindSend(body, now, &found); error.failed()) return error;
  Send& send = sends_[send_of_.at(found->msgid)];
  if (send.cancelled) return {41093, "mass message has been cancelled"};
  const int64_t lately =
      std::count_if(send.reminded_raw_ns.begin(), send.reminded_raw_ns.end(),
                    [&](int64_t raw_ns) { return raw_ns > now.raw_ns - kDayNs; });
  if (lately >= kRemindersPerDayMax) return {41094, "remind too frequently"};
  send.reminded_raw_ns.push_back(now.raw_ns);
  ConfirmDue(now.raw_ns);
  for (size_t number = 0; number < send.tasks.size(); ++number) {
    const MemberTask& task = send.tasks[number];
    if (task.confirmed_raw_ns <= now.raw_ns) continue;
    const int64_t after_ns =
        RemindedConfirmNs(options_, corp_.id, task.member, send.msgid, send.reminded_raw_ns.size());
    if (after_ns < task.confirmed_raw_ns - now.raw_ns) {
      ConfirmAt(send_of_.at(send.msgid), number, now.raw_ns + after_ns);
    }
  }
  return {};
}

void MassSends::ConfirmAt(size_t number, size_t task, int64_t raw_ns) {
  const std::pair place(number, task);
  int64_t& confirmed = sends_[number].tasks[task].confirmed_raw_ns;
  const auto [first, last] = unconfirmed_.equal_range(confirmed);
  const auto before = std::find_if(first, last, [&](const auto& at) { return at.second == place; });
  if (before != last) unconfirmed_.erase(before);
  if (raw_ns != INT64_MAX) unconfirmed_.emplace(raw_ns, place);
  confirmed = raw_ns;
}

void MassSends::EachRecipient(const Now& now, const std::function<void(const Recipient&)>& tell) {
  ConfirmDue(now.raw_ns);
  for (const Send& send : sends_) {
    for (const MemberTask& task : send.tasks) {
      for (size_t i = 0; i < task.customers.size(); ++i) {
        tell({send.msgid, task.member, task.customers[i], task.StatusOf(i), task.confirmed_raw_ns});
      }
    }
  }
}

std::vector<uint8_t> MassSends::Confirm(const Send& send, const MemberTask& task,
                                        ReceiveQuota* quota, int64_t* over_quota) const {
  std::vector<uint8_t> statuses;
  statuses.reserve(task.customers.size());
  const int64_t wall_ns = WallNs(send, task.confirmed_raw_ns);
  for (const std::string& id : task.customers) {
    const auto& [customer, follows] = *corp_.customers.find(id);
    const CustomerKind kind = KindOf(options_, corp_.id, customer);
    uint8_t status = 1;
    if (follows.at(task.member).ended_raw_ns <= task.confirmed_raw_ns ||
        kind == CustomerKind::kBroken) {
      status = 2;
    } else if (kind == CustomerKind::kOverQuota || !quota->Receive(customer, wall_ns)) {
      status = 3;
      ++*over_quota;
    }
    statuses.push_back(status);
  }
  return statuses;
}

void MassSends::ConfirmDue(int64_t raw_ns) {
  while (!unconfirmed_.empty() && unconfirmed_.begin()->first <= raw_ns) {
    const auto [number, task] = unconfirmed_.extract(unconfirmed_.begin()).mapped();
    Send& send = sends_[number];
    send.tasks[task].statuses = Confirm(send, send.tasks[task], &quota_, &over_quota_);
  }
}

int64_t MassSends::OverQuota(const Now& now) {
  ConfirmDue(now.raw_ns);
  return over_quota_;
}

int64_t MassSends::WallNs(const Send& send, int64_t raw_ns) {
  return send.executed_wall_ns + (raw_ns - send.executed_raw_ns);
}

ApiError MassSends::List(const json::object& body, const Now& now, json::object* answer) const {
  (*answer)["next_cursor"] = "";
  json::array& list = ((*answer)["group_msg_list"] = json::array()).get_array();
  std::string chat_type, creator;
  if (ApiError error = ReadRequired(body, "chat_type", 40058, &chat_type); error.failed()) {
    return error;
  }
  if (chat_type != "single" && chat_type != "group") return {86214, "invalid chat_type"};
  int64_t start = -1, end = -1, filter = 2, limit = 0;
  if (ApiError error = ReadInt(body, "start_time", &start); error.failed()) return error;
  if (ApiError error = ReadInt(body, "end_time", &end); error.failed()) return error;
  if (start < 0 || end < start || end - start > kMonthSeconds) {
    return {40058, "start_time and end_time must span at most one month"};
  }
  if (ApiError error = ReadString(body, "creator", &creator); error.failed()) return error;
  if (ApiError error = ReadInt(body, "filter_type", &filter); error.failed()) return error;
  if (filter < 0 || filter > 2) return {40058, "invalid filter_type"};
  if (ApiError error = ReadLimit(body, 50, 100, &limit); error.failed()) return error;
  limit = std::min(limit, options_.list_page_max);
  const std::string name = absl::StrCat("list|", start, "|", end);
  size_t position = 0;
  if (ApiError error = ReadCursor(body, name, &position); error.failed()) return error;
  // Here everything was created by an app: no group sends, none of a member.
  if (chat_type == "group" || filter == 1 || !creator.empty()) return {};
  for (; position < sends_.size(); ++position) {
    const Send& send = sends_[position];
    if (send.executed_raw_ns + options_.limits.list_lag_ms * kNanosPerMilli > now.raw_ns) continue;
    const int64_t create_time = send.executed_wall_ns / kNanosPerSecond;
    if (create_time < start || create_time > end) continue;
    if (static_cast<int64_t>(list.size()) == limit) {
      (*answer)["next_cursor"] = MakeCursor(name, position);
      break;
    }
    json::object item{{"msgid", send.msgid}, {"create_time", create_time}, {"create_type", 0}};
    if (!send.text.is_null()) item["text"] = send.text;
    if (!send.attachments.is_null()) item["attachments"] = send.attachments;
    list.push_back(std::move(item));
  }
  return {};
}

ApiError MassSends::FindSend(const json::object& body, const Now& now, const Send** out) const {
  std::string msgid;
  if (ApiError error = ReadRequired(body, "msgid", 41046, &msgid); error.failed()) return error;
  const auto at = send_of_.find(msgid);
  const Send* found = at == send_of_.end() ? nullptr : &sends_[at->second];
  if (found == nullptr || now.raw_ns < found->executed_raw_ns) {
    return {41047, "invalid msgid"};
  }
  if (now.raw_ns < found->executed_raw_ns + options_.distributing_ms * kNanosPerMilli) {
    return {41063, "mass message is being distributed"};
  }
  *out = found;
  return {};
}

ApiError MassSends::Cancel(const json::object& body, const Now& now) {
  const Send* found = nullptr;
  if (ApiError error = FindSend(body, now, &found); error.failed()) return error;
  if (found->cancelled) return {41093, "mass message has been cancelled"};
  ConfirmDue(now.raw_ns);
  const size_t number = send_of_.at(found->msgid);
  Send& send = sends_[number];
  send.cancelled = true;
  for (size_t task = 0; task < send.tasks.size(); ++task) {
    if (send.tasks[task].confirmed_raw_ns > now.raw_ns) ConfirmAt(number, task, INT64_MAX);
  }
  return {};
}

ApiError MassSends::Tasks(const json::object& body, const Now& now, json::object* answer) {
  (*answer)["next_cursor"] = "";
  json::array& list = ((*answer)["task_list"] = json::array()).get_array();
  int64_t limit = 0;
  if (ApiError error = ReadLimit(body, 500, 1000, &limit); error.failed()) return error;
  const Send* send = nullptr;
  if (ApiError error = FindSend(body, now, &send); error.failed()) return error;
  const std::string name = absl::StrCat("tasks|", send->msgid);
  size_t position = 0;
  if (ApiError error = ReadCursor(body, name, &position); error.failed()) return error;
  for (; position < send->tasks.size(); ++position) {
    if (static_cast<int64_t>(list.size()) == limit) {
      (*answer)["next_cursor"] = MakeCursor(name, position);
      break;
    }
    const MemberTask& task = send->tasks[position];
    const bool confirmed = task.confirmed_raw_ns <= now.raw_ns;
    json::object item{{"userid", task.member}, {"status", confirmed ? 2 : 0}};
    if (confirmed) item["send_time"] = WallNs(*send, task.confirmed_raw_ns) / kNanosPerSecond;
    list.push_back(std::move(item));
  }
  return {};
}

ApiError MassSends::Results(const json::object& body, const Now& now, json::object* answer,
                            std::vector<std::string>* over_quota) {
  ConfirmDue(now.raw_ns);
  (*answer)["next_cursor"] = "";
  json::array& list = ((*answer)["send_list"] = json::array()).get_array();
  int64_t limit = 0;
  if (ApiError error = ReadLimit(body, 500, 1000, &limit); error.failed()) return error;
  std::string member;
  if (ApiError error = ReadRequired(body, "userid", 41009, &member); error.failed()) return error;
  const Send* send = nullptr;
  if (ApiError error = FindSend(body, now, &send); error.failed()) return error;
  if (corp_.members.count(member) == 0) return {40003, "invalid userid"};
  const std::string name = absl::StrCat("results|", send->msgid, "|", member);
  size_t position = 0;
  if (ApiError error = ReadCursor(body, name, &position); error.failed()) return error;
  const auto task = std::find_if(send->tasks.begin(), send->tasks.end(),
                                 [&](const MemberTask& each) { return each.member == member; });
  if (task == send->tasks.end()) return {};
  for (; position < task->customers.size(); ++position) {
    if (static_cast<int64_t>(list.size()) == limit) {
      (*answer)["next_cursor"] = MakeCursor(name, position);
      break;
    }
    const std::string& customer = task->customers[position];
    const int status = task->StatusOf(position);
    if (status == 3) over_quota->push_back(customer);
    json::object item{{"external_userid", customer}, {"userid", task->member}, {"status", status}};
    if (status == 1) item["send_time"] = WallNs(*send, task->confirmed_raw_ns) / kNanosPerSecond;
    list.push_back(std::move(item));
  }
  return {};
}

json::array MassSends::Truth(const Now& now) {
  ConfirmDue(now.raw_ns);
  ReceiveQuota quota = quota_;
  int64_t over_quota = 0;
  std::map<std::pair<size_t, size_t>, std::vector<uint8_t>> later;
  for (const auto& [raw_ns, place] : unconfirmed_) {
    const Send& send = sends_[place.first];
    later[place] = Confirm(send, send.tasks[place.second], &quota, &over_quota);
  }
  json::array sends;
  for (size_t number = 0; number < sends_.size(); ++number) {
    const Send& send = sends_[number];
    json::array recipients;
    for (size_t task_number = 0; task_number < send.tasks.size(); ++task_number) {
      const MemberTask& task = send.tasks[task_number];
      const auto ends = later.find({number, task_number});
      for (size_t i = 0; i < task.customers.size(); ++i) {
        const int status = task.StatusOf(i);
        const int final_status = ends == later.end() ? status : ends->second[i];
        recipients.push_back({{"external_userid", task.customers[i]},
                              {"userid", task.member},
                              {"status", status},
                              {"final_status", final_status}});
      }
    }
    sends.push_back({{"msgid", send.msgid},
                     {"sender", send.sender},
                     {"cancelled", send.cancelled},
                     {"executed_wall_ns", send.executed_wall_ns},
                     {"fail_list", JsonStrings(send.fail_list)},
                     {"recipients", std::move(recipients)}});
  }
  return sends;
}

}  // namespace tidegate::wecom_simulator
