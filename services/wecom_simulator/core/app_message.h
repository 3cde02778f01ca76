// Messages of a corp's apps to its members: whom they really reach. A body that was sent before is
// taken and reaches nobody; what is too much for a member is dropped without a word.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "services/wecom_simulator/core/corp.h"
#include "services/wecom_simulator/core/fields.h"
#include "services/wecom_simulator/core/options.h"
#include "services/wecom_simulator/core/windows.h"

namespace tidegate::wecom_simulator {

// The members that a body names, in its order.
std::vector<std::string> MembersOf(const boost::json::object& body);
// The marker of a body: the query value `tg` of its card's url, else its field `tg`.
std::string AppMarkerOf(const boost::json::object& body);

// Of one corp. Not thread-safe. Keeps references to `options` and `corp`, which must outlive it.
class AppMessages {
 public:
  AppMessages(const CoreOptions& options, const Corp& corp) : options_(options), corp_(corp) {}

  struct Sent {
    ApiError error;
    std::string msgid;
    std::vector<std::string> invalid;    // no members, in lower case
    std::vector<std::string> delivered;  // who got it now
    std::vector<std::string> dropped;    // had too many already
    bool duplicate = false;              // had been sent before: nobody got it
  };
  // `sha256`: of the whole body, byte by byte.
  Sent Send(const boost::json::object& body, const std::string& sha256, const std::string& agent_id,
            const Now& now);

 private:
  struct Earlier {
    int64_t at_raw_ns = 0;
    int64_t check_ns = 0;
    std::string msgid;
  };
  // Whether the member gets one more, which is counted then.
  bool Reaches(const std::string& agent_id, const std::string& member, int64_t raw_ns);

  const CoreOptions& options_;
  const Corp& corp_;
  uint64_t made_ = 0;
  // By app and member, one for each limit.
  std::map<std::pair<std::string, std::string>, std::vector<Window>> counts_;
  std::map<std::pair<std::string, std::string>, Earlier> earlier_;  // by app, body
};

}  // namespace tidegate::wecom_simulator
