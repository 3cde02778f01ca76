// The core of dispatch between a journal that is only a delay and a WeCom that is the simulator's
// core, on a fake clock: what it sends in days, in minutes. Single-threaded, no I/O, chance from
// the seed.
//
//   Lane lane(options);
//   lane.RunFor(24 * 3600 * kNanosPerSecond);
//   lane.result().accepted ...
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/seeded_random.h"
#include "common/wecom_table/limits.h"
#include "services/dispatch/core/dispatch_core.h"
#include "services/wecom_simulator/core/wecom_core.h"

namespace tidegate::sim {

struct LaneOptions {
  uint64_t seed = 1;
  wecom_simulator::WindowKind window = wecom_simulator::WindowKind::kSliding;
  size_t corps = 1;
  // Calls that each corp wants to make; -1: without end.
  int64_t calls_per_corp = -1;
  // Of single corps, by number, instead of that.
  std::map<size_t, int64_t> calls_of;
  // Limits file of both sides; "" = documented.
  std::string limits_json;
  // Of WeCom alone, where it allows less than the product knows.
  std::string wecom_limits_json;
  int64_t append_ns = 300'000;  // from a decision to its durability
  // Each way, lognormal.
  double network_median_ms = 15;
  double network_p99_ms = 40;
  double served_median_ms = 30;  // by WeCom
  double served_p99_ms = 60;
  // All that is on its way waits so long, so often; 0: never.
  double stall_seconds = 3;
  double stall_every_seconds = 300;
  double reset_share = 0.0005;  // of calls that are executed and never answered
};

struct LaneResult {
  int64_t accepted = 0;             // by WeCom
  int64_t fulfilled = 0;            // and known to be
  std::map<int, int64_t> rejected;  // by errcode
  int64_t unanswered = 0;
  int64_t lockout_ms = 0;  // as WeCom counted it
  int64_t first_arrival_ns = -1;
  int64_t last_accepted_ns = 0;
  int64_t events = 0;
  std::vector<int64_t> accepted_by_corp;
  std::vector<int64_t> last_accepted_by_corp_ns;
  int64_t lockouts = 0;
  // Of every 10 s in which all corps had calls: Jain's index of what they got.
  double jain_sum = 0;
  int64_t jain_windows = 0;
  double jain_min = 1;
};

class Lane {
 public:
  explicit Lane(const LaneOptions& options);
  ~Lane();

  // Until that much time has passed, or every call is known to be accepted.
  void RunFor(int64_t ns);
  const LaneResult& result() const { return result_; }
  int64_t elapsed_ns() const { return now_.raw_ns - start_ns_; }
  // The limits of mark_tag, of corp and address, as WeCom has them.
  std::vector<wecom_simulator::LimitRow> limits() const;

 private:
  enum class Kind : uint8_t { kTick, kAppended, kArrives, kLeaves, kAnswered, kGivesUp };
  struct Event {
    int64_t at_ns;
    uint64_t number;  // equal times in the order of their making
    Kind kind;
    size_t wire;
    uint64_t generation;  // of the wire
    bool operator>(const Event& other) const {
      return at_ns != other.at_ns ? at_ns > other.at_ns : number > other.number;
    }
  };
  // A call on its way, and what WeCom made of it.
  struct Wire {
    dispatch::CallToMake call;
    size_t corp = 0;
    int64_t sent_ns = 0;
    wecom_simulator::Decision decision;
    uint64_t generation = 0;
    bool over = false;      // for the sender
    bool at_wecom = false;  // WeCom still has it
  };
  struct Corp {
    std::string id;
    std::string token;
    int64_t wishes = 0;
    int64_t left = 0;
    size_t next_customer = 0;
    int64_t in_window = 0;
  };

  void Push(int64_t at_ns, Kind kind, size_t wire = 0);
  void Handle(const Event& event);
  void HandleOfWire(const Event& event);
  void Turn();
  void Applied();
  void Send(std::vector<dispatch::CallToMake> calls);
  void Arrive(size_t wire);
  void Answer(size_t wire, bool answered);
  void Feed(size_t corp);
  void FetchToken(Corp* corp);
  void EndWindow();
  size_t NewWire();
  void FreeWire(size_t wire);
  int64_t NetworkNs();
  // When something that would arrive at this time does, with the stalls of the network.
  int64_t Through(int64_t at_ns) const;

  const LaneOptions options_;
  SeededRandom random_;
  wecom_table::Limits limits_;
  std::unique_ptr<wecom_simulator::WecomCore> wecom_;
  std::unique_ptr<dispatch::DispatchCore> core_;
  std::vector<Corp> corps_;
  size_t customers_of_corp_ = 0;
  int64_t wanted_ = 0;  // calls of all corps; -1: without end
  std::map<std::string, size_t> corp_of_;
  int64_t start_ns_;
  Now now_;

  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  uint64_t events_made_ = 0;
  std::vector<Wire> wires_;
  std::vector<size_t> free_wires_;
  std::deque<std::unique_ptr<dispatch::CallAnswer>> answers_;
  std::vector<core::Decision> batch_;  // being appended
  int64_t tick_at_ns_ = -1;
  uint64_t seq_ = 0;
  uint64_t commands_ = 0;
  int64_t window_ends_ns_;
  LaneResult result_;
};

}  // namespace tidegate::sim
