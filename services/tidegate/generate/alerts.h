// The alerts, as data. An alert that pages needs a human now; a ticket can wait for the morning.
// What to do about each stands in docs/runbooks.md under a heading of its name. Pure; any thread.
//
// Three rules that the expressions keep:
// - A cause alerts once. What only makes another thing fail is a panel, not an alert.
// - Empty token buckets alert nobody: a campaign that runs well keeps them empty.
// - A start replays journals, and counters that follow from them may jump then. Alerts on those
//   leave out processes that are younger than the window.
#pragma once

#include <string>
#include <vector>

namespace tidegate::generate {

enum class Severity { kPage, kTicket };

struct Alert {
  std::string name;
  Severity severity = Severity::kTicket;
  // PromQL; lines end where a person would break them.
  std::string expression;
  std::string hold_for;  // a duration of Prometheus; empty = at once
  // One line: what is wrong, and where.
  std::string summary;
  // What it means, with the value.
  std::string description;
};

std::vector<Alert> AllAlerts();

// "page" or "ticket".
std::string SeverityName(Severity severity);

// The anchor that a heading with the alert's name has in the runbook.
std::string RunbookAnchor(const Alert& alert);

}  // namespace tidegate::generate
