#include "common/log/log.h"

#include "absl/strings/str_cat.h"

namespace tidegate::log {

const std::vector<Topic>& AllTopics() {
  static const auto& topics = *new std::vector<Topic>{
      Topic::kEvents,    Topic::kProfiles, Topic::kMemberships, Topic::kLedger,
      Topic::kAudiences, Topic::kCommands, Topic::kDefinitions, Topic::kDeadLetters};
  return topics;
}

const char* TopicName(Topic topic) {
  switch (topic) {
    case Topic::kEvents:
      return "tidegate.events";
    case Topic::kProfiles:
      return "tidegate.profiles";
    case Topic::kMemberships:
      return "tidegate.memberships";
    case Topic::kLedger:
      return "tidegate.ledger";
    case Topic::kAudiences:
      return "tidegate.audiences";
    case Topic::kCommands:
      return "tidegate.commands";
    case Topic::kDefinitions:
      return "tidegate.definitions";
    case Topic::kDeadLetters:
      return "tidegate.dead-letters";
  }
  // A number from a store that a newer version wrote.
  return "tidegate.unknown";
}

std::string Name(TopicPartition at) { return absl::StrCat(TopicName(at.topic), "/", at.partition); }

}  // namespace tidegate::log
