// What people want of the system (rules, channels, campaigns, audiences), folded from
// tidegate.definitions. A proposal is accepted if and only if it expects the corp's revision; the
// fold compares that number and nothing else, so that replicas of any version agree.
//
// Pure; not thread-safe. Every core that needs definitions has a fold of its own.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/strings/string_view.h"
#include "common/core/state_hash.h"
#include "tidegate/log/v1/definitions.pb.h"

namespace tidegate::definitions {

// Of one corp, by id.
struct CorpDefinitions {
  uint64_t revision = 0;
  std::map<std::string, ::tidegate::log::v1::Rule> rules;
  std::map<std::string, ::tidegate::log::v1::Channel> channels;
  std::map<std::string, ::tidegate::log::v1::Campaign> campaigns;
  std::map<std::string, ::tidegate::log::v1::Audience> audiences;
};

// The final result of an accepted request.
struct AcceptedRequest {
  std::string body_hash;
  uint64_t revision = 0;
  int64_t time_ns = 0;
  ::tidegate::log::v1::Proposal proposal;
};

class DefinitionsFold {
 public:
  enum class Verdict {
    kAccepted,
    kRepeated,  // the request id was accepted before: that result stands
    kLostRace,  // another proposal took the revision; check again and propose anew
  };
  // In log order.
  Verdict Apply(const ::tidegate::log::v1::Proposal& proposal);

  // Empty definitions for a corp that has none.
  const CorpDefinitions& Corp(absl::string_view corp) const;
  const std::map<std::string, CorpDefinitions, std::less<>>& corps() const { return corps_; }

  // The accepted request of that id within the last 24 h of record time, or nullptr.
  const AcceptedRequest* FindRequest(const std::string& corp, const std::string& caller,
                                     const std::string& request_id) const;

  void AddStateTo(core::StateHash* hash) const;

 private:
  void ForgetOldRequests(int64_t time_ns);

  std::map<std::string, CorpDefinitions, std::less<>> corps_;
  std::map<std::string, AcceptedRequest> requests_;       // by corp, caller, request id
  std::multimap<int64_t, std::string> requests_by_time_;  // time -> key of requests_
};

}  // namespace tidegate::definitions
