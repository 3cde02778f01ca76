"""The plan of kills, and when a run counts. No process is started.
Run: python3 -m unittest discover -s tests/chaos -p '*_test.py'"""

import argparse
import os
import sys
import unittest
from collections import Counter

for folder in ("demo", "judge"):
    sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), folder))

import kill_plan  # noqa: E402
import summary_of_kills as summary  # noqa: E402
from chaos_run import claimed_faults  # noqa: E402

CHECKS = ("I-1", "I-2")


class PlanTest(unittest.TestCase):
    def test_a_hundred_kills_meet_every_point_three_times(self):
        for seed in range(20):
            plan = kill_plan.make(100, seed)
            self.assertEqual(len(plan), 100)
            met = Counter(kill.point for kill in plan if kill.point)
            self.assertEqual(met, {point: 3 for point in kill_plan.POINTS})
            self.assertEqual({kill.kind for kill in plan},
                             {"point", *(kind for kind, _ in kill_plan.OTHERS)})

    def test_comes_from_the_seed(self):
        self.assertEqual(kill_plan.make(30, 1), kill_plan.make(30, 1))
        self.assertNotEqual(kill_plan.make(30, 1), kill_plan.make(30, 2))

    def test_all_may_be_of_one_kind(self):
        self.assertEqual({kill.kind for kill in kill_plan.make(5, 1, "hole")}, {"hole"})
        self.assertEqual({kill.kind for kill in kill_plan.make(5, 1, "point")}, {"point"})

    def test_few_kills_are_of_several_kinds(self):
        self.assertEqual(Counter(kill.kind == "point" for kill in kill_plan.make(10, 3)),
                         {True: 6, False: 4})


class ValidTest(unittest.TestCase):
    """A good round, and what makes it invalid or a failure."""

    def setUp(self):
        plan = kill_plan.make(10, 1)
        faults = {}
        for api, kind in claimed_faults():
            faults.setdefault(api, {})[kind] = 1
        self.options = argparse.Namespace(kills=10, seed=1, kafka=False)
        self.round = {
            "seed": 1, "planned": plan, "missed": [],
            "kills": [{"kind": kill.kind, "restart_ms": 100 + n} for n, kill in enumerate(plan)],
            "holes": [{"held": True, "dead": True}], "taken_back": 1, "delivered_late": 0,
            "points": Counter(kill.point for kill in plan if kill.point),
            "seconds": 10, "calls": 1000, "settle_seconds": 2.0,
            "callbacks_given_up": 0, "exit_codes": {"tidegate": 0},
            "journals": {"violation_counts": {}, "violations": [], "skipped": ["K-4"]},
            "verdict": {
                "checks": {name: {"ok": True, "count": 0, "violations": []} for name in CHECKS},
                "campaigns": 2, "touches": 400, "calls": 900, "creates_executed": 200,
                "duplicates": 0, "lost": 0, "above_limits": 0,
                "welcomes": {"requested": 20, "sent": 20},
                "doubts": {"opened": 3, "accepted": 2, "not_executed": 1, "parked": 0,
                           "by_cause": {"none": {"opened": 3, "accepted": 2, "not_executed": 1}}},
                "parked": 0, "faults": faults, "witness_sha256": ""}}

    def result(self):
        return summary.assemble({"commit": "c", "clean": True}, self.options, [self.round])

    def assert_invalid(self, text):
        result = self.result()
        self.assertFalse(result["valid"])
        self.assertIn(text, " ".join(result["invalid"]))
        self.assertEqual(summary.for_people(result)[-1], "INVALID")

    def assert_failed(self, text):
        result = self.result()
        self.assertTrue(result["valid"])
        self.assertIn(text, " ".join(result["failures"]))

    def test_a_good_round_is_valid(self):
        result = self.result()
        self.assertEqual((result["valid"], result["failures"]), (True, []))
        self.assertEqual(result["restart_ms"], {"median": 104.5, "max": 109})
        self.assertEqual(summary.for_people(result)[-1], "VALID")

    def test_a_point_that_was_not_met(self):
        point = next(iter(self.round["points"]))
        self.round["points"][point] = 0
        self.assert_invalid(f"{point} was planned 1 times and met 0 times")

    def test_a_fault_that_never_fired(self):
        del self.round["verdict"]["faults"]["add_msg_template"]["EXEC_THEN_RST"]
        self.assert_invalid("EXEC_THEN_RST of add_msg_template never fired")

    def test_a_hole_that_swallowed_nothing(self):
        self.round["holes"].append({"held": False, "dead": False})
        self.assert_invalid("1 black holes swallowed nothing")

    def test_no_load(self):
        self.round["calls"] = 10
        self.assert_invalid("calls a second")

    def test_a_kill_too_few(self):
        self.round["kills"].pop()
        self.assert_invalid("9 kills instead of 10")

    def test_a_judge_without_its_input(self):
        self.round["journals"]["skipped"].append("K-3")
        self.assert_invalid("skipped K-3")

    def test_a_duplicate(self):
        self.round["verdict"]["duplicates"] = 1
        self.assert_failed("duplicates is 1, not 0")

    def test_a_violated_check(self):
        self.round["verdict"]["checks"]["I-1"] = {"ok": False, "count": 1, "violations": ["twice"]}
        self.assert_failed("I-1: twice")

    def test_a_violated_journal(self):
        self.round["journals"]["violations"].append(
            {"check": "K-3", "journal": "l", "offset": 3, "what": "no attempt"})
        self.assert_failed("K-3: l offset 3: no attempt")

    def test_a_process_that_did_not_end_well(self):
        self.round["exit_codes"]["tidegate"] = 1
        self.assert_failed("exit codes")


if __name__ == "__main__":
    unittest.main()
