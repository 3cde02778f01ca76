// The control requests of WecomCore: what a test sets up, provokes and asks.
#include <algorithm>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "services/wecom_simulator/core/callback_encryption.h"
#include "services/wecom_simulator/core/wecom_core.h"

namespace tidegate::wecom_simulator {
namespace {

namespace json = boost::json;

constexpr size_t kIdBytesMax = 128;

absl::Status FromApi(const ApiError& error) {
  return error.failed() ? absl::InvalidArgumentError(error.text) : absl::OkStatus();
}

absl::Status OnlyKeys(const json::object& object, std::initializer_list<absl::string_view> known) {
  for (const auto& member : object) {
    const absl::string_view key(member.key().data(), member.key().size());
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return absl::InvalidArgumentError(absl::StrCat("unknown field \"", key, "\""));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Required(const json::object& object, const char* name) {
  std::string value;
  RETURN_IF_ERROR(FromApi(ReadRequired(object, name, 1, &value)));
  if (value.size() > kIdBytesMax && std::string(name) != "callback_url") {
    return absl::InvalidArgumentError(absl::StrCat(name, " is longer than ", kIdBytesMax));
  }
  return value;
}

absl::Status CheckUrl(const std::string& url) {
  if (absl::StartsWith(url, "http://") || absl::StartsWith(url, "https://")) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError("callback_url must start with http:// or https://");
}

// Null if absent.
absl::StatusOr<const json::array*> Objects(const json::object& object, const char* name) {
  const json::value* value = object.if_contains(name);
  if (value == nullptr || value->is_null()) return static_cast<const json::array*>(nullptr);
  const json::array* array = value->if_array();
  if (array == nullptr || !std::all_of(array->begin(), array->end(),
                                       [](const json::value& item) { return item.is_object(); })) {
    return absl::InvalidArgumentError(absl::StrCat(name, " must be an array of objects"));
  }
  return array;
}

absl::StatusOr<App> ParseApp(const json::object& object) {
  RETURN_IF_ERROR(OnlyKeys(object, {"agent_id", "secret", "token", "aes_key", "callback_url"}));
  App app;
  if (const json::value* id = object.if_contains("agent_id"); id != nullptr && id->is_int64()) {
    app.agent_id = absl::StrCat(id->get_int64());
  } else {
    ASSIGN_OR_RETURN(app.agent_id, Required(object, "agent_id"));
  }
  ASSIGN_OR_RETURN(app.secret, Required(object, "secret"));
  std::string aes_key;
  RETURN_IF_ERROR(FromApi(ReadString(object, "token", &app.callback_token)));
  RETURN_IF_ERROR(FromApi(ReadString(object, "aes_key", &aes_key)));
  RETURN_IF_ERROR(FromApi(ReadString(object, "callback_url", &app.callback_url)));
  if (!aes_key.empty()) {
    ASSIGN_OR_RETURN(app.callback_key, DecodeAesKey(aes_key));
  }
  if (!app.callback_url.empty()) {
    RETURN_IF_ERROR(CheckUrl(app.callback_url));
    if (app.callback_key.empty() || app.callback_token.empty()) {
      return absl::InvalidArgumentError("callback_url needs token and aes_key");
    }
  }
  return app;
}

}  // namespace

absl::StatusOr<json::object> WecomCore::OnControl(absl::string_view path,
                                                  const json::object& arguments, const Now& now) {
  ReleaseExpired(now.raw_ns);
  RunAdds(now);
  if (path == "/control/seed") return Seed(arguments, now);
  if (path == "/control/callback_url") return SetCallbackUrl(arguments);
  if (path == "/control/trusted_ips") return SetTrustedIps(arguments);
  if (path == "/control/add_customers") return PlanAdds(arguments, now);
  if (path == "/control/event") return Event(arguments, now);
  if (path == "/control/faults") return SetFault(arguments);
  if (path == "/control/hold") return SetHold(arguments);
  if (path == "/control/status") return Status(now);
  if (path == "/control/truth") return Truth(arguments, now);
  return absl::NotFoundError(absl::StrCat("no control request ", path));
}

absl::StatusOr<WecomCore::CorpState*> WecomCore::FindCorp(const json::object& arguments) {
  ASSIGN_OR_RETURN(const std::string corp_id, Required(arguments, "corp_id"));
  const auto found = corps_.find(corp_id);
  if (found == corps_.end()) return absl::NotFoundError("this corp_id was never seeded");
  return found->second.get();
}

absl::StatusOr<json::object> WecomCore::Seed(const json::object& arguments, const Now& now) {
  RETURN_IF_ERROR(OnlyKeys(arguments, {"corp_id", "apps", "members", "tags", "customers"}));
  ASSIGN_OR_RETURN(const std::string corp_id, Required(arguments, "corp_id"));
  std::vector<std::string> members, tags;
  RETURN_IF_ERROR(FromApi(ReadStrings(arguments, "members", SIZE_MAX, &members)));
  RETURN_IF_ERROR(FromApi(ReadStrings(arguments, "tags", SIZE_MAX, &tags)));
  std::vector<App> apps;
  ASSIGN_OR_RETURN(const json::array* app_list, Objects(arguments, "apps"));
  if (app_list != nullptr) {
    for (const json::value& item : *app_list) {
      ASSIGN_OR_RETURN(App app, ParseApp(item.get_object()));
      apps.push_back(std::move(app));
    }
  }
  const auto known = corps_.find(corp_id);
  std::set<std::string> all_members(members.begin(), members.end());
  if (known != corps_.end()) {
    all_members.insert(known->second->corp.members.begin(), known->second->corp.members.end());
  }
  std::vector<std::pair<std::string, std::string>> follows;  // customer, member
  ASSIGN_OR_RETURN(const json::array* customer_list, Objects(arguments, "customers"));
  if (customer_list != nullptr) {
    follows.reserve(customer_list->size());
    for (const json::value& item : *customer_list) {
      const json::object& object = item.get_object();
      RETURN_IF_ERROR(OnlyKeys(object, {"external_userid", "member"}));
      ASSIGN_OR_RETURN(std::string customer, Required(object, "external_userid"));
      ASSIGN_OR_RETURN(std::string member, Required(object, "member"));
      if (all_members.count(member) == 0) {
        return absl::InvalidArgumentError(absl::StrCat("customers: unknown member ", member));
      }
      follows.emplace_back(std::move(customer), std::move(member));
    }
  }

  std::unique_ptr<CorpState>& state = corps_[corp_id];
  if (state == nullptr) state = std::make_unique<CorpState>(options_);
  Corp& corp = state->corp;
  corp.id = corp_id;
  corp.members = std::move(all_members);
  corp.tags.insert(tags.begin(), tags.end());
  for (const App& app : apps) {
    App& stored = corp.apps[app.agent_id];
    stored.agent_id = app.agent_id;
    stored.secret = app.secret;
    if (!app.callback_token.empty()) stored.callback_token = app.callback_token;
    if (!app.callback_key.empty()) stored.callback_key = app.callback_key;
    if (!app.callback_url.empty()) stored.callback_url = app.callback_url;
  }
  for (const auto& [customer, member] : follows) {
    auto [follow, is_new] = corp.customers[customer].try_emplace(member);
    if (is_new) follow->second.added_raw_ns = now.raw_ns;
  }
  return json::object{{"apps", corp.apps.size()},
                      {"members", corp.members.size()},
                      {"tags", corp.tags.size()},
                      {"customers", corp.customers.size()}};
}

absl::StatusOr<json::object> WecomCore::SetCallbackUrl(const json::object& arguments) {
  RETURN_IF_ERROR(OnlyKeys(arguments, {"corp_id", "agent_id", "callback_url"}));
  ASSIGN_OR_RETURN(CorpState * state, FindCorp(arguments));
  ASSIGN_OR_RETURN(const std::string url, Required(arguments, "callback_url"));
  RETURN_IF_ERROR(CheckUrl(url));
  std::string agent_id;
  if (const json::value* id = arguments.if_contains("agent_id"); id != nullptr && id->is_int64()) {
    agent_id = absl::StrCat(id->get_int64());
  } else {
    RETURN_IF_ERROR(FromApi(ReadString(arguments, "agent_id", &agent_id)));
  }
  if (agent_id.empty() && state->corp.apps.size() == 1) {
    agent_id = state->corp.apps.begin()->first;
  }
  const auto app = state->corp.apps.find(agent_id);
  if (app == state->corp.apps.end()) return absl::NotFoundError("no app with this agent_id");
  if (app->second.callback_key.empty() || app->second.callback_token.empty()) {
    return absl::InvalidArgumentError("the app was seeded without token and aes_key");
  }
  app->second.callback_url = url;
  return json::object{};
}

absl::StatusOr<json::object> WecomCore::SetTrustedIps(const json::object& arguments) {
  RETURN_IF_ERROR(OnlyKeys(arguments, {"corp_id", "ips"}));
  ASSIGN_OR_RETURN(CorpState * state, FindCorp(arguments));
  if (arguments.if_contains("ips") == nullptr) {
    return absl::InvalidArgumentError("ips is missing; [] trusts none");
  }
  std::vector<std::string> ips;
  RETURN_IF_ERROR(FromApi(ReadStrings(arguments, "ips", SIZE_MAX, &ips)));
  state->corp.trusted_ips = std::set<std::string>(ips.begin(), ips.end());
  return json::object{};
}

absl::StatusOr<json::object> WecomCore::PlanAdds(const json::object& arguments, const Now& now) {
  RETURN_IF_ERROR(OnlyKeys(arguments, {"corp_id", "customers", "per_second"}));
  ASSIGN_OR_RETURN(CorpState * state, FindCorp(arguments));
  double per_second = 25;
  if (const json::value* value = arguments.if_contains("per_second"); value != nullptr) {
    json::error_code error;
    per_second = value->to_number<double>(error);
    if (error || !(per_second > 0) || per_second > 1e6) {
      return absl::InvalidArgumentError("per_second must be above 0 and at most 1000000");
    }
  }
  ASSIGN_OR_RETURN(const json::array* list, Objects(arguments, "customers"));
  if (list == nullptr || list->empty()) return absl::InvalidArgumentError("customers is empty");
  if (adds_.size() + callbacks_.pending() + list->size() >
      static_cast<size_t>(options_.events_pending_max)) {
    return absl::ResourceExhaustedError("too many customers and callbacks pending");
  }
  std::vector<PlannedAdd> planned;
  for (const json::value& item : *list) {
    const json::object& object = item.get_object();
    RETURN_IF_ERROR(OnlyKeys(object, {"external_userid", "member", "state"}));
    PlannedAdd add;
    add.corp = state->corp.id;
    ASSIGN_OR_RETURN(add.customer, Required(object, "external_userid"));
    ASSIGN_OR_RETURN(add.member, Required(object, "member"));
    RETURN_IF_ERROR(FromApi(ReadString(object, "state", &add.state)));
    if (state->corp.members.count(add.member) == 0) {
      return absl::InvalidArgumentError(absl::StrCat("customers: unknown member ", add.member));
    }
    planned.push_back(std::move(add));
  }
  for (size_t i = 0; i < planned.size(); ++i) {
    const double offset_ns = static_cast<double>(i) / per_second * 1e9;
    adds_.emplace(now.raw_ns + static_cast<int64_t>(offset_ns), std::move(planned[i]));
  }
  adds_asked_ += static_cast<int64_t>(list->size());
  return json::object{{"planned", list->size()}};
}

absl::StatusOr<json::object> WecomCore::Event(const json::object& arguments, const Now& now) {
  RETURN_IF_ERROR(OnlyKeys(arguments, {"corp_id", "kind", "external_userid", "member", "state"}));
  ASSIGN_OR_RETURN(CorpState * state, FindCorp(arguments));
  ASSIGN_OR_RETURN(const std::string kind, Required(arguments, "kind"));
  ASSIGN_OR_RETURN(const std::string customer, Required(arguments, "external_userid"));
  ASSIGN_OR_RETURN(const std::string member, Required(arguments, "member"));
  std::string channel;
  RETURN_IF_ERROR(FromApi(ReadString(arguments, "state", &channel)));
  Corp& corp = state->corp;
  if (corp.members.count(member) == 0) return absl::NotFoundError("unknown member");
  if (callbacks_.pending() + adds_.size() >= static_cast<size_t>(options_.events_pending_max)) {
    return absl::ResourceExhaustedError("too many customers and callbacks pending");
  }
  Follow* follow = corp.FindFollow(member, customer);
  json::object answer;
  if (kind == "add_external_contact") {
    const std::string code = AddCustomer(*state, {corp.id, customer, member, channel}, now);
    if (!code.empty()) answer["welcome_code"] = code;
  } else if (kind == "add_half_external_contact") {
    if (follow != nullptr) return absl::InvalidArgumentError("the member has this customer");
    Follow& half = corp.customers[customer][member];
    half = {};
    half.relation = Relation::kHalf;
    half.added_raw_ns = now.raw_ns;
    half.half_code = NewWelcomeCode(corp, member, customer, now);
    Emit(*state, kind, member, customer, channel, half.half_code, now);
    answer["welcome_code"] = half.half_code;
  } else if (kind == "del_follow_user" || kind == "del_external_contact") {
    if (follow == nullptr) return absl::NotFoundError("the member does not have this customer");
    follow->relation =
        kind == "del_follow_user" ? Relation::kCustomerDeleted : Relation::kMemberDeleted;
    follow->ended_raw_ns = std::min(follow->ended_raw_ns, now.raw_ns);
    Emit(*state, kind, member, customer, "", "", now);
  } else {
    return absl::InvalidArgumentError(
        "kind must be add_external_contact, add_half_external_contact, del_follow_user or "
        "del_external_contact");
  }
  return answer;
}

absl::StatusOr<json::object> WecomCore::SetFault(const json::object& arguments) {
  RETURN_IF_ERROR(OnlyKeys(arguments, {"api", "kind", "probability", "next"}));
  ASSIGN_OR_RETURN(const std::string api, Required(arguments, "api"));
  ASSIGN_OR_RETURN(const std::string kind, Required(arguments, "kind"));
  Fault fault;
  RETURN_IF_ERROR(ParseFault(api, kind, &fault));
  int64_t next = 0;
  RETURN_IF_ERROR(FromApi(ReadInt(arguments, "next", &next)));
  const json::value* probability = arguments.if_contains("probability");
  if ((probability != nullptr) == (next != 0)) {
    return absl::InvalidArgumentError("give either next (from 1) or probability");
  }
  if (probability == nullptr) {
    if (next < 1) return absl::InvalidArgumentError("next must be from 1");
    faults_.AddNext(api, fault, next);
    return json::object{};
  }
  json::error_code error;
  const double chance = probability->to_number<double>(error);
  if (error || !(chance >= 0 && chance <= 1)) {
    return absl::InvalidArgumentError("probability must be from 0 to 1");
  }
  faults_.SetProbability(api, fault, chance);
  return json::object{};
}

absl::StatusOr<json::object> WecomCore::SetHold(const json::object& arguments) {
  RETURN_IF_ERROR(OnlyKeys(arguments, {"api", "next", "ms"}));
  ASSIGN_OR_RETURN(const std::string api, Required(arguments, "api"));
  int64_t next = 1, ms = 150;
  RETURN_IF_ERROR(FromApi(ReadInt(arguments, "next", &next)));
  RETURN_IF_ERROR(FromApi(ReadInt(arguments, "ms", &ms)));
  if (next < 1) return absl::InvalidArgumentError("next must be from 1");
  if (ms < 0 || ms > options_.limits.hold_ms) {
    return absl::InvalidArgumentError(
        absl::StrCat("ms must be from 0 to the hold bound, ", options_.limits.hold_ms));
  }
  holds_[api] = {next, ms};
  return json::object{};
}

json::object WecomCore::Status(const Now& now) {
  json::object calls;
  for (const auto& [api, counts] : counts_) {
    json::object rejected;
    for (const auto& [code, count] : counts.rejected) rejected[absl::StrCat(code)] = count;
    calls[api] = {{"received", counts.received},
                  {"executed", counts.executed},
                  {"dropped", counts.dropped},
                  {"rejected", std::move(rejected)}};
  }
  json::array in_flight, creates;
  for (const auto& [id, call] : in_flight_) {
    json::object item{{"request_id", id},
                      {"api", call.api},
                      {"corp_id", call.corp},
                      {"age_ms", (now.raw_ns - call.arrived_raw_ns) / kNanosPerMilli},
                      {"executed", call.executed},
                      {"answered", call.answered}};
    if (call.api == "add_msg_template" && call.executed && !call.answered) creates.push_back(item);
    in_flight.push_back(std::move(item));
  }
  int64_t over_quota = 0;
  for (const auto& [id, corp] : corps_) over_quota += corp->sends.OverQuota(now);
  size_t used = 0;
  for (const auto& [text, code] : codes_) used += code.used_by != 0 ? 1 : 0;
  const char* window = options_.window == WindowKind::kFixed     ? "fixed"
                       : options_.window == WindowKind::kSliding ? "sliding"
                                                                 : "sliding-counting-refusals";
  return {{"seed", options_.seed},
          {"window_kind", window},
          {"calls", std::move(calls)},
          {"in_flight", std::move(in_flight)},
          {"creates_unanswered", std::move(creates)},
          {"over_quota", over_quota},
          {"lockouts", frequency_.lockouts()},
          {"lockout_ms_total", frequency_.lockout_ms_total()},
          {"callbacks", callbacks_.Status()},
          {"adds", json::object{{"asked", adds_asked_}, {"done", adds_done_}}},
          {"welcome_codes", json::object{{"made", codes_.size()}, {"used", used}}}};
}

absl::StatusOr<json::object> WecomCore::Truth(const json::object& arguments, const Now& now) {
  ASSIGN_OR_RETURN(CorpState * state, FindCorp(arguments));
  const Corp& corp = state->corp;
  json::array tags, welcomes;
  for (const auto& [customer, follows] : corp.customers) {
    for (const auto& [member, follow] : follows) {
      if (follow.tags.empty()) continue;
      tags.push_back({{"external_userid", customer},
                      {"userid", member},
                      {"tags", JsonStrings({follow.tags.begin(), follow.tags.end()})}});
    }
  }
  for (const auto& [text, code] : codes_) {
    if (code.corp != corp.id) continue;
    welcomes.push_back(
        {{"external_userid", code.customer}, {"userid", code.member}, {"used", code.used_by != 0}});
  }
  return json::object{{"corp_id", corp.id},
                      {"customers", corp.customers.size()},
                      {"tags", std::move(tags)},
                      {"sends", state->sends.Truth(now)},
                      {"welcomes", std::move(welcomes)},
                      {"callbacks", callbacks_.Status()}};
}

}  // namespace tidegate::wecom_simulator
