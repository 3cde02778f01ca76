#include "common/wecom_table/endpoints.h"

namespace tidegate::wecom_table {
namespace {

constexpr Endpoint kEndpoints[] = {
    {"gettoken", "GET", "/cgi-bin/gettoken", Idempotency::kRead},
    {"mark_tag", "POST", "/cgi-bin/externalcontact/mark_tag", Idempotency::kRepeatable},
    {"add_msg_template", "POST", "/cgi-bin/externalcontact/add_msg_template",
     Idempotency::kCreates},
    {"get_groupmsg_list_v2", "POST", "/cgi-bin/externalcontact/get_groupmsg_list_v2",
     Idempotency::kRead},
    {"get_groupmsg_task", "POST", "/cgi-bin/externalcontact/get_groupmsg_task", Idempotency::kRead},
    {"get_groupmsg_send_result", "POST", "/cgi-bin/externalcontact/get_groupmsg_send_result",
     Idempotency::kRead},
    {"cancel_groupmsg_send", "POST", "/cgi-bin/externalcontact/cancel_groupmsg_send",
     Idempotency::kRepeatable},
    {"send_welcome_msg", "POST", "/cgi-bin/externalcontact/send_welcome_msg",
     Idempotency::kSingleUse},
    {"remind_groupmsg_send", "POST", "/cgi-bin/externalcontact/remind_groupmsg_send",
     Idempotency::kBlind},
    {"message_send", "POST", "/cgi-bin/message/send", Idempotency::kDeduplicated},
};

}  // namespace

std::span<const Endpoint> Endpoints() { return kEndpoints; }

const Endpoint* FindEndpoint(absl::string_view name) {
  for (const Endpoint& endpoint : kEndpoints) {
    if (endpoint.name == name) return &endpoint;
  }
  return nullptr;
}

}  // namespace tidegate::wecom_table
