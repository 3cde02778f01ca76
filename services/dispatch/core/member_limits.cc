#include "services/dispatch/core/member_limits.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/ascii.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "services/dispatch/core/token_buckets.h"

namespace tidegate::dispatch {
namespace {

// A call without an answer is over some time after it is charged, so the newest charge may be so
// far ahead of the clock.
constexpr int64_t kEarlyNs = int64_t{3600} * kNanosPerSecond;

// nullptr if nothing is known.
template <typename Map>
auto* FindIn(const Map& by_corp, absl::string_view corp, absl::string_view member) {
  const auto of_corp = by_corp.find(corp);
  using Value = const typename Map::mapped_type::mapped_type;
  if (of_corp == by_corp.end()) return static_cast<Value*>(nullptr);
  const auto found = of_corp->second.find(absl::AsciiStrToLower(member));
  return found == of_corp->second.end() ? nullptr : &found->second;
}

template <typename Map>
auto& MakeIn(Map* by_corp, absl::string_view corp, absl::string_view member) {
  auto of_corp = by_corp->find(corp);
  if (of_corp == by_corp->end()) of_corp = by_corp->try_emplace(std::string(corp)).first;
  return of_corp->second[absl::AsciiStrToLower(member)];
}

}  // namespace

MemberLimits::MemberLimits(const std::vector<wecom_table::MemberWindow>& windows)
    : windows_(windows) {
  for (const auto& window : windows_) {
    kept_ns_ = std::max(kept_ns_, window.window_ns + kEarlyNs);
  }
}

int64_t MemberLimits::FreeAt(absl::string_view corp, absl::string_view member,
                             int64_t now_raw_ns) const {
  static const Member kNothing;
  const Member* known = FindIn(members_, corp, member);
  const uint32_t* reserved = FindIn(reserved_, corp, member);
  if (known == nullptr) known = &kNothing;
  const int64_t open = int64_t{known->held} + (reserved == nullptr ? 0 : *reserved);
  int64_t free_at = now_raw_ns;
  for (const auto& window : windows_) {
    if (open >= window.amount) return kNever;
    const auto first =
        std::upper_bound(known->ended.begin(), known->ended.end(), now_raw_ns - window.window_ns);
    const int64_t used = known->ended.end() - first;
    if (open + used < window.amount) continue;
    // So many of them must leave the window first.
    free_at = std::max(free_at, *(first + (open + used - window.amount)) + window.window_ns);
  }
  return free_at;
}

void MemberLimits::Reserve(absl::string_view corp, absl::string_view member) {
  ++MakeIn(&reserved_, corp, member);
}

MemberLimits::Member& MemberLimits::MemberOf(absl::string_view corp, absl::string_view member) {
  return MakeIn(&members_, corp, member);
}

void MemberLimits::Hold(absl::string_view corp, absl::string_view member) {
  ++MemberOf(corp, member).held;
  if (FindIn(reserved_, corp, member) == nullptr) return;
  uint32_t& reserved = MakeIn(&reserved_, corp, member);
  if (reserved > 0) --reserved;
}

void MemberLimits::Return(absl::string_view corp, absl::string_view member) {
  Member& known = MemberOf(corp, member);
  CHECK(known.held > 0);
  --known.held;
}

void MemberLimits::Charge(absl::string_view corp, absl::string_view member, int64_t over_raw_ns) {
  Return(corp, member);
  Member& known = MemberOf(corp, member);
  known.ended.insert(std::upper_bound(known.ended.begin(), known.ended.end(), over_raw_ns),
                     over_raw_ns);
  newest_ns_ = std::max(newest_ns_, over_raw_ns);
  ForgetEnded(&known);
  ForgetMembers();
}

void MemberLimits::ForgetEnded(Member* member) const {
  while (!member->ended.empty() && member->ended.front() <= newest_ns_ - kept_ns_) {
    member->ended.pop_front();
  }
}

void MemberLimits::ForgetMembers() {
  if (newest_ns_ - forgotten_ns_ < kept_ns_) return;
  forgotten_ns_ = newest_ns_;
  for (auto& [corp, members] : members_) {
    for (auto it = members.begin(); it != members.end();) {
      ForgetEnded(&it->second);
      const bool idle = it->second.held == 0 && it->second.ended.empty();
      it = idle ? members.erase(it) : std::next(it);
    }
  }
}

void MemberLimits::Rebase(int64_t over_raw_ns) {
  for (auto& [corp, members] : members_) {
    for (auto& [name, member] : members) {
      std::fill(member.ended.begin(), member.ended.end(), over_raw_ns);
    }
  }
  newest_ns_ = forgotten_ns_ = over_raw_ns;
}

size_t MemberLimits::members() const {
  size_t members = 0;
  for (const auto& [corp, of_corp] : members_) members += of_corp.size();
  return members;
}

void MemberLimits::AddStateTo(core::StateHash* hash) const {
  hash->Add(members()).Add(newest_ns_).Add(forgotten_ns_);
  for (const auto& [corp, members] : members_) {
    for (const auto& [name, member] : members) {
      hash->Add(corp).Add(name).Add(member.held).Add(member.ended.size());
      for (const int64_t ended_ns : member.ended) hash->Add(ended_ns);
    }
  }
}

}  // namespace tidegate::dispatch
