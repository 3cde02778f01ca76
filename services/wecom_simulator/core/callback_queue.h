// Events on their way to the corps' callback URLs: three deliveries at most, in no promised order,
// the same plain text each time under a fresh timestamp, nonce and random part.
//
//   queue.Add(corp_id, agent_id, "add_external_contact", xml, now.raw_ns);
//   for (CallbackDelivery& d : queue.TakeDue(find_app, now)) Post(d, [&](int status) {
//     queue.Done(d.id, status, later);
//   });
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/base/seeded_random.h"
#include "services/wecom_simulator/core/corp.h"
#include "services/wecom_simulator/core/options.h"

namespace tidegate::wecom_simulator {

// One POST for the shell to make.
struct CallbackDelivery {
  uint64_t id = 0;
  std::string url;  // whole, with msg_signature, timestamp and nonce
  std::string body;
  int64_t deadline_ms = 0;
};

// Not thread-safe.
class CallbackQueue {
 public:
  explicit CallbackQueue(const CoreOptions& options)
      : options_(options), random_(options.seed ^ 0xCA11BACCu) {}

  void Add(const std::string& corp, const std::string& agent_id, const std::string& kind,
           std::string xml, int64_t raw_ns);
  // The app as it is configured now: a callback follows a changed URL. Never null, and with a key,
  // for an app that was handed to Add.
  using FindApp = std::function<const App*(const std::string& corp, const std::string& agent_id)>;
  // At most options.callbacks_in_flight_max are out at once.
  std::vector<CallbackDelivery> TakeDue(const FindApp& find_app, const Now& now);
  // http_status 0 = network failure or no answer in time. Unknown ids are ignored.
  void Done(uint64_t id, int http_status, const Now& now);

  // INT64_MAX if nothing waits for a time (a delivery that is out wakes by Done).
  int64_t NextDueNs() const;
  size_t pending() const { return pending_.size(); }
  // {pending, delivered, exhausted, deliveries, deliveries_left_min, list[], exhausted_list[]}; the
  // lists hold at most 1,000.
  boost::json::object Status() const;

 private:
  struct Pending {
    std::string corp;
    std::string agent_id;
    std::string kind;
    std::string xml;
    int deliveries_made = 0;  // the one that is out included
    bool out = false;
  };
  int DeliveriesMax() const { return static_cast<int>(options_.callback_retry_ms.size()) + 1; }
  boost::json::object Describe(uint64_t id, const Pending& pending) const;

  const CoreOptions& options_;
  SeededRandom random_;
  uint64_t last_id_ = 0;
  std::map<uint64_t, Pending> pending_;
  std::set<std::pair<int64_t, uint64_t>> waiting_;  // (due, id) of those that are not out
  int64_t out_ = 0;
  int64_t deliveries_ = 0;
  int64_t delivered_ = 0;
  int64_t exhausted_ = 0;
  boost::json::array exhausted_list_;
};

// The plain text of a customer-contact event; empty parts are left out.
std::string ContactEventXml(const std::string& corp, int64_t wall_seconds,
                            const std::string& change_type, const std::string& member,
                            const std::string& customer, const std::string& state,
                            const std::string& welcome_code);

}  // namespace tidegate::wecom_simulator
