"""A simulated WeCom and `tidegate serve` as processes, for tests from outside."""

import json
import os
import sys
import tempfile
import unittest
import urllib.error
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "demo"))

from processes import Processes, Service  # noqa: E402
from simulator import Simulator  # noqa: E402

BIN = os.environ["TIDEGATE_BIN"]
CORP = "wwdemo0123456789ab"
AGENT = "1000002"
# The token and key of WeCom's published sample form, so that a verification can be replayed.
TOKEN = "outreachTok2026"
AES_KEY = "K7mQ2xV9bT4nR8wY3cF6hJ1sD5gL0pZaXeUiOqWtBvC"
SECRET = "canary-secret-5d1f"
LIMITS = {
    "limits": [{"api": "add_msg_template", "scope": "corp", "amount": 5, "window_ms": 1000,
                "lockout_ms": 1000}],
    "in_flight": [{"api": "add_msg_template", "amount": 3}],
    "http_deadline_ms": 400,
    "settle": {"user_timeout_ms": 200, "hold_ms": 400, "list_lag_ms": 200, "skew_ms": 50,
               "factor": 1.5, "list_gap_ms": 100},
    "results": {"first_poll_ms": 200, "poll_ms": 500, "close_after_ms": 3000},
}
FREE = "127.0.0.1:0"


def private(path, text):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


class ProductTest(unittest.TestCase):
    """One simulator and one server per test class."""

    members = 4
    customers = 12
    confirm_mean_ms = 300
    limits_of_wecom = None  # what WeCom does where it differs from what the product is told
    options = []  # more of tidegate serve

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="tidegate-test-")
        cls.processes = Processes(cls.folder)
        cls.addClassCleanup(cls.processes.kill_all)
        cls.limits = os.path.join(cls.folder, "limits.json")
        private(cls.limits, json.dumps(LIMITS))
        limits_of_wecom = cls.limits
        if cls.limits_of_wecom is not None:
            limits_of_wecom = os.path.join(cls.folder, "limits_of_wecom.json")
            private(limits_of_wecom, json.dumps(cls.limits_of_wecom))
        private(os.path.join(cls.folder, "secret"), SECRET)
        private(os.path.join(cls.folder, "aes"), AES_KEY)
        cls.corps = os.path.join(cls.folder, "corps.json")
        private(cls.corps, json.dumps({"corps": [{"corp_id": CORP, "apps": [
            {"agent_id": AGENT, "secret_file": "secret", "token": TOKEN,
             "aes_key_file": "aes"}]}]}))
        wecom = Service(cls.processes, cls.folder, "wecom_simulator",
                        [os.path.join(BIN, "wecom_simulator"), "--seed", "5",
                         "--limits", limits_of_wecom,
                         "--witness", os.path.join(cls.folder, "witness.jsonl"),
                         "--confirm-mean-ms", str(cls.confirm_mean_ms), "--confirm-never", "0",
                         "--distributing-ms", "100"])
        wecom.start(["--address", FREE])
        cls.simulator = Simulator(wecom.ports["address"])
        cls.server = Service(cls.processes, cls.folder, "tidegate",
                             [os.path.join(BIN, "tidegate"), "serve",
                              "--data-dir", os.path.join(cls.folder, "data"),
                              "--corps-file", cls.corps, "--limits", cls.limits,
                              "--wecom-url", "http://" + wecom.ports["address"], *cls.options])
        cls.server.start(["--grpc", FREE, "--callback", FREE, "--admin", FREE])
        cls.simulator.post("/control/seed", {
            "corp_id": CORP,
            "apps": [{"agent_id": AGENT, "secret": SECRET, "token": TOKEN, "aes_key": AES_KEY,
                      "callback_url": cls.callback_url()}],
            "members": [f"m{m}" for m in range(cls.members)], "tags": ["vip", "qr"],
            "customers": [{"external_userid": f"wm{c}", "member": f"m{c % cls.members}"}
                          for c in range(cls.customers)]})

    @classmethod
    def callback_url(cls):
        return f"http://{cls.server.ports['callback']}/callback/{CORP}/{AGENT}"

    @classmethod
    def restart(cls):
        """The same addresses, so that whoever knew them still does."""
        ports = cls.server.ports
        cls.server.start(["--grpc", ports["grpc"], "--callback", ports["callback"],
                          "--admin", ports["admin"]])

    def tidegate(self, *arguments, code=0):
        """(standard output, standard error) of one client verb, which must end with `code`."""
        got, out, err = self.processes.run(
            [os.path.join(BIN, "tidegate"), *arguments, "--grpc", self.server.ports["grpc"]])
        self.assertEqual(got, code, f"{arguments}: {out}{err}")
        return out, err

    def ask(self, *arguments):
        return json.loads(self.tidegate(*arguments, "--corp", CORP, "--output", "json", "--quiet",
                                        "--wait", "20")[0])

    def count(self, expression):
        return self.ask("segment", "count", expression)["count"]

    def http(self, url, body=None, method=None):
        """(status, text)."""
        request = urllib.request.Request(url, body, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        private(path, text)
        return path

    def witness(self):
        with open(os.path.join(self.folder, "witness.jsonl")) as file:
            return [json.loads(line) for line in file]
