// The simulation as a test. `simulation_test --seeds 1000` (or TIDEGATE_SEEDS=1000) runs more
// schedules;
// `--first N` starts elsewhere. `--expect-caught` is for the mutants: it succeeds when a schedule
// fails.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <iostream>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/simulation/schedule.h"

namespace tidegate::simulation {
namespace {

uint64_t first_seed = 1;
uint64_t seeds = 200;

TEST(SimulationTest, NothingIsLostOrRepeatedOrOverALimitInAnySchedule) {
  Verdict sum;
  for (uint64_t seed = first_seed; seed < first_seed + seeds; ++seed) {
    const Verdict verdict = RunSchedule(seed);
    ASSERT_TRUE(verdict.violations.empty())
        << "seed " << seed << ": " << absl::StrJoin(verdict.violations, "; ")
        << "\nreplay: simulation_test --seeds 1 --first " << seed;
    sum.crashes += verdict.crashes;
    sum.takeovers += verdict.takeovers;
    sum.append_faults += verdict.append_faults;
    sum.doubts += verdict.doubts;
    sum.creates_executed += verdict.creates_executed;
    sum.late_creates += verdict.late_creates;
    sum.ends_told += verdict.ends_told;
  }
  std::cout << seeds << " schedules: " << sum.crashes << " crashes, " << sum.takeovers
            << " takeovers, " << sum.append_faults << " append faults, " << sum.doubts
            << " doubts, " << sum.creates_executed << " creates executed, " << sum.late_creates
            << " of them late, " << sum.ends_told << " ends of former owners told\n";
  // A run in which nothing went wrong proves nothing.
  if (seeds >= 20) {
    EXPECT_GT(sum.crashes, 0);
    EXPECT_GT(sum.takeovers, 0);
    EXPECT_GT(sum.append_faults, 0);
    EXPECT_GT(sum.doubts, 0);
    EXPECT_GT(sum.late_creates, 0);
    EXPECT_GT(sum.ends_told, 0);
  }
}

TEST(SimulationTest, TheSameSeedGivesTheSameRun) {
  EXPECT_EQ(RunSchedule(first_seed).witness_hash, RunSchedule(first_seed).witness_hash);
  EXPECT_NE(RunSchedule(first_seed).witness_hash, RunSchedule(first_seed + 1).witness_hash);
}

// A mutant may break an invariant so badly that a CHECK stops the process: each schedule has its
// own. A verdict of the judge is the better catch, so the search goes on for one.
int ExpectCaught() {
  uint64_t stopped = 0;
  for (uint64_t seed = first_seed; seed < first_seed + seeds; ++seed) {
    const pid_t child = fork();
    if (child == 0) {
      const Verdict verdict = RunSchedule(seed);
      if (verdict.violations.empty()) _exit(0);
      std::cout << "CAUGHT at seed " << seed << ": " << verdict.violations.front() << std::endl;
      _exit(1);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) return 2;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 1) return 0;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) ++stopped;
  }
  if (stopped > 0) {
    std::cout << "CAUGHT: a CHECK stopped " << stopped << " of " << seeds << " schedules\n";
    return 0;
  }
  std::cout << "MISSED in " << seeds << " schedules\n";
  return 1;
}

}  // namespace
}  // namespace tidegate::simulation

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  bool expect_caught = false;
  if (const char* text = std::getenv("TIDEGATE_SEEDS")) {
    if (!absl::SimpleAtoi(text, &tidegate::simulation::seeds)) return 2;
  }
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--expect-caught") {
      expect_caught = true;
    } else if (flag == "--seeds" && i + 1 < argc) {
      if (!absl::SimpleAtoi(argv[++i], &tidegate::simulation::seeds)) return 2;
    } else if (flag == "--first" && i + 1 < argc) {
      if (!absl::SimpleAtoi(argv[++i], &tidegate::simulation::first_seed)) return 2;
    } else {
      std::cerr << "usage: simulation_test [--seeds N] [--first N] [--expect-caught]\n";
      return 2;
    }
  }
  return expect_caught ? tidegate::simulation::ExpectCaught() : RUN_ALL_TESTS();
}
