#include "services/wecom_simulator/core/faults.h"

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace tidegate::wecom_simulator {

absl::Status ParseFault(absl::string_view api, absl::string_view text, Fault* fault) {
  fault->name = std::string(text);
  fault->code = 0;
  if (text == "EXEC_THEN_CLOSE") {
    fault->kind = Fault::Kind::kExecThenClose;
  } else if (text == "EXEC_THEN_TIMEOUT") {
    fault->kind = Fault::Kind::kExecThenTimeout;
  } else if (text == "DROP_THEN_CLOSE") {
    fault->kind = Fault::Kind::kDropThenClose;
  } else if (text == "DELAY_EXEC") {
    if (api != "add_msg_template") {
      return absl::InvalidArgumentError("DELAY_EXEC exists for add_msg_template only");
    }
    fault->kind = Fault::Kind::kDelayExec;
  } else if (text == "LIST_ERR") {
    if (api != "get_groupmsg_list_v2") {
      return absl::InvalidArgumentError("LIST_ERR exists for get_groupmsg_list_v2 only");
    }
    fault->kind = Fault::Kind::kReject;
    fault->code = -1;
  } else if (absl::StartsWith(text, "REJECT:") && absl::SimpleAtoi(text.substr(7), &fault->code) &&
             fault->code != 0) {
    fault->kind = Fault::Kind::kReject;
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown fault \"", text,
                     "\"; known: EXEC_THEN_CLOSE, EXEC_THEN_TIMEOUT, DELAY_EXEC, "
                     "DROP_THEN_CLOSE, LIST_ERR, REJECT:<code>"));
  }
  return absl::OkStatus();
}

void Faults::AddNext(const std::string& api, const Fault& fault, int64_t count) {
  rules_.push_back({api, fault, count, 0});
}

void Faults::SetProbability(const std::string& api, const Fault& fault, double probability) {
  std::erase_if(rules_, [&](const Rule& rule) {
    return rule.next == 0 && rule.api == api && rule.fault.name == fault.name;
  });
  if (probability > 0) rules_.push_back({api, fault, 0, probability});
}

Fault Faults::Take(const std::string& api, bool executes) {
  auto fits = [&](const Rule& rule) {
    return (rule.api == api || rule.api == "*") && rule.fault.executes() == executes;
  };
  for (auto rule = rules_.begin(); rule != rules_.end(); ++rule) {
    if (rule->next == 0 || !fits(*rule)) continue;
    const Fault fault = rule->fault;
    if (--rule->next == 0) rules_.erase(rule);
    return fault;
  }
  for (const Rule& rule : rules_) {
    if (rule.next == 0 && fits(rule) && random_.Chance(rule.probability)) return rule.fault;
  }
  return {};
}

}  // namespace tidegate::wecom_simulator
