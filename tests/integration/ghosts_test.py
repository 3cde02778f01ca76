"""A create that takes effect after its doubt was settled: the audit finds and takes it back."""

import re
import time
import unittest

import product
from product import CORP, ProductTest, private

WAIT_SECONDS = 40
CONTENT = "Hello|https://shop.example/a|Shop"


class GhostsTest(ProductTest):
    members = 4
    customers = 12
    # Nobody has confirmed when the audit comes.
    confirm_mean_ms = 600_000

    @classmethod
    def setUpClass(cls):
        usual = product.LIMITS
        # WeCom holds a request far longer than the product is told.
        cls.limits_of_wecom = {**usual, "settle": {**usual["settle"], "hold_ms": 20_000}}
        product.LIMITS = {**usual, "audit": {"every_ms": 1000},
                          "results": {**usual["results"], "close_after_ms": 3_600_000}}
        try:
            super().setUpClass()
        finally:
            product.LIMITS = usual
        rows = "".join(f"wm{c},m{c % cls.members}\n" for c in range(cls.customers))
        path = cls.folder + "/customers.csv"
        private(path, "external_userid,owner\n" + rows)
        cls("test_a_late_create_is_found_and_taken_back").ask("import", "customers", path)

    def wait(self, condition, what):
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition():
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.05)

    def duplicates(self):
        _, text = self.http(f"http://{self.server.ports['admin']}/metrics")
        found = re.findall(r"^tidegate_duplicates_detected_total\{.*\} (\d+)", text, re.M)
        return sum(map(int, found))

    def lines(self, api):
        return [line for line in self.witness() if line["api"] == api]

    def test_a_late_create_is_found_and_taken_back(self):
        self.simulator.post("/control/faults", {"api": "add_msg_template", "kind": "DELAY_EXEC",
                                                "next": 1})
        self.ask("campaign", "create", "--id", "spring", "--audience", "all",
                 "--variant", CONTENT)
        self.ask("campaign", "launch", "--id", "spring")
        self.wait(lambda: self.duplicates() == 1, "no duplicate was detected")
        self.wait(lambda: self.lines("cancel_groupmsg_send"), "it was not taken back")

        executed = [line for line in self.lines("add_msg_template")
                    if line["verdict"] == "executed"]
        self.assertEqual(len(executed), self.members + 1)
        [late] = [line for line in executed if line.get("executed_after_ms")]
        [again] = [line for line in executed
                   if line["marker"] == late["marker"] and line is not late]
        [cancel] = self.lines("cancel_groupmsg_send")
        self.assertEqual((cancel["verdict"], cancel["msgid"]), ("executed", late["msgid"]))

        # In the end each customer gets it once.
        sends = self.simulator.get(f"/control/truth?corp={CORP}")["sends"]
        self.assertEqual([send["msgid"] for send in sends if send["cancelled"]], [late["msgid"]])
        self.assertIn(again["msgid"], [send["msgid"] for send in sends])
        got = [recipient["external_userid"] for send in sends for recipient in send["recipients"]
               if recipient["final_status"] == 1]
        self.assertEqual(len(got), len(set(got)))

        # Later audits find it once more and do nothing, after a restart too.
        self.server.kill()
        self.restart()
        time.sleep(3)
        self.assertEqual(self.duplicates(), 1)
        self.assertEqual(len(self.lines("cancel_groupmsg_send")), 1)


if __name__ == "__main__":
    unittest.main()
