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

bool CallsAtOnce::OneMoreWent(int64_t under_way) const {
  // A call in doubt takes a place here, and perhaps none at WeCom: the first number above what was
  // known is not proved by it. The next ones are, else a lost answer would stop the approach.
  if (tries_wanted_ < kTries) {
    for (const Doubt& doubt : doubts_) under_way += doubt.calls;
  }
  return one_more_ && under_way > ceiling_;
}

void CallsAtOnce::OnServed(int64_t under_way, int64_t at_ns) {
  std::erase_if(doubts_, [&](const Doubt& doubt) { return doubt.until_ns <= at_ns; });
  if (OneMoreWent(under_way)) {
    one_more_ = false;
    // Twice as many answers as calls: hardly one of these is missing then.
    answers_left_ = 2 * under_way;
  }
  if (answers_left_ == 0) {
    one_more_ = one_more_ || at_ns >= next_try_ns_;
    return;
  }
  if (--answers_left_ > 0) return;
  one_more_ = true;
  if (++tries_ < tries_wanted_) return;
  ++ceiling_;
  tries_ = 0;
  tries_wanted_ = std::max<int64_t>(1, tries_wanted_ / 4);
  raised_ns_ = at_ns;
}

void CallsAtOnce::OnRefused(int64_t under_way, int64_t sent_ns, int64_t at_ns, int64_t documented) {
  // It was under way when another one was refused.
  if (sent_ns <= refused_ns_) return;
  const bool one_more_went = answers_left_ > 0 || OneMoreWent(under_way);
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
  refused_ns_ = -1;  // nobody takes answers to what was sent before
  if (raised_ns_ >= 0) raised_ns_ = now_ns;
  for (Doubt& doubt : doubts_) doubt.until_ns = std::max(now_ns, doubts_until_ns);
}

std::vector<int64_t> CallsAtOnce::State() const {
  std::vector<int64_t> state = {ceiling_, one_more_,    answers_left_, tries_,    tries_wanted_,
                                wait_ns_, next_try_ns_, refused_ns_,   raised_ns_};
  for (const Doubt& doubt : doubts_) state.insert(state.end(), {doubt.until_ns, doubt.calls});
  return state;
}

}  // namespace tidegate::dispatch
