#include "services/segmentation/core/scan_index.h"

#include <algorithm>

namespace tidegate::segmentation {

using ::tidegate::log::v1::Profile;

void ScanIndex::Upsert(const Profile& profile) {
  Customer& customer = corps_[profile.corp()][profile.customer()];
  customer.version = profile.version();
  customer.owner = profile.owner();
  customer.orders.clear();
  customer.orders.reserve(profile.orders_size());
  for (const auto& order : profile.orders()) {
    customer.orders.push_back(
        {.time_seconds = order.paid_time_s(), .amount_fen = order.amount_fen()});
  }
  customer.tags.clear();
  for (const auto& follow : profile.follows()) {
    if (!follow.live()) continue;
    customer.tags.insert(customer.tags.end(), follow.tags().begin(), follow.tags().end());
  }
  std::sort(customer.tags.begin(), customer.tags.end());
  customer.tags.erase(std::unique(customer.tags.begin(), customer.tags.end()), customer.tags.end());
}

bool ScanIndex::Matches(const Customer& customer, const expression::Expression& expression,
                        const expression::EvaluationTime& at,
                        std::vector<absl::string_view>* tag_views) {
  tag_views->assign(customer.tags.begin(), customer.tags.end());
  return expression.Matches({.orders = customer.orders, .tags = *tag_views, .event_kind = {}}, at);
}

SegmentIndex::Count ScanIndex::CountMatching(absl::string_view corp,
                                             const expression::Expression& expression,
                                             const expression::EvaluationTime& at) const {
  Count count;
  const auto customers = corps_.find(std::string(corp));
  if (customers == corps_.end()) return count;
  std::vector<absl::string_view> tag_views;
  for (const auto& [id, customer] : customers->second) {
    if (Matches(customer, expression, at, &tag_views)) ++count.matching;
  }
  count.universe = static_cast<int64_t>(customers->second.size());
  return count;
}

SegmentIndex::Membership ScanIndex::Contains(absl::string_view corp, absl::string_view customer,
                                             const expression::Expression& expression,
                                             const expression::EvaluationTime& at) const {
  const auto customers = corps_.find(std::string(corp));
  if (customers == corps_.end()) return {};
  const auto it = customers->second.find(std::string(customer));
  if (it == customers->second.end()) return {};
  std::vector<absl::string_view> tag_views;
  return {.known = true, .contained = Matches(it->second, expression, at, &tag_views)};
}

void ScanIndex::ForEachMatching(
    absl::string_view corp, const expression::Expression& expression,
    const expression::EvaluationTime& at,
    const std::function<void(const std::string&, const std::string&)>& visit) const {
  const auto customers = corps_.find(std::string(corp));
  if (customers == corps_.end()) return;
  std::vector<absl::string_view> tag_views;
  for (const auto& [id, customer] : customers->second) {
    if (Matches(customer, expression, at, &tag_views)) visit(id, customer.owner);
  }
}

void ScanIndex::AddStateTo(core::StateHash* hash) const {
  hash->Add(corps_.size());
  for (const auto& [corp, customers] : corps_) {
    hash->Add(corp).Add(customers.size());
    for (const auto& [id, customer] : customers) {
      hash->Add(id).Add(customer.version).Add(customer.owner).Add(customer.orders.size());
      for (const auto& order : customer.orders) hash->Add(order.time_seconds).Add(order.amount_fen);
      hash->Add(customer.tags.size());
      for (const std::string& tag : customer.tags) hash->Add(tag);
    }
  }
}

}  // namespace tidegate::segmentation
