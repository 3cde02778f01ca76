#include "services/wecom_simulator/core/callback_queue.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/check.h"
#include "services/wecom_simulator/core/callback_encryption.h"

namespace tidegate::wecom_simulator {
namespace {

namespace json = boost::json;

constexpr size_t kListMax = 1000;

std::string Cdata(const std::string& text) {
  return absl::StrCat("<![CDATA[", absl::StrReplaceAll(text, {{"]]>", "]]]]><![CDATA[>"}}), "]]>");
}

std::string Element(const char* name, const std::string& text) {
  return absl::StrCat("<", name, ">", Cdata(text), "</", name, ">");
}

}  // namespace

std::string ContactEventXml(const std::string& corp, int64_t wall_seconds,
                            const std::string& change_type, const std::string& member,
                            const std::string& customer, const std::string& state,
                            const std::string& welcome_code) {
  std::string xml =
      absl::StrCat("<xml>", Element("ToUserName", corp), Element("FromUserName", "sys"),
                   "<CreateTime>", wall_seconds, "</CreateTime>", Element("MsgType", "event"),
                   Element("Event", "change_external_contact"), Element("ChangeType", change_type),
                   Element("UserID", member), Element("ExternalUserID", customer));
  if (!state.empty()) absl::StrAppend(&xml, Element("State", state));
  if (!welcome_code.empty()) absl::StrAppend(&xml, Element("WelcomeCode", welcome_code));
  return absl::StrCat(xml, "</xml>");
}

void CallbackQueue::Add(const std::string& corp, const std::string& agent_id,
                        const std::string& kind, std::string xml, int64_t raw_ns) {
  pending_[++last_id_] = {corp, agent_id, kind, std::move(xml), 0, false};
  waiting_.emplace(raw_ns, last_id_);
}

std::vector<CallbackDelivery> CallbackQueue::TakeDue(const FindApp& find_app, const Now& now) {
  std::vector<CallbackDelivery> due;
  while (out_ < options_.callbacks_in_flight_max && !waiting_.empty() &&
         waiting_.begin()->first <= now.raw_ns) {
    const uint64_t id = waiting_.begin()->second;
    waiting_.erase(waiting_.begin());
    Pending& pending = pending_.at(id);
    const App* app = find_app(pending.corp, pending.agent_id);
    CHECK(app != nullptr && !app->callback_key.empty());
    const std::string timestamp = absl::StrCat(now.wall_ns / kNanosPerSecond);
    const std::string nonce = absl::StrCat(1'000'000'000 + random_.Below(9'000'000'000u));
    std::string salt;
    for (int i = 0; i < 16; ++i) salt.push_back(static_cast<char>('a' + random_.Below(26)));
    const std::string cipher = Encrypt(app->callback_key, salt, pending.xml, pending.corp);
    const char separator = app->callback_url.find('?') == std::string::npos ? '?' : '&';
    due.push_back(
        {id,
         absl::StrCat(app->callback_url, std::string(1, separator),
                      "msg_signature=", Sign(app->callback_token, timestamp, nonce, cipher),
                      "&timestamp=", timestamp, "&nonce=", nonce),
         absl::StrCat("<xml>", Element("ToUserName", pending.corp),
                      Element("AgentID", pending.agent_id), Element("Encrypt", cipher), "</xml>"),
         options_.callback_deadline_ms});
    pending.out = true;
    ++pending.deliveries_made;
    ++out_;
    ++deliveries_;
  }
  return due;
}

void CallbackQueue::Done(uint64_t id, int http_status, const Now& now) {
  const auto found = pending_.find(id);
  if (found == pending_.end() || !found->second.out) return;
  Pending& pending = found->second;
  pending.out = false;
  --out_;
  if (http_status == 200) {
    ++delivered_;
    pending_.erase(found);
  } else if (pending.deliveries_made >= DeliveriesMax()) {
    ++exhausted_;
    if (exhausted_list_.size() < kListMax) exhausted_list_.push_back(Describe(id, pending));
    pending_.erase(found);
  } else {
    const auto wait = static_cast<size_t>(pending.deliveries_made - 1);
    waiting_.emplace(now.raw_ns + options_.callback_retry_ms[wait] * kNanosPerMilli, id);
  }
}

int64_t CallbackQueue::NextDueNs() const {
  const bool full = out_ >= options_.callbacks_in_flight_max;
  return full || waiting_.empty() ? INT64_MAX : waiting_.begin()->first;
}

json::object CallbackQueue::Describe(uint64_t id, const Pending& pending) const {
  return {{"id", id},
          {"corp_id", pending.corp},
          {"kind", pending.kind},
          {"deliveries_left", DeliveriesMax() - pending.deliveries_made},
          {"out", pending.out}};
}

json::object CallbackQueue::Status() const {
  json::array list;
  int least = DeliveriesMax();
  for (const auto& [id, pending] : pending_) {
    // One that is out may fail, so it counts as already used up.
    least = std::min(least, DeliveriesMax() - pending.deliveries_made);
    if (list.size() < kListMax) list.push_back(Describe(id, pending));
  }
  return {{"pending", pending_.size()},       {"delivered", delivered_},
          {"exhausted", exhausted_},          {"deliveries", deliveries_},
          {"deliveries_left_min", least},     {"list", std::move(list)},
          {"exhausted_list", exhausted_list_}};
}

}  // namespace tidegate::wecom_simulator
