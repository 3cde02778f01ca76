// A corp's rules and channels, compiled from its definitions.
//
// Immutable; any number of threads.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/definitions/definitions_fold.h"
#include "common/expression/expression.h"

namespace tidegate::tagging {

struct CompiledRule {
  std::string id;
  expression::Expression condition;
  std::vector<std::string> tags;
  std::vector<std::string> untags;
};

class RuleSet {
 public:
  // A rule whose condition does not parse (it was checked before it was stored) is left out and
  // named in *unusable.
  RuleSet(const definitions::CorpDefinitions& corp, std::vector<std::string>* unusable);

  uint64_t revision() const { return revision_; }
  // Rules that an event of this kind triggers, by id: those of the kind, then those of every kind.
  const std::vector<CompiledRule>& OfKind(absl::string_view kind) const;
  const std::vector<CompiledRule>& OfEveryKind() const { return every_kind_; }
  // nullptr if no channel has that state.
  const ::tidegate::log::v1::Channel* ChannelOf(const std::string& state) const;

 private:
  uint64_t revision_;
  std::map<std::string, std::vector<CompiledRule>, std::less<>> by_kind_;
  std::vector<CompiledRule> every_kind_;
  std::map<std::string, ::tidegate::log::v1::Channel> channels_by_state_;
};

}  // namespace tidegate::tagging
