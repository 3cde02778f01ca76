"""Kills processes and brokers, and stops processes, while the demo runs on Kafka.

* Kills: each service loses its share, at random moments; dispatch only while WeCom has received a
  create and not answered it, and always the process that owns the corp's lane.
* Broker kills: the broker that leads the lane's ledger at that moment, as the cluster tells it; the
  next one only when all replicas are in sync again.
* Stops: SIGSTOP of a stateful process for 8 s while a second one of its ordinal starts and takes its
  partitions over; after SIGCONT the first must end with exit code 75. The second cannot listen where
  the first still does, so it gives way to a third on the usual addresses.

WeCom's own deadlines bound what can be asked of the product. A callback comes three times: no
ingestion is killed, and no leader, while one has a single delivery left. A welcome code is valid for
20 s, and what was under way at a kill of dispatch holds its places until WeCom cannot serve it any
more: so kills of dispatch wait while many welcomes do, and until all customers are welcomed, outages
of many seconds (leaders, stops) do too, and come one at a time.

One thread each per service, for brokers and for stops; a process is touched by one at a time.
"""

import contextlib
import json
import random
import threading
import time

import lanes
import settings
from deployment import EXIT_FENCED, START_SECONDS, STATEFUL
from processes import DemoError

# The rest is dispatch's, whose kills each need a create of their own.
SHARES = {"ingestion": 0.23, "tagging": 0.23, "segmentation": 0.23}
DELAY_SECONDS = (0.3, 2.0)
WAIT_CREATE_MS = 500
GATE_POLL_SECONDS = 0.05
STOP_SECONDS = 8
LEADER_SECONDS = 30
IN_SYNC_SECONDS = 60
WELCOMES_SECONDS = 30
LOG_SECONDS = 5


class KafkaKiller:
    def __init__(self, deployment, simulator, options, began, say):
        self._deployment = deployment
        self._simulator = simulator
        self._options = options
        self._began = began
        self._say = say
        self._over = threading.Event()
        self._failed = threading.Event()
        self._lock = threading.Lock()  # over the lists
        self._one_outage = threading.Lock()
        self._touching = {replica: threading.Lock() for replica in deployment.replicas}
        self.kills, self.broker_kills, self.stops = [], [], []
        self.error = None
        shares = {service: int(options.kill * share) for service, share in SHARES.items()}
        shares["dispatch"] = options.kill - sum(shares.values())
        self._threads = [
            threading.Thread(target=self._guarded, args=(self._kill_service, service, count),
                             daemon=True)
            for service, count in shares.items() if count]
        if options.kill_brokers:
            self._threads.append(threading.Thread(target=self._guarded,
                                                  args=(self._kill_brokers,), daemon=True))
        if options.stop:
            self._threads.append(threading.Thread(target=self._guarded, args=(self._stop_all,),
                                                  daemon=True))

    def start(self):
        for thread in self._threads:
            thread.start()

    def join(self):
        for thread in self._threads:
            thread.join()

    def tell_campaign_over(self):
        """No create will come any more."""
        self._over.set()

    def _guarded(self, work, *arguments):
        try:
            work(*arguments)
        except Exception as error:  # whatever it is, the run must end with it
            if not isinstance(error, DemoError):
                error = DemoError(f"{work.__name__.strip('_')}: {type(error).__name__}: {error}")
            with self._lock:
                self.error = self.error or error
            self._failed.set()

    def _chance(self, name):
        return random.Random(f"{self._options.seed} {name}")

    # ---- Kills ----

    def _kill_service(self, service, count):
        chance = self._chance(service)
        for number in range(count):
            if self._failed.is_set():
                return
            if service == "dispatch":
                self._kill_at_create(self._lane_owner(), count - number)
                continue
            time.sleep(chance.uniform(*DELAY_SECONDS))
            replica = chance.choice(self._deployment.of(service))
            with self._touching[replica]:
                if service == "ingestion":
                    self._await_callbacks()
                self._kill(replica, "timed")

    def _kill_at_create(self, owner, left):
        killed = False
        while not killed:
            self._await_welcomes()
            pid = owner.pid
            self._await_create(owner, left)
            with self._touching[owner]:
                killed = pid == owner.pid  # else it was stopped, and its successor has no call yet
                if killed:
                    self._kill(owner, "create")

    def _await_create(self, owner, left):
        """Until a create that the owner of the lane sent has no answer yet."""
        while True:
            over = self._over.is_set()
            create = self._simulator.wait_create(WAIT_CREATE_MS)
            # One that the former process sent is no news.
            if create and create["arrived_raw_ns"] > owner.started_raw_ns:
                return
            if over or self._failed.is_set():
                raise DemoError(f"the campaign was over with {left} kills at a create to come")

    def _lane_owner(self):
        lane = lanes.lane_of(settings.CORP, self._options.replicas)
        return self._deployment.of("dispatch")[lane % self._options.replicas]

    def _await_callbacks(self):
        """WeCom gives a callback up after three deliveries."""
        while self._simulator.status()["callbacks"]["deliveries_left_min"] <= 1:
            time.sleep(GATE_POLL_SECONDS)

    @contextlib.contextmanager
    def _long_outage(self):
        """Alone and with no welcomes waiting; once all are sent, at once."""
        if self._welcomes_left() == 0:
            yield
            return
        with self._one_outage:
            self._await_welcomes()
            yield

    def _await_welcomes(self):
        """Until no more wait than those of the last second."""
        deadline = time.monotonic() + WELCOMES_SECONDS
        while time.monotonic() < deadline and not self._failed.is_set():
            codes = self._simulator.status()["welcome_codes"]
            if codes["made"] - codes["used"] <= settings.ADDED_PER_SECOND:
                return
            time.sleep(GATE_POLL_SECONDS)

    def _welcomes_left(self):
        return settings.ADDED - self._simulator.status()["welcome_codes"]["used"]

    def _kill(self, replica, phase):
        pid = replica.pid
        replica.kill()
        killed = time.monotonic() - self._began
        restart_ms = replica.start_again(START_SECONDS)
        kill = {"pid": pid, "service": replica.service, "replica": replica.replica,
                "t": round(killed, 3), "phase": phase, "restart_ms": round(restart_ms, 1),
                "fence_epoch_after": fence_epoch(replica)}
        with self._lock:
            self.kills.append(kill)
            number = len(self.kills)
        if number % 10 == 0:
            self._say(f"{number} kills; the last one {replica.service} {replica.replica}, "
                      f"back after {restart_ms:.0f} ms")

    # ---- Brokers ----

    def _kill_brokers(self):
        import leaders
        cluster = self._deployment.cluster
        lane = lanes.lane_of(settings.CORP, self._options.replicas)
        for _ in range(self._options.kill_brokers):
            self._await(lambda: leaders.in_sync(cluster.bootstrap_servers), IN_SYNC_SECONDS,
                        "not all replicas are in sync")
            if self._failed.is_set():
                return
            # An ingestion that starts while leaders are missing is away for longer than WeCom's three
            # deliveries of a callback: none is killed meanwhile.
            with self._long_outage(), contextlib.ExitStack() as spared:
                for replica in self._deployment.of("ingestion"):
                    spared.enter_context(self._touching[replica])
                # What is being delivered waits for the next leader as well.
                self._await_callbacks()
                self._kill_broker(leaders, cluster, lane)

    def _kill_broker(self, leaders, cluster, lane):
        before = leaders.leader(cluster.bootstrap_servers, "tidegate.ledger", lane)
        cluster.kill(before)
        killed = time.monotonic()

        def moved():
            after = leaders.leader(cluster.bootstrap_servers, "tidegate.ledger", lane)
            return after if after not in (before, None, -1) else None

        try:
            after = self._await(moved, LEADER_SECONDS, "the ledger has no new leader")
            outage_ms = (time.monotonic() - killed) * 1000
        finally:
            cluster.restart(before)
        with self._lock:
            self.broker_kills.append({"node": before, "t": round(killed - self._began, 3),
                                      "leader_before": before, "leader_after": after,
                                      "outage_ms": round(outage_ms, 1)})
        self._say(f"broker {before} killed, {after} leads the ledger after {outage_ms:.0f} ms")

    def _await(self, what, seconds, text):
        """What it answers at last; a cluster that does not answer is asked again."""
        from jars import KafkaError
        deadline = time.monotonic() + seconds
        why = ""
        while time.monotonic() < deadline:
            try:
                if got := what():
                    return got
            except KafkaError as error:
                why = f": {error}"
            time.sleep(GATE_POLL_SECONDS)
        raise DemoError(f"{text} within {seconds} s{why}")

    # ---- Stops ----

    def _stop_all(self):
        chance = self._chance("stop")
        owner = self._lane_owner()
        others = [replica for service in STATEFUL if service != "dispatch"
                  for replica in self._deployment.of(service)]
        for number in range(self._options.stop):
            time.sleep(chance.uniform(1, 4))
            if self._failed.is_set():
                return
            replica = owner if number % 2 == 0 else chance.choice(others)
            with self._long_outage(), self._touching[replica]:
                self._stop(replica)

    def _stop(self, replica):
        slept = time.monotonic()
        first = replica.sleep_and_wake(STOP_SECONDS)
        replica.expect_fenced(first)
        with self._lock:
            self.stops.append({"pid": first.pid, "service": replica.service,
                               "replica": replica.replica, "exit_code": EXIT_FENCED,
                               "t": round(slept - self._began, 3)})
        self._say(f"{replica.service} {replica.replica} slept {STOP_SECONDS} s, pid {first.pid} "
                  f"ended with {EXIT_FENCED}")


def fence_epoch(replica):
    """The epoch under which the process lives in its first partition, from its own log; None for
    one without partitions. A process may say that it is ready a moment before it logs this."""
    deadline = time.monotonic() + LOG_SECONDS
    while replica.service in STATEFUL:
        with open(replica.log_path, encoding="utf-8", errors="replace") as file:
            for line in file:
                if '"partition_live"' in line and line.endswith("\n"):
                    return int(json.loads(line)["epoch"])
        if time.monotonic() > deadline:
            break
        time.sleep(GATE_POLL_SECONDS)
    return None
