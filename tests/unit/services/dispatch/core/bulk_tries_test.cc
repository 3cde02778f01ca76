// Who tries one more call at once, where bulk leaves one of them for urgent calls.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "services/dispatch/core/scheduler.h"
#include "services/dispatch/core/urgent_calls.h"

namespace tidegate::dispatch {
namespace {

constexpr int64_t kMilli = 1'000'000;
constexpr int64_t kSecond = 1000 * kMilli;
constexpr int64_t kMinute = 60 * kSecond;
constexpr char kApi[] = "add_msg_template";

// A corp with bulk calls always, an urgent one now and then, and a WeCom that serves four at once,
// of which another program has some. A call is at WeCom for half of the time that it is under way.
class BulkTriesTest : public ::testing::Test {
 protected:
  static constexpr int64_t kServed = 4;
  static constexpr int64_t kWayNs = 25 * kMilli;
  static constexpr int64_t kAtWecomNs = 50 * kMilli;

  struct Call {
    bool urgent;
    int64_t sent_ns;
    bool refused = false;
  };
  enum class What { kArrives, kIsDone, kIsAnswered };
  using Event = std::pair<int64_t, std::pair<What, size_t>>;

  void Send(Scheduler::Flow flow) {
    const bool urgent = flow == urgent_;
    calls_.push_back({.urgent = urgent, .sent_ns = now_ns_});
    events_.insert({now_ns_ + kWayNs, {What::kArrives, calls_.size() - 1}});
    buckets_.Take(route_);
    if (urgent) urgent_calls_.Add(route_, buckets_.ApiOf(route_), "c1", kApi, now_ns_);
    under_way_[urgent] += 1;
    most_under_way_ = std::max(most_under_way_, under_way_[false] + under_way_[true]);
  }
  void OnArrival(size_t number) {
    Call& call = calls_[number];
    call.refused = at_wecom_ >= kServed - of_another_;
    refused_[call.urgent] += call.refused;
    if (!call.refused) ++at_wecom_;
    const int64_t done_ns = now_ns_ + (call.refused ? 0 : kAtWecomNs);
    events_.insert({done_ns, {What::kIsDone, number}});
    events_.insert({done_ns + kWayNs, {What::kIsAnswered, number}});
  }
  void OnAnswer(const Call& call) {
    under_way_[call.urgent] -= 1;
    if (call.refused) buckets_.LowerCeiling(route_, call.sent_ns, now_ns_);
    buckets_.Complete(route_, now_ns_, call.refused);
    scheduler_.Wake(route_);
  }
  void RunUntil(int64_t until_ns) {
    while (now_ns_ < until_ns) {
      scheduler_.Offer(bulk_, 0, kNever, 1'000'000);
      if (now_ns_ >= next_urgent_ns_) {
        scheduler_.Offer(urgent_, 0, now_ns_ + kSecond);
        next_urgent_ns_ += 20 * kSecond;
      }
      while (const auto flow = scheduler_.Next(now_ns_)) {
        Send(*flow);
        if (*flow == bulk_) scheduler_.Offer(bulk_, 0, kNever, 1'000'000);
      }
      if (events_.empty()) return;
      const auto [at_ns, what] = events_.extract(events_.begin()).value();
      now_ns_ = at_ns;
      if (what.first == What::kArrives) OnArrival(what.second);
      if (what.first == What::kIsDone && !calls_[what.second].refused) --at_wecom_;
      if (what.first == What::kIsAnswered) OnAnswer(calls_[what.second]);
    }
  }
  int64_t AtOnce() { return buckets_.Rows("c1", now_ns_).front().capacity; }

  const wecom_table::Limits limits_ = *wecom_table::ParseLimits(
      R"({"limits": [], "in_flight": [{"api": "add_msg_template", "amount": 4}]})");
  UrgentCalls urgent_calls_;
  BucketSet buckets_{&limits_};
  Scheduler scheduler_{&buckets_, nullptr, &urgent_calls_};
  const BucketSet::Route route_ = buckets_.RouteOf("c1", kApi);
  const Scheduler::Flow bulk_ = scheduler_.AddFlow(route_, CallClass::kBulk);
  const Scheduler::Flow urgent_ = scheduler_.AddFlow(route_, CallClass::kUrgent);

  int64_t now_ns_ = kSecond;
  int64_t next_urgent_ns_ = kSecond;
  std::vector<Call> calls_;
  std::set<Event> events_;
  int64_t at_wecom_ = 0;
  int64_t of_another_ = 0;
  int64_t under_way_[2] = {0, 0};
  int64_t most_under_way_ = 0;
  int64_t refused_[2] = {0, 0};
};

TEST_F(BulkTriesTest, AfterAnotherProgramAllAreUsedAgainAndUrgentCallsPayForNoTry) {
  RunUntil(kMinute);
  EXPECT_EQ(refused_[false] + refused_[true], 0);
  of_another_ = 3;
  RunUntil(2 * kMinute);
  EXPECT_LE(AtOnce(), 2);
  refused_[false] = refused_[true] = 0;
  RunUntil(11 * kMinute);
  EXPECT_GT(refused_[false], 0) << "one more is tried while the other program is there";
  EXPECT_EQ(refused_[true], 0);
  of_another_ = 0;
  RunUntil(17 * kMinute);
  EXPECT_EQ(refused_[true], 0);
  EXPECT_EQ(AtOnce(), kServed);
  most_under_way_ = 0;
  RunUntil(18 * kMinute);
  EXPECT_EQ(most_under_way_, kServed - 1) << "one is kept";
}

}  // namespace
}  // namespace tidegate::dispatch
