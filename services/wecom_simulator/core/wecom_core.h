// The simulated WeCom as a pure core: calls in, decisions out. No I/O, no clock, no threads, chance
// only from the seed, so the same calls at the same times give the same answers. The shell of
// service.h serves it over HTTP; a simulation calls it directly:
//
//   WecomCore core(options);
//   core.OnControl("/control/seed", seed_object, now);
//   Decision d = core.OnRequest({"POST", "/cgi-bin/externalcontact/mark_tag", query, body, ip},
//   now);
//   // ... at d.answer_at_raw_ns:
//   core.OnAnswered(d.request_id, later);
//
// Order of checks: method and JSON, token, address (60020), frequency (45009), concurrency (45033),
// fields, business. A call executes at its arrival (or under DELAY_EXEC within the hold bound)
// whatever becomes of its answer. Not thread-safe; times never go back.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/clock.h"
#include "common/base/seeded_random.h"
#include "services/wecom_simulator/core/app_message.h"
#include "services/wecom_simulator/core/callback_queue.h"
#include "services/wecom_simulator/core/corp.h"
#include "services/wecom_simulator/core/faults.h"
#include "services/wecom_simulator/core/fields.h"
#include "services/wecom_simulator/core/mass_send.h"
#include "services/wecom_simulator/core/options.h"
#include "services/wecom_simulator/core/windows.h"
#include "services/wecom_simulator/core/witness_entry.h"

namespace tidegate::wecom_simulator {

struct ApiRequest {
  std::string method;
  std::string path;   // without the query
  std::string query;  // raw, after the "?"
  std::string body;
  std::string ip;
};

enum class Ending {
  kAnswer,  // the body leaves at answer_at_raw_ns
  kClose,   // the connection is closed then, without an answer
  kReset,   // it is reset then
  kHold,    // nothing comes; closed then, which is the hold bound
};

struct Decision {
  uint64_t request_id = 0;
  int64_t answer_at_raw_ns = 0;
  Ending ending = Ending::kAnswer;
  int http_status = 200;
  std::string body;
  WitnessEntry entry;  // to be durable before the answer leaves
};

class WecomCore {
 public:
  explicit WecomCore(CoreOptions options);
  WecomCore(const WecomCore&) = delete;
  WecomCore& operator=(const WecomCore&) = delete;

  // Counts, checks and executes the call now.
  Decision OnRequest(const ApiRequest& request, const Now& now);
  // The answer left, or the connection was closed: the permit returns. After a close or hold it
  // returns at the hold bound instead, since the caller cannot know when the call ended.
  void OnAnswered(uint64_t request_id, const Now& now);

  // Customers whose time has come are added first. Deliver each, then report it.
  std::vector<CallbackDelivery> TakeDueCallbacks(const Now& now);
  void OnCallbackDone(uint64_t id, int http_status, const Now& now);
  // When TakeDueCallbacks has something to do next; nullopt = not before another call.
  std::optional<int64_t> NextWakeNs() const;

  // /control/{seed,callback_url,trusted_ips,add_customers,event,faults,hold,status,truth};
  // README.md has the fields. Errors: INVALID_ARGUMENT what to fix (nothing was changed), NOT_FOUND
  // path or corp, RESOURCE_EXHAUSTED too many events pending.
  absl::StatusOr<boost::json::object> OnControl(absl::string_view path,
                                                const boost::json::object& arguments,
                                                const Now& now);

  // Every recipient of the mass sends of a corp that was seeded, as it stands now.
  void EachRecipient(const std::string& corp, const Now& now,
                     const std::function<void(const Recipient&)>& tell);

  const CoreOptions& options() const { return options_; }

 private:
  struct CorpState {
    explicit CorpState(const CoreOptions& options)
        : sends(options, corp), app_messages(options, corp) {}
    Corp corp;
    MassSends sends;
    AppMessages app_messages;
  };
  struct TokenOwner {
    std::string corp;
    std::string agent_id;
    int64_t expires_raw_ns = 0;
  };
  // A call whose permit has not returned.
  struct InFlight {
    std::string corp;
    std::string api;
    std::string pair;  // mark_tag: member and customer
    std::string code;  // send_welcome_msg
    std::string agent_id;
    int64_t arrived_raw_ns = 0;
    bool executed = false;
    bool answered = false;  // or closed; the permit may still be out
    Ending ending = Ending::kAnswer;
  };
  struct WelcomeCode {
    std::string corp;
    std::string member;
    std::string customer;
    int64_t made_raw_ns = 0;
    uint64_t used_by = 0;  // request id; 0 = unused
  };
  struct PlannedAdd {
    std::string corp;
    std::string customer;
    std::string member;
    std::string state;
  };
  struct Counts {
    int64_t received = 0;
    int64_t executed = 0;
    int64_t dropped = 0;
    std::map<int, int64_t> rejected;  // by errcode
  };
  // What is known of a call while it is judged.
  struct Call {
    const ApiRequest& request;
    const Now& now;
    uint64_t id = 0;
    std::string api;
    boost::json::object body;
    boost::json::object answer;
    bool wrong_json = false;
    CorpState* corp = nullptr;
    std::string agent_id;
    InFlight in_flight;
    bool permit = false;
    Fault fault;
    int64_t execute_delay_ns = 0;
    WitnessEntry entry;
  };

  ApiError Judge(Call& call);
  ApiError CheckToken(Call& call);
  void DescribeForWitness(Call& call);
  // Execute one API; `fit` is asked once everything else is right, directly before any change.
  ApiError GetToken(Call& call);
  ApiError MarkTag(Call& call);
  ApiError AddMsgTemplate(Call& call);
  ApiError SendWelcome(Call& call);
  ApiError SendAppMessage(Call& call);
  ApiError Execute(Call& call);

  void ReleaseExpired(int64_t raw_ns);
  void Release(uint64_t request_id);
  int64_t Latency(const std::string& api);
  void RunAdds(const Now& now);
  // The welcome code; empty if there is none.
  std::string AddCustomer(CorpState& state, const PlannedAdd& add, const Now& now);
  void Emit(CorpState& state, const std::string& change_type, const std::string& member,
            const std::string& customer, const std::string& channel, const std::string& code,
            const Now& now);
  std::string NewWelcomeCode(const Corp& corp, const std::string& member,
                             const std::string& customer, const Now& now);
  absl::StatusOr<CorpState*> FindCorp(const boost::json::object& arguments);

  absl::StatusOr<boost::json::object> Seed(const boost::json::object& arguments, const Now& now);
  absl::StatusOr<boost::json::object> SetCallbackUrl(const boost::json::object& arguments);
  absl::StatusOr<boost::json::object> SetTrustedIps(const boost::json::object& arguments);
  absl::StatusOr<boost::json::object> PlanAdds(const boost::json::object& arguments,
                                               const Now& now);
  absl::StatusOr<boost::json::object> Event(const boost::json::object& arguments, const Now& now);
  absl::StatusOr<boost::json::object> SetFault(const boost::json::object& arguments);
  absl::StatusOr<boost::json::object> SetHold(const boost::json::object& arguments);
  absl::StatusOr<boost::json::object> Truth(const boost::json::object& arguments, const Now& now);
  boost::json::object Status(const Now& now);

  const CoreOptions options_;
  Frequency frequency_;
  Faults faults_;
  CallbackQueue callbacks_;
  SeededRandom latency_random_;
  std::map<std::string, std::unique_ptr<CorpState>> corps_;
  std::map<std::string, TokenOwner> tokens_;
  std::map<std::string, WelcomeCode> codes_;
  uint64_t last_request_id_ = 0;
  uint64_t codes_made_ = 0;
  std::map<uint64_t, InFlight> in_flight_;
  std::map<std::pair<std::string, std::string>, int64_t> permits_;  // (corp, api)
  std::deque<std::pair<int64_t, uint64_t>> held_permits_;  // (release time, request), by time
  std::multimap<int64_t, PlannedAdd> adds_;                // by due time
  int64_t adds_asked_ = 0;
  int64_t adds_done_ = 0;
  std::map<std::string, std::pair<int64_t, int64_t>> holds_;  // api -> (calls left, ms)
  std::map<std::string, Counts> counts_;
};

}  // namespace tidegate::wecom_simulator
