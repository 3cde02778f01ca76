#include "services/dispatch/core/planner.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/hash.h"

namespace tidegate::dispatch {

uint32_t VariantOf(absl::string_view campaign, absl::string_view customer, uint32_t variants) {
  if (variants <= 1) return 0;
  // The high part of the hash, scaled: even for any number of variants.
  const uint64_t high = StableHash64(absl::StrCat("campaign/", campaign, "/", customer)) >> 32;
  return static_cast<uint32_t>(high * variants >> 32);
}

Plan MakePlan(absl::string_view campaign, std::span<const AudienceCustomer> audience,
              uint32_t variants) {
  Plan plan;
  std::map<std::pair<absl::string_view, uint32_t>, std::vector<uint32_t>> groups;
  for (uint32_t i = 0; i < audience.size(); ++i) {
    if (audience[i].owner.empty()) {
      plan.skipped_no_sender.push_back(i);
    } else {
      groups[{audience[i].owner, VariantOf(campaign, audience[i].customer, variants)}].push_back(i);
    }
  }
  std::string digest;
  for (const auto& [key, customers] : groups) {
    for (size_t from = 0; from < customers.size(); from += kCustomersPerCall) {
      const size_t to = std::min(customers.size(), from + kCustomersPerCall);
      PlannedBatch batch{.sender = std::string(key.first),
                         .variant = key.second,
                         .customers = {customers.begin() + static_cast<int64_t>(from),
                                       customers.begin() + static_cast<int64_t>(to)}};
      absl::StrAppend(&digest, batch.sender, "\n", batch.variant, "\n");
      for (const uint32_t index : batch.customers)
        absl::StrAppend(&digest, audience[index].customer, "\n");
      plan.calls.push_back(std::move(batch));
    }
  }
  plan.hash = Sha256(digest);
  return plan;
}

std::string CallId(absl::string_view corp, absl::string_view campaign, uint32_t batch) {
  return Sha256Hex(absl::StrCat("call/", corp, "/", campaign, "/", batch)).substr(0, 32);
}

std::string Marker(absl::string_view call_id) { return std::string(call_id.substr(0, 16)); }

}  // namespace tidegate::dispatch
