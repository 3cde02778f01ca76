"""A run of dispatch under kills: the short run's corp, members and customers, campaign after campaign,
a relay in front of the simulated WeCom, which spoils a share of all calls.

`Embedded` is one process of everything on the embedded log, `OnKafka` a process of each service on a
real broker; of both the process that has dispatch can be killed and started again.
"""

import os
import signal
import time
from collections import Counter

from deployment import START_SECONDS, ManyProcesses, OneProcess
from processes import DemoError
from relay import Relay
from short_run import ShortRun

LIMITS = {
    "limits": [{"api": "add_msg_template", "scope": "corp", "amount": 20, "window_ms": 1_000,
                "lockout_ms": 1_000},
               {"api": "add_msg_template", "scope": "corp", "amount": 80, "window_ms": 5_000,
                "lockout_ms": 2_000}],
    "in_flight": [{"api": "add_msg_template", "amount": 10}, {"api": "mark_tag", "amount": 5}],
    "receive_quota": "none",
    "http_deadline_ms": 400,
    "settle": {"user_timeout_ms": 200, "hold_ms": 500, "list_lag_ms": 200, "skew_ms": 100,
               "factor": 1.5, "list_gap_ms": 300},
    "results": {"first_poll_ms": 500, "poll_ms": 1_000, "close_after_ms": 4_000},
}
SETTLE_SECONDS = 1.5  # what `settle` above comes to
CREATE = "add_msg_template"
# Of each a share of the calls; and at the start one for sure.
CREATE_FAULTS = {
    "EXEC_THEN_CLOSE": 0.03, "EXEC_THEN_RST": 0.03, "EXEC_THEN_5XX": 0.03, "EXEC_THEN_-1": 0.03,
    "EXEC_THEN_TIMEOUT": 0.02, "EXEC_THEN_GARBAGE": 0.03, "DELAY_EXEC": 0.03,
    "DROP_THEN_CLOSE": 0.02, "REJECT:-1": 0.02, "REJECT:45033": 0.01, "REJECT:40014": 0.01,
    "REJECT:42001": 0.01, "REJECT:41048": 0.01,
}
OTHER_FAULTS = {
    "send_welcome_msg": {"EXEC_THEN_CLOSE": 0.05, "EXEC_THEN_5XX": 0.05},
    "mark_tag": {"EXEC_THEN_RST": 0.03},
    "get_groupmsg_list_v2": {"LIST_ERR": 0.05},
}
# One refusal closes the api for a lockout, so it comes by number alone.
LIMIT_REFUSED = "REJECT:45009"
EXIT_SECONDS = 20


def claimed_faults():
    """[(api, kind)]: each must have been met in a valid run."""
    return ([(CREATE, kind) for kind in (*CREATE_FAULTS, LIMIT_REFUSED)]
            + [(api, kind) for api, kinds in OTHER_FAULTS.items() for kind in kinds])


class ChaosRun(ShortRun):
    limits = LIMITS
    # Listings have several pages; customers get more campaigns than a month has days.
    wecom_flags = ("--list-page", "50", "--receive-quota", "none")

    def __init__(self, folder, build, seed, say, first):
        """`first`: the kill that ends the first process."""
        super().__init__(folder, build, seed, say)
        self._first = first
        self.relay = None
        self.hits = self.path("crash-points.txt")
        self.campaigns = []
        self.terms_ns = []  # Unix time of each SIGTERM
        self.starts = 1

    def __exit__(self, *error):
        super().__exit__(*error)
        if self.relay:
            self.relay.__exit__()

    def _deploy(self, files, wecom):
        self.relay = Relay(wecom).__enter__()
        deployment = self._product(files, self.relay.address)
        self.arm(self._first)
        return deployment

    def prepare(self):
        self.define()
        for api, kinds in {CREATE: CREATE_FAULTS, **OTHER_FAULTS}.items():
            for kind, share in kinds.items():
                self.fault(api, kind, next=1)
                self.fault(api, kind, probability=share)
        self.fault(CREATE, LIMIT_REFUSED, next=1)

    def fault(self, api, kind, **how):
        self.simulator.post("/control/faults", {"api": api, "kind": kind, **how})

    def end_faults(self):
        self.relay.heal()
        for api, kinds in {CREATE: CREATE_FAULTS, **OTHER_FAULTS}.items():
            for kind in kinds:
                self.fault(api, kind, probability=0)

    def next_campaign(self):
        """The calls that it takes."""
        self.campaigns.append(f"chaos-{len(self.campaigns) + 1}")
        calls = self.create(self.campaigns[-1])
        self.launch(self.campaigns[-1])
        return calls

    def arm(self, kill):
        """The next process dies at the kill's crash point, if it has one."""
        self.service.environment = {
            "TIDEGATE_CRASH_POINT": f"{kill.point}:{kill.hit}",
            "TIDEGATE_CRASH_FILE": self.hits} if kill and kill.point else {}

    def restart(self):
        """Milliseconds until it was ready; None for one that met its crash point before."""
        self.starts += 1
        begin = time.monotonic()
        try:
            self._start_again()
        except DemoError:
            if not self.service.environment or self.process.poll() != -signal.SIGKILL:
                raise
            return None
        return (time.monotonic() - begin) * 1000

    @property
    def process(self):
        return self.service.process

    def kill_process(self):
        """SIGKILL; also takes note of a process that did it itself at its crash point."""
        self.service.kill()

    def term(self, twice):
        """SIGTERM; it must end what it has begun and exit 0. Told twice it exits at once."""
        if twice:
            self.process.terminate()
        else:
            self.terms_ns.append(time.time_ns())
        if code := self.service.terminate(EXIT_SECONDS):
            raise DemoError(f"pid {self.process.pid} ended with exit code {code} after SIGTERM")

    def callbacks(self):
        """(customers whose callback was taken, those WeCom gave up after three deliveries)."""
        status = self.simulator.status()
        given_up = status["callbacks"]["exhausted"]
        return status["welcome_codes"]["made"] - given_up, given_up

    def points_met(self):
        """{point: how often a process died there}."""
        met = Counter()
        if os.path.exists(self.hits):
            with open(self.hits, encoding="utf-8") as file:
                met.update(line.split()[0] for line in file if line.split()[2:] == ["died"])
        return met

    def export(self):
        self.deployment.export(self.client, self.path("journals"))


class Embedded(ChaosRun):
    log = "embedded"

    def _product(self, files, wecom):
        deployment = OneProcess(self._processes, self.folder, self._build, files, wecom)
        self.service, self._server = deployment.server, deployment
        return deployment

    def _start_again(self):
        self.service.start(self._server.addresses())
        self.service.wait_ready()

    def sleep(self, seconds):
        """SIGSTOP; a second process on the same data is refused; SIGCONT."""
        self.process.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        code, out, err = self._processes.run(
            [*self.service.arguments, *(word for name in ("grpc", "callback", "admin")
                                        for word in ("--" + name, "127.0.0.1:0"))])
        if code == 0 or "another process" not in out + err:
            raise DemoError(f"a second process on the same data was not refused, it ended with exit "
                            f"code {code}: {err.strip()[-300:]}")
        time.sleep(max(0, stopped + seconds - time.monotonic()))
        self.process.send_signal(signal.SIGCONT)
        return False  # the process goes on


class OnKafka(ChaosRun):
    log = "kafka"

    def _product(self, files, wecom):
        deployment = ManyProcesses(self._processes, self.folder, self._build, files, wecom, 1, 1)
        self.service = deployment.of("dispatch")[0]
        return deployment

    def _start_again(self):
        self.service.start_again(START_SECONDS)

    def sleep(self, seconds):
        """SIGSTOP while a second process takes over, then SIGCONT: the first must end as fenced, the
        second gives way to one on the usual addresses."""
        self.starts += 2
        self.service.expect_fenced(self.service.sleep_and_wake(seconds))
        return True  # another one is there

