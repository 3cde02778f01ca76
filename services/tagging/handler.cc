#include "services/tagging/handler.h"

#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/hash.h"
#include "common/expression/expression.h"
#include "common/grpc/checks.h"
#include "common/grpc/errors.h"
#include "services/tagging/core/event_kinds.h"

namespace tidegate::tagging {

using rpc::FieldViolation;
using ::tidegate::log::v1::Definition;
namespace v1 = ::tidegate::tagging::v1;

namespace {

constexpr size_t kTagsMax = 100;
constexpr size_t kStateBytesMax = 30;

void CheckTags(absl::string_view field, const google::protobuf::RepeatedPtrField<std::string>& tags,
               std::vector<FieldViolation>* wrong) {
  if (static_cast<size_t>(tags.size()) > kTagsMax) {
    wrong->push_back(
        {std::string(field), absl::StrCat("has ", tags.size(), " tags; at most ", kTagsMax)});
    return;
  }
  for (int i = 0; i < tags.size(); ++i) {
    rpc::CheckText(absl::StrCat(field, "[", i, "]"), tags[i], 64, wrong);
  }
}

void CheckEventKind(const std::string& kind, std::vector<FieldViolation>* wrong) {
  static const std::set<std::string> kKinds = {
      kFollowAdded,      kFollowHalfAdded, kFollowDeleted, kFollowLost,       kOrderPaid,
      kCustomerImported, kTouchSent,       kTouchFailed,   kTouchUnconfirmed, kTouchSkipped};
  if (kind.empty() || kKinds.contains(kind)) return;
  std::string known;
  for (const std::string& name : kKinds) absl::StrAppend(&known, known.empty() ? "" : ", ", name);
  wrong->push_back({"rule.event_kind", absl::StrCat("is no kind of event; write one of ", known,
                                                    ", or nothing for every kind")});
}

v1::Rule ToProto(const std::string& id, const ::tidegate::log::v1::Rule& rule) {
  v1::Rule proto;
  proto.set_rule_id(id);
  proto.set_event_kind(rule.event_kind());
  proto.set_condition(rule.condition());
  *proto.mutable_tags() = rule.tags();
  *proto.mutable_untags() = rule.untags();
  return proto;
}

v1::Channel ToProto(const std::string& id, const ::tidegate::log::v1::Channel& channel) {
  v1::Channel proto;
  proto.set_channel_id(id);
  proto.set_state(channel.state());
  *proto.mutable_tags() = channel.tags();
  proto.set_welcome_text(channel.welcome_text());
  return proto;
}

}  // namespace

grpc::ServerUnaryReactor* Handler::PutRule(grpc::CallbackServerContext* context,
                                           const v1::PutRuleRequest* request,
                                           v1::PutRuleResponse* response) {
  if (edge_.Find(*context, request->corp()) == nullptr)
    return rpc::Finish(context, rpc::UnknownCorp());
  const v1::Rule& rule = request->rule();
  std::vector<FieldViolation> wrong;
  rpc::CheckRequestId(request->request_id(), &wrong);
  rpc::CheckId("rule.rule_id", rule.rule_id(), &wrong);
  CheckEventKind(rule.event_kind(), &wrong);
  if (rule.tags().empty() && rule.untags().empty()) {
    wrong.push_back({"rule.tags", "is empty like rule.untags; name at least one tag"});
  }
  CheckTags("rule.tags", rule.tags(), &wrong);
  CheckTags("rule.untags", rule.untags(), &wrong);
  if (!wrong.empty()) return rpc::Finish(context, rpc::InvalidArgument(wrong));
  std::vector<expression::Violation> violations;
  const auto condition =
      expression::Expression::Parse(rule.condition(), {.allow_event = true}, &violations);
  if (!condition.ok()) {
    return rpc::Finish(context,
                       rpc::InvalidExpression("rule.condition", rule.condition(), violations));
  }

  Definition definition;
  definition.set_id(rule.rule_id());
  definition.mutable_rule()->set_event_kind(rule.event_kind());
  definition.mutable_rule()->set_condition(condition->canonical_text());
  *definition.mutable_rule()->mutable_tags() = rule.tags();
  *definition.mutable_rule()->mutable_untags() = rule.untags();
  auto* reactor = context->DefaultReactor();
  edge_.definitions->Propose(
      edge_.ProposalOf(*context, *request, ""),
      [definition](const definitions::CorpDefinitions&) -> absl::StatusOr<std::vector<Definition>> {
        return std::vector<Definition>{definition};
      },
      [reactor, response](absl::StatusOr<definitions::AcceptedRequest> accepted) {
        if (accepted.ok()) {
          const Definition& stored = accepted->proposal.definitions(0);
          *response->mutable_rule() = ToProto(stored.id(), stored.rule());
          response->set_corp_revision(accepted->revision);
        }
        reactor->Finish(rpc::ToGrpcStatus(accepted.status(), "RULE_NOT_STORED"));
      });
  return reactor;
}

grpc::ServerUnaryReactor* Handler::PutChannel(grpc::CallbackServerContext* context,
                                              const v1::PutChannelRequest* request,
                                              v1::PutChannelResponse* response) {
  if (edge_.Find(*context, request->corp()) == nullptr)
    return rpc::Finish(context, rpc::UnknownCorp());
  const v1::Channel& channel = request->channel();
  std::vector<FieldViolation> wrong;
  rpc::CheckRequestId(request->request_id(), &wrong);
  rpc::CheckId("channel.channel_id", channel.channel_id(), &wrong);
  rpc::CheckText("channel.state", channel.state(), kStateBytesMax, &wrong);
  CheckTags("channel.tags", channel.tags(), &wrong);
  if (!channel.welcome_text().empty()) {
    rpc::CheckText("channel.welcome_text", channel.welcome_text(), 4000, &wrong);
  }
  if (!wrong.empty()) return rpc::Finish(context, rpc::InvalidArgument(wrong));

  Definition definition;
  definition.set_id(channel.channel_id());
  definition.mutable_channel()->set_state(channel.state());
  *definition.mutable_channel()->mutable_tags() = channel.tags();
  definition.mutable_channel()->set_welcome_text(channel.welcome_text());
  auto* reactor = context->DefaultReactor();
  edge_.definitions->Propose(
      edge_.ProposalOf(*context, *request, ""),
      [definition](
          const definitions::CorpDefinitions& corp) -> absl::StatusOr<std::vector<Definition>> {
        for (const auto& [id, other] : corp.channels) {
          if (id == definition.id() || other.state() != definition.channel().state()) continue;
          return absl::AlreadyExistsError(
              absl::StrCat("channel \"", id, "\" has this state; give every channel its own"));
        }
        return std::vector<Definition>{definition};
      },
      [reactor, response](absl::StatusOr<definitions::AcceptedRequest> accepted) {
        if (accepted.ok()) {
          const Definition& stored = accepted->proposal.definitions(0);
          *response->mutable_channel() = ToProto(stored.id(), stored.channel());
          response->set_corp_revision(accepted->revision);
        }
        reactor->Finish(rpc::ToGrpcStatus(accepted.status(), "CHANNEL_NOT_STORED"));
      });
  return reactor;
}

grpc::ServerUnaryReactor* Handler::ListRules(grpc::CallbackServerContext* context,
                                             const v1::ListRulesRequest* request,
                                             v1::ListRulesResponse* response) {
  return edge_.Read(context, request->corp(), [=](const definitions::CorpDefinitions& corp) {
    for (const auto& [id, rule] : rpc::Page(corp.rules, request->page_size(), request->page_token(),
                                            response->mutable_next_page_token())) {
      *response->add_rules() = ToProto(id, rule);
    }
  });
}

grpc::ServerUnaryReactor* Handler::ListChannels(grpc::CallbackServerContext* context,
                                                const v1::ListChannelsRequest* request,
                                                v1::ListChannelsResponse* response) {
  return edge_.Read(context, request->corp(), [=](const definitions::CorpDefinitions& corp) {
    for (const auto& [id, channel] :
         rpc::Page(corp.channels, request->page_size(), request->page_token(),
                   response->mutable_next_page_token())) {
      *response->add_channels() = ToProto(id, channel);
    }
  });
}

}  // namespace tidegate::tagging
