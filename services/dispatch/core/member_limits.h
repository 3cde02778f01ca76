// How many messages of the corp's app a member may get in a window. WeCom drops one more without a
// word, so this count is the only protection: a message is charged ahead of its call, and keeps its
// place for one window from the moment on at which WeCom can have counted it at the latest. That
// holds for sliding windows and for those that begin at any moment, as of TokenBuckets.
//
// Part of MessageBook: a fold of what was packed and of what became of it, for one lane. Reserve is
// called in decide, the rest in apply. Times are CLOCK_MONOTONIC_RAW in nanoseconds. Not
// thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/core/state_hash.h"
#include "common/wecom_table/limits.h"

namespace tidegate::dispatch {

// Userids that differ in upper and lower case only are one member, as WeCom has it.
class MemberLimits {
 public:
  // Those of one member; none = never full.
  explicit MemberLimits(const std::vector<wecom_table::MemberWindow>& windows);

  // When the member may get one more: now or before = now; kNever = after one of theirs has ended.
  int64_t FreeAt(absl::string_view corp, absl::string_view member, int64_t now_raw_ns) const;
  // One that was decided and is not applied yet; Hold takes its place.
  void Reserve(absl::string_view corp, absl::string_view member);
  void ClearReserved() { reserved_.clear(); }

  // One is in a call from now on.
  void Hold(absl::string_view corp, absl::string_view member);
  // One that was held ends without an attempt.
  void Return(absl::string_view corp, absl::string_view member);
  // One that was held has ended; WeCom counted it at `over_raw_ns` at the latest, if at all.
  void Charge(absl::string_view corp, absl::string_view member, int64_t over_raw_ns);
  // Another boot: its clock says nothing about the time before, so all counts as of the moment from
  // which on WeCom executes nothing of before.
  void Rebase(int64_t over_raw_ns);

  // Members of whom something is known: those of open calls, and those who were written to within
  // the longest window and some hours more.
  size_t members() const;
  void AddStateTo(core::StateHash* hash) const;

 private:
  struct Member {
    uint32_t held = 0;
    std::deque<int64_t> ended;  // ascending
  };
  template <typename Value>
  using ByMember = std::map<std::string, std::map<std::string, Value, std::less<>>, std::less<>>;

  Member& MemberOf(absl::string_view corp, absl::string_view member);
  void ForgetEnded(Member* member) const;
  void ForgetMembers();

  const std::vector<wecom_table::MemberWindow> windows_;
  int64_t kept_ns_ = 0;  // how long an end is kept
  ByMember<Member> members_;
  ByMember<uint32_t> reserved_;
  int64_t newest_ns_ = 0;     // of what was charged
  int64_t forgotten_ns_ = 0;  // when members were last forgotten
};

}  // namespace tidegate::dispatch
