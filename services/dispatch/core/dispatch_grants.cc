// The core's part in grants: tokens for calls that other programs make under the same limits.
#include <utility>

#include "services/dispatch/core/dispatch_core.h"

namespace tidegate::dispatch {

using ::tidegate::log::v1::LedgerRecord;
using ::tidegate::log::v1::TokensAcquired;
using ::tidegate::log::v1::TokensReleased;

std::optional<DispatchCore::Refusal> DispatchCore::RefusalOf(const TokensAcquired& wanted,
                                                             const Now& now) {
  const std::string& corp = wanted.corp();
  if (draining_ || held_) return Refusal{"nothing is sent by this process", kNever};
  if (blocks_.Holds(corp, "", now.wall_ns)) return Refusal{"blocked", kNever};
  if (grants_.open(corp) + grants_.deciding() >= TokenGrants::kOpenMax) {
    return Refusal{"too many grants are open; release some", kNever};
  }
  if (grants_.AllKnown(corp, now.wall_ns)) {
    return Refusal{"too many grants in 24 h; take more calls at once", kNever};
  }
  const auto verdict =
      buckets_.Check(buckets_.RouteOf(corp, wanted.api()), now.raw_ns, {.calls = wanted.calls()});
  if (verdict.allowed) return std::nullopt;
  return Refusal{verdict.binding, verdict.earliest_ns};
}

std::optional<core::Decision> DispatchCore::DecideAcquire(const AcquireTokens& wish,
                                                          const Now& now) {
  const TokenGrants::Key key(wish.wanted.corp(), wish.wanted.grant());
  if (wish.given_up != nullptr && *wish.given_up) return std::nullopt;
  if (grants_.Find(key, now.wall_ns) != nullptr || grants_.deciding(key)) return std::nullopt;
  if (limit_refused_ || RefusalOf(wish.wanted, now).has_value()) return std::nullopt;
  LedgerRecord record;
  TokensAcquired* acquired = record.mutable_tokens_acquired();
  *acquired = wish.wanted;
  SetStamp(now, acquired->mutable_stamp());
  buckets_.Reserve(buckets_.RouteOf(acquired->corp(), acquired->api()),
                   {.calls = acquired->calls()});
  grants_.NoteDeciding(key);
  return Encode(record);
}

std::optional<core::Decision> DispatchCore::DecideRelease(const ReleaseTokens& wish,
                                                          const Now& now) {
  const TokenGrants::Key key(wish.wanted.corp(), wish.wanted.grant());
  const TokenGrants::Grant* grant = grants_.Find(key, now.wall_ns);
  if (grant == nullptr || !grant->open || grants_.deciding(key)) return std::nullopt;
  // It comes too late: a tick ends the grant, with all of its calls.
  if (now.raw_ns >= grant->ends_raw_ns) return std::nullopt;
  TokensReleased released = wish.wanted;
  SetStamp(now, released.mutable_stamp());
  if (released.rate_limited()) {
    // As of an answer of our own: what it closes is known when it is applied.
    limit_refused_ = true;
    const auto route = buckets_.RouteOf(key.first, grant->api);
    released.set_lockout_ns(buckets_.ChooseLockout(route, now.raw_ns));
  }
  return EncodeReleased(std::move(released));
}

core::Decision DispatchCore::EncodeReleased(TokensReleased released) {
  grants_.NoteDeciding({released.corp(), released.grant()});
  LedgerRecord record;
  *record.mutable_tokens_released() = std::move(released);
  return Encode(record);
}

void DispatchCore::ApplyAcquired(const TokensAcquired& acquired) {
  buckets_.See(acquired.stamp().raw_ns(), acquired.stamp().wall_ns());
  if (!grants_.OnAcquired(acquired)) return;
  buckets_.Take(buckets_.RouteOf(acquired.corp(), acquired.api()), {.calls = acquired.calls()});
}

void DispatchCore::ApplyReleased(const TokensReleased& released) {
  const auto end = grants_.OnReleased(released);
  if (!end.has_value()) return;
  const BucketSet::Route route = buckets_.RouteOf(released.corp(), end->api);
  const int64_t completed_ns = released.stamp().raw_ns();
  if (end->unused > 0) buckets_.ReturnUnused(route, {.calls = end->unused});
  if (end->used > 0) {
    buckets_.Complete(route, completed_ns, released.rate_limited() || !end->released,
                      {.calls = end->used}, /*granted=*/true);
  }
  if (released.rate_limited()) {
    buckets_.Lockout(route, completed_ns + released.lockout_ns());
    ++counters_.delayed["window"];
  }
  scheduler_.Wake(route);
}

}  // namespace tidegate::dispatch
