// Batches of messages that have ended are forgotten with their keys, so that a lane which runs for
// months does not grow.
#include <algorithm>

#include "services/dispatch/core/forgotten.h"
#include "services/dispatch/core/message_book.h"

namespace tidegate::dispatch {

using ::tidegate::log::v1::CommandsDropped;
using ::tidegate::log::v1::LedgerRecord;
using ::tidegate::log::v1::MessagesForgotten;

namespace {

// Of one record, so that its apply is short; a batch may have more.
constexpr size_t kTouchesMax = 10'000;

}  // namespace

void MessageBook::QueueForgetting(const Batch& batch) {
  forgettable_.emplace(batch.messages.received_ns() + kForgottenNs, batch.position);
}

std::optional<LedgerRecord> MessageBook::NextForgotten(const Now& now) {
  if (forgetting_ || forgettable_.empty() || forgettable_.begin()->first > now.wall_ns) {
    return std::nullopt;
  }
  LedgerRecord record;
  CommandsDropped* forgotten = record.mutable_commands_dropped();
  forgotten->set_corp(batches_.at(forgettable_.begin()->second).corp);
  forgotten->set_reason(kForgotten);
  size_t touches = 0;
  auto it = forgettable_.begin();
  for (int looks = 0; looks < kForgetLooksMax && touches < kTouchesMax &&
                      forgotten->positions_size() < kForgottenMax && it != forgettable_.end() &&
                      it->first <= now.wall_ns;
       ++looks, ++it) {
    const Batch& batch = batches_.at(it->second);
    if (batch.corp != forgotten->corp()) continue;
    forgotten->add_positions(batch.position);
    touches += batch.touches.size();
  }
  forgetting_ = true;
  return record;
}

void MessageBook::OnForgotten(const CommandsDropped& forgotten) {
  forgetting_ = false;
  for (const uint64_t position : forgotten.positions()) {
    const auto it = batches_.find(position);
    if (it != batches_.end()) ForgetBatch(it);
  }
}

void MessageBook::OnForgotten(const MessagesForgotten& forgotten) {
  while (!batches_.empty() && batches_.begin()->first < forgotten.before_position()) {
    ForgetBatch(batches_.begin());
  }
}

void MessageBook::ForgetBatch(std::map<uint64_t, Batch>::iterator it) {
  const Batch& batch = it->second;
  for (uint32_t i = 0; i < batch.touches.size(); ++i) {
    const auto known = keys_.find(ViewOf(batch, i));
    // A newer message may have taken the key.
    if (known != keys_.end() && known->batch == &batch && known->index == i) keys_.erase(known);
    // Of one that was cancelled long before.
    const int64_t deadline_ns = batch.messages.messages(static_cast<int>(i)).deadline_ns();
    if (deadline_ns != 0) deadlines_.erase({deadline_ns, {batch.position, i}});
  }
  forgettable_.erase({batch.messages.received_ns() + kForgottenNs, batch.position});
  keys_forgotten_until_ns_ =
      std::max(keys_forgotten_until_ns_, batch.messages.received_ns() + kKeyKeptNs);
  batches_.erase(it);
}

}  // namespace tidegate::dispatch
