// Mass sends of one corp: creating, distribution, members who confirm late or never, listing with
// lag, results. What a member does is fixed by the seed when the task is made.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "services/wecom_simulator/core/corp.h"
#include "services/wecom_simulator/core/fields.h"
#include "services/wecom_simulator/core/options.h"
#include "services/wecom_simulator/core/receive_quota.h"

namespace tidegate::wecom_simulator {

// What a customer's lot is, by (seed, corp, customer).
enum class CustomerKind { kFine, kBroken, kOverQuota, kFailList };
CustomerKind KindOf(const CoreOptions& options, const std::string& corp,
                    const std::string& customer);

// When a member confirms a task (msgid), as chance of the seed has it: nanoseconds after it came,
// and after its n-th reminder if it has not been confirmed by then. INT64_MAX: never.
int64_t OwnConfirmNs(const CoreOptions& options, const std::string& corp, const std::string& member,
                     const std::string& msgid);
int64_t RemindedConfirmNs(const CoreOptions& options, const std::string& corp,
                          const std::string& member, const std::string& msgid, size_t reminder);

// What became of one recipient of a mass send.
struct Recipient {
  const std::string& msgid;
  const std::string& member;
  const std::string& customer;
  int status = 0;                // as get_groupmsg_send_result has it
  int64_t confirmed_raw_ns = 0;  // by the member; INT64_MAX = never
};

// Not thread-safe. Keeps references to `options` and `corp`, which must outlive it.
class MassSends {
 public:
  MassSends(const CoreOptions& options, const Corp& corp)
      : options_(options), corp_(corp), quota_(options.receive_quota) {}

  struct Created {
    ApiError error;
    std::vector<std::string> fail_list;  // also on 41048
    std::string msgid;                   // empty on an error
  };
  // `fit` is asked once nothing stands against the create: how long after `now` it executes, in ns
  // (0 = at once; more is a fault).
  Created Create(const boost::json::object& body, const Now& now,
                 const std::function<int64_t()>& fit);

  // Members who have not confirmed yet never will; 41093 if it was taken back before.
  ApiError Cancel(const boost::json::object& body, const Now& now);

  // The three reads fill `answer` with their result fields; on an error those are empty.
  ApiError List(const boost::json::object& body, const Now& now, boost::json::object* answer) const;
  ApiError Tasks(const boost::json::object& body, const Now& now, boost::json::object* answer);
  // `over_quota`: the customers on the page whom it tells as status 3.
  ApiError Results(const boost::json::object& body, const Now& now, boost::json::object* answer,
                   std::vector<std::string>* over_quota);

  // Asks the members who have not confirmed again.
  ApiError Remind(const boost::json::object& body, const Now& now);

  void EachRecipient(const Now& now, const std::function<void(const Recipient&)>& tell);
  // Every task with the status of each recipient now and when all members who will have confirmed.
  boost::json::array Truth(const Now& now);

  size_t size() const { return sends_.size(); }
  // Recipients until now who had received all that they may.
  int64_t OverQuota(const Now& now);

 private:
  struct MemberTask {
    std::string member;
    int64_t confirmed_raw_ns = 0;  // INT64_MAX = never
    std::vector<std::string> customers;
    std::vector<uint8_t> statuses;  // of each, from the confirmation on
    // 0 before the confirmation.
    int StatusOf(size_t place) const { return statuses.empty() ? 0 : statuses[place]; }
  };
  struct Send {
    std::string msgid;
    std::string sender;
    int64_t executed_raw_ns = 0;
    int64_t executed_wall_ns = 0;
    boost::json::value text;         // as sent; null if absent
    boost::json::value attachments;  // as sent; null if absent
    std::vector<MemberTask> tasks;
    std::vector<std::string> fail_list;
    std::vector<int64_t> reminded_raw_ns;
    bool cancelled = false;
  };

  ApiError Candidates(const boost::json::object& body, const std::string& sender,
                      std::vector<std::string>* customers) const;
  // The member who gets this customer's task; empty if there is none.
  std::string RouteTo(const std::string& sender, const std::string& customer) const;
  // Finds the task of a read call and checks that it is distributed.
  ApiError FindSend(const boost::json::object& body, const Now& now, const Send** out) const;
  // What each customer of a task gets when its member confirms; takes it from their quota.
  std::vector<uint8_t> Confirm(const Send& send, const MemberTask& task, ReceiveQuota* quota,
                               int64_t* over_quota) const;
  // A member who has not confirmed does then.
  void ConfirmAt(size_t send, size_t task, int64_t raw_ns);
  // All members whose time has come, in the order of time.
  void ConfirmDue(int64_t raw_ns);
  static int64_t WallNs(const Send& send, int64_t raw_ns);

  const CoreOptions& options_;
  const Corp& corp_;
  std::vector<Send> sends_;                // in the order of the creates
  std::map<std::string, size_t> send_of_;  // by msgid
  ReceiveQuota quota_;
  int64_t over_quota_ = 0;
  // Tasks (send, task of it) by when their members confirm.
  std::multimap<int64_t, std::pair<size_t, size_t>> unconfirmed_;
};

}  // namespace tidegate::wecom_simulator
