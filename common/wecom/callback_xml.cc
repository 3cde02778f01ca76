#include "common/wecom/callback_xml.h"

#include <pugixml.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace tidegate::wecom {
namespace {

constexpr size_t kBytesMax = 256 * 1024;
constexpr int kNodesMax = 512;
constexpr int kDepthMax = 16;
// What fits nanoseconds.
constexpr int64_t kSecondsMax = 9'000'000'000;

class Limits : public pugi::xml_tree_walker {
 public:
  bool for_each(pugi::xml_node& node) override {
    if (node.type() == pugi::node_doctype && TIDEGATE_MUTANT != 12) fault_ = "has a document type";
    if (++nodes_ > kNodesMax) fault_ = "has too many nodes";
    if (depth() > kDepthMax) fault_ = "is nested too deep";
    return fault_ == nullptr;
  }
  const char* fault() const { return fault_; }

 private:
  int nodes_ = 0;
  const char* fault_ = nullptr;
};

absl::Status Load(absl::string_view xml, pugi::xml_document* document, pugi::xml_node* root) {
  if (xml.size() > kBytesMax) return absl::InvalidArgumentError("XML is too large");
  // A cheap look before the parser: no callback nests like this.
  int depth = 0;
  for (size_t i = 0; i + 1 < xml.size(); ++i) {
    if (xml[i] != '<' || xml[i + 1] == '!' || xml[i + 1] == '?') continue;
    depth += xml[i + 1] == '/' ? -1 : 1;
    if (depth > kNodesMax) return absl::InvalidArgumentError("XML is nested too deep");
  }
  const auto result = document->load_buffer(
      xml.data(), xml.size(), pugi::parse_default | pugi::parse_doctype, pugi::encoding_utf8);
  if (!result) return absl::InvalidArgumentError(absl::StrCat("XML: ", result.description()));
  Limits limits;
  document->traverse(limits);
  if (limits.fault() != nullptr)
    return absl::InvalidArgumentError(absl::StrCat("XML ", limits.fault()));
  *root = document->child("xml");
  if (!*root) return absl::InvalidArgumentError("XML: the root element is not xml");
  return absl::OkStatus();
}

std::string Text(const pugi::xml_node& root, const char* name) { return root.child_value(name); }

}  // namespace

absl::StatusOr<CallbackEnvelope> ParseEnvelope(absl::string_view xml) {
  pugi::xml_document document;
  pugi::xml_node root;
  RETURN_IF_ERROR(Load(xml, &document, &root));
  CallbackEnvelope envelope{.to_user = Text(root, "ToUserName"),
                            .agent_id = Text(root, "AgentID"),
                            .encrypt = Text(root, "Encrypt")};
  if (envelope.encrypt.empty()) return absl::InvalidArgumentError("XML: Encrypt is missing");
  return envelope;
}

absl::StatusOr<CallbackEvent> ParseEvent(absl::string_view xml) {
  pugi::xml_document document;
  pugi::xml_node root;
  RETURN_IF_ERROR(Load(xml, &document, &root));
  CallbackEvent event{.to_user = Text(root, "ToUserName"),
                      .from_user = Text(root, "FromUserName"),
                      .msg_type = Text(root, "MsgType"),
                      .event = Text(root, "Event"),
                      .change_type = Text(root, "ChangeType"),
                      .user_id = Text(root, "UserID"),
                      .external_user_id = Text(root, "ExternalUserID"),
                      .state = Text(root, "State"),
                      .welcome_code = Text(root, "WelcomeCode")};
  if (!absl::SimpleAtoi(Text(root, "CreateTime"), &event.create_time_s) ||
      event.create_time_s < 0 || event.create_time_s > kSecondsMax) {
    return absl::InvalidArgumentError("XML: CreateTime is not a time");
  }
  return event;
}

}  // namespace tidegate::wecom
