// Mass sends of one corp: creating, distribution, members who confirm late or never, listing with
// lag, results. What a member does is fixed by the seed when the task is made.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "services/wecom_simulator/core/corp.h"
#include "services/wecom_simulator/core/fields.h"
#include "services/wecom_simulator/core/options.h"

namespace tidegate::wecom_simulator {

// What a customer's lot is, by (seed, corp, customer).
enum class CustomerKind { kFine, kBroken, kOverQuota, kFailList };
CustomerKind KindOf(const CoreOptions& options, const std::string& corp,
                    const std::string& customer);

// Not thread-safe. Keeps references to `options` and `corp`, which must outlive it.
class MassSends {
 public:
  MassSends(const CoreOptions& options, const Corp& corp) : options_(options), corp_(corp) {}

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
  ApiError Tasks(const boost::json::object& body, const Now& now,
                 boost::json::object* answer) const;
  ApiError Results(const boost::json::object& body, const Now& now,
                   boost::json::object* answer) const;

  // Every task with the status of each recipient now and when all members who will have confirmed.
  boost::json::array Truth(const Now& now) const;

  size_t size() const { return sends_.size(); }

 private:
  struct MemberTask {
    std::string member;
    int64_t confirmed_raw_ns = 0;  // INT64_MAX = never
    std::vector<std::string> customers;
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
    bool cancelled = false;
  };

  ApiError Candidates(const boost::json::object& body, const std::string& sender,
                      std::vector<std::string>* customers) const;
  // The member who gets this customer's task; empty if there is none.
  std::string RouteTo(const std::string& sender, const std::string& customer) const;
  // Finds the task of a read call and checks that it is distributed.
  ApiError FindSend(const boost::json::object& body, const Now& now, const Send** out) const;
  int64_t ConfirmedAt(const Send& send, const std::string& member) const;
  int StatusAt(const MemberTask& task, const std::string& customer, int64_t raw_ns) const;
  static int64_t WallSeconds(const Send& send, int64_t raw_ns);

  const CoreOptions& options_;
  const Corp& corp_;
  std::vector<Send> sends_;  // in the order of the creates
};

}  // namespace tidegate::wecom_simulator
