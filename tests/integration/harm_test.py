"""The harm brake: a campaign after which customers remove the member stops by itself."""

import time
import unittest

import product
from product import CORP, ProductTest, private

CAMPAIGN_SECONDS = 40
CONTENT = "Hello|https://shop.example/a|Shop"
LEAVE_MIN = 6


class HarmTest(ProductTest):
    members = 12
    customers = 120

    @classmethod
    def setUpClass(cls):
        usual = product.LIMITS
        # Slow enough that calls are left when the first ones have done their harm.
        product.LIMITS = {**usual, "limits": [{**usual["limits"][0], "amount": 1}],
                          "harm": {"factor": 3, "min_deletions": LEAVE_MIN}}
        try:
            super().setUpClass()
        finally:
            product.LIMITS = usual
        rows = "".join(f"wm{c},m{c % cls.members}\n" for c in range(cls.customers))
        path = cls.folder + "/customers.csv"
        private(path, "external_userid,owner\n" + rows)
        cls("test_a_campaign_that_harms_stops").ask("import", "customers", path)

    def launch(self, campaign):
        self.ask("campaign", "create", "--id", campaign, "--audience", "all",
                 "--variant", CONTENT)
        self.ask("campaign", "launch", "--id", campaign)

    def report(self, campaign):
        return self.ask("campaign", "report", "--id", campaign)

    def wait(self, condition, what):
        deadline = time.monotonic() + CAMPAIGN_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                self.fail(what if isinstance(what, str) else what())
            time.sleep(0.05)

    def creates(self):
        return [line for line in self.witness() if line["api"] == "add_msg_template"
                and line["verdict"] == "executed"]

    def leave(self, customer, member):
        self.simulator.post("/control/event", {
            "corp_id": CORP, "kind": "del_follow_user", "external_userid": customer,
            "member": member})

    def test_a_campaign_that_harms_stops(self):
        # Without removals it ends.
        self.launch("kind")
        self.wait(lambda: self.report("kind")["state"] == "CAMPAIGN_STATE_COMPLETED",
                  "kind has not ended")
        report = self.report("kind")
        self.assertEqual((report["deletions"], report["blocked_reason"]), (0, ""))
        self.assertEqual(self.ask("block", "list")["blocks"], [])

        # Of another one all customers of the first calls leave, once they have got it.
        before = len(self.creates())
        self.launch("harmful")
        self.wait(lambda: self.report("harmful")["touches_sent"] > 0, "nothing was sent")
        left = 0
        for create in self.creates()[before:before + 2]:
            for customer in create["recipients"]:
                self.leave(customer, create["sender"])
                left += 1
        self.wait(lambda: self.ask("block", "list")["blocks"],
                  lambda: f"it was not blocked: {self.report('harmful')}")
        [block] = self.ask("block", "list")["blocks"]
        self.assertEqual((block["campaign_id"], block["actor"]), ("harmful", "harm brake"))
        self.assertRegex(block["reason"], r"^\d+ of \d+ touches in 24 h were followed by the "
                                          r"customer removing the member: [\d.]+ %, usual is")
        self.assertGreaterEqual(int(block["reason"].split()[0]), LEAVE_MIN)
        report = self.report("harmful")
        self.assertEqual(report["state"], "CAMPAIGN_STATE_PAUSED")
        self.assertEqual(report["blocked_reason"], block["reason"])
        self.assertGreaterEqual(report["deletions"], LEAVE_MIN)
        self.assertLessEqual(report["deletions"], left)
        # It stays so, whoever is killed.
        time.sleep(1)  # a call that was under way ends
        stopped_at = len(self.creates())
        self.assertLess(stopped_at - before, self.members)
        self.server.kill()
        self.restart()
        time.sleep(2)
        self.assertEqual(len(self.creates()), stopped_at)
        self.assertEqual(self.report("harmful")["deletions"], report["deletions"])

        # An operator who has looked at it lets it go on.
        self.tidegate("block", "end", "--corp", CORP, "--campaign", "harmful", "--reason",
                      "looked at it", "--actor", "li")
        self.wait(lambda: self.report("harmful")["state"] == "CAMPAIGN_STATE_COMPLETED",
                  "it has not ended")
        self.assertEqual(len(self.creates()) - before, self.members)


if __name__ == "__main__":
    unittest.main()
