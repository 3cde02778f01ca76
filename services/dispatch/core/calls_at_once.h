// How many calls of a bucket WeCom serves at once, where that is not known to be what was set.
//
// So many were served, and now and then one more is tried: one call, and no further one above the
// ceiling until that one and all beside it must have been answered. So of a try one call can be
// refused, not several. The next number counts as served after many tries without a refusal, since
// a call is at WeCom for only a part of the time that it is under way; each next one after a
// quarter of that. After a refusal the next try waits, each time for twice as long.
//
// Changed by ends of calls only, so a replay of them ends in the same state. Times are those of
// TokenBuckets. Not thread-safe.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace tidegate::dispatch {

class CallsAtOnce {
 public:
  // `ceiling`: so many are served, and one more may be tried now.
  // What is sent has its answer, or none, after `answered_ns`.
  CallsAtOnce(int64_t ceiling, int64_t answered_ns)
      : answered_ns_(answered_ns), set_(ceiling), ceiling_(ceiling) {}

  int64_t served() const { return ceiling_; }
  // So many may be under way.
  int64_t most() const { return ceiling_ + (one_more_ ? 1 : 0); }
  // So many may be with a grant of several calls. Where no call of our own is answered that could
  // be a try, nobody tells of refusals: one more after each wait.
  int64_t MostOfGrant(int64_t now_ns) const;
  // When a grant may be of `calls`, more than that, if no call of our own is answered until then.
  int64_t WhenOfGrant(int64_t calls) const;
  // What is set, and what was when it was refused first, is served, and no try of it was refused of
  // late: nothing is left to be known.
  bool Settled(int64_t set, int64_t at_ns) const {
    return raised_ns_ >= 0 && ceiling_ >= std::max(set, set_) && at_ns - raised_ns_ >= wait_ns_;
  }

  // The calls that are under way are told without those in doubt, which are told here: nobody saw
  // the end of `calls`, and they may count until then. Whether that time has come is told by the
  // ends of others, not by a look.
  void OnDoubt(int64_t calls, int64_t until_ns);
  // One of `under_way` calls was served.
  void OnServed(int64_t under_way, int64_t at_ns);
  // One of `under_way` calls, sent then, was refused. What is above `documented` is looked for from
  // there on. Up to it somebody else has the others, for a time: that is tried again sooner.
  void OnRefused(int64_t under_way, int64_t sent_ns, int64_t at_ns, int64_t documented);
  // Another boot: a wait begins once more, as how long it had to go on cannot be told.
  void Rebase(int64_t now_ns, int64_t doubts_until_ns);

  std::vector<int64_t> State() const;

 private:
  static constexpr int64_t kTries = 64;
  struct Doubt {
    int64_t until_ns;
    int64_t calls;
  };

  void ForgetDoubts(int64_t at_ns);
  int64_t InDoubt() const;
  // All that was beside a try has been answered.
  void OnTryServed(int64_t at_ns);
  // The same where no answers came to say so.
  void EndOldTry(int64_t at_ns);
  int64_t GrantsGrowFromNs() const {
    return std::max({next_try_ns_, answer_ns_, answers_left_ > 0 ? answers_until_ns_ : 0});
  }

  int64_t answered_ns_;
  int64_t set_;
  int64_t ceiling_;
  bool one_more_ = true;
  int64_t answers_left_ = 0;      // until the one more that went counts as served
  int64_t answers_until_ns_ = 0;  // or until then
  int64_t tries_ = 0;             // that were served
  int64_t tries_wanted_ = kTries;
  int64_t wait_ns_ = 0;  // after the last refusal
  int64_t next_try_ns_ = 0;
  int64_t answer_ns_ = 0;    // the last one
  int64_t refused_ns_ = -1;  // what was sent until then says nothing new; -1: nothing was refused
  int64_t raised_ns_ = -1;   // since the last refusal; -1: it was not
  std::vector<Doubt> doubts_;
};

}  // namespace tidegate::dispatch
