// One line of the witness log: what one API call asked for and what became of it, whether or not an
// answer ever left.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tidegate::wecom_simulator {

struct WitnessEntry {
  int64_t t_raw_ns = 0;   // CLOCK_MONOTONIC_RAW at arrival
  int64_t t_wall_ns = 0;  // Unix time at arrival
  std::string corp;       // empty if the token tells none
  std::string api;        // "unknown" for a path that is none
  std::string ip;
  std::string sha256;  // of the body, hex
  std::vector<std::string> recipients;
  std::string sender;
  std::string marker;
  std::string verdict;  // executed | rejected | dropped
  int errcode = 0;
  std::string msgid;  // of an executed create; the one that a reminder names
  std::vector<std::string> fail_list;
  std::vector<std::string> over_quota;  // get_groupmsg_send_result: answered as status 3
  std::string fault;
  std::vector<std::string> add;             // mark_tag
  std::vector<std::string> remove;          // mark_tag
  int64_t age_ms = -1;                      // send_welcome_msg: of the code; -1 = not known
  std::vector<std::string> delivered;       // message_send: who got it
  std::vector<std::string> over_frequency;  // message_send: who did not, without a word
  bool duplicate = false;                   // message_send: had been sent before, nobody got it
  int64_t executed_after_ms = 0;            // DELAY_EXEC: after the arrival
};

// A JSON object and a newline. mark_tag alone has add and remove, send_welcome_msg alone age_ms,
// get_groupmsg_send_result over_quota, message_send delivered, over_frequency and duplicate.
std::string ToLine(const WitnessEntry& entry, uint64_t seq);

}  // namespace tidegate::wecom_simulator
