// What callers send, checked and made into records of tidegate.commands. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/grpc/errors.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "tidegate/dispatch/v1/dispatch_service.pb.h"
#include "tidegate/log/v1/commands.pb.h"

namespace tidegate::dispatch {

// Adds what is wrong with a content to the list; `field` is its path and ends with a dot.
void CheckContent(const std::string& field, const ::tidegate::dispatch::v1::ContentVariant& content,
                  std::vector<rpc::FieldViolation>* wrong);

// The same of a content for members: the link may be left out; bytes as WeCom shows them.
void CheckAppContent(const std::string& field,
                     const ::tidegate::dispatch::v1::ContentVariant& content,
                     std::vector<rpc::FieldViolation>* wrong);

// The good messages of one request, as records that each fit into the log; the lane stamps them.
struct PreparedMessages {
  struct Part {
    ::tidegate::log::v1::Command command;  // with a message batch
    std::vector<uint32_t> indices;         // of its messages in the request
  };
  std::vector<Part> parts;
  std::vector<uint32_t> repeats;  // of an earlier message of the request, equal to it
  std::vector<::tidegate::dispatch::v1::MessageFault> faults;
};

// At most one fault of each message is told.
PreparedMessages PrepareMessages(
    const std::string& corp,
    const google::protobuf::RepeatedPtrField<::tidegate::dispatch::v1::MessageContent>& contents,
    const google::protobuf::RepeatedPtrField<::tidegate::dispatch::v1::Message>& messages,
    int64_t now_wall_ns);

// "{{name}}" replaced by the field of that name. Error: the name of one that has none, or what is
// not closed.
absl::StatusOr<std::string> FillIn(absl::string_view text,
                                   const google::protobuf::Map<std::string, std::string>& fields);

}  // namespace tidegate::dispatch
