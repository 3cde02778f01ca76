"""Does what the plan says, one kill after another, and starts the process again after each."""

import random
import signal
import threading
import time

from chaos_run import CREATE, EXIT_SECONDS, SETTLE_SECONDS
from processes import DemoError

# After the process was ready.
DELAY_SECONDS = (0.2, 1.5)
WAIT_CREATE_MS = 500
CREATE_SECONDS = 20
HELD_SECONDS = 5
# Around the settle wait: what arrives late must do so before the listing, or never.
HEAL_SECONDS = (0.3, 1.0, SETTLE_SECONDS + 0.5, 2 * SETTLE_SECONDS + 1, 2 * SETTLE_SECONDS + 2)
STOP_SECONDS = (0.5, 1.5, 3.0)
POINT_SECONDS = 15
TRIES = 3  # of a crash point that was not met in time
POLL_SECONDS = 0.01
ADDED_PER_KILL = 2
# What is left of a campaign when the next one is launched.
CALLS_LEFT = 40
IDLE_SECONDS = 4
CREATE_TARGET = f"/cgi-bin/externalcontact/{CREATE}?".encode()
# So that a doubt of the kind that the point is about comes soon.
PROVOKED = {"R1": "EXEC_THEN_CLOSE", "R2": "EXEC_THEN_CLOSE", "R3": "EXEC_THEN_CLOSE",
            "R4": "DROP_THEN_CLOSE", "R5": "DROP_THEN_CLOSE"}


class Feeder(threading.Thread):
    """Launches campaign after campaign, so that there is always something to send."""

    def __init__(self, run):
        super().__init__(daemon=True)
        self._run = run
        self._over = threading.Event()
        self.error = None

    def run(self):
        planned = seen = 0
        moved = time.monotonic()
        try:
            while not self._over.is_set():
                creates = self._run.creates()
                if creates > seen:
                    seen, moved = creates, time.monotonic()
                # All that is left may be doubts that wait for their listings.
                idle = time.monotonic() - moved > IDLE_SECONDS
                if planned - creates > CALLS_LEFT and not idle:
                    time.sleep(POLL_SECONDS * 10)
                    continue
                planned += self._run.next_campaign()
                moved = time.monotonic()
        except DemoError as error:
            self.error = error

    def end(self):
        self._over.set()
        self.join()
        if self.error:
            raise self.error


class Killer:
    def __init__(self, run, plan, seed, say):
        self._run, self._plan, self._say = run, list(plan), say
        self._chance = random.Random(f"{seed} kills")
        self._tries = {}
        self._ready = time.monotonic()
        self._added = 0
        self._healer = None
        self.kills = []   # {kind, point, t, restart_ms (None: met its next point first), creates}
        self.holes = []   # {direction, seconds, held, dead}
        self.missed = []  # crash points that were given up

    def run(self, feeder):
        began = time.monotonic()
        while self._plan:
            if feeder.error:
                raise feeder.error
            kill = self._plan.pop(0)
            creates = self._run.creates()
            met = self._end_process(kill)
            killed = time.monotonic() - began
            if not met and self._again(kill):
                self._plan.append(kill)
            self._run.arm(self._plan[0] if self._plan else None)
            restart_ms = self._run.restart()
            self._ready = time.monotonic()
            if met:
                self.kills.append({"kind": kill.kind, "point": kill.point, "t": round(killed, 3),
                                   "restart_ms": restart_ms, "creates": creates})
                if len(self.kills) % 10 == 0:
                    self._say(f"{len(self.kills)} kills, the last one {kill.name}; "
                              f"{len(self._plan)} to come")
            self._run.add_customers(range(self._added, self._added + ADDED_PER_KILL))
            self._added += ADDED_PER_KILL
        if self._healer:
            self._healer.join()
        return time.monotonic() - began

    def _again(self, kill):
        self._tries[kill] = self._tries.get(kill, 0) + 1
        if self._tries[kill] < TRIES:
            return True
        self.missed.append(kill.point)
        return False

    def _end_process(self, kill):
        """False: its crash point was not met in time, and it was killed without."""
        return getattr(self, "_" + kill.kind)(kill)

    def _point(self, kill):
        if kill.point in PROVOKED:
            self._run.fault(CREATE, PROVOKED[kill.point], next=1)
        if kill.point == "D1":
            self._await_create()
            # 0: all had ended before it looked.
            met = self._run.service.terminate(EXIT_SECONDS) == -signal.SIGKILL
        else:
            met = self._await_end()
            self._run.kill_process()
        if not met:
            self._say(f"{kill.point} was not met for the {kill.hit}. time")
        return met

    def _await_end(self):
        deadline = time.monotonic() + POINT_SECONDS
        while self._run.process.poll() is None and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        return self._run.process.poll() is not None

    def _random(self, _):
        if self._chance.random() < 0.5:
            self._await_create()
        else:
            self._await_moment()
        self._run.kill_process()
        return True

    def _term(self, _):
        self._await_create()
        self._run.term(twice=self._chance.random() < 0.5)
        return True

    def _stop(self, _):
        self._await_create()
        replaced = self._run.sleep(self._chance.choice(STOP_SECONDS))
        if replaced:
            self._await_create()
        else:
            self._await_moment()
        self._run.kill_process()
        return True

    def _hole(self, _):
        """The network swallows what one side sends; it heals while the process lives or after."""
        direction = self._chance.choice(("requests", "answers"))
        seconds = self._chance.choice(HEAL_SECONDS)
        dead = self._chance.random() < 0.7
        text = CREATE_TARGET if direction == "requests" else b"msgid"
        relay = self._run.relay
        if self._healer:
            self._healer.join()
        for _ in range(TRIES):
            self._await_create()  # it has its token; one refused meanwhile needs another try
            relay.hold(direction)
            held = relay.await_held(text, HELD_SECONDS)
            if held:
                break
            relay.heal()
        self.holes.append({"direction": direction, "seconds": seconds, "held": held,
                           "dead": dead})
        if dead:
            # Its connections heal when it is dead; those of the next process are well.
            self._run.kill_process()
            relay.spare_new()
            self._healer = threading.Timer(seconds, relay.heal)
            self._healer.start()
        else:
            time.sleep(seconds)
            relay.heal()
            self._await_create()
            self._run.kill_process()
        return True

    def _await_moment(self):
        wait = self._ready + self._chance.uniform(*DELAY_SECONDS) - time.monotonic()
        time.sleep(max(0, wait))

    def _await_create(self):
        """Until WeCom has a create of this process that it has not answered."""
        deadline = time.monotonic() + CREATE_SECONDS
        while time.monotonic() < deadline:
            create = self._run.simulator.wait_create(WAIT_CREATE_MS)
            if create and create["arrived_raw_ns"] > self._run.service.started_raw_ns:
                return
        raise DemoError(f"no create within {CREATE_SECONDS} s")
