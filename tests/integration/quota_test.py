"""Tokens for another program of the corp, limits that the corp has of its own, and who watches them:
over real gRPC, across kills. What was sent is read from the simulator's witness."""

import contextlib
import json
import os
import sys
import threading
import time
import unittest
import urllib.request

from product import CORP, LIMITS, SECRET, ProductTest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "tests", "demo"), os.path.join(ROOT, "tests", "judge")]

import limits as judge_limits  # noqa: E402
import witness as judge_witness  # noqa: E402
from grpc_caller import Api, Caller, grpc  # noqa: E402

CREATE = "add_msg_template"
AMOUNT, WINDOW_SECONDS = 60, 2
# The limits file's settle waits: after the end of a lease a call may take effect for so long.
HOLD_SECONDS = 0.65
LEASE_SECONDS = 4
SECONDS = 60
CONTENT = "Hello|https://shop.example/a|Shop"


class OtherProgram:
    """Makes creates of its own at the simulator, with a token of its own."""

    def __init__(self, base, senders):
        self._base, self._senders, self._made = base, senders, 0
        self._token = self._get(f"/cgi-bin/gettoken?corpid={CORP}&corpsecret={SECRET}")[
            "access_token"]

    def create(self):
        """The errcode."""
        number, self._made = self._made, self._made + 1
        sender = number % self._senders
        body = {"chat_type": "single", "sender": f"m{sender}", "external_userid": [f"wm{sender}"],
                "text": {"content": f"of another program {number}"}}
        return self._get(f"/cgi-bin/externalcontact/{CREATE}?access_token={self._token}",
                         json.dumps(body).encode())["errcode"]

    def _get(self, path, body=None):
        with urllib.request.urlopen(f"http://{self._base}{path}", body, timeout=10) as answer:
            return json.load(answer)


class QuotaTest(ProductTest):
    members = 120
    customers = 120

    @classmethod
    def setUpClass(cls):
        usual = dict(LIMITS)
        LIMITS["limits"] = [{"api": CREATE, "scope": "corp", "amount": AMOUNT,
                             "window_ms": WINDOW_SECONDS * 1000,
                             "lockout_ms": WINDOW_SECONDS * 1000}]
        LIMITS["in_flight"] = [{"api": CREATE, "amount": AMOUNT}]
        try:
            super().setUpClass()
        finally:
            LIMITS.update(usual)
        cls.api = Api()
        cls.caller = Caller(cls.api)
        cls.addClassCleanup(cls.caller.close)

    def call(self, method, **fields):
        answer = self.caller.call(self.server.ports["grpc"], self.api.method(method), corp=CORP,
                                  **fields)
        if answer.code == "UNAVAILABLE":  # the connection of before a kill
            answer = self.caller.call(self.server.ports["grpc"], self.api.method(method),
                                      corp=CORP, **fields)
        return answer

    def acquire(self, grant, calls, **fields):
        return self.call("Acquire", grant=grant, calls=calls, api=CREATE, actor="crm", **fields)

    def release(self, grant, used, **fields):
        answer = self.call("Release", grant=grant, used=used, **fields)
        self.assertEqual(answer.code, "OK", answer)

    def when_acquired(self, grant, calls):
        """Asks until the tokens are there."""
        deadline = time.monotonic() + SECONDS
        while True:
            answer = self.acquire(grant, calls)
            if answer.code == "OK":
                return
            self.assertRefused(answer)
            self.assertLess(time.monotonic(), deadline, answer)
            time.sleep(0.05)

    def assertRefused(self, answer):
        self.assertEqual((answer.code, answer.reason, answer.retry),
                         ("RESOURCE_EXHAUSTED", "NO_TOKENS", True), answer)

    def kill(self):
        self.server.kill()
        self.restart()
        self.server.wait_ready()

    def report(self, campaign):
        return self.ask("campaign", "report", "--id", campaign)

    def creates(self):
        return [line for line in self.witness() if line["api"] == CREATE]

    def test_two_programs_together_stay_within_the_limit(self):
        rows = "".join(f"wm{c},m{c % self.members}\n" for c in range(self.customers))
        path = self.write("customers.csv", "external_userid,owner\n" + rows)
        self.ask("import", "customers", path)
        program = OtherProgram(self.simulator_address(), self.members)
        for killed in (False, True):
            campaign, grant = f"together-{killed}".lower(), f"together:{killed}"
            with self.subTest(killed=killed):
                self.when_acquired(f"all:{killed}", AMOUNT)  # all tokens are there
                self.release(f"all:{killed}", 0)
                self.assertEqual(self.acquire(grant, AMOUNT // 2).code, "OK")
                before = len(self.creates())
                self.ask("campaign", "create", "--id", campaign, "--audience", "all",
                         "--variant", CONTENT)
                self.ask("campaign", "launch", "--id", campaign)
                self.wait(lambda n=before: len(self.creates()) >= n + AMOUNT // 2,
                          "the campaign does not begin")
                codes = [program.create() for _ in range(AMOUNT // 4)]
                if killed:
                    self.kill()
                codes += [program.create() for _ in range(AMOUNT // 2 - AMOUNT // 4)]
                self.release(grant, AMOUNT // 2)
                self.assertEqual(set(codes), {0})
                self.wait(lambda name=campaign: self.report(name)["state"]
                          == "CAMPAIGN_STATE_COMPLETED", f"{campaign} is not completed")
        witness = judge_witness.read(os.path.join(self.folder, "witness.jsonl"))
        self.assertEqual(witness.rejected(45009), [])
        [(label, peak, amount)] = [row for row in witness.peaks(judge_limits.read(self.limits))
                                   if row[0].startswith(CREATE + " corp")]
        self.assertLessEqual(peak, amount, label)
        own = [line["t_raw_ns"] for line in self.creates() if line["marker"]]
        others = [line["t_raw_ns"] for line in self.creates() if not line["marker"]]
        self.assertEqual(len(others), 2 * (AMOUNT // 2))
        met = [judge_witness.count_between(own, at - WINDOW_SECONDS * 10**9, at) for at in others]
        self.assertGreater(max(met), 0, "the two never met in a window")

    def wait(self, condition, what):
        deadline = time.monotonic() + SECONDS
        while not condition():
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.05)

    def simulator_address(self):
        with open(os.path.join(self.folder, "wecom_simulator-ports.json"),
                  encoding="utf-8") as file:
            return json.load(file)["address"]

    def test_a_lease_that_ends_keeps_its_tokens_until_no_call_can_count_any_more(self):
        self.when_acquired("lease:all", AMOUNT)
        self.release("lease:all", 0)
        began = time.monotonic()
        self.assertEqual(self.acquire("lease:1", AMOUNT, lease_seconds=LEASE_SECONDS).code, "OK")
        self.assertRefused(self.acquire("lease:2", 1))
        self.kill()
        self.assertRefused(self.acquire("lease:2", 1))
        self.when_acquired("lease:2", 1)
        self.assertGreater(time.monotonic() - began,
                           LEASE_SECONDS + HOLD_SECONDS + WINDOW_SECONDS)
        self.release("lease:1", 0)  # too late, and no fault
        self.release("lease:2", 0)

    def test_a_grant_is_given_once(self):
        self.when_acquired("once:1", 3)
        first = self.acquire("once:1", 3).response
        self.kill()
        self.assertEqual(self.acquire("once:1", 3).response, first)
        for fields in ({"calls": 4}, {"calls": 3, "api": "mark_tag"}):
            answer = self.call("Acquire", **{"grant": "once:1", "api": CREATE, "actor": "crm",
                                             **fields})
            self.assertEqual((answer.code, answer.reason), ("ALREADY_EXISTS", "GRANT_USED"))
        self.assertEqual(self.call("Release", grant="once:1", used=4).code, "INVALID_ARGUMENT")
        self.release("once:1", 1)
        self.release("once:1", 1)
        self.assertEqual(self.acquire("once:1", 3).response, first)

    def test_what_is_wrong_is_told(self):
        answer = self.call("Release", grant="nobody", used=1)
        self.assertEqual((answer.code, answer.reason), ("NOT_FOUND", "GRANT_NOT_FOUND"))
        for fields, field in (({"calls": 0}, "calls"), ({"calls": AMOUNT + 1}, "calls"),
                              ({"grant": "no key!"}, "grant"), ({"api": "x"}, "api"),
                              ({"lease_seconds": 0.5}, "lease_seconds"), ({"actor": ""}, "actor")):
            answer = self.call("Acquire", **{"grant": "wrong", "api": CREATE, "actor": "crm",
                                             "calls": 1, **fields})
            self.assertEqual(answer.code, "INVALID_ARGUMENT", fields)
            self.assertIn(field + ": ", answer.message)
        answer = self.call("Release", grant="wrong", rate_limited=True)
        self.assertEqual(answer.code, "INVALID_ARGUMENT")

    def test_the_verbs_say_what_they_did(self):
        self.wait(lambda: self.call("Peek", api=CREATE).response.allowed, "no token is there")
        out, _ = self.tidegate("quota", "acquire", "--corp", CORP, "--api", CREATE, "--grant",
                               "verb", "--calls", "1", "--actor", "crm", "--lease", "20")
        self.assertIn("grant verb", out)
        _, err = self.tidegate("quota", "acquire", "--corp", CORP, "--api", CREATE, "--grant",
                               "verb:2", "--calls", str(AMOUNT), "--actor", "crm", code=6)
        self.assertIn(f"no tokens for {AMOUNT} calls now: {CREATE} ", err)
        self.tidegate("quota", "release", "--corp", CORP, "--grant", "verb", "--used", "0")

    def test_a_program_that_was_refused_locks_the_api_for_all(self):
        self.when_acquired("locked:1", 2)
        self.release("locked:1", 1, rate_limited=True)
        peeked = self.call("Peek", api=CREATE).response
        self.assertEqual((peeked.allowed, peeked.binding), (False, "lockout"))
        answer = self.acquire("locked:2", 1)
        self.assertRefused(answer)
        self.assertIn("lockout", answer.message)
        with self.usage() as told:
            time.sleep(1)
        self.assertLessEqual(len(told), 3, "a lockout that becomes shorter is no change")
        self.when_acquired("locked:3", 1)
        self.release("locked:3", 1)  # it went well, so more may go
        self.when_acquired("locked:4", 2)
        self.release("locked:4", 0)

    def forecast(self):
        """(seconds, what binds) of 1,000 calls of mark_tag."""
        answer = self.call("ForecastCompletion", api="mark_tag", calls=1000)
        self.assertEqual(answer.code, "OK", answer)
        return round(answer.response.seconds, 3), answer.response.binding

    def test_the_limits_of_a_corp_are_kept(self):
        usual = self.forecast()
        self.assertLess(usual[0], 60)
        self.assertFalse(self.call("GetLimits").response.HasField("time"))
        own = {"windows": [{"api": "mark_tag", "amount": 500, "window_ms": 60_000}], "weight": 2}
        words = ["--corp", CORP, "--actor", "li", "--reason", "ticket 7", "--file"]
        self.tidegate("quota", "limits", "set", *words, self.write("own.json", json.dumps(own)))
        for _ in range(2):
            shown = self.ask("quota", "limits", "show")
            self.assertEqual((shown["actor"], shown["reason"]), ("li", "ticket 7"))
            [window] = shown["limits"]["windows"]
            self.assertEqual((window["api"], window["amount"], window["window_ms"]),
                             ("mark_tag", 500, 60_000))
            self.assertEqual(shown["limits"]["weight"], 2)
            self.assertEqual(self.forecast(), (60, "mark_tag corp 500/60s"))
            self.kill()
        own["windows"].append({"api": "mark_tag", "amount": 0, "window_ms": 60_000})
        _, err = self.tidegate("quota", "limits", "set", *words,
                               self.write("wrong.json", json.dumps(own)), code=2)
        self.assertIn("limits.windows[1].amount: write 1 to ", err)
        _, err = self.tidegate("quota", "limits", "set", *words,
                               self.write("typo.json", '{"window": []}'), code=2)
        self.assertIn("typo.json", err)
        self.tidegate("quota", "limits", "set", *words, self.write("none.json", "{}"))
        shown = self.ask("quota", "limits", "show")
        self.assertEqual((shown["limits"]["windows"], shown["limits"]["weight"]), ([], 0))
        self.assertEqual(self.forecast(), usual)

    @contextlib.contextmanager
    def usage(self):
        """[(time, tokens left in the window)], as they are told."""
        method = self.api.method("WatchUsage")
        with grpc.insecure_channel(self.server.ports["grpc"]) as channel:
            watch = channel.unary_stream(method.path, method.request.SerializeToString,
                                         method.response.FromString)(
                self.api.request(method, {"corp": CORP}), timeout=SECONDS)
            told = []
            reader = threading.Thread(target=self.read_usage, args=(watch, told))
            reader.start()
            try:
                self.wait(lambda: told, "nothing is told at once")
                yield told
            finally:
                watch.cancel()
                reader.join()

    def test_usage_is_watched(self):
        self.when_acquired("watched:all", AMOUNT)
        self.release("watched:all", 0)
        with self.usage() as told:
            self.assertEqual(told[-1][1], AMOUNT)
            self.assertEqual(self.acquire("watched:1", 7).code, "OK")
            self.wait(lambda: told[-1][1] == AMOUNT - 7, f"the grant is not told: {told}")
            self.release("watched:1", 7)
            # Tokens return by time alone.
            self.wait(lambda: told[-1][1] == AMOUNT, f"the return is not told: {told}")
            time.sleep(1)
        self.assertLessEqual(len(told), 5, f"told without a change: {told}")
        times = [when for when, _ in told]
        self.assertGreater(min(after - before for before, after in zip(times, times[1:])), 0.1)

    @staticmethod
    def read_usage(watch, told):
        try:
            for usage in watch:
                [left] = [bucket.tokens for bucket in usage.buckets
                          if (bucket.api, bucket.scope) == (CREATE, "corp")]
                told.append((time.monotonic(), left))
        except grpc.RpcError:
            pass  # cancelled


if __name__ == "__main__":
    unittest.main()
