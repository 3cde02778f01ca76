"""What the simulated days are held to, and that a missed target is told."""

import copy
import json
import unittest

import sim

GOOD = {
    "window": "sliding",
    "steady": {"accepted": 100, "optimum": 100, "utilisation": 0.999, "rejected": 0,
               "lockout_seconds": 0.0},
    "fair": {"accepted": 50, "rejected": 0, "lockout_seconds": 0.0,
             "jain_corps": {"mean": 0.9995, "min": 0.99, "windows": 9}},
    "makespan": [
        {"calls": 10_000, "fulfilled": 10_000, "seconds": 3.0, "optimum_seconds": 0.0,
         "rejected": 0, "lockout_seconds": 0.0},
        {"calls": 300_000, "fulfilled": 300_000, "seconds": 4500.0, "optimum_seconds": 4440.0,
         "over_optimum": 1.0135, "rejected": 0, "lockout_seconds": 0.0},
        {"calls": 500_000, "fulfilled": 500_000, "seconds": 11_100.0, "optimum_seconds": 11_040.0,
         "over_optimum": 1.0054, "rejected": 0, "lockout_seconds": 0.0}],
    "urgent": [
        {"urgent_calls": 1000, "urgent_missed": 0, "urgent_p999_ms": 9.3, "first_byte_p999_ms": 71.2,
         "urgent_connections": 64, "stall_seconds": 0, "bulk_calls": 200, "bulk_fulfilled": 200,
         "bulk_inflation": 1.01, "rejected": 0},
        {"urgent_calls": 1000, "urgent_missed": 0, "urgent_p999_ms": 378.2,
         "first_byte_p999_ms": 968.7, "urgent_connections": 0, "stall_seconds": 0,
         "bulk_calls": 200, "bulk_fulfilled": 200, "bulk_inflation": 1.01, "rejected": 0},
        {"urgent_calls": 1000, "urgent_missed": 0, "urgent_p999_ms": 1394.2,
         "first_byte_p999_ms": 2507.8, "urgent_connections": 64, "stall_seconds": 3,
         "bulk_calls": 200, "bulk_fulfilled": 200, "bulk_inflation": 1.01, "rejected": 0}],
    "campaigns": [{"campaigns": 2, "sizes": "20000:20", "jain_campaigns": 0.9993}],
    "concurrency": [
        {"api": "mark_tag", "known": 5, "at_once": 5, "calls": 100, "fulfilled": 100,
         "over_best": 1.01, "refused_per_10000": 0.0, "rejected": 0},
        {"api": "mark_tag", "known": 10, "at_once": 5, "calls": 100, "fulfilled": 100,
         "over_best": 1.01, "refused_per_10000": 1.5, "refused_per_later_ceiling": 1.0, "rejected": 3},
        {"api": "mark_tag", "known": 10, "at_once": 10, "calls": 100, "fulfilled": 95, "others": 5,
         "refused_per_10000": 0.1, "refused_per_later_ceiling": 1.2, "rejected": 6,
         "all_used_after_seconds": 200.0}],
}


class JudgedTest(unittest.TestCase):
    def test_what_is_judged_has_one_name_each(self):
        found = sim.judged(GOOD)
        self.assertEqual(found["utilisation"], 0.999)
        self.assertEqual(found["makespan_over_optimum"],
                         {"10000": None, "300000": 1.0135, "500000": 1.0054})
        self.assertEqual(found["jain_campaigns"], 0.9993)
        # Beside another program it is shown and not judged.
        self.assertEqual(found["refused_per_later_ceiling"], 1.0)
        # Neither the stalls' nor that of connections together.
        self.assertEqual(found["urgent_p999_ms"], 9.3)
        self.assertEqual(found["urgent_missed"], 0)

    def test_what_was_not_run_has_no_value(self):
        few = {**GOOD, "urgent": [], "campaigns": []}
        del few["fair"]
        self.assertIsNone(sim.judged(few)["jain_corps"])
        self.assertIsNone(sim.judged(few)["urgent_p999_ms"])


class FailuresTest(unittest.TestCase):
    def setUp(self):
        self.result = copy.deepcopy(GOOD)

    def told(self):
        return list(sim.failures([self.result]))

    def test_nothing_is_told_of_a_good_run(self):
        self.assertEqual(self.told(), [])

    def test_a_low_utilisation(self):
        self.result["steady"]["utilisation"] = 0.99
        self.assertEqual(self.told(), ["sliding: utilisation 0.9900, wanted 0.995"])

    def test_an_unfair_share(self):
        self.result["fair"]["jain_corps"]["mean"] = 0.99
        self.assertEqual(len(self.told()), 1)

    def test_one_refusal(self):
        self.result["makespan"][1]["rejected"] = 1
        self.assertEqual(self.told(), ["sliding, 300000 calls: 1 refused, 0.0 s of lockouts, "
                                       "wanted none"])

    def test_a_late_end(self):
        for index, key, value in ((0, "seconds", 61.0), (1, "over_optimum", 1.03),
                                  (2, "over_optimum", 1.011)):
            self.result = copy.deepcopy(GOOD)
            self.result["makespan"][index][key] = value
            self.assertEqual(len(self.told()), 1, index)

    def test_a_call_that_was_not_made(self):
        self.result["makespan"][0]["fulfilled"] -= 1
        self.assertEqual(self.told(), ["sliding, 10000 calls: 9999 fulfilled"])

    def test_a_welcome_that_is_late_missed_or_in_the_way(self):
        for key, value in (("urgent_missed", 1), ("urgent_p999_ms", 50.1), ("bulk_inflation", 1.06),
                           ("bulk_fulfilled", 199), ("rejected", 1)):
            self.result = copy.deepcopy(GOOD)
            self.result["urgent"][0][key] = value
            self.assertEqual(len(self.told()), 1, key)

    def test_what_shared_connections_cost_is_shown_and_not_judged(self):
        self.result["urgent"][1]["urgent_p999_ms"] = 5000.0
        self.assertEqual(self.told(), [])

    def test_with_stalls_a_missed_welcome_counts(self):
        self.result["urgent"][2]["urgent_missed"] = 1
        self.assertEqual(self.told(), ["sliding: 1 of 1000 welcomes missed"])

    def test_an_unfair_share_of_campaigns(self):
        self.result["campaigns"][0]["jain_campaigns"] = 0.98
        self.assertEqual(self.told(), ["sliding: Jain's index of 2 campaigns 0.9800, wanted 0.99"])

    def test_calls_at_once_that_are_refused_or_not_used(self):
        for index, key, value in ((0, "rejected", 1), (0, "over_best", 1.03), (0, "fulfilled", 99),
                                  (1, "refused_per_later_ceiling", 1.01), (1, "refused_per_10000", 10.1),
                                  (1, "over_best", 1.03), (2, "all_used_after_seconds", None),
                                  (2, "refused_per_10000", 10.1)):
            self.result = copy.deepcopy(GOOD)
            self.result["concurrency"][index][key] = value
            self.assertEqual(len(self.told()), 1, (index, key))

    def test_the_record_says_what_was_run(self):
        options = sim.parse(["dispatch", "--seed", "7", "--hours", "2"])
        found = sim.record(options, sim.tree(), [self.result])
        self.assertEqual((found["seed"], found["hours"], found["corps"]), (7, 2, 100))
        self.assertRegex(found["commit"], "^[0-9a-f]{40}$")
        self.assertEqual(found["windows"], [self.result])

    def test_the_table_has_a_line_for_each(self):
        lines = sim.dispatch_table([GOOD, json.loads(json.dumps(GOOD))]).splitlines()
        self.assertEqual(len(lines), 5 + 2 * (1 + 3 + 3 + 1 + 3))


class OutreachTest(unittest.TestCase):
    GOOD = {"customers": 1000, "reached": 995, "best": 1000, "ratio": 0.995, "over_quota": 0,
            "said_over_quota": 0, "most_reminders": 3, "in_quiet_hours": 0, "refused": {}}

    def test_each_target_is_judged(self):
        self.assertEqual(list(sim.outreach_failures(self.GOOD)), [])
        for wrong in ({"ratio": 0.98}, {"over_quota": 1}, {"said_over_quota": 1},
                      {"most_reminders": 4}, {"in_quiet_hours": 1}, {"refused": {"45009": 1}}):
            self.assertEqual(len(list(sim.outreach_failures({**self.GOOD, **wrong}))), 1, wrong)

    def test_members_are_few(self):
        with self.assertRaises(SystemExit):
            sim.parse(["outreach", "--customers", "100", "--members", "11"])

    def test_the_table_has_a_line_for_each(self):
        self.assertEqual(len(sim.outreach_table(self.GOOD).splitlines()), len(self.GOOD))


class YardstickTest(unittest.TestCase):
    def test_ours_is_judged(self):
        good = {"utilisation": 1.0, "refused": 0, "lockouts": 0}
        found = {"calm": {"policies": [{"policy": "ours", "sliding": good, "fixed": dict(good)}]}}
        self.assertEqual(list(sim.yardstick_failures(found)), [])
        found["calm"]["policies"][0]["fixed"]["refused"] = 1
        self.assertEqual(len(list(sim.yardstick_failures(found))), 1)
        self.assertIn("100.0% / 1 / 0", sim.yardstick_table(found))


if __name__ == "__main__":
    unittest.main()
