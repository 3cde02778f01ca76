#include "services/dispatch/core/corp_limits.h"

#include <algorithm>
#include <limits>

#include "common/wecom_table/limit_changes.h"

namespace tidegate::dispatch {

using ::tidegate::log::v1::LimitsSet;

const wecom_table::Limits& CorpLimits::Of(absl::string_view corp) const {
  const auto found = own_.find(corp);
  return found == own_.end() ? deployment_->OfCorp(corp) : found->second.limits;
}

int64_t CorpLimits::PeopleMax(absl::string_view corp, absl::string_view api) const {
  int64_t most = std::numeric_limits<int64_t>::max();
  for (const auto scope : {wecom_table::Scope::kCorp, wecom_table::Scope::kIp}) {
    for (const auto& window : Of(corp).WindowsOf(api, scope)) {
      if (window.cost == wecom_table::Cost::kPersonTimes) most = std::min(most, window.amount);
    }
  }
  return most;
}

void CorpLimits::Set(const LimitsSet& set) {
  own_[set.corp()] = {
      .set = set, .limits = wecom_table::LimitsWith(deployment_->OfCorp(set.corp()), set.limits())};
}

const LimitsSet* CorpLimits::Find(absl::string_view corp) const {
  const auto found = own_.find(corp);
  return found == own_.end() ? nullptr : &found->second.set;
}

void CorpLimits::AddStateTo(core::StateHash* hash) const {
  for (const auto& [corp, own] : own_) hash->Add(own.set.SerializeAsString());
}

}  // namespace tidegate::dispatch
