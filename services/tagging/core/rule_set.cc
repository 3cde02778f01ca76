#include "services/tagging/core/rule_set.h"

#include <utility>

namespace tidegate::tagging {

RuleSet::RuleSet(const definitions::CorpDefinitions& corp, std::vector<std::string>* unusable)
    : revision_(corp.revision) {
  for (const auto& [id, rule] : corp.rules) {
    auto condition = expression::Expression::Parse(rule.condition(), {.allow_event = true});
    if (!condition.ok()) {
      unusable->push_back(id);
      continue;
    }
    CompiledRule compiled{.id = id,
                          .condition = *std::move(condition),
                          .tags = {rule.tags().begin(), rule.tags().end()},
                          .untags = {rule.untags().begin(), rule.untags().end()}};
    auto& rules = rule.event_kind().empty() ? every_kind_ : by_kind_[rule.event_kind()];
    rules.push_back(std::move(compiled));
  }
  for (const auto& [id, channel] : corp.channels) channels_by_state_[channel.state()] = channel;
}

const std::vector<CompiledRule>& RuleSet::OfKind(absl::string_view kind) const {
  static const std::vector<CompiledRule> kNone;
  const auto it = by_kind_.find(std::string(kind));
  return it == by_kind_.end() ? kNone : it->second;
}

const ::tidegate::log::v1::Channel* RuleSet::ChannelOf(const std::string& state) const {
  const auto it = channels_by_state_.find(state);
  return it == channels_by_state_.end() ? nullptr : &it->second;
}

}  // namespace tidegate::tagging
