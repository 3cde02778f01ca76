// One schedule of the deterministic simulation: all cores, one log in memory, the simulator's core
// and a fake clock, in one thread, from one seed. Faults first, then quiet until everything is
// done; then the judge looks from outside.
//
//   Verdict verdict = RunSchedule(seed);
//   if (!verdict.violations.empty()) ...   // the same seed gives the same verdict
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tidegate::simulation {

struct Verdict {
  std::vector<std::string> violations;  // empty: all held
  std::string witness_hash;             // of all that WeCom saw, in order
  // What happened, so that a run that proves nothing shows.
  int crashes = 0;
  int takeovers = 0;
  int append_faults = 0;
  int doubts = 0;
  int creates_executed = 0;
  int late_creates = 0;  // first byte after the send deadline, of a process that stood still
  int ends_told = 0;     // ends of former owners that an owner journaled
};

Verdict RunSchedule(uint64_t seed);

}  // namespace tidegate::simulation
