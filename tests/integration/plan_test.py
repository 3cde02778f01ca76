"""What a campaign would do, and did, with single customers, as the operator is told."""

import time
import unittest

from product import CORP, ProductTest, private

CONTENT = "Hello|https://shop.example/a|Shop"
WAIT_SECONDS = 20


class PlanTest(ProductTest):
    def setUp(self):
        path = self.folder + "/customers.csv"
        private(path, "external_userid,owner\n" + "".join(
            f"wm{c},m{c % self.members}\n" for c in range(self.customers)))
        self.ask("import", "customers", path)

    def explain(self, campaign, customer):
        return self.ask("campaign", "explain", "--id", campaign, "--customer", customer)

    def test_a_plan_is_shown_before_the_launch_and_each_customer_afterwards(self):
        words = ["--id", "spring", "--audience", "all", "--variant", CONTENT]
        plan = self.ask("campaign", "plan", *words, "--explain", "wm1", "--explain", "stranger")
        self.assertEqual((plan["audience"], plan["calls"], plan["senders"]), (12, 4, 4))
        needs = {need["bucket"]: need for need in plan["needs"]}
        self.assertEqual(needs["add_msg_template corp 5/1s"],
                         {"bucket": "add_msg_template corp 5/1s", "needed": 4, "left": 5})
        self.assertEqual([(touch["customer"], touch["sender"], touch["skipped"])
                          for touch in plan["touches"]],
                         [("wm1", "m1", ""), ("stranger", "", "not_in_audience")])
        self.assertEqual(self.ask("campaign", "list")["campaigns"], [], "it was stored")
        self.assertNotIn("add_msg_template", {line["api"] for line in self.witness()})
        self.ask("campaign", "create", *words)
        one = ["campaign", "explain", "--corp", CORP, "--id", "spring", "--customer"]
        self.tidegate(*one, "wm1", code=4)  # not planned
        self.ask("campaign", "launch", "--id", "spring")
        deadline = time.monotonic() + WAIT_SECONDS
        while self.ask("campaign", "report", "--id", "spring")["state"] != \
                "CAMPAIGN_STATE_COMPLETED":
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)
        touch = self.explain("spring", "wm1")
        self.assertIn(touch["state"], ("TOUCH_STATE_SENT", "TOUCH_STATE_FAILED"))
        self.assertEqual((touch["touch"]["sender"], touch["touch"]["skipped"]), ("m1", ""))
        [call] = [line for line in self.witness() if line["api"] == "add_msg_template"
                  and "wm1" in line["recipients"]]
        self.assertEqual(call["marker"], touch["call_id"][:16])
        self.tidegate(*one, "stranger", code=3)


if __name__ == "__main__":
    unittest.main()
