// message send, touch get|list|cancel|watch: single messages, as internal services send them.
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/hash.h"
#include "common/base/status_macros.h"
#include "services/tidegate/client/output.h"
#include "services/tidegate/client/paging.h"
#include "services/tidegate/client/verbs.h"
#include "tidegate/dispatch/v1/dispatch_service.grpc.pb.h"

namespace tidegate::client {
namespace {

namespace dispatch = tidegate::dispatch::v1;

absl::StatusOr<dispatch::MessageClass> ClassOf(const std::string& word) {
  if (word == "urgent") return dispatch::MESSAGE_CLASS_URGENT;
  if (word == "interactive") return dispatch::MESSAGE_CLASS_INTERACTIVE;
  if (word == "bulk") return dispatch::MESSAGE_CLASS_BULK;
  return absl::InvalidArgumentError(
      absl::StrCat("--class ", word, ": write urgent, interactive or bulk"));
}

std::string StateWord(dispatch::TouchState state, const std::string& reason) {
  const std::string word = EnumWord("TOUCH_STATE_", dispatch::TouchState_Name(state));
  return reason.empty() ? word : absl::StrCat(word, " (", reason, ")");
}

std::vector<std::string> RowOf(const dispatch::Touch& touch) {
  // Of a message to a member there is no customer, and the app sends it.
  const bool to_member = !touch.member().empty();
  return {touch.key(), to_member ? touch.member() : touch.customer(),
          to_member ? "-" : touch.sender(), StateWord(touch.state(), touch.reason()),
          touch.call_id().empty() ? "-" : touch.call_id()};
}

const std::vector<std::string>& TouchHeader() {
  static const auto* const header =
      new std::vector<std::string>{"KEY", "TO", "SENDER", "STATE", "CALL"};
  return *header;
}

}  // namespace

absl::Status MessageSend(const Client& client, const MessageSendOptions& options) {
  const auto stub = dispatch::DispatchService::NewStub(client.connection->To("dispatch"));
  const std::vector<std::string> parts = absl::StrSplit(options.content, '|');
  const bool to_members = !options.members.empty();
  if (!to_members && options.customers.empty()) {
    return absl::InvalidArgumentError("write --sender and --customer, or --member");
  }
  if (parts.size() != 3 && !(to_members && parts.size() == 1)) {
    return absl::InvalidArgumentError("--content: write TEXT|LINK_URL|LINK_TITLE");
  }
  ASSIGN_OR_RETURN(const dispatch::MessageClass message_class, ClassOf(options.message_class));
  const std::string prefix =
      options.key_prefix.empty() ? RandomUuid().substr(0, 8) : options.key_prefix;
  dispatch::BatchSendRequest request;
  request.set_corp(options.corp);
  auto* content = request.add_contents()->mutable_content();
  content->set_text(parts[0]);
  if (parts.size() == 3) {
    content->set_link_url(parts[1]);
    content->set_link_title(parts[2]);
  }
  for (const std::string& recipient : to_members ? options.members : options.customers) {
    dispatch::Message* message = request.add_messages();
    message->set_key(absl::StrCat(prefix, ":", recipient));
    if (to_members) {
      message->set_member(recipient);
    } else {
      message->set_customer(recipient);
      message->set_sender(options.sender);
    }
    message->set_message_class(message_class);
    if (options.within_s <= 0) continue;
    const absl::Time deadline = absl::Now() + absl::Seconds(options.within_s);
    message->mutable_deadline()->set_seconds(absl::ToUnixSeconds(deadline));
  }
  dispatch::BatchSendResponse response;
  // The same keys: a repeat sends nothing twice.
  RETURN_IF_ERROR(client.connection->Call(
      [&](grpc::ClientContext* context) { return stub->BatchSend(context, request, &response); }));
  std::string table =
      absl::StrCat(response.acknowledged(), " acknowledged; `tidegate touch watch ", "--corp ",
                   options.corp, " --prefix ", prefix, ":` follows them\n");
  for (const dispatch::MessageFault& fault : response.faults()) {
    absl::StrAppend(&table, fault.field(), " ", fault.message(), "\n");
  }
  boost::json::object json = ToJson(response).as_object();
  json["key_prefix"] = absl::StrCat(prefix, ":");
  Print(client, json, table);
  if (response.faults().empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(response.faults_size(), " messages were refused"));
}

absl::Status TouchGet(const Client& client, const TouchOptions& options) {
  const auto stub = dispatch::DispatchService::NewStub(client.connection->To("dispatch"));
  dispatch::GetTouchRequest request;
  request.set_corp(options.corp);
  request.set_key(options.key);
  dispatch::GetTouchResponse response;
  RETURN_IF_ERROR(client.connection->Call(
      [&](grpc::ClientContext* context) { return stub->GetTouch(context, request, &response); }));
  Print(client, ToJson(response.touch()), RenderTable(TouchHeader(), {RowOf(response.touch())}));
  return absl::OkStatus();
}

absl::Status TouchList(const Client& client, const std::string& corp) {
  const auto stub = dispatch::DispatchService::NewStub(client.connection->To("dispatch"));
  boost::json::array touches;
  std::vector<std::vector<std::string>> rows;
  absl::Status read = ForEachPage<dispatch::ListTouchesRequest, dispatch::ListTouchesResponse>(
      *client.connection, corp,
      [&](grpc::ClientContext* context, const dispatch::ListTouchesRequest& request,
          dispatch::ListTouchesResponse* response) {
        return stub->ListTouches(context, request, response);
      },
      [&](const dispatch::ListTouchesResponse& response) {
        for (const dispatch::Touch& touch : response.touches()) {
          if (client.json) {
            touches.push_back(ToJson(touch));
          } else {
            rows.push_back(RowOf(touch));
          }
        }
      });
  RETURN_IF_ERROR(read);
  Print(client, touches, RenderTable(TouchHeader(), rows));
  return absl::OkStatus();
}

absl::Status TouchCancel(const Client& client, const TouchOptions& options) {
  const auto stub = dispatch::DispatchService::NewStub(client.connection->To("dispatch"));
  dispatch::CancelTouchRequest request;
  request.set_corp(options.corp);
  request.set_key(options.key);
  dispatch::CancelTouchResponse response;
  RETURN_IF_ERROR(client.connection->Call([&](grpc::ClientContext* context) {
    return stub->CancelTouch(context, request, &response);
  }));
  Print(client, ToJson(response.touch()),
        absl::StrCat("touch ", options.key, " is cancelled; it will not be sent\n"));
  return absl::OkStatus();
}

absl::Status TouchWatch(const Client& client, const TouchOptions& options) {
  const auto stub = dispatch::DispatchService::NewStub(client.connection->To("dispatch"));
  dispatch::WatchTouchesRequest request;
  request.set_corp(options.corp);
  request.set_after(options.after);
  request.set_key_prefix(options.key_prefix);
  std::optional<Backoff> backoff;
  while (true) {
    grpc::ClientContext context;
    const auto stream = stub->WatchTouches(&context, request);
    dispatch::WatchTouchesResponse told;
    while (stream->Read(&told)) {
      request.set_after(told.after());
      for (const dispatch::TouchChange& change : told.changes()) {
        Print(client, ToJson(change),
              absl::StrCat(change.key(), "  ", StateWord(change.state(), change.reason()), "\n"));
      }
      client.out->flush();
      backoff.reset();
    }
    const absl::Status status = ToAbslStatus(stream->Finish());
    if (!backoff.has_value()) backoff.emplace(client.clock, client.connection->options().wait_s);
    if (!absl::IsUnavailable(status) || !backoff->Wait()) return status;
  }
}

}  // namespace tidegate::client
