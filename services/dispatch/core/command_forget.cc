// Tag wishes and welcomes that have ended are forgotten, so that a lane which runs for months does
// not grow. They protect from nothing any more: what another service sends twice is dropped before
// it is folded, and a newer wish is sent whatever became of the older one.
#include <algorithm>
#include <iterator>

#include "services/dispatch/core/command_book.h"
#include "services/dispatch/core/forgotten.h"

namespace tidegate::dispatch {

using ::tidegate::log::v1::CommandsDropped;
using ::tidegate::log::v1::LedgerRecord;

namespace {

// So long they stay after their end, a welcome after the end of its code.
constexpr int64_t kKeptNs = int64_t{3600} * kNanosPerSecond;
// What may go waits so long for more, so that one record is for many.
constexpr int64_t kTogetherNs = int64_t{600} * kNanosPerSecond;

}  // namespace

void CommandBook::QueueForgetting(Pairs::value_type* at) {
  const Ended& ended = *at->second.ended;
  ended_pairs_[ended.position] = at;
  forgettable_.emplace(ended.since_wall_ns + kKeptNs, ended.position);
}

void CommandBook::QueueForgetting(uint64_t position, const Welcome& welcome) {
  forgettable_.emplace(welcome.command.welcome().expires_ns() + kKeptNs, position);
}

const std::string* CommandBook::CorpOfEnded(uint64_t position) const {
  const auto pair = ended_pairs_.find(position);
  if (pair != ended_pairs_.end()) return &pair->second->second.corp;
  const auto welcome = welcomes_.find(position);
  return welcome == welcomes_.end() ? nullptr : &welcome->second.command.corp();
}

std::optional<LedgerRecord> CommandBook::NextForgotten(const Now& now) {
  if (forgetting_ || forgettable_.empty() ||
      forgettable_.begin()->first + kTogetherNs > now.wall_ns) {
    return std::nullopt;
  }
  LedgerRecord record;
  CommandsDropped* forgotten = record.mutable_commands_dropped();
  auto it = forgettable_.begin();
  for (int looks = 0; looks < kForgetLooksMax && forgotten->positions_size() < kForgottenMax &&
                      it != forgettable_.end() && it->first <= now.wall_ns;
       ++looks) {
    const std::string* corp = CorpOfEnded(it->second);
    if (corp == nullptr) {  // the pair is queued with a newer wish
      it = forgettable_.erase(it);
      continue;
    }
    if (forgotten->corp().empty()) forgotten->set_corp(*corp);
    if (forgotten->corp() == *corp) forgotten->add_positions(it->second);
    ++it;
  }
  if (forgotten->positions_size() == 0) return std::nullopt;
  forgotten->set_reason(kForgotten);
  forgetting_ = true;
  return record;
}

void CommandBook::OnForgotten(const CommandsDropped& forgotten, bool live) {
  forgetting_ = false;
  for (const uint64_t position : forgotten.positions()) {
    const auto pair = ended_pairs_.find(position);
    if (pair != ended_pairs_.end()) {
      ForgetWishes(pair->second, live);
      continue;
    }
    const auto welcome = welcomes_.find(position);
    if (welcome != welcomes_.end()) ForgetWelcome(welcome);
  }
}

// A replay may have folded newer wishes already; live they come later. Both count the same.
void CommandBook::ForgetWishes(Pairs::value_type* at, bool live) {
  Pair& pair = at->second;
  const uint64_t last = pair.ended->position;
  WriteBack& counts = forgotten_[pair.corp];
  for (auto& [tag, wishes] : pair.tags) {
    const auto newer = std::find_if(wishes.begin(), wishes.end(),
                                    [&](const TagWish& wish) { return wish.position > last; });
    if (newer != wishes.begin()) Count(*std::prev(newer), &counts);
    wishes.erase(wishes.begin(), newer);
  }
  std::erase_if(pair.tags, [](const auto& tag) { return tag.second.empty(); });
  forgettable_.erase({pair.ended->since_wall_ns + kKeptNs, last});
  ended_pairs_.erase(last);
  pair.ended.reset();
  if (!pair.open_positions.empty()) return;
  // A replay takes nothing out of them, so they are long.
  if (live && pair.queued) std::erase(queues_[pair.corp].pairs, at);
  pairs_.erase(pairs_.find(at->first));
}

void CommandBook::ForgetWelcome(std::map<uint64_t, Welcome>::iterator it) {
  const auto& [position, welcome] = *it;
  const std::string& corp = welcome.command.corp();
  const int64_t expires_ns = welcome.command.welcome().expires_ns();
  Count(welcome, &forgotten_[corp]);
  Queues& queues = queues_[corp];
  queues.welcomes.erase({expires_ns, position});
  queues.welcomes_waiting.erase({welcome.not_before_raw_ns, position});
  welcome_expiry_.erase({expires_ns, position});
  forgettable_.erase({expires_ns + kKeptNs, position});
  welcomes_.erase(it);
}

}  // namespace tidegate::dispatch
