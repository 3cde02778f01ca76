#include "common/definitions/definitions_fold.h"

#include "absl/strings/str_cat.h"

namespace tidegate::definitions {

using ::tidegate::log::v1::Definition;
using ::tidegate::log::v1::Proposal;

namespace {

constexpr int64_t kRequestKeptNs = int64_t{24} * 3600 * 1'000'000'000;

// Lengths keep the parts apart whatever they contain.
std::string RequestKey(const std::string& corp, const std::string& caller,
                       const std::string& request_id) {
  return absl::StrCat(corp.size(), ":", corp, caller.size(), ":", caller, request_id);
}

void Put(const Definition& definition, CorpDefinitions* corp) {
  switch (definition.value_case()) {
    case Definition::kRule:
      corp->rules[definition.id()] = definition.rule();
      break;
    case Definition::kChannel:
      corp->channels[definition.id()] = definition.channel();
      break;
    case Definition::kCampaign:
      corp->campaigns[definition.id()] = definition.campaign();
      break;
    case Definition::kAudience:
      corp->audiences[definition.id()] = definition.audience();
      break;
    case Definition::VALUE_NOT_SET:
      break;
  }
}

}  // namespace

DefinitionsFold::Verdict DefinitionsFold::Apply(const Proposal& proposal) {
  ForgetOldRequests(proposal.time_ns());
  const std::string key = RequestKey(proposal.corp(), proposal.caller(), proposal.request_id());
  if (requests_.contains(key)) return Verdict::kRepeated;
  CorpDefinitions& corp = corps_[proposal.corp()];
  if (proposal.expected_revision() != corp.revision) return Verdict::kLostRace;
  ++corp.revision;
  for (const Definition& definition : proposal.definitions()) Put(definition, &corp);
  requests_[key] = {.body_hash = proposal.body_hash(),
                    .revision = corp.revision,
                    .time_ns = proposal.time_ns(),
                    .proposal = proposal};
  requests_by_time_.emplace(proposal.time_ns(), key);
  return Verdict::kAccepted;
}

const CorpDefinitions& DefinitionsFold::Corp(absl::string_view corp) const {
  static const CorpDefinitions kNone;
  const auto it = corps_.find(std::string(corp));
  return it == corps_.end() ? kNone : it->second;
}

const AcceptedRequest* DefinitionsFold::FindRequest(const std::string& corp,
                                                    const std::string& caller,
                                                    const std::string& request_id) const {
  const auto it = requests_.find(RequestKey(corp, caller, request_id));
  return it == requests_.end() ? nullptr : &it->second;
}

void DefinitionsFold::AddStateTo(core::StateHash* hash) const {
  const auto add_all = [&](const auto& by_id) {
    hash->Add(by_id.size());
    for (const auto& [id, definition] : by_id) hash->Add(id).Add(definition);
  };
  hash->Add(corps_.size());
  for (const auto& [id, corp] : corps_) {
    hash->Add(id).Add(corp.revision);
    add_all(corp.rules);
    add_all(corp.channels);
    add_all(corp.campaigns);
    add_all(corp.audiences);
  }
  hash->Add(requests_.size());
  for (const auto& [key, request] : requests_) {
    hash->Add(key).Add(request.revision).Add(request.proposal);
  }
}

void DefinitionsFold::ForgetOldRequests(int64_t time_ns) {
  while (!requests_by_time_.empty() &&
         requests_by_time_.begin()->first < time_ns - kRequestKeptNs) {
    requests_.erase(requests_by_time_.begin()->second);
    requests_by_time_.erase(requests_by_time_.begin());
  }
}

}  // namespace tidegate::definitions
