"""What operators do: the kill switch under load, and the word about parked calls."""

import collections
import time
import unittest

from product import CORP, LIMITS, ProductTest, private

CAMPAIGN_SECONDS = 30
CONTENT = "Hello|https://shop.example/a|Shop"


class OperatorTest(ProductTest):
    members = 40
    customers = 400

    @classmethod
    def setUpClass(cls):
        # What listings cannot settle is parked soon.
        settle = {**LIMITS["settle"], "park_after_ms": 1500}
        LIMITS["settle"], usual = settle, LIMITS["settle"]
        try:
            super().setUpClass()
        finally:
            LIMITS["settle"] = usual
        rows = "".join(f"wm{c},m{c % cls.members}\n" for c in range(cls.customers))
        path = cls.folder + "/customers.csv"
        private(path, "external_userid,owner\n" + rows)
        cls.ask_of_class("import", "customers", path)

    @classmethod
    def ask_of_class(cls, *arguments):
        test = cls("test_a_block_holds_everything_back_within_a_second")
        return test.ask(*arguments)

    def launch(self, campaign):
        self.ask("campaign", "create", "--id", campaign, "--audience", "all",
                 "--variant", CONTENT)
        self.ask("campaign", "launch", "--id", campaign)

    def creates(self):
        return [line for line in self.witness() if line["api"] == "add_msg_template"]

    def wait(self, condition, what):
        deadline = time.monotonic() + CAMPAIGN_SECONDS
        while not condition():
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.05)

    def report(self, campaign):
        return self.ask("campaign", "report", "--id", campaign)

    def finish(self, campaign):
        self.wait(lambda: self.report(campaign)["state"] == "CAMPAIGN_STATE_COMPLETED",
                  f"{campaign}: {self.report(campaign)}")
        report = self.report(campaign)
        # Who was over their quota before is skipped.
        self.assertEqual(report["touches_sent"] + report["touches_failed"]
                         + report["touches_skipped"], report["audience"])
        return report

    def test_a_block_holds_everything_back_within_a_second(self):
        for corp, more in ((CORP, ["--campaign", "blocked-0"]), (CORP, []), ("*", [])):
            campaign = f"blocked-{len(more) // 2 ^ 1}" if corp == CORP else "blocked-2"
            with self.subTest(corp=corp, campaign=campaign):
                self.launch(campaign)
                before = len(self.creates())
                self.wait(lambda n=before: len(self.creates()) > n + 3, "nothing was sent")
                words = ["--corp", corp, *more, "--reason", "test", "--actor", "li"]
                self.tidegate("block", "set", *words)
                told = time.time_ns()
                time.sleep(2)
                late = [line for line in self.witness() if line["t_wall"] > told + 1_000_000_000
                        and (not more or line["api"] == "add_msg_template")]
                self.assertEqual(late, [])
                [block] = self.ask("block", "list")["blocks"]
                self.assertEqual((block["corp"], block["reason"]), (corp, "test"))
                if corp == CORP and not more:  # a block outlives the process
                    self.server.kill()
                    self.restart()
                    time.sleep(1)
                    self.assertEqual([line for line in self.witness()
                                      if line["t_wall"] > told + 1_000_000_000], [])
                self.tidegate("block", "end", *words)
                self.finish(campaign)
        count = collections.Counter(line["marker"] for line in self.creates()
                                    if line["verdict"] == "executed")
        self.assertEqual(set(count.values()), {1}, "a call was made twice")

    def test_a_block_ends_by_itself(self):
        self.tidegate("block", "set", "--corp", CORP, "--reason", "test", "--actor", "li",
                      "--for", "2")
        before = len(self.creates())
        self.launch("for-a-while")
        time.sleep(0.5)
        self.assertEqual(len(self.creates()), before)
        self.finish("for-a-while")
        self.assertEqual(self.ask("block", "list")["blocks"], [])

    def park(self, campaign, calls):
        """Doubts of a campaign that no listing can settle."""
        self.simulator.post("/control/faults", {"api": "get_groupmsg_list_v2", "kind": "LIST_ERR",
                                                "probability": 1})
        self.simulator.post("/control/faults", {"api": "add_msg_template",
                                                "kind": "EXEC_THEN_CLOSE", "next": calls})
        self.launch(campaign)
        self.wait(lambda: self.report(campaign)["calls_parked"] == calls, "nothing was parked")
        self.simulator.post("/control/faults", {"api": "get_groupmsg_list_v2", "kind": "LIST_ERR",
                                                "probability": 0})
        return [doubt for doubt in self.ask("doubt", "list")["doubts"]
                if doubt["campaign_id"] == campaign and doubt["state"] == "parked"]

    def resolve(self, doubt, word, actor, *more, code=0):
        return self.tidegate("doubt", "resolve", "--corp", CORP, "--call", doubt["call_id"],
                             "--attempt", str(doubt["attempt"]), "--as", word, "--actor", actor,
                             "--reason", "looked at the console", *more, code=code)

    def test_a_parked_call_is_resolved_by_an_operators_word(self):
        first, second, third = self.park("parked", 3)
        shown = self.ask("doubt", "show", "--call", first["call_id"])
        self.assertEqual(shown["state"], "parked")
        self.assertIn("window", shown["evidence"])
        # What the operator sees in the console: the task with the marker.
        [created] = [line for line in self.creates() if line["marker"] == shown["marker"]]
        self.resolve(first, "accepted", "li", "--msgid", created["msgid"])
        self.resolve(second, "abandoned", "li")
        self.resolve(second, "accepted", "li", "--msgid", "x", code=4)
        out, _ = self.resolve(third, "not-executed", "li")
        self.assertIn("second person", out)
        self.resolve(third, "not-executed", "li", code=4)
        self.assertEqual(self.ask("doubt", "show", "--call", third["call_id"])["state"], "parked")
        self.server.kill()
        self.restart()
        self.resolve(third, "not-executed", "wang")
        self.wait(lambda: self.report("parked")["calls_parked"] == 0, "still parked")
        report = self.finish("parked")
        self.assertEqual(report["failed_by_reason"]["abandoned"], second["touches"])
        # They were wrong about the third, as the witness knows: it was executed twice.
        twice = [line for line in self.creates() if line["verdict"] == "executed"
                 and line["marker"] == third["call_id"][:16]]
        self.assertEqual(len(twice), 2)


if __name__ == "__main__":
    unittest.main()
