#include "services/dispatch/core/token_grants.h"

#include <algorithm>

#include "services/dispatch/core/token_buckets.h"

namespace tidegate::dispatch {

using ::tidegate::log::v1::TokensAcquired;
using ::tidegate::log::v1::TokensReleased;

// ---- What is known ----

const TokenGrants::Grant* TokenGrants::Find(const Key& key, int64_t wall_ns) const {
  const auto found = grants_.find(key);
  if (found == grants_.end()) return nullptr;
  const Grant& grant = found->second;
  if (!grant.open && grant.acquired_wall_ns + kKnownNs <= wall_ns) return nullptr;
  return &grant;
}

TokenGrants::Counts TokenGrants::CountsOf(const std::string& corp) const {
  const auto found = counts_.find(corp);
  return found == counts_.end() ? Counts() : found->second;
}

bool TokenGrants::AllKnown(const std::string& corp, int64_t wall_ns) const {
  size_t known = CountsOf(corp).known;
  for (const auto& [acquired_ns, key] : by_age_) {
    if (known < kKnownMax || acquired_ns + kKnownNs > wall_ns) break;
    known -= key.first == corp && !grants_.at(key).open;
  }
  return known >= kKnownMax;
}

int64_t TokenGrants::LastUseWallNs(const std::string& corp) const {
  const auto found = last_use_wall_ns_.find(corp);
  return found == last_use_wall_ns_.end() ? 0 : found->second;
}

// ---- Deciding ----

std::optional<TokensReleased> TokenGrants::NextOver(const Now& now) const {
  for (const auto& [ends_raw_ns, key] : open_by_end_) {
    if (ends_raw_ns > now.raw_ns) break;
    if (deciding_.contains(key)) continue;
    TokensReleased over;
    over.set_corp(key.first);
    over.set_grant(key.second);
    over.set_used(grants_.at(key).calls);
    // The moment at which it was over, by all clocks: later ones would hold the tokens for longer.
    const int64_t since_ns = now.raw_ns - ends_raw_ns;
    over.mutable_stamp()->set_wall_ns(now.wall_ns - since_ns);
    over.mutable_stamp()->set_raw_ns(ends_raw_ns);
    over.mutable_stamp()->set_boot_ns(now.boot_ns - since_ns);
    return over;
  }
  return std::nullopt;
}

int64_t TokenGrants::NextRawNs() const {
  for (const auto& [ends_raw_ns, key] : open_by_end_) {
    if (!deciding_.contains(key)) return ends_raw_ns;
  }
  return kNever;
}

// ---- Applying ----

void TokenGrants::Forget(int64_t wall_ns) {
  // An open one is ended by a record soon, so those behind it wait for that.
  while (!by_age_.empty()) {
    const auto oldest = by_age_.begin();
    const auto& [acquired_ns, key] = *oldest;
    const auto grant = grants_.find(key);
    if (acquired_ns + kKnownNs > wall_ns || grant->second.open) return;
    const auto counts = counts_.find(key.first);
    if (--counts->second.known == 0) counts_.erase(counts);
    grants_.erase(grant);
    by_age_.erase(oldest);
  }
}

bool TokenGrants::OnAcquired(const TokensAcquired& acquired) {
  const int64_t wall_ns = acquired.stamp().wall_ns();
  Forget(wall_ns);
  const Key key(acquired.corp(), acquired.grant());
  if (Find(key, wall_ns) != nullptr) return false;
  Grant& grant = grants_[key];
  Counts& counts = counts_[key.first];
  // One that is there has ended a day ago, behind one that is open.
  counts.known += by_age_.erase({grant.acquired_wall_ns, key}) == 0;
  ++counts.open;
  grant = {.api = acquired.api(),
           .calls = acquired.calls(),
           .acquired_wall_ns = wall_ns,
           .lease_ns = acquired.lease_ns(),
           .ends_raw_ns = acquired.stamp().raw_ns() + acquired.lease_ns() + hold_ns_};
  by_age_.emplace(wall_ns, key);
  open_by_end_.emplace(grant.ends_raw_ns, key);
  return true;
}

std::optional<TokenGrants::End> TokenGrants::OnReleased(const TokensReleased& released) {
  const Key key(released.corp(), released.grant());
  const auto found = grants_.find(key);
  if (found == grants_.end() || !found->second.open) return std::nullopt;
  Grant& grant = found->second;
  grant.open = false;
  open_by_end_.erase({grant.ends_raw_ns, key});
  --counts_.at(key.first).open;
  const uint32_t used = std::min(released.used(), grant.calls);
  if (used > 0) {
    int64_t& last_ns = last_use_wall_ns_[key.first];
    last_ns = std::max(last_ns, released.stamp().wall_ns());
  }
  End end{.api = grant.api,
          .used = used,
          .unused = grant.calls - used,
          .released = released.stamp().raw_ns() < grant.ends_raw_ns};
  Forget(released.stamp().wall_ns());
  return end;
}

void TokenGrants::Rebase(int64_t now_raw_ns) {
  open_by_end_.clear();
  for (auto& [key, grant] : grants_) {
    if (!grant.open) continue;
    grant.ends_raw_ns = now_raw_ns + grant.lease_ns + hold_ns_;
    open_by_end_.emplace(grant.ends_raw_ns, key);
  }
}

void TokenGrants::AddStateTo(core::StateHash* hash) const {
  hash->Add(grants_.size());
  for (const auto& [key, grant] : grants_) {
    hash->Add(key.first).Add(key.second).Add(grant.api).Add(grant.calls);
    hash->Add(grant.acquired_wall_ns).Add(grant.lease_ns).Add(grant.ends_raw_ns).Add(grant.open);
  }
  for (const auto& [corp, last_ns] : last_use_wall_ns_) hash->Add(corp).Add(last_ns);
}

}  // namespace tidegate::dispatch
