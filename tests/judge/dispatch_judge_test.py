"""The judge of runs under kills, on the small good run of judge_test.py and faults planted in it.
Run: python3 -m unittest discover -s tests/judge -p '*_test.py'"""

import os
import tempfile
import unittest

import dispatch_judge
from judge_test import SECOND, Run, customer


class DispatchRun(Run):
    """The good run; the first attempt of the second call met a fault."""

    starts, terms_ns, told = 1, (), None

    def __init__(self):
        super().__init__()
        self.create(1, 12.5, [customer(3), customer(4)], "", verdict="dropped",
                    fault="DROP_THEN_CLOSE")
        self.call("gettoken", 4)

    def write(self, folder):
        super().write(folder)
        with open(os.path.join(folder, "purchases.csv"), "w", encoding="utf-8") as file:
            file.write("customer,order_id,paid_time,amount\n")
            file.writelines(f"{customer(number)},{number}-{order},2026-01-01,1.00\n"
                            for number in (1, 2, 3, 4) for order in range(3))
            file.write(f"{customer(5)},5-0,2026-01-01,1.00\n")

    def judge(self):
        with tempfile.TemporaryDirectory() as folder:
            self.write(folder)
            return dispatch_judge.judge(folder, 3, self.starts, self.terms_ns, self.told)


class DispatchJudgeTest(unittest.TestCase):
    def setUp(self):
        self.run_ = DispatchRun()

    def assert_violated(self, name, text):
        verdict = self.run_.judge()
        self.assertFalse(verdict["valid"])
        self.assertIn(text, "\n".join(verdict["checks"][name]["violations"]), verdict["checks"])
        return verdict

    def test_good_run_is_valid(self):
        verdict = self.run_.judge()
        self.assertTrue(verdict["valid"], verdict["checks"])
        self.assertEqual((verdict["duplicates"], verdict["lost"], verdict["above_limits"]),
                         (0, 0, 0))
        self.assertEqual((verdict["campaigns"], verdict["touches"]), (1, 4))
        self.assertEqual(verdict["welcomes"], {"requested": 1, "sent": 1})
        self.assertEqual(verdict["faults"], {"add_msg_template": {"DROP_THEN_CLOSE": 1}})
        self.assertEqual(verdict["doubts"]["by_cause"],
                         {"DROP_THEN_CLOSE": {"opened": 1, "not_executed": 1}})

    def test_a_create_executed_twice(self):
        self.run_.create(0, 12, [customer(1), customer(2)], "msg9")
        self.assertEqual(self.assert_violated("I-1", "executed 2 times")["duplicates"], 2)

    def test_a_welcome_executed_twice(self):
        self.run_.call("send_welcome_msg", 7, sha256="bb", recipients=["wm9"], age_ms=900)
        self.assertEqual(self.run_.judge()["duplicates"], 1)

    def test_a_lost_customer(self):
        self.run_.witness[1]["recipients"].remove(customer(3))
        self.assertEqual(self.assert_violated("I-3", "lost")["lost"], 1)

    def test_a_lost_welcome(self):
        self.run_.witness = [line for line in self.run_.witness
                             if line["api"] != "send_welcome_msg"]
        self.assertEqual(self.run_.judge()["lost"], 1)

    def test_a_callback_that_was_taken_and_forgotten(self):
        self.run_.told = 2
        self.assertEqual(self.run_.judge()["lost"], 1)

    def test_what_was_settled_wrongly(self):
        self.run_.witness[-2].update(verdict="executed", msgid="msg7")
        self.assert_violated("I-6", "called not executed but executed")

    def test_an_attempt_after_one_that_was_accepted(self):
        self.run_.attempt(0, 2, 30)
        self.run_.outcome(0, 2, "REFUSED", errcode=41048)
        self.assert_violated("I-7", "is not known as not executed")

    def test_an_attempt_left_out(self):
        self.run_.attempt(1, 4, 30)
        self.run_.outcome(1, 4, "REFUSED", errcode=41048)
        self.assert_violated("I-7", "has the attempts [1, 2, 4]")

    def test_a_window_too_full(self):
        for batch in (7, 8, 9):
            self.run_.create(batch, 40, [], "", verdict="rejected", errcode=41048)
        self.assertEqual(self.assert_violated("I-9", "3 calls in one window")["above_limits"], 1)

    def test_a_refusal_that_nobody_asked_for(self):
        line = self.run_.create(7, 40, [], "", verdict="rejected", errcode=45009)
        self.assertEqual(self.assert_violated("I-9", "refused with 45009")["above_limits"], 1)
        line["fault"] = "REJECT:45009"
        self.assertTrue(self.run_.judge()["valid"])

    def refused(self, *attempts_at_s):
        """A call refused with 45009 at 50 s, and attempts of others after it."""
        self.run_.attempt(5, 1, 49)
        self.run_.outcome(5, 1, "NOT_EXECUTED", errcode=45009,
                          completed={"raw_ns": str(50 * SECOND)})
        for batch, at_s in enumerate(attempts_at_s, 6):
            self.run_.attempt(batch, 1, at_s)
            self.run_.outcome(batch, 1, "REFUSED", errcode=41048)

    def test_calls_inside_a_lockout(self):
        self.refused(51, 52)
        self.assert_violated("I-9b", "2 creates were tried inside the lockout")

    def test_one_call_inside_a_lockout_may_be(self):
        self.refused(51, 56)
        self.assertTrue(self.run_.judge()["checks"]["I-9b"]["ok"])

    def test_too_many_tokens(self):
        self.run_.call("gettoken", 8)
        self.assert_violated("I-10", "2 tokens fetched in 1 starts with 0 tokens refused")
        self.run_.call("mark_tag", 8, recipients=["x"], add=[], verdict="rejected", errcode=42001)
        self.assertTrue(self.run_.judge()["checks"]["I-10"]["ok"])

    def test_a_doubt_that_stays(self):
        self.run_.attempt(5, 1, 49)
        self.run_.outcome(5, 1, "DOUBT")
        self.assert_violated("I-15", "has no end")

    def test_an_attempt_that_sigterm_left_open(self):
        self.run_.attempt(5, 1, 49)
        fence = self.run_.fence(2)
        fence["header"]["fence"] = {"wall_time_ns": str(60 * SECOND)}
        self.run_.ledger.append(fence)
        self.assertTrue(self.run_.judge()["checks"]["drain"]["ok"])
        self.run_.terms_ns = [55 * SECOND]
        self.assert_violated("drain", "attempt 1 of call call5 was left open by SIGTERM")


if __name__ == "__main__":
    unittest.main()
