"""Bad and good input at every edge of the real processes, over real HTTP and gRPC."""

import os
import time
import unittest
import uuid

from product import AGENT, BIN, CORP, FREE, SECRET, ProductTest

# WeCom's published form of a verification, computed for this token and key.
VECTOR = ("?msg_signature=dd923edacb7f47f1cf7923567166e282beeff81b&timestamp=1767225600"
          "&nonce=9081726354&echostr=lyg6Xv1cCWZ6qPfjgKgOcP2v2Mq7Kqc2pqSyeFdjKptztP9MD3%2FXQZt%2By"
          "NdOcvDuEnivCIgBZo8v%2FFCXawsFiA%3D%3D")


class CallbackTest(ProductTest):
    def test_verifies_its_address(self):
        self.assertEqual(self.http(self.callback_url() + VECTOR), (200, "1234567890123456789"))

    def test_refuses_everything_else_alike(self):
        stale = VECTOR.replace("1767225600", "1700000000")
        body = b"<xml><ToUserName>x</ToUserName><Encrypt>AAAA</Encrypt></xml>"
        now = f"?msg_signature={'0' * 40}&timestamp={int(time.time())}&nonce=1"
        refused = (403, "refused")
        for what, url, data in (
                ("no parameters", self.callback_url(), None),
                ("another timestamp", self.callback_url() + stale, None),
                ("wrong signature", self.callback_url() + now, body),
                ("stale delivery", self.callback_url() + VECTOR, body),
                ("no XML", self.callback_url() + now, b"hello"),
                ("a document type", self.callback_url() + now,
                 b"<!DOCTYPE xml [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>" + body),
                ("an unknown app", self.callback_url() + "9" + VECTOR, None),
                ("an unknown corp", self.callback_url().replace(CORP, "ww0") + VECTOR, None)):
            self.assertEqual(self.http(url, data), refused, what)

    def test_refuses_what_is_too_large_and_other_methods(self):
        self.assertEqual(self.http(self.callback_url(), b"x" * 300 * 1024)[0], 413)
        self.assertEqual(self.http(self.callback_url(), method="DELETE")[0], 405)

    def test_takes_an_add_once_and_welcomes_and_tags_the_customer(self):
        self.ask("channel", "add", "--id", "qr", "--state", "qr", "--tag", "qr", "--welcome", "Hi")
        before = self.count("all")
        self.simulator.post("/control/add_customers", {
            "corp_id": CORP, "per_second": 100,
            "customers": [{"external_userid": "wm9new", "member": "m1", "state": "qr"}]})
        self.wait(lambda: self.ask("writeback", "status")["welcomes_sent"] == 1)
        self.wait(lambda: self.ask("writeback", "status")["tags_written"] == 1)
        self.assertEqual(self.count("all"), before + 1)
        self.assertEqual(self.count('tag("qr")'), 1)
        welcomes = [line for line in self.witness() if line["api"] == "send_welcome_msg"]
        self.assertEqual([line["verdict"] for line in welcomes], ["executed"])

    def wait(self, condition, seconds=15):
        begin = time.monotonic()
        while not condition():
            self.assertLess(time.monotonic() - begin, seconds, "did not happen in time")


class AdminTest(ProductTest):
    def test_shows_life_readiness_and_metrics_without_ids_and_secrets(self):
        self.write("c.csv", "external_userid,owner\nwmCANARY1,m0\n")
        self.tidegate("import", "customers", os.path.join(self.folder, "c.csv"), "--corp", CORP)
        self.assertEqual(self.count("all"), 1)
        self.tidegate("quota", "list", "--corp", CORP)
        admin = "http://" + self.server.ports["admin"]
        self.assertEqual(self.http(admin + "/livez"), (200, "ok\n"))
        self.assertEqual(self.http(admin + "/readyz"), (200, "ok\n"))
        self.assertEqual(self.http(admin + "/nothing")[0], 404)
        status, metrics = self.http(admin + "/metrics")
        self.assertEqual(status, 200)
        for name in ("tidegate_stage_in_total", "tidegate_stage_age_seconds", "tidegate_doubt_open",
                     "tidegate_callbacks_total", "tidegate_journal_fences_total"):
            self.assertIn(name, metrics)
        with open(os.path.join(self.folder, "tidegate.log")) as file:
            log = file.read()
        for canary in ("wmCANARY1", SECRET):
            self.assertNotIn(canary, metrics)
            self.assertNotIn(canary, log)


class ClientTest(ProductTest):
    def test_reports_bad_rows_and_keeps_the_good_ones(self):
        path = self.write("customers.csv", "external_userid,owner\nwm1,m1\n,m2\nwm2,m2\nwm3\n")
        _, err = self.tidegate("import", "customers", path, "--corp", CORP, code=1)
        self.assertIn("row 2", err)
        self.assertIn("row 4", err)
        self.assertEqual(self.count("all"), 2)
        path = self.write("purchases.csv", "customer,order_id,paid_time,amount\n"
                          "wm1,1,2026-01-01,10.00\nwm1,2,2026-13-01,10.00\nwm1,3,2026-01-01,-1\n"
                          "wm1,4,2026-01-01,1.234\nwm2,5,2026-01-02,7\n")
        _, err = self.tidegate("import", "purchases", path, "--format", "csv", "--corp", CORP,
                               code=1)
        for row in (2, 3, 4):
            self.assertIn(f"row {row}", err)
        self.assertEqual(self.count("orders.count = 1"), 2)
        self.assertEqual(self.count("orders.sum = 7.00"), 1)

    def test_draws_the_fault_of_an_expression(self):
        _, err = self.tidegate("segment", "count", 'tag("VIP") and orders.count(90d) >= "2"',
                               "--corp", CORP, code=2)
        self.assertIn('^^^ 1:37 TYPE_MISMATCH: orders.count is a whole number; write 2', err)

    def test_exit_codes_tell_what_to_do(self):
        variant = ["--variant", "hello|https://example.com/a|look"]
        create = ["campaign", "create", "--corp", CORP, "--id", "twice", "--audience", "all",
                  *variant]
        self.tidegate(*create)
        for arguments, code in (
                (["segment", "count", "all", "--corp", "ww0"], 3),
                (["segment", "count", "all", "--corp", CORP, "--as-of", "2026-02-30"], 2),
                (["campaign", "report", "--corp", CORP, "--id", "nobody"], 3),
                (create, 4),
                (["campaign", "pause", "--corp", CORP, "--id", "twice", "--reason", "x"], 4),
                (["campaign", "create", "--corp", CORP, "--id", "Bad Id", "--audience", "all",
                  *variant], 2),
                (["campaign", "create", "--corp", CORP, "--id", "plain", "--audience", "all",
                  "--variant", "no link"], 2),
                (["rule", "add", "--corp", CORP, "--id", "r", "--when", "orders.cnt > 1",
                  "--tag", "vip"], 2),
                (["channel", "add", "--corp", CORP, "--id", "c", "--state", "s" * 31,
                  "--tag", "vip"], 2),
                (["import", "customers", "/nonexistent.csv", "--corp", CORP], 2),
                (["no-such-verb"], 2)):
            self.tidegate(*arguments, code=code)
        got, _, err = self.processes.run([os.path.join(BIN, "tidegate"), "segment", "count", "all",
                                          "--corp", CORP, "--grpc", "127.0.0.1:1"])
        self.assertEqual(got, 7, err)


class RequestIdTest(ProductTest):
    def test_a_repeat_returns_the_first_result_even_after_a_kill(self):
        request = str(uuid.uuid4())
        put = ["rule", "add", "--id", "r", "--when", "orders.count >= 2", "--tag", "vip",
               "--request-id", request]
        first = self.ask(*put)
        self.ask("rule", "add", "--id", "r", "--when", "orders.count >= 3", "--tag", "vip")
        self.assertEqual(self.ask(*put), first)
        self.server.kill()
        self.restart()
        self.assertEqual(self.ask(*put), first)
        self.assertIn("orders.count >= 3", str(self.ask("rule", "list")))
        _, err = self.tidegate("rule", "add", "--id", "r", "--when", "all", "--tag", "vip",
                               "--corp", CORP, "--request-id", request, code=2)
        self.assertIn("request_id", err)


class CampaignTest(ProductTest):
    def test_sends_to_everybody_once_through_doubts_a_pause_and_a_stop(self):
        rows = "".join(f"wm{c},m{c % self.members}\n" for c in range(self.customers))
        path = self.write("customers.csv", "external_userid,owner\n" + rows)
        self.tidegate("import", "customers", path, "--corp", CORP)
        self.assertEqual(self.count("all"), self.customers)
        campaign = ["--id", "spring"]
        create = ["campaign", "create", *campaign, "--audience", "all",
                  "--variant", "one|https://example.com/?a=1|look",
                  "--variant", "two|https://example.com/#x|look"]
        plan = self.ask(*create, "--validate-only")
        self.assertEqual(plan["plan"]["audience"], self.customers)
        self.ask(*create)
        self.simulator.post("/control/faults", {"api": "add_msg_template",
                                                "kind": "EXEC_THEN_CLOSE", "next": 1})
        self.simulator.post("/control/faults", {"api": "add_msg_template",
                                                "kind": "DROP_THEN_CLOSE", "next": 1})
        self.ask("campaign", "launch", *campaign)
        self.ask("campaign", "pause", *campaign, "--reason", "test")
        self.ask("campaign", "resume", *campaign, "--reason", "test")
        self.assertEqual(self.server.terminate(), 0)
        self.restart()
        report = self.ask("campaign", "watch", *campaign)
        report = report.get("campaign", report)
        self.assertEqual(report["calls"], plan["plan"]["calls"])
        self.assertEqual(report["touches_sent"] + report["touches_failed"] +
                         report["touches_unconfirmed"], self.customers)
        self.assertEqual(report["touches_parked"], 0)
        self.assertGreaterEqual(report["doubts_opened"], 2)
        creates = [line for line in self.witness()
                   if line["api"] == "add_msg_template" and line["verdict"] == "executed"]
        reached = [customer for line in creates for customer in line["recipients"]]
        self.assertEqual(sorted(reached), sorted(f"wm{c}" for c in range(self.customers)))
        self.assertEqual([line for line in self.witness() if line["errcode"] in (45009, 45033)], [])
        buckets = self.tidegate("quota", "list", "--corp", CORP, "--output", "json")[0]
        self.assertIn("add_msg_template", buckets)
        _, metrics = self.http(f"http://{self.server.ports['admin']}/metrics")
        for name in ("tidegate_token_bucket_tokens", "tidegate_token_bucket_capacity",
                     "tidegate_wecom_calls_total"):
            self.assertIn(name, metrics)


class StartTest(ProductTest):
    def serve(self, *changes, code, data="data"):
        """Standard error of a server that cannot start and ends with `code`."""
        arguments = {"--data-dir": os.path.join(self.folder, data), "--corps-file": self.corps,
                     "--limits": self.limits, "--grpc": FREE, "--callback": FREE, "--admin": FREE}
        arguments.update(dict(zip(changes[::2], changes[1::2])))
        flat = [part for item in arguments.items() for part in item]
        got, _, err = self.processes.run([os.path.join(BIN, "tidegate"), "serve", *flat])
        self.assertEqual(got, code, err)
        return err

    def test_a_bad_start_says_what_is_wrong_and_what_to_do(self):
        self.assertIn("choose another --data-dir", self.serve(code=4))
        foreign = os.path.join(self.folder, "foreign")
        os.mkdir(foreign)
        self.write("foreign/file", "x")
        self.assertIn("not a Tidegate data directory", self.serve(code=4, data="foreign"))
        for flag, port in (("--grpc", "grpc"), ("--callback", "callback"), ("--admin", "admin")):
            taken = self.server.ports[port]
            self.assertIn(taken, self.serve(flag, taken, code=7, data=f"taken-{port}"))
        public = self.write("public.json", "{}")
        os.chmod(public, 0o644)
        self.assertIn("chmod 600", self.serve("--corps-file", public, code=5, data="a"))
        broken = self.write("limits-broken.json", '{"limit": []}')
        self.assertIn("limit: unknown key", self.serve("--limits", broken, code=2, data="b"))
        self.assertEqual(self.server.terminate(), 0)
        self.assertIn("set it to 4", self.serve("--partitions", "8", code=4))
        self.restart()


if __name__ == "__main__":
    unittest.main()
