#include "services/dispatch/core/calls_at_once.h"

#include <algorithm>

namespace tidegate::dispatch {
namespace {

constexpr int64_t kMinute = int64_t{60} * 1'000'000'000;
constexpr int64_t kLongestWait = 60 * kMinute;
constexpr int64_t kLongestWaitDocumented = 4 * kMinute;

}  // namespace

void CallsAtOnce::OnDoubt(int64_t calls, int64_t until_ns) {
  doubts_.push_back({.until_ns = until_ns, .calls = calls});
}

int64_t CallsAtOnce::MostOfGrant(int64_t now_ns) const {
  const int64_t waited_ns = now_ns - GrantsGrowFromNs();
  if (waited_ns < 0) return most();
  return std::max(most(), ceiling_ + 1 + waited_ns / std::max(kMinute, wait_ns_));
}

int64_t CallsAtOnce::WhenOfGrant(int64_t calls) const {
  return GrantsGrowFromNs() + (calls - ceiling_ - 1) * std::max(kMinute, wait_ns_);
}

void CallsAtOnce::ForgetDoubts(int64_t at_ns) {
  std::erase_if(doubts_, [&](const Doubt& doubt) { return doubt.until_ns <= at_ns; });
}

int64_t CallsAtOnce::InDoubt() const {
  int64_t calls = 0;
  for (const Doubt& doubt : doubts_) calls += doubt.calls;
  return calls;
}

void CallsAtOnce::OnTryServed(int64_t at_ns) {
  answers_left_ = 0;
  one_more_ = true;
  if (++tries_ < tries_wanted_) return;
  ++ceiling_;
  tries_ = 0;
  tries_wanted_ = std::max<int64_t>(1, tries_wanted_ / 4);
  raised_ns_ = at_ns;
}

void CallsAtOnce::EndOldTry(int64_t at_ns) {
  if (answers_left_ > 0 && at_ns >= answers_until_ns_) OnTryServed(answers_until_ns_);
}

void CallsAtOnce::OnServed(int64_t under_way, int64_t at_ns) {
  ForgetDoubts(at_ns);
  EndOldTry(at_ns);
  answer_ns_ = at_ns;
  // A call in doubt takes a place here, and perhaps none at WeCom: the first number above what was
  // known is not proved by it. The next ones are, else a lost answer would stop the approach.
  if (one_more_ && under_way + (tries_wanted_ < kTries ? InDoubt() : 0) > ceiling_) {
    one_more_ = false;
    // Twice as many answers as calls: hardly one of these is missing then.
    answers_left_ = 2 * under_way;
    answers_until_ns_ = at_ns + answered_ns_;
  }
  if (answers_left_ == 0) {
    one_more_ = one_more_ || at_ns >= next_try_ns_;
  } else if (--answers_left_ == 0) {
    OnTryServed(at_ns);
  }
}

void CallsAtOnce::OnRefused(int64_t under_way, int64_t sent_ns, int64_t at_ns, int64_t documented) {
  // It was under way when another one was refused.
  if (sent_ns <= refused_ns_) return;
  ForgetDoubts(at_ns);
  EndOldTry(at_ns);
  answer_ns_ = at_ns;
  // What is in doubt may be at WeCom.
  under_way += InDoubt();
  const bool one_more_went = answers_left_ > 0 || (one_more_ && under_way > ceiling_);
  // Refused again: the same number, or one that was served for less time than it was waited for.
  const bool again =
      one_more_went ? raised_ns_ < 0 : raised_ns_ >= 0 && at_ns - raised_ns_ < wait_ns_;
  if (!one_more_went) {
    ceiling_ = std::max<int64_t>(1, std::min({ceiling_ - 1, under_way - 1, documented}));
  }
  const int64_t longest = ceiling_ < documented ? kLongestWaitDocumented : kLongestWait;
  wait_ns_ = again ? std::clamp(2 * wait_ns_, kMinute, longest) : kMinute;
  next_try_ns_ = at_ns + wait_ns_;
  refused_ns_ = at_ns;
  raised_ns_ = -1;
  one_more_ = false;
  answers_left_ = 0;
  tries_ = 0;
  tries_wanted_ = kTries;
}

void CallsAtOnce::Rebase(int64_t now_ns, int64_t doubts_until_ns) {
  next_try_ns_ = now_ns + wait_ns_;
  answer_ns_ = now_ns;
  answers_until_ns_ = now_ns + answered_ns_;
  refused_ns_ = -1;  // nobody takes answers to what was sent before
  if (raised_ns_ >= 0) raised_ns_ = now_ns;
  for (Doubt& doubt : doubts_) doubt.until_ns = std::max(now_ns, doubts_until_ns);
}

std::vector<int64_t> CallsAtOnce::State() const {
  std::vector<int64_t> state = {
      set_,          ceiling_, one_more_,    answers_left_, answers_until_ns_, tries_,
      tries_wanted_, wait_ns_, next_try_ns_, answer_ns_,    refused_ns_,       raised_ns_};
  for (const Doubt& doubt : doubts_) state.insert(state.end(), {doubt.until_ns, doubt.calls});
  return state;
}

}  // namespace tidegate::dispatch
