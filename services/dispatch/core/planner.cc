#include "services/dispatch/core/planner.h"

#include <algorithm>
#include <deque>
#include <limits>
#include <numeric>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "common/base/hash.h"

namespace tidegate::dispatch {

namespace {

// With many senders every step is at another place of the memory: what is needed so many customers
// later is fetched meanwhile.
constexpr size_t kAhead = 8;
constexpr size_t kFarAhead = 16;
constexpr uint32_t kNoGroup = std::numeric_limits<uint32_t>::max();

// Chooses for one customer after another; the text that is hashed keeps its memory.
class VariantChooser {
 public:
  VariantChooser(absl::string_view campaign, uint32_t variants)
      : variants_(variants), text_(absl::StrCat("campaign/", campaign, "/")), kept_(text_.size()) {}

  uint32_t Of(absl::string_view customer) {
    if (variants_ <= 1) return 0;
    text_.resize(kept_);
    text_.append(customer.data(), customer.size());
    // The high part of the hash, scaled: even for any number of variants.
    const uint64_t high = StableHash64(text_) >> 32;
    return static_cast<uint32_t>(high * variants_ >> 32);
  }

 private:
  const uint32_t variants_;
  std::string text_;
  const size_t kept_;
};

// An audience by group: those of one sender and variant. Group s * variants + v is of sender s, by
// name, and variant v.
struct Grouped {
  uint32_t variants = 1;
  std::vector<absl::string_view> senders;
  std::vector<uint32_t> customers;  // indices, by group, ascending in each
  std::vector<uint32_t> begin;      // of each group in `customers`, and the end of the last
  // What `senders` points to: close together, as they are compared once for every customer.
  std::deque<std::string> names;
};

// Numbers of senders go up by name: new_of[old].
std::vector<uint32_t> SortSenders(Grouped* grouped) {
  for (const std::string& name : grouped->names) grouped->senders.push_back(name);
  std::vector<uint32_t> by_name(grouped->senders.size());
  std::iota(by_name.begin(), by_name.end(), 0);
  std::sort(by_name.begin(), by_name.end(),
            [&](uint32_t a, uint32_t b) { return grouped->senders[a] < grouped->senders[b]; });
  std::vector<uint32_t> new_of(by_name.size());
  std::vector<absl::string_view> sorted;
  for (uint32_t i = 0; i < by_name.size(); ++i) {
    new_of[by_name[i]] = i;
    sorted.push_back(grouped->senders[by_name[i]]);
  }
  grouped->senders.swap(sorted);
  return new_of;
}

Grouped Group(absl::string_view campaign, std::span<const AudienceCustomer> audience,
              uint32_t variants, std::span<const uint32_t> over_quota,
              std::vector<uint32_t>* no_sender) {
  Grouped grouped{.variants = std::max<uint32_t>(1, variants)};
  absl::flat_hash_map<absl::string_view, uint32_t> number_of;
  VariantChooser chooser(campaign, grouped.variants);
  std::vector<uint32_t> group_of(audience.size(), kNoGroup);
  auto next_over = over_quota.begin();
  for (uint32_t i = 0; i < audience.size(); ++i) {
    if (i + kAhead < audience.size()) number_of.prefetch(audience[i + kAhead].owner);
    if (audience[i].owner.empty()) {
      no_sender->push_back(i);
      continue;
    }
    if (next_over != over_quota.end() && *next_over == i) {
      ++next_over;
      continue;
    }
    auto found = number_of.find(audience[i].owner);
    if (found == number_of.end()) {
      const auto number = static_cast<uint32_t>(grouped.names.size());
      found = number_of.emplace(grouped.names.emplace_back(audience[i].owner), number).first;
    }
    group_of[i] = found->second * grouped.variants + chooser.Of(audience[i].customer);
  }
  const std::vector<uint32_t> new_of = SortSenders(&grouped);
  grouped.begin.resize(grouped.senders.size() * grouped.variants + 1);
  for (uint32_t& group : group_of) {
    if (group == kNoGroup) continue;
    group = new_of[group / grouped.variants] * grouped.variants + group % grouped.variants;
    ++grouped.begin[group + 1];
  }
  std::partial_sum(grouped.begin.begin(), grouped.begin.end(), grouped.begin.begin());
  grouped.customers.resize(grouped.begin.back());
  std::vector<uint32_t> next = grouped.begin;
  for (uint32_t i = 0; i < audience.size(); ++i) {
    if (i + kFarAhead < audience.size() && group_of[i + kFarAhead] != kNoGroup) {
      __builtin_prefetch(&next[group_of[i + kFarAhead]], 1);
    }
    if (i + kAhead < audience.size() && group_of[i + kAhead] != kNoGroup) {
      __builtin_prefetch(&grouped.customers[next[group_of[i + kAhead]]], 1);
    }
    if (group_of[i] != kNoGroup) grouped.customers[next[group_of[i]]++] = i;
  }
  return grouped;
}

}  // namespace

uint32_t VariantOf(absl::string_view campaign, absl::string_view customer, uint32_t variants) {
  return VariantChooser(campaign, variants).Of(customer);
}

Plan MakePlan(absl::string_view campaign, std::span<const AudienceCustomer> audience,
              uint32_t variants, std::vector<uint32_t> over_quota) {
  Plan plan;
  const Grouped grouped = Group(campaign, audience, variants, over_quota, &plan.skipped_no_sender);
  plan.skipped_over_quota = std::move(over_quota);
  const std::vector<uint32_t>& customers = grouped.customers;
  std::string digest;
  for (size_t group = 0; group + 1 < grouped.begin.size(); ++group) {
    const size_t end = grouped.begin[group + 1];
    for (size_t from = grouped.begin[group]; from < end; from += kCustomersPerCall) {
      const size_t to = std::min(end, from + kCustomersPerCall);
      PlannedBatch batch{.sender = std::string(grouped.senders[group / grouped.variants]),
                         .variant = static_cast<uint32_t>(group % grouped.variants),
                         .customers = {customers.begin() + static_cast<int64_t>(from),
                                       customers.begin() + static_cast<int64_t>(to)}};
      absl::StrAppend(&digest, batch.sender, "\n", batch.variant, "\n");
      for (size_t at = from; at < to; ++at) {
        if (at + kFarAhead < customers.size()) {
          __builtin_prefetch(&audience[customers[at + kFarAhead]]);
          __builtin_prefetch(audience[customers[at + kAhead]].customer.data());
        }
        digest.append(audience[customers[at]].customer);
        digest.push_back('\n');
      }
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
