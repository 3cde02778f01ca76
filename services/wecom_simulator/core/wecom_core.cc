#include "services/wecom_simulator/core/wecom_core.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/base/hash.h"

namespace tidegate::wecom_simulator {
namespace {

namespace json = boost::json;

constexpr size_t kTagsPerCallMax = 1000;
constexpr size_t kTagsPerFollowMax = 3000;

constexpr const char* kContactApis[] = {"mark_tag",
                                        "add_msg_template",
                                        "get_groupmsg_list_v2",
                                        "get_groupmsg_task",
                                        "get_groupmsg_send_result",
                                        "send_welcome_msg",
                                        "remind_groupmsg_send",
                                        "cancel_groupmsg_send"};

// Empty for a path that is no API here.
std::string ApiOf(absl::string_view path) {
  if (path == "/cgi-bin/gettoken") return "gettoken";
  if (path == "/cgi-bin/message/send") return "message_send";
  if (!absl::ConsumePrefix(&path, "/cgi-bin/externalcontact/")) return "";
  for (const char* api : kContactApis) {
    if (path == api) return api;
  }
  return "";
}

std::string ErrorMessage(const ApiError& error, const std::string& ip, uint64_t request_id,
                         bool wrong_json) {
  return absl::StrFormat(
      "%s%s, hint: [%d], from ip: %s, more info at "
      "https://open.work.weixin.qq.com/devtool/query?e=%d",
      wrong_json ? "Warning: wrong json format. " : "", error.text, request_id, ip, error.code);
}

// What reaches the caller of a call that executed.
void Spoil(Fault::Kind kind, Decision* decision) {
  if (kind == Fault::Kind::kExecThen5xx) {
    decision->http_status = 502;
    decision->body = "<html><body>502 Bad Gateway</body></html>";
  } else if (kind == Fault::Kind::kExecThenMinusOne) {
    decision->body = R"({"errcode":-1,"errmsg":"system busy"})";
  } else if (kind == Fault::Kind::kExecThenGarbage) {
    decision->body.resize(decision->body.size() / 2);
  }
}

}  // namespace

WecomCore::WecomCore(CoreOptions options)
    : options_(std::move(options)),
      frequency_(options_.limits, options_.window, options_.seed),
      faults_(options_.seed),
      callbacks_(options_),
      latency_random_(options_.seed ^ 0x1A7E9C1u) {}

Decision WecomCore::OnRequest(const ApiRequest& request, const Now& now) {
  ReleaseExpired(now.raw_ns);
  Call call{request, now};
  call.id = ++last_request_id_;
  call.api = ApiOf(request.path);
  call.entry.t_raw_ns = now.raw_ns;
  call.entry.t_wall_ns = now.wall_ns;
  call.entry.api = call.api.empty() ? "unknown" : call.api;
  call.entry.ip = request.ip;
  call.entry.sha256 = Sha256Hex(request.body);

  Decision decision;
  decision.request_id = call.id;
  ApiError error{404, "no such interface"};
  if (call.api.empty()) {
    decision.http_status = 404;
  } else {
    error = Judge(call);
  }

  const bool dropped = call.fault.kind == Fault::Kind::kDropThenClose;
  Counts& counts = counts_[call.entry.api];
  ++counts.received;
  if (dropped) {
    call.entry.verdict = "dropped";
    ++counts.dropped;
  } else if (error.failed()) {
    call.entry.verdict = "rejected";
    call.entry.errcode = error.code;
    ++counts.rejected[error.code];
  } else {
    call.entry.verdict = "executed";
    ++counts.executed;
  }
  call.entry.fault = call.fault.name;

  const int64_t hold_ns = options_.limits.hold_ms * kNanosPerMilli;
  decision.answer_at_raw_ns = now.raw_ns + Latency(call.api);
  switch (call.fault.kind) {
    case Fault::Kind::kNone:
    case Fault::Kind::kReject:
    case Fault::Kind::kExecThen5xx:
    case Fault::Kind::kExecThenMinusOne:
    case Fault::Kind::kExecThenGarbage:
      break;
    case Fault::Kind::kExecThenReset:
      decision.ending = Ending::kReset;
      break;
    case Fault::Kind::kExecThenClose:
    case Fault::Kind::kDelayExec:
    case Fault::Kind::kDropThenClose:
      decision.ending = Ending::kClose;
      break;
    case Fault::Kind::kExecThenTimeout:
      decision.ending = Ending::kHold;
      decision.answer_at_raw_ns = now.raw_ns + hold_ns;
      break;
  }
  if (call.permit) {
    call.in_flight.api = call.api;
    call.in_flight.corp = call.entry.corp;
    call.in_flight.agent_id = call.agent_id;
    call.in_flight.arrived_raw_ns = now.raw_ns;
    call.in_flight.executed = call.entry.verdict == "executed";
    call.in_flight.ending = decision.ending;
    in_flight_[call.id] = std::move(call.in_flight);
    ++permits_[{call.entry.corp, call.api}];
    if (decision.ending != Ending::kAnswer)
      held_permits_.emplace_back(now.raw_ns + hold_ns, call.id);
  }

  json::object answer{{"errcode", error.code}};
  answer["errmsg"] =
      error.failed() ? ErrorMessage(error, request.ip, call.id, call.wrong_json) : "ok";
  for (auto& field : call.answer) answer[field.key()] = std::move(field.value());
  decision.body = json::serialize(answer);
  Spoil(call.fault.kind, &decision);
  decision.entry = std::move(call.entry);
  return decision;
}

ApiError WecomCore::Judge(Call& call) {
  const bool is_get_token = call.api == "gettoken";
  if (!is_get_token) {
    json::error_code parse_error;
    json::value body = json::parse(JsonView(call.request.body), parse_error);
    call.wrong_json = parse_error || !body.is_object();
    if (!call.wrong_json) call.body = std::move(body.get_object());
  } else if (const std::string corp = QueryField(call.request.query, "corpid");
             corps_.count(corp) != 0) {
    call.entry.corp = corp;
  }
  // The witness wants the corp of a call that fails the first check, too.
  const ApiError token = is_get_token ? ApiError{} : CheckToken(call);
  DescribeForWitness(call);
  if (call.request.method != (is_get_token ? "GET" : "POST")) {
    return {40058, absl::StrCat("this interface wants ", is_get_token ? "GET" : "POST")};
  }
  if (call.wrong_json) return {40058, "invalid Request Parameter"};
  if (token.failed()) return token;
  if (!is_get_token && !call.corp->corp.Trusts(call.request.ip)) {
    return {60020, "not allow to access from your ip"};
  }

  if (!frequency_.Count(call.api, call.entry.corp, call.request.ip, call.now.raw_ns,
                        call.now.wall_ns, static_cast<int64_t>(call.entry.recipients.size()))) {
    return {45009, "api freq out of limit"};
  }
  const int64_t* bound = options_.limits.InFlight(call.api, call.entry.corp);
  const auto served = permits_.find({call.entry.corp, call.api});
  if (bound != nullptr && served != permits_.end() && served->second >= *bound) {
    return {45033, "api concurrent out of limit"};
  }
  call.permit = true;

  call.fault = faults_.Take(call.api, false);
  if (call.fault.kind == Fault::Kind::kReject) return {call.fault.code, "fault on demand"};
  if (call.fault.kind == Fault::Kind::kDropThenClose) return {};
  const ApiError error = Execute(call);
  if (!error.failed() && call.fault.kind == Fault::Kind::kNone && call.api != "add_msg_template") {
    call.fault = faults_.Take(call.api, true);
  }
  return error;
}

ApiError WecomCore::CheckToken(Call& call) {
  const std::string token = QueryField(call.request.query, "access_token");
  if (token.empty()) return {41001, "access_token missing"};
  const auto found = tokens_.find(token);
  if (found == tokens_.end()) return {40014, "invalid access_token"};
  call.entry.corp = found->second.corp;
  call.agent_id = found->second.agent_id;
  call.corp = corps_.at(found->second.corp).get();
  if (call.now.raw_ns >= found->second.expires_raw_ns) return {42001, "access_token expired"};
  return {};
}

// Notes what the call names, valid or not; kinds that do not fit stay empty.
void WecomCore::DescribeForWitness(Call& call) {
  constexpr size_t kNoBound = SIZE_MAX;
  std::string customer, code;
  if (call.api == "add_msg_template") {
    ReadStrings(call.body, "external_userid", kNoBound, &call.entry.recipients);
    ReadString(call.body, "sender", &call.entry.sender);
    call.entry.marker = MarkerOf(call.body);
  } else if (call.api == "message_send") {
    call.entry.recipients = MembersOf(call.body);
    call.entry.marker = AppMarkerOf(call.body);
  } else if (call.api == "mark_tag") {
    ReadString(call.body, "external_userid", &customer);
    ReadString(call.body, "userid", &call.entry.sender);
    ReadStrings(call.body, "add_tag", kNoBound, &call.entry.add);
    ReadStrings(call.body, "remove_tag", kNoBound, &call.entry.remove);
  } else if (call.api == "remind_groupmsg_send" || call.api == "cancel_groupmsg_send") {
    ReadString(call.body, "msgid", &call.entry.msgid);
  } else if (call.api == "send_welcome_msg") {
    ReadString(call.body, "welcome_code", &code);
    call.entry.marker = MarkerOf(call.body);
    if (const auto found = codes_.find(code);
        found != codes_.end() && found->second.corp == call.entry.corp) {
      customer = found->second.customer;
      call.entry.sender = found->second.member;
      call.entry.age_ms = (call.now.raw_ns - found->second.made_raw_ns) / kNanosPerMilli;
    }
  }
  if (!customer.empty()) call.entry.recipients = {customer};
}

ApiError WecomCore::Execute(Call& call) {
  if (call.api == "gettoken") return GetToken(call);
  if (call.api == "mark_tag") return MarkTag(call);
  if (call.api == "add_msg_template") return AddMsgTemplate(call);
  if (call.api == "send_welcome_msg") return SendWelcome(call);
  if (call.api == "message_send") return SendAppMessage(call);
  MassSends& sends = call.corp->sends;
  if (call.api == "cancel_groupmsg_send") return sends.Cancel(call.body, call.now);
  if (call.api == "remind_groupmsg_send") return sends.Remind(call.body, call.now);
  if (call.api == "get_groupmsg_list_v2") return sends.List(call.body, call.now, &call.answer);
  if (call.api == "get_groupmsg_task") return sends.Tasks(call.body, call.now, &call.answer);
  return sends.Results(call.body, call.now, &call.answer, &call.entry.over_quota);
}

ApiError WecomCore::GetToken(Call& call) {
  const std::string corp_id = QueryField(call.request.query, "corpid");
  const std::string secret = QueryField(call.request.query, "corpsecret");
  if (corp_id.empty()) return {41002, "corpid missing"};
  if (secret.empty()) return {41004, "corpsecret missing"};
  const auto found = corps_.find(corp_id);
  if (found == corps_.end()) return {40013, "invalid corpid"};
  auto& apps = found->second->corp.apps;
  const auto app = std::find_if(apps.begin(), apps.end(),
                                [&](const auto& each) { return each.second.secret == secret; });
  if (app == apps.end()) return {40001, "invalid credential"};
  App& owner = app->second;
  if (call.now.raw_ns >= owner.token_expires_raw_ns) {
    owner.access_token = Sha256Hex(absl::StrCat(options_.seed, "|token|", corp_id, "|",
                                                owner.agent_id, "|", ++owner.tokens_made));
    owner.token_expires_raw_ns = call.now.raw_ns + options_.token_seconds * kNanosPerSecond;
    tokens_[owner.access_token] = {corp_id, owner.agent_id, owner.token_expires_raw_ns};
  }
  call.answer["access_token"] = owner.access_token;
  call.answer["expires_in"] = options_.token_seconds;
  return {};
}

ApiError WecomCore::MarkTag(Call& call) {
  std::string member, customer;
  std::vector<std::string> add, remove;
  ApiError error = ReadRequired(call.body, "userid", 41009, &member);
  if (!error.failed()) error = ReadRequired(call.body, "external_userid", 41035, &customer);
  // The documented code for too many is 41111, not that of an array that is too long.
  if (!error.failed()) error = ReadStrings(call.body, "add_tag", SIZE_MAX, &add);
  if (!error.failed()) error = ReadStrings(call.body, "remove_tag", SIZE_MAX, &remove);
  if (error.failed()) return error;
  const size_t count = add.size() + remove.size();
  if (count == 0 || count > kTagsPerCallMax) return {41111, "tag count must be 1 to 1000"};
  Corp& corp = call.corp->corp;
  if (corp.members.count(member) == 0) return {40003, "invalid userid"};
  if (!corp.HasCustomer(customer)) return {40096, "invalid external userid"};
  if (!corp.IsServed(member, customer)) return {84061, "not external contact"};
  for (const auto* tags : {&add, &remove}) {
    for (const std::string& tag : *tags) {
      if (corp.tags.count(tag) == 0) return {40068, "invalid tagid"};
    }
  }
  const std::string pair = absl::StrCat(member, "\n", customer);
  for (const auto& [id, other] : in_flight_) {
    if (other.pair == pair && other.corp == corp.id) {
      return {45035, "conflicting writes to one record"};
    }
  }
  Follow* follow = corp.FindFollow(member, customer);
  std::set<std::string> tags = follow->tags;
  tags.insert(add.begin(), add.end());
  for (const std::string& tag : remove) tags.erase(tag);
  if (tags.size() > kTagsPerFollowMax) return {40144, "too many tags on this customer"};
  follow->tags = std::move(tags);
  call.in_flight.pair = pair;
  return {};
}

ApiError WecomCore::AddMsgTemplate(Call& call) {
  auto fit = [&]() -> int64_t {
    call.fault = faults_.Take(call.api, true);
    if (call.fault.kind != Fault::Kind::kDelayExec) return 0;
    // Somewhere inside the hold bound, mostly after the client has given up.
    const int64_t hold_ns = options_.limits.hold_ms * kNanosPerMilli;
    const auto delay =
        static_cast<int64_t>((0.2 + 0.7 * latency_random_.Unit()) * static_cast<double>(hold_ns));
    call.entry.executed_after_ms = delay / kNanosPerMilli;
    return delay;
  };
  MassSends::Created created = call.corp->sends.Create(call.body, call.now, fit);
  call.answer["fail_list"] = JsonStrings(created.fail_list);
  call.entry.fail_list = std::move(created.fail_list);
  if (created.error.failed()) return created.error;
  call.answer["msgid"] = created.msgid;
  call.entry.msgid = created.msgid;
  return {};
}

ApiError WecomCore::SendAppMessage(Call& call) {
  AppMessages::Sent sent =
      call.corp->app_messages.Send(call.body, call.entry.sha256, call.agent_id, call.now);
  call.entry.fail_list = sent.invalid;
  if (sent.error.failed()) return sent.error;
  call.answer["msgid"] = sent.msgid;
  call.answer["invaliduser"] = absl::StrJoin(sent.invalid, "|");
  call.entry.msgid = sent.msgid;
  call.entry.delivered = std::move(sent.delivered);
  call.entry.over_frequency = std::move(sent.dropped);
  call.entry.duplicate = sent.duplicate;
  return {};
}

ApiError WecomCore::SendWelcome(Call& call) {
  std::string code;
  if (ApiError error = ReadRequired(call.body, "welcome_code", 41049, &code); error.failed()) {
    return error;
  }
  if (ApiError error = CheckMessage(call.body); error.failed()) return error;
  const auto found = codes_.find(code);
  if (found == codes_.end() || found->second.corp != call.entry.corp) {
    return {41050, "invalid welcome code"};
  }
  WelcomeCode& welcome = found->second;
  if (welcome.used_by != 0) {
    const auto first = in_flight_.find(welcome.used_by);
    if (first != in_flight_.end() && first->second.agent_id != call.agent_id) {
      return {41096, "welcome msg is being distributed"};
    }
    return {41051, "externaluser has started chatting"};
  }
  if (call.now.raw_ns - welcome.made_raw_ns > options_.welcome_seconds * kNanosPerSecond) {
    return {41050, "welcome code expired"};
  }
  welcome.used_by = call.id;
  call.in_flight.code = code;
  return {};
}

void WecomCore::EachRecipient(const std::string& corp, const Now& now,
                              const std::function<void(const Recipient&)>& tell) {
  corps_.at(corp)->sends.EachRecipient(now, tell);
}

void WecomCore::OnAnswered(uint64_t request_id, const Now& now) {
  ReleaseExpired(now.raw_ns);
  const auto found = in_flight_.find(request_id);
  if (found == in_flight_.end()) return;
  found->second.answered = true;
  if (found->second.ending == Ending::kAnswer) Release(request_id);
}

void WecomCore::ReleaseExpired(int64_t raw_ns) {
  while (!held_permits_.empty() && held_permits_.front().first <= raw_ns) {
    Release(held_permits_.front().second);
    held_permits_.pop_front();
  }
}

void WecomCore::Release(uint64_t request_id) {
  const auto found = in_flight_.find(request_id);
  if (found == in_flight_.end()) return;
  --permits_[{found->second.corp, found->second.api}];
  in_flight_.erase(found);
}

int64_t WecomCore::Latency(const std::string& api) {
  const double hold_ms = static_cast<double>(options_.limits.hold_ms);
  // 2.3263 standard deviations are the 99th percentile of the normal distribution.
  const double sigma = std::log(options_.latency_p99_ms / options_.latency_median_ms) / 2.3263;
  const double radius = std::sqrt(-2.0 * std::log(1.0 - latency_random_.Unit()));
  const double normal = radius * std::cos(2.0 * std::numbers::pi * latency_random_.Unit());
  double latency_ms = options_.latency_median_ms * std::exp(sigma * normal);
  if (const auto hold = holds_.find(api); hold != holds_.end()) {
    latency_ms = static_cast<double>(hold->second.second);
    if (--hold->second.first == 0) holds_.erase(hold);
  }
  return static_cast<int64_t>(std::min(latency_ms, hold_ms) * static_cast<double>(kNanosPerMilli));
}

std::vector<CallbackDelivery> WecomCore::TakeDueCallbacks(const Now& now) {
  RunAdds(now);
  auto find_app = [this](const std::string& corp, const std::string& agent_id) -> const App* {
    return &corps_.at(corp)->corp.apps.at(agent_id);
  };
  return callbacks_.TakeDue(find_app, now);
}

void WecomCore::OnCallbackDone(uint64_t id, int http_status, const Now& now) {
  callbacks_.Done(id, http_status, now);
}

std::optional<int64_t> WecomCore::NextWakeNs() const {
  int64_t next = callbacks_.NextDueNs();
  if (!adds_.empty()) next = std::min(next, adds_.begin()->first);
  if (next == INT64_MAX) return std::nullopt;
  return next;
}

void WecomCore::RunAdds(const Now& now) {
  while (!adds_.empty() && adds_.begin()->first <= now.raw_ns) {
    const PlannedAdd add = std::move(adds_.begin()->second);
    adds_.erase(adds_.begin());
    AddCustomer(*corps_.at(add.corp), add, now);
    ++adds_done_;
  }
}

std::string WecomCore::AddCustomer(CorpState& state, const PlannedAdd& add, const Now& now) {
  Follow& follow = state.corp.customers[add.customer][add.member];
  // The code of the half event serves the whole add, so once it is used there is no other.
  const auto half = codes_.find(follow.half_code);
  const bool welcomed = half != codes_.end() && half->second.used_by != 0;
  std::set<std::string> tags;
  if (follow.relation != Relation::kMemberDeleted) tags = std::move(follow.tags);
  follow = {};
  follow.tags = std::move(tags);
  follow.added_raw_ns = now.raw_ns;
  std::string code = welcomed ? "" : NewWelcomeCode(state.corp, add.member, add.customer, now);
  Emit(state, "add_external_contact", add.member, add.customer, add.state, code, now);
  return code;
}

std::string WecomCore::NewWelcomeCode(const Corp& corp, const std::string& member,
                                      const std::string& customer, const Now& now) {
  const std::string code = absl::StrCat(
      "WC",
      Sha256Hex(absl::StrCat(options_.seed, "|code|", corp.id, "|", ++codes_made_)).substr(0, 40));
  codes_[code] = {corp.id, member, customer, now.raw_ns, 0};
  return code;
}

void WecomCore::Emit(CorpState& state, const std::string& change_type, const std::string& member,
                     const std::string& customer, const std::string& channel,
                     const std::string& code, const Now& now) {
  const std::string xml = ContactEventXml(state.corp.id, now.wall_ns / kNanosPerSecond, change_type,
                                          member, customer, channel, code);
  for (const auto& [agent_id, app] : state.corp.apps) {
    if (app.callback_url.empty() || app.callback_key.empty()) continue;
    callbacks_.Add(state.corp.id, agent_id, change_type, xml, now.raw_ns);
  }
}

}  // namespace tidegate::wecom_simulator
