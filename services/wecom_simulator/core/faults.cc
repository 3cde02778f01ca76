#include "services/wecom_simulator/core/faults.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace tidegate::wecom_simulator {

namespace {

constexpr std::pair<absl::string_view, Fault::Kind> kNamed[] = {
    {"EXEC_THEN_CLOSE", Fault::Kind::kExecThenClose},
    {"EXEC_THEN_RST", Fault::Kind::kExecThenReset},
    {"EXEC_THEN_TIMEOUT", Fault::Kind::kExecThenTimeout},
    {"EXEC_THEN_5XX", Fault::Kind::kExecThen5xx},
    {"EXEC_THEN_-1", Fault::Kind::kExecThenMinusOne},
    {"EXEC_THEN_GARBAGE", Fault::Kind::kExecThenGarbage},
    {"DELAY_EXEC", Fault::Kind::kDelayExec},
    {"DROP_THEN_CLOSE", Fault::Kind::kDropThenClose},
    {"LIST_ERR", Fault::Kind::kReject},
};

}  // namespace

absl::Status ParseFault(absl::string_view api, absl::string_view text, Fault* fault) {
  fault->name = std::string(text);
  fault->code = 0;
  if (absl::StartsWith(text, "REJECT:") && absl::SimpleAtoi(text.substr(7), &fault->code) &&
      fault->code != 0) {
    fault->kind = Fault::Kind::kReject;
    return absl::OkStatus();
  }
  const auto named = std::find_if(std::begin(kNamed), std::end(kNamed),
                                  [&](const auto& each) { return each.first == text; });
  if (named == std::end(kNamed)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "unknown fault \"", text, "\"; known: ",
        absl::StrJoin(kNamed, ", ",
                      [](std::string* out, const auto& each) { absl::StrAppend(out, each.first); }),
        ", REJECT:<code>"));
  }
  fault->kind = named->second;
  if (text == "DELAY_EXEC" && api != "add_msg_template") {
    return absl::InvalidArgumentError("DELAY_EXEC exists for add_msg_template only");
  }
  if (text == "LIST_ERR") {
    if (api != "get_groupmsg_list_v2") {
      return absl::InvalidArgumentError("LIST_ERR exists for get_groupmsg_list_v2 only");
    }
    fault->code = -1;
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
