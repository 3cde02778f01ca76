// The limits of each corp: those of the deployment, changed by its part of the limits file, and
// that by what operators have set for it.
//
// A fold of the ledger's LimitsSet. Not thread-safe.
#pragma once

#include <map>
#include <string>

#include "absl/strings/string_view.h"
#include "common/core/state_hash.h"
#include "common/wecom_table/limits.h"
#include "tidegate/log/v1/ledger.pb.h"

namespace tidegate::dispatch {

class CorpLimits {
 public:
  // `deployment` outlives the object.
  explicit CorpLimits(const wecom_table::Limits* deployment) : deployment_(deployment) {}

  // Valid until the corp's next Set().
  const wecom_table::Limits& Of(absl::string_view corp) const;
  // The most people that one call of the corp to the api can be for; INT64_MAX: no window counts
  // them.
  int64_t PeopleMax(absl::string_view corp, absl::string_view api) const;
  void Set(const ::tidegate::log::v1::LimitsSet& set);
  // What was set last; nullptr if nothing was.
  const ::tidegate::log::v1::LimitsSet* Find(absl::string_view corp) const;
  void AddStateTo(core::StateHash* hash) const;

 private:
  struct Own {
    ::tidegate::log::v1::LimitsSet set;
    wecom_table::Limits limits;
  };
  const wecom_table::Limits* const deployment_;
  std::map<std::string, Own, std::less<>> own_;  // by corp
};

}  // namespace tidegate::dispatch
