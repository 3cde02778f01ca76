// The core of dispatch between a journal that is only a delay and a WeCom that is the simulator's
// core, on a fake clock: what it sends in days, in minutes. Single-threaded, no I/O, chance from
// the seed.
//
//   Lane lane(options);
//   lane.RunFor(24 * 3600 * kNanosPerSecond);
//   lane.result().accepted ...
//
// lane.cc has the time and the lane's thread, lane_work.cc what is wanted, lane_wire.cc the way to
// WeCom and back.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "common/base/clock.h"
#include "common/base/seeded_random.h"
#include "common/wecom_table/limits.h"
#include "services/dispatch/core/dispatch_core.h"
#include "services/wecom_simulator/core/wecom_core.h"
#include "tidegate/log/v1/commands.pb.h"

namespace tidegate::sim {

inline constexpr char kAgent[] = "1000002";
// Of a campaign's name; its number follows.
inline constexpr char kCampaignPrefix[] = "campaign";

// Welcomes, each of a corp chosen at random: calls that have 20 s.
struct UrgentOptions {
  int64_t calls = 0;
  double per_second = 100;  // one by one, at random times
  int64_t burst = 0;        // so many more at once, from the first moment on
  double burst_every_seconds = 10;
};

// One of a campaign's customers, and whose it is; by number, the same in all campaigns.
struct Recipient {
  uint32_t customer = 0;
  uint32_t member = 0;
};
std::string NameOfCustomer(uint32_t number);
std::string NameOfMember(uint32_t number);

// A campaign of the first corp.
struct CampaignOptions {
  int64_t calls = 0;  // each by a member of its own
  double at_seconds = 0;
  int64_t customers_per_call = 1;
  // To these, instead of so many calls.
  std::vector<Recipient> audience;
  uint32_t reminders = 0;
};

// A message of an internal service, to a customer of the first corp.
struct MessageOptions {
  double at_seconds = 0;
  ::tidegate::log::v1::MessageClass message_class = ::tidegate::log::v1::MESSAGE_CLASS_URGENT;
};

// Another program that makes so many calls of mark_tag of the first corp at once, from the start
// on, each next one when the last is answered.
struct OtherProgram {
  size_t at_once = 0;
  double from_seconds = 0;
  double until_seconds = 0;
};

struct LaneOptions {
  uint64_t seed = 1;
  wecom_simulator::WindowKind window = wecom_simulator::WindowKind::kSliding;
  size_t corps = 1;
  // Calls of mark_tag that each corp wants to make; -1: without end.
  int64_t calls_per_corp = -1;
  // Of single corps, by number, instead of that.
  std::map<size_t, int64_t> calls_of;
  // So many of them the core knows at once: enough that none of a corp's turns is lost.
  int64_t wishes_ahead = 60;
  UrgentOptions urgent;
  std::vector<CampaignOptions> campaigns;
  std::vector<MessageOptions> messages;
  // Limits file of both sides; "" = documented.
  std::string limits_json;
  // Of WeCom alone, where it allows less than the product knows.
  std::string wecom_limits_json;
  int64_t append_ns = 300'000;   // from a decision to its durability
  int64_t decision_ns = 15'000;  // of the thread's time, for each record
  // Each way, lognormal.
  double network_median_ms = 15;
  double network_p99_ms = 40;
  double served_median_ms = 30;  // by WeCom
  double served_p99_ms = 60;
  // All that is on its way waits so long, so often; 0: never.
  double stall_seconds = 3;
  double stall_every_seconds = 300;
  double reset_share = 0.0005;  // of calls that are executed and never answered
  // Of calls that WeCom holds back, for up to its hold bound, before it counts and executes them;
  // after 5 s nobody waits for their answer any more.
  double late_share = 0.0002;
  // Calls at once on the way to WeCom, and those of welcomes apart; 0: without bound, and welcomes
  // together with the rest.
  size_t connections = 0;
  size_t urgent_connections = 0;

  int64_t start_s = 1'790'000'000;  // when the run begins, Unix
  wecom_table::QuietHours quiet_hours;
  wecom_table::ReceiveQuota receive_quota = wecom_table::ReceiveQuota::kDaysInMonth;
  // Changes what WeCom's members do; they are quick otherwise.
  std::function<void(wecom_simulator::CoreOptions*)> set_wecom;
  // Told of each call that arrives at WeCom, and of the campaign of a create or reminder.
  std::function<void(const wecom_simulator::WitnessEntry&, const std::string&)> on_witness;

  OtherProgram other;

  // For single mistakes.
  bool ends_when_done = true;    // false: RunFor() goes on when all that was wanted has been done
  size_t customers = 0;          // of a corp; 0: enough that a call in doubt holds nothing up
  double passing_share = 0;      // of creates and reminders that WeCom refuses, but not for good
  int64_t wrongly_refused = 0;   // the first calls of mark_tag get 45009 though no window is full
  double unsendable_share = 0;   // of the customers of campaigns, whom WeCom puts on its fail_list
  double wall_step_seconds = 0;  // every 10 s the wall clock goes so far forward, or back again
  // When the process is killed, and another one reads the journal.
  std::vector<double> kill_at_seconds;

  // For several lanes behind one address, whose calls all arrive at this WeCom; nullptr: its own.
  std::shared_ptr<wecom_simulator::WecomCore> wecom;
  size_t first_corp = 0;                   // corps are numbered from here on
  int64_t address_millionths = 1'000'000;  // the lane's share of the address
};

struct UrgentResult {
  int64_t arrived = 0;
  int64_t executed = 0;  // by WeCom, which takes no code that is older than 20 s
  // From each event to the release of its first call, and to that call's first byte.
  std::vector<int64_t> released_ns;
  std::vector<int64_t> first_byte_ns;
};

// Of what is not urgent, unless it says otherwise.
struct LaneResult {
  int64_t accepted = 0;             // by WeCom
  int64_t fulfilled = 0;            // and known to be
  std::map<int, int64_t> rejected;  // by errcode; of all calls
  int64_t unanswered = 0;           // of all calls
  int64_t late = 0;                 // held back by WeCom; of all calls
  int64_t lockout_ms = 0;           // as WeCom counted it
  int64_t first_arrival_ns = -1;
  int64_t last_accepted_ns = 0;
  int64_t events = 0;
  std::vector<int64_t> accepted_by_corp;
  std::vector<int64_t> last_accepted_by_corp_ns;
  int64_t lockouts = 0;
  // Of calls that were answered, from the first byte to the answer.
  int64_t answered = 0;
  int64_t answered_ns = 0;
  // 45033, by what was learnt of it: a call that was on its way at the first one says nothing new.
  std::vector<int64_t> ceilings;
  // When the last of them came; when mark_tag had as many calls of the first corp under way as the
  // limits file says, once the other program had ended; -1: never.
  int64_t ceiling_learnt_ns = -1;
  int64_t all_used_ns = -1;
  // Of every 10 s in which all corps had calls: Jain's index of what they got.
  double jain_sum = 0;
  int64_t jain_windows = 0;
  double jain_min = 1;
  // Customers whom WeCom's answers to creates name as not reached; what the product tells of
  // touches, by kind of event.
  int64_t fail_listed = 0;
  std::map<std::string, int64_t> touches;
  // Calls released of each campaign while all of them had some left.
  std::vector<int64_t> served_by_campaign;
  // Of each message, from its arrival to the release of its call; -1: it was not released.
  std::vector<int64_t> messages_released_ns;
  // First bytes of all calls, by tenths of a second from the start on.
  std::vector<int64_t> sent_in_100_ms;
  UrgentResult urgent;
};

// Jain's index of fairness (1984); 1 = all have got the same. `got` is not empty nor all 0.
double Jain(const std::vector<int64_t>& got);

class Lane {
 public:
  explicit Lane(const LaneOptions& options);
  ~Lane();

  // Until that much time has passed, or every call is known to be accepted and every welcome has
  // ended.
  void RunFor(int64_t ns);
  const LaneResult& result() const { return result_; }
  int64_t elapsed_ns() const { return now_.raw_ns - start_ns_; }
  // When it goes on: time for RunFor() until which nothing happens.
  int64_t next_ns() const { return events_.top().at_ns - start_ns_; }
  std::shared_ptr<wecom_simulator::WecomCore> shared_wecom() const { return wecom_; }
  // What the product itself has counted.
  const dispatch::DispatchCounters& counters() const { return core_->counters(); }
  wecom_simulator::WecomCore& wecom() { return *wecom_; }
  const Now& now() const { return now_; }
  // The limits of mark_tag, of corp and address, as WeCom has them.
  std::vector<wecom_simulator::LimitRow> limits() const;

 private:
  enum class Kind : uint8_t {
    kTick,
    kAppended,
    kWelcome,
    kBurst,
    kLaunch,   // number: of the campaign
    kMessage,  // number: of the message
    kKill,
    kOther,  // number: of the call of the other program
    // number: of the wire
    kArrives,
    kLeaves,
    kAnswered,
    kGivesUp
  };
  struct Event {
    int64_t at_ns;
    uint64_t made;  // equal times in the order of their making
    Kind kind;
    size_t number;
    uint64_t generation;  // of the wire
    bool operator>(const Event& other) const {
      return at_ns != other.at_ns ? at_ns > other.at_ns : made > other.made;
    }
  };
  // A call on its way, and what WeCom made of it.
  struct Wire {
    dispatch::CallToMake call;
    size_t corp = 0;
    std::string code;   // of a welcome
    bool bulk = false;  // one of those that are wanted
    int64_t released_ns = 0;
    int64_t first_byte_ns = -1;
    bool held_back = false;
    wecom_simulator::Decision decision;
    uint64_t generation = 0;
    bool over = false;      // for the sender
    bool at_wecom = false;  // on its way there, or there
  };
  struct Corp {
    std::string id;
    std::string token;
    int64_t wishes = 0;
    int64_t left = 0;
    size_t next_customer = 0;
    size_t next_welcomed = 0;
    int64_t in_window = 0;
  };
  struct Connections {
    size_t most = 0;  // 0: without bound
    size_t busy = 0;
    std::deque<std::pair<size_t, uint64_t>> waiting;  // wire, generation
  };

  void Push(int64_t at_ns, Kind kind, size_t number = 0);
  static bool IsOfWire(Kind kind) { return kind >= Kind::kArrives; }
  void Handle(const Event& event);
  void HandleOfWire(const Event& event);
  bool Done() const;
  void Turn();
  void Applied();

  // The core of a process: knows what the log has, and owns the lane from now on.
  void StartProcess();
  void Kill();

  void SeedWecom();
  void Fold(log::Topic topic, log::StoredRecord record);
  void Feed(size_t corp);
  void Welcome();
  void NextWelcome();
  void Burst();
  void SeedAudience(const std::vector<Recipient>& audience);
  void Launch(size_t campaign);
  void Message(size_t message);
  int64_t MessageNs(size_t message) const;
  // The message of a call.
  static size_t MessageOf(const dispatch::CallToMake& call);
  void CountServed(size_t campaign);

  void Send(std::vector<dispatch::CallToMake> calls);
  Connections& ConnectionsOf(const Wire& wire);
  void Start(size_t wire);
  void Arrive(size_t wire);
  void Count(const Wire& wire);
  void Answer(size_t wire, bool answered);
  void CountAnswer(const Wire& wire);
  void Other(size_t call);
  bool OtherIsThere() const;
  void FetchToken(Corp* corp);
  void EndWindow();
  size_t NewWire();
  void FreeWire(size_t wire);
  int64_t NetworkNs();
  // When something that would arrive at this time does, with the stalls of the network.
  int64_t Through(int64_t at_ns) const;

  const LaneOptions options_;
  SeededRandom random_;
  SeededRandom urgent_random_;
  wecom_table::Limits limits_;
  std::shared_ptr<wecom_simulator::WecomCore> wecom_;
  std::unique_ptr<dispatch::DispatchCore> core_;
  std::vector<Corp> corps_;
  size_t customers_of_corp_ = 0;
  int64_t wanted_ = 0;  // calls of all corps; -1: without end
  std::map<std::string, size_t> corp_of_;
  int64_t start_ns_;
  Now now_;

  // Welcomes that WeCom has not executed, by code.
  struct Welcomed {
    int64_t at_ns = 0;
    bool released = false;
    bool first_byte = false;
  };
  absl::flat_hash_map<std::string, Welcomed> welcomed_;
  int64_t last_welcome_ns_ = 0;
  std::vector<int64_t> left_of_campaign_;

  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  uint64_t events_made_ = 0;
  std::vector<Wire> wires_;
  std::vector<size_t> free_wires_;
  std::array<Connections, 2> connections_;  // of the rest, of welcomes
  std::deque<std::unique_ptr<dispatch::CallAnswer>> answers_;
  std::vector<core::Decision> batch_;  // being appended
  // What the log has; kept only where a process is killed.
  std::vector<std::pair<log::Topic, log::StoredRecord>> inputs_;
  std::vector<std::pair<core::Decision, core::ApplyContext>> journal_;
  uint64_t epoch_ = 0;
  int64_t tick_at_ns_ = -1;
  uint64_t seq_ = 0;
  uint64_t commands_ = 0;
  uint64_t revisions_ = 0;
  std::vector<uint64_t> other_requests_;  // being served; 0: none
  int64_t tags_under_way_ = 0;            // of the first corp
  int64_t window_ends_ns_;
  LaneResult result_;
};

}  // namespace tidegate::sim
