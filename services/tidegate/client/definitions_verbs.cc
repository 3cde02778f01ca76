// channel add|list, rule add|list.
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/tidegate/client/mutation.h"
#include "services/tidegate/client/output.h"
#include "services/tidegate/client/paging.h"
#include "services/tidegate/client/verbs.h"
#include "tidegate/tagging/v1/tagging_service.grpc.pb.h"

namespace tidegate::client {
namespace {

namespace tagging = tidegate::tagging::v1;

constexpr size_t kTextShown = 40;

std::vector<std::string> Words(const google::protobuf::RepeatedPtrField<std::string>& words) {
  return {words.begin(), words.end()};
}

}  // namespace

absl::Status ChannelAdd(const Client& client, const ChannelAddOptions& options) {
  const auto stub = tagging::TaggingService::NewStub(client.connection->To("tagging"));
  tagging::PutChannelRequest request;
  request.set_corp(options.corp);
  request.set_request_id(RequestIdOr(options.request_id));
  request.mutable_channel()->set_channel_id(options.id);
  request.mutable_channel()->set_state(options.state);
  for (const std::string& tag : options.tags) request.mutable_channel()->add_tags(tag);
  request.mutable_channel()->set_welcome_text(options.welcome);
  tagging::PutChannelResponse response;
  RETURN_IF_ERROR(Mutate(
      client, "put_channel", request.request_id(), options.id,
      [&](grpc::ClientContext* context) { return stub->PutChannel(context, request, &response); }));
  boost::json::object json = ToJson(response).as_object();
  json["request_id"] = request.request_id();
  Print(client, json,
        absl::StrCat("channel ", options.id, " is in force at revision ", response.corp_revision(),
                     "\n"));
  return absl::OkStatus();
}

absl::Status ChannelList(const Client& client, const std::string& corp) {
  const auto stub = tagging::TaggingService::NewStub(client.connection->To("tagging"));
  boost::json::array json;
  std::vector<std::vector<std::string>> rows;
  RETURN_IF_ERROR((ForEachPage<tagging::ListChannelsRequest, tagging::ListChannelsResponse>(
      *client.connection, corp, [&](auto... arguments) { return stub->ListChannels(arguments...); },
      [&](const tagging::ListChannelsResponse& page) {
        for (const tagging::Channel& channel : page.channels()) {
          json.push_back(ToJson(channel));
          rows.push_back({channel.channel_id(), channel.state(), JoinWords(Words(channel.tags())),
                          Shortened(channel.welcome_text(), kTextShown)});
        }
      })));
  Print(client, boost::json::object{{"channels", std::move(json)}},
        RenderTable({"CHANNEL", "STATE", "TAGS", "WELCOME"}, rows));
  return absl::OkStatus();
}

absl::Status RuleAdd(const Client& client, const RuleAddOptions& options) {
  const auto stub = tagging::TaggingService::NewStub(client.connection->To("tagging"));
  tagging::PutRuleRequest request;
  request.set_corp(options.corp);
  request.set_request_id(RequestIdOr(options.request_id));
  request.mutable_rule()->set_rule_id(options.id);
  request.mutable_rule()->set_condition(options.when);
  request.mutable_rule()->set_event_kind(options.on);
  for (const std::string& tag : options.tags) request.mutable_rule()->add_tags(tag);
  for (const std::string& tag : options.untags) request.mutable_rule()->add_untags(tag);
  tagging::PutRuleResponse response;
  RETURN_IF_ERROR(Mutate(
      client, "put_rule", request.request_id(), options.id,
      [&](grpc::ClientContext* context) { return stub->PutRule(context, request, &response); }));
  boost::json::object json = ToJson(response).as_object();
  json["request_id"] = request.request_id();
  Print(client, json,
        absl::StrCat("rule ", options.id, " is in force at revision ", response.corp_revision(),
                     ": ", response.rule().condition(), "\n"));
  return absl::OkStatus();
}

absl::Status RuleList(const Client& client, const std::string& corp) {
  const auto stub = tagging::TaggingService::NewStub(client.connection->To("tagging"));
  boost::json::array json;
  std::vector<std::vector<std::string>> rows;
  RETURN_IF_ERROR((ForEachPage<tagging::ListRulesRequest, tagging::ListRulesResponse>(
      *client.connection, corp, [&](auto... arguments) { return stub->ListRules(arguments...); },
      [&](const tagging::ListRulesResponse& page) {
        for (const tagging::Rule& rule : page.rules()) {
          json.push_back(ToJson(rule));
          rows.push_back({rule.rule_id(), rule.event_kind().empty() ? "every" : rule.event_kind(),
                          rule.condition(), JoinWords(Words(rule.tags())),
                          JoinWords(Words(rule.untags()))});
        }
      })));
  Print(client, boost::json::object{{"rules", std::move(json)}},
        RenderTable({"RULE", "ON", "WHEN", "TAG", "UNTAG"}, rows));
  return absl::OkStatus();
}

}  // namespace tidegate::client
