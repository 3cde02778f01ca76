"""Egress lanes: whose calls leave from where, an address that is not trusted, a corp that moves, a
forward proxy."""

import collections
import json
import time
import unittest

from connect_proxy import ConnectProxy
from product import AES_KEY, AGENT, CORP, LIMITS, SECRET, TOKEN, ProductTest, private
from lanes import lane_of

SECONDS = 30
SECOND = "wwsecond0123456789"
SOURCES = ["127.0.0.2", "127.0.0.3"]
CONTENT = "Hello|https://shop.example/a|Shop"
# Of the first corp the lane of its hash, so that it has never been in another one.
LANES = {CORP: lane_of(CORP, 2), SECOND: 1 - lane_of(CORP, 2)}


class LanesFixture(ProductTest):
    """Two corps on two lanes."""

    members = 20
    customers = 60
    options = ["--set", "lanes=2", "--set", "egress=" + ",".join(SOURCES)]

    @classmethod
    def setUpClass(cls):
        # A corp may move when the windows of its last calls are over: make that soon.
        short = {"api": "*", "scope": "corp", "amount": 100, "window_ms": 1000, "lockout_ms": 1000}
        usual, LIMITS["limits"] = LIMITS["limits"], [*LIMITS["limits"], short]
        try:
            super().setUpClass()
        finally:
            LIMITS["limits"] = usual
        cls.simulator.post("/control/seed", {
            "corp_id": SECOND,
            "apps": [{"agent_id": AGENT, "secret": SECRET, "token": TOKEN, "aes_key": AES_KEY}],
            "members": [f"m{m}" for m in range(cls.members)],
            "customers": [{"external_userid": f"wm{c}", "member": f"m{c % cls.members}"}
                          for c in range(cls.customers)]})
        cls.server.terminate()
        cls.place(LANES)
        cls.restart()
        rows = "".join(f"wm{c},m{c % cls.members}\n" for c in range(cls.customers))
        path = cls.folder + "/customers.csv"
        private(path, "external_userid,owner\n" + rows)
        for corp in LANES:
            cls().of(corp, "import", "customers", path)

    @classmethod
    def place(cls, lanes):
        """Writes the corps file."""
        app = {"agent_id": AGENT, "secret_file": "secret", "token": TOKEN, "aes_key_file": "aes"}
        private(cls.corps, json.dumps({"corps": [
            {"corp_id": corp, "lane": lane, "apps": [app]} for corp, lane in lanes.items()]}))

    def setUp(self):
        self.trust(SECOND, SOURCES)

    def of(self, corp, *arguments):
        out, _ = self.tidegate(*arguments, "--corp", corp, "--output", "json", "--quiet",
                               "--wait", "20")
        return json.loads(out)

    def trust(self, corp, ips):
        self.simulator.post("/control/trusted_ips", {"corp_id": corp, "ips": ips})

    def launch(self, corp, campaign):
        self.of(corp, "campaign", "create", "--id", campaign, "--audience", "all",
                "--variant", CONTENT)
        self.of(corp, "campaign", "launch", "--id", campaign)

    def wait(self, condition, what):
        deadline = time.monotonic() + SECONDS
        while not condition():
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.05)

    def finish(self, corp, campaign):
        def report():
            return self.of(corp, "campaign", "report", "--id", campaign)
        self.wait(lambda: report()["state"] == "CAMPAIGN_STATE_COMPLETED", report)
        self.assertEqual(report()["audience"], self.customers)
        self.assertEqual(report()["failed_by_reason"].get("refused", 0), 0)

    def calls(self, corp, since=0):
        return [line for line in self.witness()[since:] if line["corp"] == corp]

    def creates(self, corp, since=0):
        return [line for line in self.calls(corp, since)
                if line["api"] == "add_msg_template" and line["verdict"] == "executed"]

    def events(self, name, corp):
        """Of the log of the process that was started last."""
        with open(self.server.log_path, encoding="utf-8") as file:
            lines = file.read().splitlines()[self.log_lines:]
        events = [json.loads(line) for line in lines if line.startswith("{")]
        return [event for event in events if event["event"] == name and event.get("corp") == corp]

    log_lines = 0

    def restart_and_note(self):
        self.server.terminate()
        self.note()
        self.restart()

    def note(self):
        with open(self.server.log_path, encoding="utf-8") as file:
            self.log_lines = len(file.read().splitlines())

    def untrusted_corps(self, lane):
        _, page = self.http(f"http://{self.server.ports['admin']}/metrics")
        [line] = [line for line in page.splitlines()
                  if line.startswith(f'tidegate_lane_untrusted_corps{{lane="{lane}"}}')]
        return float(line.split()[-1])

    def assert_each_create_once(self, corp):
        count = collections.Counter(line["marker"] for line in self.creates(corp))
        self.assertEqual(set(count.values()), {1}, "a call was made twice")


class LanesTest(LanesFixture):
    def test_calls_leave_from_the_address_of_the_lane(self):
        self.server.terminate()
        since = len(self.witness())
        self.restart()
        for corp in LANES:
            self.launch(corp, "apart")
        for corp in LANES:
            self.finish(corp, "apart")
        for corp, lane in LANES.items():
            calls = self.calls(corp, since)
            self.assertEqual([line["api"] for line in calls][:2],
                             ["gettoken", "get_groupmsg_list_v2"], "it was not asked first")
            self.assertEqual({line["ip"] for line in calls}, {SOURCES[lane]})
            self.assertLessEqual({"add_msg_template", "get_groupmsg_task"},
                                 {line["api"] for line in calls})

    def test_nothing_is_sent_from_an_address_that_is_not_trusted(self):
        lane = LANES[SECOND]
        self.trust(SECOND, ["127.0.0.9"])
        self.restart_and_note()
        since = len(self.witness())
        self.launch(SECOND, "waits")
        self.launch(CORP, "goes")
        self.wait(lambda: self.events("address_not_trusted", SECOND), "nothing was said")
        [told] = self.events("address_not_trusted", SECOND)
        self.assertEqual((told["errcode"], told["source"], told["lane"]),
                         ("60020", SOURCES[lane], str(lane)))
        self.assertIn("trusted addresses", told["next"])
        self.finish(CORP, "goes")
        self.wait(lambda: self.untrusted_corps(lane) == 1, "the metric does not show it")
        self.assertEqual(self.untrusted_corps(1 - lane), 0)
        self.assertEqual(self.http(f"http://{self.server.ports['admin']}/readyz")[0], 200)
        apis = {(line["api"], line["errcode"]) for line in self.calls(SECOND, since)}
        self.assertEqual(apis - {("gettoken", 0)}, {("get_groupmsg_list_v2", 60020)})
        self.trust(SECOND, SOURCES)
        self.finish(SECOND, "waits")
        self.assertEqual(len(self.events("address_trusted", SECOND)), 1)
        self.assertEqual(self.untrusted_corps(lane), 0)
        self.assert_each_create_once(SECOND)

    def test_trust_that_ends_meanwhile_costs_no_call(self):
        self.trust(SECOND, [])
        since = len(self.witness())
        self.launch(SECOND, "meanwhile")
        self.wait(lambda: any(line["errcode"] == 60020 for line in self.calls(SECOND, since)),
                  "nothing was refused")
        time.sleep(2)
        refused = [line for line in self.calls(SECOND, since)
                   if line["errcode"] == 60020 and line["api"] == "add_msg_template"]
        # Those under way at the first refusal, and no more.
        self.assertLessEqual(len(refused), LIMITS["in_flight"][0]["amount"])
        self.assertEqual(self.creates(SECOND, since), [])
        self.trust(SECOND, SOURCES)
        self.finish(SECOND, "meanwhile")
        self.assert_each_create_once(SECOND)

    def test_a_corp_moves_when_it_is_drained(self):
        old, new = LANES[SECOND], 1 - LANES[SECOND]
        self.trust(SECOND, [])
        self.launch(SECOND, "before")
        self.server.terminate()
        self.note()
        self.place({**LANES, SECOND: new})
        self.server.spawn(["--grpc", "127.0.0.1:0", "--callback", "127.0.0.1:0",
                           "--admin", "127.0.0.1:0"])
        self.assertEqual(self.server.process.wait(20), 1)
        refused = self.events("corp_not_drained", SECOND)
        self.assertTrue(any("campaign before" in event["open"] for event in refused), refused)
        self.assertEqual({(event["lane"], event["lane_of_corp"]) for event in refused},
                         {(str(old), str(new))})
        self.assertIn(f'"lane": {old}', refused[0]["next"])
        self.place(LANES)
        self.restart()
        self.trust(SECOND, SOURCES)
        self.finish(SECOND, "before")
        sent = len(self.creates(SECOND))
        time.sleep(1.2)  # the window of its last call
        since = len(self.witness())
        self.server.terminate()
        self.place({**LANES, SECOND: new})
        self.restart()
        self.launch(SECOND, "after")
        self.finish(SECOND, "after")
        self.assertEqual({line["ip"] for line in self.calls(SECOND, since)}, {SOURCES[new]})
        self.assertEqual(len(self.creates(SECOND)), sent + self.members)
        self.assert_each_create_once(SECOND)
        # And back.
        time.sleep(1.2)
        self.server.terminate()
        self.place(LANES)
        self.restart()


class ProxyTest(LanesFixture):
    """The second corp's calls leave through a proxy, which itself calls from the second address."""

    PASSWORD = "pass,word"

    @classmethod
    def setUpClass(cls):
        cls.proxy = ConnectProxy("li:" + cls.PASSWORD, SOURCES[LANES[SECOND]])
        cls.addClassCleanup(cls.proxy.stop)
        egress = list(SOURCES)
        egress[LANES[SECOND]] = f"http://li:pass%2Cword@127.0.0.1:{cls.proxy.port}"
        cls.options = ["--set", "lanes=2", "--set", "egress=" + ",".join(egress)]
        usual = LIMITS["settle"]
        LIMITS["settle"] = {**usual, "proxy_ms": 300}
        try:
            super().setUpClass()
        finally:
            LIMITS["settle"] = usual

    def told(self, name):
        """Of the caller, which knows of no corps."""
        return self.events(name, None)

    def unanswered_creates(self):
        _, page = self.http(f"http://{self.server.ports['admin']}/metrics")
        return [line for line in page.splitlines()
                if 'api="add_msg_template"' in line and 'no_answer' in line]

    def assert_no_password(self):
        with open(self.server.log_path, encoding="utf-8") as file:
            log = file.read()
        self.assertNotIn(self.PASSWORD, log)
        self.assertNotIn("pass%2Cword", log)

    def test_all_of_a_lane_goes_through_its_proxy_and_nothing_else(self):
        self.server.terminate()
        since = len(self.witness())
        before = len(self.proxy.requests())
        self.restart()
        for corp in LANES:
            self.launch(corp, "through")
        for corp in LANES:
            self.finish(corp, "through")
        self.server.terminate()
        tunnels = self.proxy.requests()[before:]
        through = collections.Counter(path for tunnel in tunnels for path in tunnel)
        arrived = collections.Counter(line["api"] for line in self.calls(SECOND, since))
        self.assertEqual(collections.Counter(path.rsplit("/", 1)[1]
                                             for path in through.elements()), arrived)
        self.assertLessEqual({"gettoken", "get_groupmsg_list_v2", "add_msg_template",
                              "get_groupmsg_task"}, set(arrived))
        for corp, lane in LANES.items():
            self.assertEqual({line["ip"] for line in self.calls(corp, since)}, {SOURCES[lane]})
        # A create has a tunnel of its own.
        creates = [tunnel for tunnel in tunnels
                   if any(path.endswith("/add_msg_template") for path in tunnel)]
        self.assertEqual([len(tunnel) for tunnel in creates], [1] * self.members)
        self.assert_each_create_once(SECOND)
        self.restart()

    def test_a_proxy_that_is_down_holds_its_lane_back_and_loses_nothing(self):
        self.restart_and_note()
        since = len(self.witness())
        self.wait(lambda: self.calls(SECOND, since), "the lane does not ask")
        self.proxy.stop()
        self.launch(SECOND, "down")
        self.launch(CORP, "up")
        self.wait(lambda: self.told("wecom_not_reached"), "nothing was said")
        self.finish(CORP, "up")
        [told] = self.told("wecom_not_reached")
        self.assertEqual(told["source"], f"http://127.0.0.1:{self.proxy.port}")
        self.assertIn("proxy", told["why"])
        self.assertEqual(self.creates(SECOND, since), [])
        self.assertEqual(self.of(SECOND, "doubt", "list")["doubts"], [])
        self.proxy.start()
        self.finish(SECOND, "down")
        self.assertEqual(len(self.creates(SECOND, since)), self.members)
        self.assert_each_create_once(SECOND)
        self.assertEqual(self.unanswered_creates(), [])
        self.assertEqual(len(self.told("wecom_reached")), 1)
        self.assert_no_password()

    def test_an_address_that_is_not_trusted_is_told_as_the_proxy(self):
        self.server.terminate()  # which would be told first
        self.note()
        self.trust(SECOND, ["127.0.0.9"])
        self.restart()
        self.wait(lambda: self.events("address_not_trusted", SECOND), "nothing was said")
        [told] = self.events("address_not_trusted", SECOND)
        self.assertEqual(told["source"], f"http://127.0.0.1:{self.proxy.port}")
        self.trust(SECOND, SOURCES)
        self.wait(lambda: self.events("address_trusted", SECOND), "it is not asked again")
        self.assert_no_password()


if __name__ == "__main__":
    unittest.main()
