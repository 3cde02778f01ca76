#include "services/wecom_simulator/core/witness_entry.h"

#include <boost/json.hpp>

#include "services/wecom_simulator/core/fields.h"

namespace tidegate::wecom_simulator {

std::string ToLine(const WitnessEntry& entry, uint64_t seq) {
  boost::json::object line{{"seq", seq},
                           {"t_raw_ns", entry.t_raw_ns},
                           {"t_wall", entry.t_wall_ns},
                           {"corp", entry.corp},
                           {"api", entry.api},
                           {"ip", entry.ip},
                           {"sha256", entry.sha256},
                           {"recipients", JsonStrings(entry.recipients)},
                           {"sender", entry.sender},
                           {"marker", entry.marker},
                           {"verdict", entry.verdict},
                           {"errcode", entry.errcode},
                           {"msgid", entry.msgid},
                           {"fail_list", JsonStrings(entry.fail_list)},
                           {"fault", entry.fault}};
  if (entry.api == "mark_tag") {
    line["add"] = JsonStrings(entry.add);
    line["remove"] = JsonStrings(entry.remove);
  }
  if (entry.api == "get_groupmsg_send_result") line["over_quota"] = JsonStrings(entry.over_quota);
  if (entry.api == "send_welcome_msg") line["age_ms"] = entry.age_ms;
  if (entry.api == "message_send") {
    line["delivered"] = JsonStrings(entry.delivered);
    line["over_frequency"] = JsonStrings(entry.over_frequency);
    line["duplicate"] = entry.duplicate;
  }
  if (entry.executed_after_ms > 0) line["executed_after_ms"] = entry.executed_after_ms;
  return boost::json::serialize(line) + "\n";
}

}  // namespace tidegate::wecom_simulator
