#include "services/dispatch/message_checks.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/grpc/checks.h"
#include "services/dispatch/core/message_book.h"
#include "services/dispatch/request_checks.h"

namespace tidegate::dispatch {

using rpc::FieldViolation;
using ::tidegate::log::v1::Command;
using ::tidegate::log::v1::MessageBatch;
using ::tidegate::log::v1::QueuedMessage;
namespace v1 = ::tidegate::dispatch::v1;

namespace {

constexpr size_t kTextBytesMax = 4000;     // M5 of WeCom's limits
constexpr size_t kLinkUrlBytesMax = 2000;  // WeCom takes 2,048; the marker needs the rest
constexpr size_t kLinkTitleBytesMax = 128;
// A6: WeCom cuts what is longer.
constexpr size_t kAppTextBytesMax = 2048;
constexpr size_t kAppCardBytesMax = 512;  // the text beside a link
constexpr size_t kNameShownMax = 64;
constexpr size_t kIdBytesMax = 64;  // of members and customers
constexpr int64_t kDeadlineMaxNs = int64_t{24} * 3600 * kNanosPerSecond;
// Below the log's bound on a record, with room for its key.
constexpr size_t kPartBytesMax = 900'000;
constexpr size_t kOverheadBytes = 64;  // of a message and its content, at most

size_t BytesOf(const ::tidegate::log::v1::MessageContent& content) {
  return content.text().size() + content.link_url().size() + content.link_title().size();
}

void CheckWecomId(absl::string_view field, absl::string_view id,
                  std::vector<FieldViolation>* wrong) {
  bool good = !id.empty() && id.size() <= kIdBytesMax;
  for (const char c : id) good = good && absl::ascii_isgraph(static_cast<unsigned char>(c));
  if (!good) {
    wrong->push_back({std::string(field),
                      absl::StrCat("write 1 to ", kIdBytesMax, " visible ASCII characters")});
  }
}

// "|" stands between the members of a call.
void CheckMember(const v1::Message& message, std::vector<FieldViolation>* wrong) {
  for (const auto& [field, value] : {std::pair{"customer", absl::string_view(message.customer())},
                                     {"sender", absl::string_view(message.sender())}}) {
    if (!value.empty()) wrong->push_back({field, "cannot stand beside member; leave out one"});
  }
  CheckWecomId("member", message.member(), wrong);
  if (absl::StrContains(message.member(), '|') || message.member() == "@all") {
    wrong->push_back({"member", "write the userid of one member"});
  }
}

::tidegate::log::v1::MessageClass ClassOf(v1::MessageClass message_class) {
  if (message_class == v1::MESSAGE_CLASS_URGENT) return ::tidegate::log::v1::MESSAGE_CLASS_URGENT;
  if (message_class == v1::MESSAGE_CLASS_INTERACTIVE) {
    return ::tidegate::log::v1::MESSAGE_CLASS_INTERACTIVE;
  }
  return ::tidegate::log::v1::MESSAGE_CLASS_BULK;
}

void CheckDeadline(const v1::Message& message, int64_t now_ns, std::vector<FieldViolation>* wrong) {
  const bool urgent = message.message_class() == v1::MESSAGE_CLASS_URGENT;
  if (!message.has_deadline()) {
    if (urgent) wrong->push_back({"deadline", "is required of urgent messages"});
    return;
  }
  const auto deadline_ns = TimeOf(message.deadline());
  if (!deadline_ns.has_value() || *deadline_ns <= now_ns) {
    wrong->push_back({"deadline", "is not in the future; write a later one, or none"});
  } else if (urgent && *deadline_ns > now_ns + kDeadlineMaxNs) {
    wrong->push_back({"deadline",
                      "of an urgent message is more than a day away; write an earlier "
                      "one, or another class"});
  }
}

// One request on its way into records.
class Preparation {
 public:
  Preparation(const std::string& corp,
              const google::protobuf::RepeatedPtrField<v1::MessageContent>& contents, int messages,
              int64_t now_ns)
      : corp_(corp), contents_(contents), now_ns_(now_ns) {
    place_of_key_.reserve(static_cast<size_t>(messages));
    for (const v1::MessageContent& content : contents) {
      std::vector<FieldViolation> wrong, wrong_to_members;
      // A template is judged by what becomes of it.
      if (!content.template_()) {
        CheckContent("content.", content.content(), &wrong);
        CheckAppContent("content.", content.content(), &wrong_to_members);
      }
      content_faults_.push_back(wrong.empty() ? FieldViolation() : wrong.front());
      app_content_faults_.push_back(wrong_to_members.empty() ? FieldViolation()
                                                             : wrong_to_members.front());
      ToSaid(content.content(), &said_.emplace_back());
    }
  }

  void Add(uint32_t index, const v1::Message& message) {
    std::vector<FieldViolation> wrong;
    CheckKey("key", message.key(), &wrong);
    const bool to_member = !message.member().empty();
    if (to_member) {
      CheckMember(message, &wrong);
    } else {
      CheckWecomId("customer", message.customer(), &wrong);
      CheckWecomId("sender", message.sender(), &wrong);
    }
    const auto& content_faults = to_member ? app_content_faults_ : content_faults_;
    CheckDeadline(message, now_ns_, &wrong);
    ::tidegate::log::v1::MessageContent filled;
    const ::tidegate::log::v1::MessageContent* said = &filled;
    if (message.content() >= content_faults.size()) {
      wrong.push_back({"content", absl::StrCat("is ", message.content(), ", and there are ",
                                               contents_.size(), " contents, counted from 0")});
    } else if (const FieldViolation& fault = content_faults[message.content()];
               !fault.field.empty()) {
      wrong.push_back(fault);
    } else {
      const v1::MessageContent& content = contents_.Get(static_cast<int>(message.content()));
      if (content.template_()) {
        Say(content, message, &filled, &wrong);
      } else {
        said = &said_[message.content()];
      }
    }
    if (!wrong.empty()) return Refuse(index, grpc::StatusCode::INVALID_ARGUMENT, wrong.front());
    Take(index, message, *said, said != &filled);
  }

  PreparedMessages Finish() { return std::move(prepared_); }

 private:
  void Refuse(uint32_t index, grpc::StatusCode code, const FieldViolation& violation) {
    v1::MessageFault& fault = prepared_.faults.emplace_back();
    fault.set_index(index);
    fault.set_code(code);
    fault.set_field(absl::StrCat("messages[", index, "].", violation.field));
    fault.set_message(violation.description);
  }

  static void ToSaid(const v1::ContentVariant& content, ::tidegate::log::v1::MessageContent* said) {
    said->set_text(content.text());
    said->set_link_url(content.link_url());
    said->set_link_title(content.link_title());
  }

  static void Say(const v1::MessageContent& content, const v1::Message& message,
                  ::tidegate::log::v1::MessageContent* said, std::vector<FieldViolation>* wrong) {
    if (content.content().text().size() > kTextBytesMax ||
        content.content().link_title().size() > kTextBytesMax) {
      wrong->push_back({"content", "is a template of more bytes than the text may have"});
      return;
    }
    v1::ContentVariant filled = content.content();
    for (auto* text : {filled.mutable_text(), filled.mutable_link_title()}) {
      auto result = FillIn(*text, message.fields());
      if (!result.ok()) {
        wrong->push_back({"fields", std::string(result.status().message())});
        return;
      }
      *text = *std::move(result);
    }
    if (message.member().empty()) {
      CheckContent("content.", filled, wrong);
    } else {
      CheckAppContent("content.", filled, wrong);
    }
    ToSaid(filled, said);
  }

  void Take(uint32_t index, const v1::Message& message,
            const ::tidegate::log::v1::MessageContent& said, bool shared) {
    const size_t own = message.key().size() + message.customer().size() + message.sender().size() +
                       message.member().size();
    const size_t bytes = own + BytesOf(said) + kOverheadBytes;
    if (prepared_.parts.empty() || bytes_ + bytes > kPartBytesMax) Begin();
    PreparedMessages::Part& part = prepared_.parts.back();
    MessageBatch* batch = part.command.mutable_message_batch();
    QueuedMessage queued;
    queued.set_key(message.key());
    queued.set_customer(message.customer());
    queued.set_sender(message.sender());
    queued.set_member(message.member());
    queued.set_message_class(ClassOf(message.message_class()));
    if (message.has_deadline()) queued.set_deadline_ns(*TimeOf(message.deadline()));
    const auto [first, added] = place_of_key_.emplace(
        message.key(), std::make_pair(prepared_.parts.size() - 1, batch->messages_size()));
    if (!added) return Again(index, first->second, queued, said);
    bytes_ += own + kOverheadBytes;
    queued.set_content(ContentOf(message.content(), said, shared, batch));
    *batch->add_messages() = std::move(queued);
    part.indices.push_back(index);
  }

  // A key that the request has used before.
  void Again(uint32_t index, std::pair<size_t, int> first, const QueuedMessage& message,
             const ::tidegate::log::v1::MessageContent& said) {
    const MessageBatch& known = prepared_.parts[first.first].command.message_batch();
    if (MessageBook::SameMessage(known, static_cast<uint32_t>(first.second), message, said)) {
      prepared_.repeats.push_back(index);
    } else {
      Refuse(index, grpc::StatusCode::ALREADY_EXISTS, KeyUsed());
    }
  }

  void Begin() {
    Command& command = prepared_.parts.emplace_back().command;
    command.set_corp(corp_);
    bytes_ = 0;
    content_of_.clear();
  }

  // The content's index in the part.
  uint32_t ContentOf(uint32_t number, const ::tidegate::log::v1::MessageContent& said, bool shared,
                     MessageBatch* batch) {
    const auto next = static_cast<uint32_t>(batch->contents_size());
    if (shared) {
      const auto [known, added] = content_of_.emplace(number, next);
      if (!added) return known->second;
    }
    bytes_ += BytesOf(said);
    *batch->add_contents() = said;
    return next;
  }

  static FieldViolation KeyUsed() {
    return {"key", "is used by another message; choose another key"};
  }

  const std::string corp_;
  const google::protobuf::RepeatedPtrField<v1::MessageContent>& contents_;
  const int64_t now_ns_;
  std::vector<FieldViolation> content_faults_;             // by content; an empty field = good
  std::vector<FieldViolation> app_content_faults_;         // the same of messages to members
  std::vector<::tidegate::log::v1::MessageContent> said_;  // by content; of those without fields
  PreparedMessages prepared_;
  size_t bytes_ = 0;                                    // of the last part
  absl::flat_hash_map<uint32_t, uint32_t> content_of_;  // number in the request -> in the part
  absl::flat_hash_map<absl::string_view, std::pair<size_t, int>> place_of_key_;  // part, message
};

}  // namespace

void CheckContent(const std::string& field, const v1::ContentVariant& content,
                  std::vector<FieldViolation>* wrong) {
  rpc::CheckText(field + "text", content.text(), kTextBytesMax, wrong);
  rpc::CheckText(field + "link_title", content.link_title(), kLinkTitleBytesMax, wrong);
  rpc::CheckText(field + "link_url", content.link_url(), kLinkUrlBytesMax, wrong);
  if (!content.link_url().empty() && !absl::StartsWith(content.link_url(), "https://") &&
      !absl::StartsWith(content.link_url(), "http://")) {
    wrong->push_back({field + "link_url", "write an http:// or https:// address"});
  }
}

void CheckAppContent(const std::string& field, const v1::ContentVariant& content,
                     std::vector<FieldViolation>* wrong) {
  if (content.link_url().empty() && content.link_title().empty()) {
    return rpc::CheckText(field + "text", content.text(), kAppTextBytesMax, wrong);
  }
  CheckContent(field, content, wrong);
  if (content.text().size() > kAppCardBytesMax) {
    wrong->push_back({field + "text", absl::StrCat("has more than the ", kAppCardBytesMax,
                                                   " bytes that a member sees beside a link; "
                                                   "shorten it, or leave out the link")});
  }
}

absl::StatusOr<std::string> FillIn(absl::string_view text,
                                   const google::protobuf::Map<std::string, std::string>& fields) {
  std::string filled;
  while (true) {
    const size_t open = text.find("{{");
    filled.append(text.data(), std::min(open, text.size()));
    if (open == absl::string_view::npos) return filled;
    text.remove_prefix(open + 2);
    const size_t close = text.find("}}");
    if (close == absl::string_view::npos) {
      return absl::InvalidArgumentError("the content has a {{ without }}");
    }
    const auto field = fields.find(std::string(text.substr(0, close)));
    if (field == fields.end()) {
      return absl::InvalidArgumentError(absl::StrCat("lacks \"",
                                                     text.substr(0, std::min(close, kNameShownMax)),
                                                     "\", which the content names"));
    }
    if (filled.size() + field->second.size() > kTextBytesMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("make a text of more than ", kTextBytesMax, " bytes"));
    }
    filled += field->second;
    text.remove_prefix(close + 2);
  }
}

PreparedMessages PrepareMessages(
    const std::string& corp, const google::protobuf::RepeatedPtrField<v1::MessageContent>& contents,
    const google::protobuf::RepeatedPtrField<v1::Message>& messages, int64_t now_wall_ns) {
  Preparation preparation(corp, contents, messages.size(), now_wall_ns);
  for (int i = 0; i < messages.size(); ++i) {
    preparation.Add(static_cast<uint32_t>(i), messages[i]);
  }
  return preparation.Finish();
}

}  // namespace tidegate::dispatch
