"""A small run on a Kafka of its own, for proofs and tests: two processes of each service, a few
hundred customers, a campaign of some hundred calls that takes several seconds.

  with ShortRun(folder, build, seed=7) as run:
      run.start()
      run.prepare()                  # rules, channels, customers, purchases, new customers
      run.launch()
      ...                            # disturb it
      run.finish()                   # until nothing is left to do
      run.end()                      # {process: exit code}
      verdict = run.judge()

`build` may be a folder of links whose bin/ holds other binaries under the usual names: linked().
"""

import json
import os
import random
import time

import lanes
import settings
from client import Client
from deployment import ManyProcesses
from processes import DemoError, Processes, Service
from settling import settle
from simulator import Simulator

REPLICAS = 2
CUSTOMERS = 300
MEMBERS = 40
ADDED = 20
ADDED_PER_SECOND = 20
LIMITS = {
    "limits": [{"api": "add_msg_template", "scope": "corp", "amount": 10, "window_ms": 1_000,
                "lockout_ms": 1_000}],
    "in_flight": [{"api": "add_msg_template", "amount": 4}, {"api": "mark_tag", "amount": 5}],
    "http_deadline_ms": 1_000,
    "settle": {"user_timeout_ms": 500, "hold_ms": 1_000, "list_lag_ms": 500, "skew_ms": 100,
               "factor": 1.5, "list_gap_ms": 500},
    "results": {"first_poll_ms": 500, "poll_ms": 1_000, "close_after_ms": 4_000},
}
AUDIENCE = "orders.count >= 2"
WAIT_SECONDS = 40
WATCH_SECONDS = 120
POLL_SECONDS = 0.2


class ShortRun:
    limits = LIMITS
    wecom_flags = ()  # of the simulator, beside the usual ones

    def __init__(self, folder, build, seed, say=lambda text: None):
        self.folder, self._build, self._seed, self._say = folder, build, seed, say
        self._processes = Processes(folder)
        self.deployment = self.client = self.simulator = self._wecom = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._processes.kill_all()
        if self.deployment:
            self.deployment.close()

    def path(self, name):
        return os.path.join(self.folder, name)

    def start(self):
        keys = settings.Secrets()
        files = settings.write(self.folder, keys)
        with open(files.limits, "w", encoding="utf-8") as file:
            json.dump(self.limits, file, indent=1)
        self._wecom = Service(self._processes, self.folder, "wecom_simulator", [
            os.path.join(self._build, "bin", "wecom_simulator"), "--seed", str(self._seed),
            "--limits", files.limits, "--witness", self.path("witness.jsonl"),
            "--confirm-mean-ms", "500", "--confirm-never", "0", "--distributing-ms", "200",
            *self.wecom_flags])
        self._wecom.start(["--address", "127.0.0.1:0"])
        self.simulator = Simulator(self._wecom.ports["address"])
        self.deployment = self._deploy(files, self._wecom.ports["address"])
        self.deployment.start()
        self.simulator.post("/control/seed", {
            "corp_id": settings.CORP,
            "apps": [{"agent_id": settings.AGENT, "secret": keys.secret, "token": keys.token,
                      "aes_key": keys.aes_key,
                      "callback_url": f"http://{self.deployment.callback}/callback/"
                                      f"{settings.CORP}/{settings.AGENT}"}],
            "members": [member(number) for number in range(MEMBERS)], "tags": settings.tags(),
            "customers": [{"external_userid": customer(number), "member": member(number)}
                          for number in range(CUSTOMERS)]})
        self.client = Client(self._processes, os.path.join(self._build, "bin", "tidegate"),
                             self.deployment.grpc, self.path("client.jsonl"), WAIT_SECONDS)

    def _deploy(self, files, wecom):
        return ManyProcesses(self._processes, self.folder, self._build, files, wecom, 1, REPLICAS)

    def prepare(self):
        self.define()
        self.add_customers(range(ADDED))
        self.create(settings.CAMPAIGN)

    def define(self):
        """Rules and channels; customers and what they bought."""
        corp = ("--corp", settings.CORP)
        for channel in settings.CHANNELS:
            self.client.ask("channel", "add", *corp, "--id", channel, "--state", channel,
                            "--tag", settings.channel_tag(channel), "--welcome", f"By {channel}.")
        for tag, condition in settings.RULES:
            self.client.ask("rule", "add", *corp, "--id", tag, "--when", condition,
                            "--on", "order_paid", "--tag", tag)
        self.client.ask("import", "customers", self._write_customers(), *corp)
        self.client.ask("import", "purchases", self._write_purchases(), "--format", "csv", *corp)

    def add_customers(self, numbers):
        """They come by channel codes, each once, and are to be welcomed."""
        self.simulator.post("/control/add_customers", {
            "corp_id": settings.CORP, "per_second": ADDED_PER_SECOND,
            "customers": [{"external_userid": "wm9" + str(number).zfill(29),
                           "member": member(number),
                           "state": settings.CHANNELS[number % len(settings.CHANNELS)]}
                          for number in numbers]})

    def create(self, campaign):
        """The calls that it takes."""
        create = ["campaign", "create", "--corp", settings.CORP, "--id", campaign,
                  "--audience", AUDIENCE]
        for variant in settings.VARIANTS:
            create += ["--variant", variant]
        plan = self.client.ask(*create, "--validate-only")["plan"]
        self.client.ask(*create)
        self._say(f"{CUSTOMERS} customers, {plan['calls']} calls planned")
        return plan["calls"]

    def launch(self, campaign=settings.CAMPAIGN):
        self.client.ask("campaign", "launch", "--corp", settings.CORP, "--id", campaign)

    def finish(self, campaigns=(settings.CAMPAIGN,)):
        """The last campaign's report, when all calls, tags, welcomes and callbacks have their end."""
        for campaign in campaigns:
            self.client.ask("campaign", "watch", "--corp", settings.CORP, "--id", campaign,
                            "--timeout", str(WATCH_SECONDS))
        settle(self.client, self.simulator, settings.CORP, POLL_SECONDS)
        return self.client.ask("campaign", "report", "--corp", settings.CORP,
                               "--id", campaigns[-1])

    def end(self):
        """Every process in order; the exit codes."""
        codes = self.deployment.terminate()
        codes["wecom_simulator"] = self._wecom.terminate()
        return codes

    def kill(self):
        """Every process at once; Kafka stays."""
        self._processes.kill_all()

    def judge(self):
        return self.deployment.judge_journals(self.folder)

    def calls(self):
        """Of all calls that the simulator saw, executed or not."""
        with open(self.path("witness.jsonl"), encoding="utf-8") as file:
            return sum(1 for _ in file)

    def lane_owner(self):
        """The dispatch process that owns the corp's lane."""
        lane = lanes.lane_of(settings.CORP, REPLICAS)
        return self.deployment.of("dispatch")[lane % REPLICAS]

    def creates(self):
        calls = self.simulator.status()["calls"].get("add_msg_template", {})
        return calls.get("executed", 0)

    def await_creates(self, count, seconds=WAIT_SECONDS):
        deadline = time.monotonic() + seconds
        while self.creates() < count:
            if time.monotonic() > deadline:
                raise DemoError(f"{self.creates()} of {count} creates within {seconds} s")
            time.sleep(POLL_SECONDS / 4)

    def _write_customers(self):
        return self._write("customers.csv", "external_userid,owner", (
            f"{customer(number)},{member(number)}" for number in range(CUSTOMERS)))

    def _write_purchases(self):
        chance = random.Random(f"{self._seed} purchases")
        rows = [f"{customer(number)},{number}-{order},2026-0{chance.randint(1, 9)}-1"
                f"{chance.randint(0, 9)},{chance.randint(10, 400)}.00"
                for number in range(CUSTOMERS) for order in range(chance.randint(1, 4))]
        return self._write("purchases.csv", "customer,order_id,paid_time,amount", rows)

    def _write(self, name, head, rows):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.writelines(row + "\n" for row in (head, *rows))
        return self.path(name)


def linked(folder, build, others):
    """A new folder like the build's, in which some programs are others: {usual name: its name}."""
    os.makedirs(os.path.join(folder, "bin"))
    programs = os.path.abspath(os.path.join(build, "bin"))
    for name in os.listdir(programs):
        os.symlink(os.path.join(programs, others.get(name, name)),
                   os.path.join(folder, "bin", name))
    return folder


def customer(number):
    return "wm" + str(number).zfill(30)


def member(number):
    return f"m{number % MEMBERS:03d}"
