#include "services/dispatch/core/command_book.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/wecom_table/requests.h"
#include "services/dispatch/core/retry_delay.h"

namespace tidegate::dispatch {

using ::tidegate::log::v1::Attempt;
using ::tidegate::log::v1::Command;
using ::tidegate::log::v1::CommandsDropped;
using ::tidegate::log::v1::OUTCOME_CLASS_ACCEPTED;
using ::tidegate::log::v1::OUTCOME_CLASS_REFUSED;

namespace {

// After a refusal that may pass (45033, a token error), before the same wish is tried again.
constexpr int64_t kRetryNs = 100 * kNanosPerMilli;
constexpr int64_t kRetryMaxNs = 30 * kNanosPerSecond;
constexpr int64_t kWelcomeRetryMaxNs = 2 * kNanosPerSecond;  // its code is valid for 20 s

int64_t Backoff(uint32_t attempts) { return RetryDelayNs(kRetryNs, kRetryMaxNs, attempts); }

std::string CommandCallId(absl::string_view kind, const std::string& corp, uint64_t position) {
  return Sha256Hex(absl::StrCat(kind, "/", corp, "/", position)).substr(0, 32);
}

}  // namespace

void CommandBook::Fold(uint64_t position, const Command& command) {
  if (command.has_welcome()) {
    welcomes_[position].command = command;
    QueueWelcome(position);
    return;
  }
  if (!command.has_mark_tag()) return;
#if TIDEGATE_MUTANT == 10
  const std::string key = absl::StrCat(command.member(), "/", command.customer());
#else
  const std::string key =
      absl::StrCat(command.corp(), "/", command.member(), "/", command.customer());
#endif
  Pairs::value_type* const at = &*pairs_.try_emplace(key).first;
  Pair& pair = at->second;
  pair.corp = command.corp();
  pair.member = command.member();
  pair.customer = command.customer();
  for (const std::string& tag : command.mark_tag().add()) {
    pair.tags[tag].push_back({.add = true, .position = position, .end = End::kOpen});
  }
  for (const std::string& tag : command.mark_tag().remove()) {
    pair.tags[tag].push_back({.add = false, .position = position, .end = End::kOpen});
  }
  pair.open_positions.push_back(position);
  pair_of_[position] = at;
  QueuePair(at);
}

// ---- Queues ----

void CommandBook::QueuePair(Pairs::value_type* at) {
  const Pair& pair = at->second;
  Queues& queues = queues_[pair.corp];
  if (pair.not_before_raw_ns > 0) {
    queues.pairs_waiting.emplace(pair.not_before_raw_ns, at->first);
  } else {
    QueueReady(at, &queues);
  }
  changed_({.kind = FlowKind::kMarkTag, .corp = pair.corp, .campaign = ""});
}

void CommandBook::QueueReady(Pairs::value_type* at, Queues* queues) {
  if (!std::exchange(at->second.queued, true)) queues->pairs.push_back(at);
}

void CommandBook::QueueWelcome(uint64_t position) {
  const Welcome& welcome = welcomes_[position];
  const std::string& corp = welcome.command.corp();
  const int64_t expires_ns = welcome.command.welcome().expires_ns();
  welcome_expiry_.emplace(expires_ns, position);
  if (welcome.not_before_raw_ns > 0) {
    queues_[corp].welcomes_waiting.emplace(welcome.not_before_raw_ns, position);
  } else {
    queues_[corp].welcomes.emplace(expires_ns, position);
  }
  changed_({.kind = FlowKind::kWelcome, .corp = corp, .campaign = ""});
}

bool CommandBook::TidyPairs(Queues* queues, int64_t raw_ns) {
  auto& waiting = queues->pairs_waiting;
  while (!waiting.empty() && waiting.begin()->first <= raw_ns) {
    const auto found = pairs_.find(waiting.begin()->second);
    if (found != pairs_.end()) QueueReady(&*found, queues);
    waiting.erase(waiting.begin());
  }
  for (; !queues->pairs.empty(); queues->pairs.pop_front()) {
    auto& [key, pair] = *queues->pairs.front();
    const bool waits = !pair.open_positions.empty() && !pair.under_way;
    if (waits && pair.not_before_raw_ns <= raw_ns) return true;
    if (waits) waiting.emplace(pair.not_before_raw_ns, key);
    pair.queued = false;
  }
  return false;
}

bool CommandBook::TidyWelcomes(Queues* queues, int64_t raw_ns) {
  auto& waiting = queues->welcomes_waiting;
  for (; !waiting.empty() && waiting.begin()->first <= raw_ns; waiting.erase(waiting.begin())) {
    const uint64_t position = waiting.begin()->second;
    queues->welcomes.emplace(welcomes_[position].command.welcome().expires_ns(), position);
  }
  auto& ready = queues->welcomes;
  for (; !ready.empty(); ready.erase(ready.begin())) {
    const Welcome& welcome = welcomes_[ready.begin()->second];
    if (welcome.end == End::kOpen && !welcome.under_way) return true;
  }
  return false;
}

// ---- Deciding ----

std::optional<CommandsDropped> CommandBook::NextExpiredWelcome(const Now& now) {
  while (!welcome_expiry_.empty() && welcome_expiry_.begin()->first <= now.wall_ns) {
    const uint64_t position = welcome_expiry_.begin()->second;
    welcome_expiry_.erase(welcome_expiry_.begin());
    Welcome& welcome = welcomes_[position];
    if (welcome.end != End::kOpen || welcome.under_way) continue;
    welcome.under_way = true;
    CommandsDropped dropped;
    dropped.set_corp(welcome.command.corp());
    dropped.add_positions(position);
    dropped.set_reason("expired");
    return dropped;
  }
  return std::nullopt;
}

std::optional<FlowHead> CommandBook::HeadOf(const FlowName& flow, const Now& now) {
  const auto found = queues_.find(flow.corp);
  if (found == queues_.end()) return std::nullopt;
  Queues& queues = found->second;
  if (flow.kind == FlowKind::kWelcome) {
    const bool ready = TidyWelcomes(&queues, now.raw_ns);
    const auto& waiting = queues.welcomes_waiting;
    if (!ready && waiting.empty()) return std::nullopt;
    FlowHead head{.deadline_ns = ready ? queues.welcomes.begin()->first : kNever};
    if (!ready) head.not_before_raw_ns = waiting.begin()->first;
    // One that waits for its next try lends its urgency to those that can go.
    for (const auto& [not_before, position] : waiting) {
      head.deadline_ns =
          std::min(head.deadline_ns, welcomes_[position].command.welcome().expires_ns());
    }
    return head;
  }
  const bool ready = TidyPairs(&queues, now.raw_ns);
  const auto waiting = static_cast<int64_t>(queues.pairs.size() + queues.pairs_waiting.size());
  if (ready) return FlowHead{.waiting = waiting};
  if (queues.pairs_waiting.empty()) return std::nullopt;
  return FlowHead{.not_before_raw_ns = queues.pairs_waiting.begin()->first, .waiting = waiting};
}

std::optional<WantedCall> CommandBook::Take(const FlowName& flow, const Now& now) {
  const auto found = queues_.find(flow.corp);
  if (found == queues_.end()) return std::nullopt;
  Queues& queues = found->second;
  if (flow.kind == FlowKind::kWelcome) {
    if (!TidyWelcomes(&queues, now.raw_ns)) return std::nullopt;
    const uint64_t position = queues.welcomes.extract(queues.welcomes.begin()).value().second;
    return WelcomeCall(position, &welcomes_[position]);
  }
  if (!TidyPairs(&queues, now.raw_ns)) return std::nullopt;
  auto& [key, pair] = *queues.pairs.front();
  queues.pairs.pop_front();
  pair.queued = false;
  return MarkTagCall(key, &pair);
}

WantedCall CommandBook::WelcomeCall(uint64_t position, Welcome* welcome) {
  welcome->under_way = true;
  WantedCall call;
  call.corp = welcome->command.corp();
  call.api = ApiOf(FlowKind::kWelcome);
  call.call_id = CommandCallId("welcome", call.corp, position);
  call.attempt = welcome->attempts + 1;
  call.target.mutable_welcome()->set_corp(call.corp);
  call.target.mutable_welcome()->add_positions(position);
  call.body = wecom_table::WelcomeBody(welcome->command.welcome().welcome_code(),
                                       welcome->command.welcome().text());
  return call;
}

WantedCall CommandBook::MarkTagCall(const std::string& key, Pair* pair) {
  pair->under_way = true;
  std::vector<std::string> add;
  std::vector<std::string> remove;
  for (const auto& [tag, wishes] : pair->tags) {
    const TagWish& wish = wishes.back();
    if (wish.end == End::kOpen) (wish.add ? add : remove).push_back(tag);
  }
  WantedCall call;
  call.corp = pair->corp;
  call.api = ApiOf(FlowKind::kMarkTag);
  call.target.mutable_mark_tag()->set_corp(pair->corp);
  for (const uint64_t position : pair->open_positions) {
    call.target.mutable_mark_tag()->add_positions(position);
  }
  // More wishes make another call.
  call.call_id = CommandCallId(absl::StrCat("mark_tag/", key, "/", pair->open_positions.back()),
                               pair->corp, pair->open_positions.front());
  call.attempt = call.call_id == pair->call_id ? pair->attempts + 1 : 1;
  call.body = wecom_table::MarkTagBody(pair->member, pair->customer, add, remove);
  return call;
}

std::optional<int64_t> CommandBook::NextRawNs(const Now& now) const {
  if (welcome_expiry_.empty()) return std::nullopt;
  // Wall time; how far it is away is the same on any clock.
  return now.raw_ns + std::max<int64_t>(0, welcome_expiry_.begin()->first - now.wall_ns);
}

// ---- Applying ----

void CommandBook::OnAttempt(const Attempt& attempt) {
  if (attempt.target().has_welcome()) {
    Welcome& welcome = welcomes_[attempt.target().welcome().positions(0)];
    welcome.under_way = true;
    welcome.attempts = attempt.attempt();
    return;
  }
  const auto it = pair_of_.find(attempt.target().mark_tag().positions(0));
  if (it == pair_of_.end()) return;
  Pair& pair = it->second->second;
  pair.under_way = true;
  pair.call_id = attempt.call_id();
  pair.attempts = attempt.attempt();
}

void CommandBook::OnOutcome(const AttemptEnd& end) {
  const auto& target = end.attempt.target();
  const auto outcome_class = end.outcome.outcome_class();
  const bool over =
      outcome_class == OUTCOME_CLASS_ACCEPTED || outcome_class == OUTCOME_CLASS_REFUSED;
  const End ended = outcome_class == OUTCOME_CLASS_ACCEPTED ? End::kDone : End::kRefused;
  if (target.has_welcome()) {
    const uint64_t position = target.welcome().positions(0);
    Welcome& welcome = welcomes_[position];
    welcome.under_way = false;
    if (over) {
      welcome.end = ended;
      QueueForgetting(position, welcome);
    } else {
      // Only a code of WeCom's own says that it did nothing; -1 and a gateway's answer do not.
      welcome.in_doubt |= end.outcome.bytes_written() &&
                          (end.outcome.why() != "answer" || end.outcome.errcode() <= 0);
      welcome.not_before_raw_ns = end.outcome.completed().raw_ns() +
                                  RetryDelayNs(kRetryNs, kWelcomeRetryMaxNs, welcome.attempts - 1);
      QueueWelcome(position);
    }
    return;
  }
  const auto it = pair_of_.find(target.mark_tag().positions(0));
  if (it == pair_of_.end()) return;
  Pairs::value_type* const at = it->second;
  Pair& pair = at->second;
  pair.under_way = false;
  if (over) {
    const auto& positions = target.mark_tag().positions();
    EndWishes(at, positions[positions.size() - 1], ended, end.outcome.completed().wall_ns());
    for (const uint64_t position : positions) pair_of_.erase(position);
  } else {
    pair.not_before_raw_ns =
        std::max(end.over_raw_ns, end.outcome.completed().raw_ns() + Backoff(pair.attempts));
  }
  if (!pair.open_positions.empty()) QueuePair(at);
}

void CommandBook::EndWishes(Pairs::value_type* at, uint64_t last, End end, int64_t wall_ns) {
  Pair& pair = at->second;
  for (auto& [tag, wishes] : pair.tags) {
    for (auto wish = wishes.rbegin(); wish != wishes.rend() && wish->end == End::kOpen; ++wish) {
      if (wish->position <= last) wish->end = end;
    }
  }
  std::erase_if(pair.open_positions, [&](uint64_t position) { return position <= last; });
  // As of a pair that is new: more wishes make another call.
  pair.not_before_raw_ns = 0;
  pair.attempts = 0;
  pair.call_id.clear();
  if (pair.ended.has_value()) ended_pairs_.erase(pair.ended->position);
  const int64_t since_wall_ns = pair.ended.has_value() ? pair.ended->since_wall_ns : wall_ns;
  pair.ended = {.position = last, .since_wall_ns = since_wall_ns};
  QueueForgetting(at);
}

void CommandBook::OnLostOwner(const Attempt& attempt, int64_t end_raw_ns) {
  if (attempt.target().has_welcome()) {
    Welcome& welcome = welcomes_[attempt.target().welcome().positions(0)];
    welcome.under_way = false;
    welcome.in_doubt = true;
    return;
  }
  const auto it = pair_of_.find(attempt.target().mark_tag().positions(0));
  if (it == pair_of_.end()) return;
  Pair& pair = it->second->second;
  pair.under_way = false;
  // A newer, different wish must not be overtaken by the lost one.
  pair.not_before_raw_ns = end_raw_ns;
}

void CommandBook::OnDropped(const CommandsDropped& dropped) {
  for (const uint64_t position : dropped.positions()) {
    const auto it = welcomes_.find(position);
    if (it == welcomes_.end()) continue;
    it->second.end = End::kRefused;
    it->second.under_way = false;
    QueueForgetting(position, it->second);
  }
}

void CommandBook::Rebuild(bool raw_restarted, int64_t held_until_raw_ns) {
  queues_.clear();
  welcome_expiry_.clear();
  ended_pairs_.clear();
  forgettable_.clear();
  forgetting_ = false;
  for (auto& at : pairs_) {
    Pair& pair = at.second;
    pair.under_way = false;
    pair.queued = false;
    if (raw_restarted && pair.not_before_raw_ns != 0) pair.not_before_raw_ns = held_until_raw_ns;
    if (!pair.open_positions.empty()) QueuePair(&at);
    if (pair.ended.has_value()) QueueForgetting(&at);
  }
  for (auto& [position, welcome] : welcomes_) {
    welcome.under_way = false;
    if (raw_restarted) welcome.not_before_raw_ns = 0;
    if (welcome.end == End::kOpen) {
      QueueWelcome(position);
    } else {
      QueueForgetting(position, welcome);
    }
  }
}

// What is under way are the core's open attempts.
void CommandBook::AddStateTo(core::StateHash* hash) const {
  hash->Add(pairs_.size());
  for (const auto& [key, pair] : pairs_) {
    hash->Add(key).Add(pair.tags.size());
    for (const auto& [tag, wishes] : pair.tags) {
      hash->Add(tag).Add(wishes.size());
      for (const TagWish& wish : wishes) {
        hash->Add(wish.add).Add(wish.position).Add(static_cast<int>(wish.end));
      }
    }
    hash->Add(pair.open_positions.size());
    for (const uint64_t position : pair.open_positions) hash->Add(position);
    hash->Add(pair.ended.has_value());
    if (pair.ended.has_value()) {
      hash->Add(pair.ended->position).Add(pair.ended->since_wall_ns);
    }
    hash->Add(pair.not_before_raw_ns).Add(pair.attempts).Add(pair.call_id);
  }
  hash->Add(welcomes_.size());
  for (const auto& [position, welcome] : welcomes_) {
    hash->Add(position).Add(welcome.command).Add(static_cast<int>(welcome.end));
    hash->Add(welcome.in_doubt).Add(welcome.not_before_raw_ns).Add(welcome.attempts);
  }
  hash->Add(forgotten_.size());
  for (const auto& [corp, counts] : forgotten_) {
    hash->Add(corp).Add(counts.tags_wanted).Add(counts.tags_written).Add(counts.tags_refused);
    hash->Add(counts.welcomes_requested).Add(counts.welcomes_sent).Add(counts.welcomes_dropped);
  }
}

bool CommandBook::WelcomeInDoubt(uint64_t position) const {
  const auto it = welcomes_.find(position);
  return it != welcomes_.end() && it->second.in_doubt;
}

size_t CommandBook::open() const { return pair_of_.size() + welcome_expiry_.size(); }

size_t CommandBook::wishes() const {
  size_t count = 0;
  for (const auto& [key, pair] : pairs_) {
    for (const auto& [tag, wishes] : pair.tags) count += wishes.size();
  }
  return count;
}

std::map<std::string, size_t> CommandBook::OpenByCorp() const {
  std::map<std::string, size_t> open;
  for (const auto& [key, pair] : pairs_) {
    if (!pair.open_positions.empty()) ++open[pair.corp];
  }
  for (const auto& [position, welcome] : welcomes_) {
    if (welcome.end == End::kOpen) ++open[welcome.command.corp()];
  }
  return open;
}

WriteBack CommandBook::Progress(const std::string& corp) const {
  const auto forgotten = forgotten_.find(corp);
  WriteBack progress = forgotten == forgotten_.end() ? WriteBack() : forgotten->second;
  for (const auto& [key, pair] : pairs_) {
    if (pair.corp != corp) continue;
    for (const auto& [tag, wishes] : pair.tags) Count(wishes.back(), &progress);
  }
  for (const auto& [position, welcome] : welcomes_) {
    if (welcome.command.corp() == corp) Count(welcome, &progress);
  }
  return progress;
}

void CommandBook::Count(const TagWish& wish, WriteBack* counts) {
  ++counts->tags_wanted;
  counts->tags_written += wish.end == End::kDone;
  counts->tags_refused += wish.end == End::kRefused;
}

void CommandBook::Count(const Welcome& welcome, WriteBack* counts) {
  ++counts->welcomes_requested;
  counts->welcomes_sent += welcome.end == End::kDone;
  counts->welcomes_dropped += welcome.end == End::kRefused;
}

}  // namespace tidegate::dispatch
